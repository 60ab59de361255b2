//! Partitioned tables, told as one or by partition, while partitions come and go.

use std::time::Duration;

use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;
use crate::support::{cache, eventually};

fn fill(source: &Database<'_>) {
    source.sql(
        "create table m (id int, day int, v text, primary key (id, day)) partition by range (day);
         create table m1 partition of m for values from (1) to (10);
         create table m2 partition of m for values from (10) to (20) partition by list (id);
         create table m2a partition of m2 for values in (1, 2); create table m2b partition of m2 default;
         create table lone (id int primary key); insert into lone values (1);
         insert into m select i, d, 'v' from generate_series(1, 4) i, (values (1), (5), (12)) d(d)",
    );
}

fn pipeline(name: &str, source: &Database<'_>, target: &Database<'_>, partitions: &str) -> Tailwater {
    Tailwater::new(name)
        .source_postgres(&source.url(), &["public.*"])
        .toml(partitions)
        .sink_postgres(&target.url(), None)
}

fn rows(database: &Database<'_>, table: &str) -> Vec<Vec<Option<String>>> {
    database.sql(&format!("select id, day, v from {table} order by 1, 2"))
}

fn tables(target: &Database<'_>) -> Vec<String> {
    let names = target.sql(
        "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1",
    );
    names.into_iter().map(|row| row[0].clone().unwrap()).collect()
}

#[track_caller]
fn follows(source: &Database<'_>, target: &Database<'_>, names: &[&str]) {
    for name in names {
        let expected = rows(source, name);
        eventually(&format!("{name} is equal"), Duration::from_secs(60), || {
            (tables(target).iter().any(|table| table == name) && rows(target, name) == expected).then_some(())
        });
    }
}

#[test]
fn a_partitioned_table_is_told_as_one_and_each_row_once() {
    for version in cache::postgres_versions() {
        let server = Postgres::shared(version);
        let (source, target) = (server.database("root"), Postgres::shared(17).database("root_t"));
        fill(&source);
        let pipeline = pipeline("root", &source, &target, "");
        pipeline.run_until_current().success();
        assert_eq!(tables(&target), ["lone", "m"]);
        assert_eq!(rows(&target, "m"), rows(&source, "m"), "twelve rows, each once");
        let mut running = pipeline.run();
        running.wait_ready();
        source.sql(
            "update m set day = 13, v = 'moved' where id = 1 and day = 1; delete from m where id = 2 and day = 12;
             create table m3 partition of m for values from (20) to (30); insert into m values (1, 25, 'new partition')",
        );
        follows(&source, &target, &["m"]);
        std::thread::sleep(Duration::from_secs(12));
        assert!(!running.text().contains("a partition came"), "a new one held nothing: {}", running.text());
        // What an attached one held is said and not told; what is written to it from then on is.
        source.sql(
            "create table held (id int not null, day int not null, v text, primary key (id, day)); insert into held values (7, 35, 'held');
             alter table m attach partition held for values from (30) to (40); insert into m values (8, 36, 'after')",
        );
        running.wait_until("the partition is told of", |running| running.text().contains("a partition came with rows"));
        // PostgreSQL 14 does not notice that a table whose rows it has passed by is a partition now.
        let sent = if version < 15 { "0" } else { "1" };
        eventually("what came after", Duration::from_secs(60), || {
            (target.one("select count(*) from m where day > 30") == sent).then_some(())
        });
        source.sql("alter publication tailwater_root drop table only m");
        follows(&source, &target, &["m"]);
        // Detached, it is a table of its own.
        source.sql("alter table m detach partition m1; insert into m1 values (50, 2, 'alone'); insert into m values (9, 21, 'x')");
        follows(&source, &target, &["m1"]);
        eventually("the others go on", Duration::from_secs(60), || {
            (target.one("select count(*) from m where id = 9") == "1").then_some(())
        });
        assert_eq!(target.one("select count(*) from m where id = 50"), "0");
        running.terminate().success().says(&["public.held", "DROP TABLE ONLY"]);
    }
}

#[test]
fn partitions_are_tables_of_their_own_when_that_is_asked_for() {
    for version in cache::postgres_versions() {
        let server = Postgres::shared(version);
        let (source, target) = (server.database("leaf"), Postgres::shared(17).database("leaf_t"));
        fill(&source);
        let pipeline = pipeline("leaf", &source, &target, "partitions = \"leaf\"");
        pipeline.check().success();
        pipeline.run_until_current().success();
        assert_eq!(tables(&target), ["lone", "m1", "m2a", "m2b"]);
        let mut running = pipeline.run();
        running.wait_ready();
        source.sql(
            "update m set day = 13, v = 'moved' where id = 1 and day = 1; delete from m where id = 2 and day = 12;
             create table m3 partition of m for values from (20) to (30); insert into m values (1, 25, 'new partition');
             create table held (id int not null, day int not null, v text, primary key (id, day)); insert into held values (7, 35, 'held');
             alter table m attach partition held for values from (30) to (40); insert into m values (8, 36, 'after')",
        );
        follows(&source, &target, &["m1", "m2a", "m2b", "m3", "held"]);
        source.sql("alter table m detach partition m1; insert into m1 values (50, 2, 'alone'); truncate m2; insert into m values (1, 11, 'y')");
        follows(&source, &target, &["m1", "m2a", "m2b"]);
        running.terminate().success();
        assert_eq!(tables(&target), ["held", "lone", "m1", "m2a", "m2b", "m3"]);
        // Nobody who writes to the source notices.
        source.sql("update m set v = 'z'; delete from m where id = 3");
    }
}

#[test]
fn a_publication_of_the_root_is_no_publication_of_its_partitions() {
    let (source, target) = (Postgres::shared(17).database("switch"), Postgres::shared(17).database("switch_t"));
    fill(&source);
    pipeline("switch", &source, &target, "").run_until_current().success();
    let by_leaf = pipeline("switch", &source, &target, "partitions = \"leaf\"");
    let remedy = "ALTER PUBLICATION \"tailwater_switch\" DROP TABLE ONLY \"public\".\"m\"";
    by_leaf.check().code(2).says(&["public.m", remedy]);
    by_leaf.run_until_current().code(3).says(&["public.m", remedy]);
    source.sql(remedy);
    by_leaf.run_until_current().success();
    source.sql("insert into m values (9, 9, 'leaf')");
    by_leaf.run_until_current().success();
    for partition in ["m1", "m2a", "m2b"] {
        assert_eq!(rows(&target, partition), rows(&source, partition));
    }
    assert_eq!(target.one("select count(*) from m"), "12", "what was told is left as it is");
}
