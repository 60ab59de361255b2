//! `where` and `columns.pushdown`: what the publication chooses, and that nobody who writes to the source notices.

use std::time::Duration;

use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;
use crate::support::{cache, eventually};

const RULES: &str = r#"
[[table]]
match = "public.orders"
where = "region = 'eu' and amount > 10 -- big ones"
[[table]]
match = "public.people"
columns.exclude = ["card"]
columns.pushdown = true
[[table]]
match = "public.lines"
where = "id > 0"
columns.exclude = ["secret"]
columns.pushdown = true
"#;

fn pipeline(name: &str, source: &Database<'_>, target: &Database<'_>, rules: &str) -> Tailwater {
    Tailwater::new(name).source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None).toml(rules)
}

fn rows(database: &Database<'_>, query: &str) -> Vec<Vec<Option<String>>> {
    database.sql(&format!("select * from ({query}) q order by id"))
}

/// What each target table has to hold, as a query on the source.
const WANTED: [(&str, &str); 3] = [
    (
        "select id, region, amount, note from orders",
        "select id, region, amount, note from orders where region = 'eu' and amount > 10",
    ),
    ("select id, name from people", "select id, name from people"),
    ("select id, n from lines", "select id, n from lines where id > 0"),
];

#[track_caller]
fn equal(source: &Database<'_>, target: &Database<'_>) {
    for (there, here) in WANTED {
        let expected = rows(source, here);
        assert!(expected.len() > 1, "{here}");
        assert_eq!(rows(target, there), expected, "{there}");
    }
}

fn fill(source: &Database<'_>) {
    source.sql(
        "create table orders (id int primary key, region text, amount numeric, note text);
         alter table orders replica identity full;
         create table people (id int primary key, card text, name text);
         create table lines (id int primary key, secret text, n int);
         insert into orders select i, case i % 3 when 0 then 'eu' when 1 then 'us' end, i, repeat('x', 3000) from generate_series(1, 60) i;
         insert into people select i, 'CANARY', 'n' || i from generate_series(1, 5) i;
         insert into lines select i, 'CANARY', i from generate_series(-5, 5) i",
    );
}

fn write(source: &Database<'_>) {
    source.sql(
        "update orders set region = 'eu' where id in (20, 22); update orders set region = null where id in (24, 27);
         update orders set amount = 1 where id = 30; update orders set amount = amount + 1 where id in (33, 34);
         delete from orders where id in (36, 37); insert into orders values (100, 'eu', 100, 'n'), (101, 'eu', 9, 'n'), (102, null, 50, 'n');
         update people set name = 'm', card = 'CANARY-2' where id = 2; delete from people where id = 3; insert into people values (9, 'CANARY-3', 'z');
         update lines set n = n + 1; update lines set id = -10 * id where id in (-1, 2); delete from lines where id in (-4, 4)",
    );
}

#[test]
fn rows_and_columns_are_chosen_alike_in_snapshot_and_stream() {
    for version in cache::postgres_versions() {
        let server = Postgres::shared(version);
        let (source, target) = (server.database("chosen"), Postgres::shared(17).database("chosen_t"));
        fill(&source);
        let pipeline = pipeline("chosen", &source, &target, RULES).env("RUST_LOG", "trace");
        if version < 15 {
            pipeline.check().code(2).says(&["before PostgreSQL 15"]);
            pipeline.run_until_current().code(3).says(&["before PostgreSQL 15"]);
            continue;
        }
        pipeline.check().success();
        assert_eq!(source.one("select count(*) from pg_publication"), "0", "a check changes nothing");
        pipeline.run_until_current().success().hides(&["CANARY"]);
        equal(&source, &target);
        write(&source);
        pipeline.run_until_current().success().hides(&["CANARY"]);
        equal(&source, &target);
        let listed = "select attnames::text from pg_publication_tables where tablename = 'people'";
        assert_eq!(source.one(listed), "{id,name}", "the column stays in the database");

        // A column that comes is listed too, and what was written before that is read again.
        let mut running = pipeline.run();
        running.wait_ready();
        source.sql("alter table people add age int; update people set age = id; insert into people values (10, 'CANARY', 'y', 50)");
        eventually("the new column is there", Duration::from_secs(60), || {
            let there =
                target.sql("select attname from pg_attribute where attrelid = 'people'::regclass and attname = 'age'");
            let ages = "select id, name, age from people";
            (!there.is_empty() && rows(&target, ages) == rows(&source, ages)).then_some(())
        });
        running.terminate().success().hides(&["CANARY"]);

        // Another filter: the rows that it adds are read, those that it leaves out go.
        let other = RULES.replace("amount > 10", "amount < 40");
        let other = self::pipeline("chosen", &source, &target, &other);
        other.check().success();
        other.run_until_current().success();
        let query = "select id, region, amount from orders";
        assert_eq!(rows(&target, query), rows(&source, &format!("{query} where region = 'eu' and amount < 40")));
        let entry = "select oid::text from pg_publication_rel where prrelid = 'orders'::regclass";
        let before = source.one(entry);
        other.run_until_current().success();
        assert_eq!(source.one(entry), before, "what is as it should be is left alone");
    }
}

/// A table, its rule, and what is said when that can't be kept without harm.
const RISKS: [(&str, &str, Option<&str>); 11] = [
    ("create table t (id int primary key, a int, b int)", "where = \"a > 1\"", Some("a, which is no part of its replica identity")),
    ("create table t (id int primary key, a int, b int)", "where = \"id > 1 or b is null\"", Some("b, which is no part")),
    ("create table t (id int primary key, a int, b int)", "where = \"id > 1\"", None),
    ("create table t (id int primary key, a int, b int); alter table t replica identity full", "where = \"a > 1 and b > 1\"", None),
    (
        "create table t (id int primary key, a int not null unique, b int); alter table t replica identity using index t_a_key",
        "where = \"a > 1\"",
        None,
    ),
    ("create table t (id int primary key deferrable, a int, b int); alter table t replica identity full", "where = \"b > 1\"", None),
    (
        "create table t (id int primary key, a int, b int); alter table t replica identity full",
        "columns.exclude = [\"b\"]\ncolumns.pushdown = true",
        Some("REPLICA IDENTITY FULL"),
    ),
    (
        "create table t (id int primary key, a int not null unique, b int); alter table t replica identity using index t_a_key",
        "key = [\"a\"]\ncolumns.exclude = [\"b\"]\ncolumns.pushdown = true",
        None,
    ),
    (
        "create table t (id int, a int, b int, primary key (id, a)) partition by list (a);
         create table t1 partition of t default; alter table t replica identity full; alter table t1 replica identity full",
        "where = \"b > 1\"",
        Some("primary key only"),
    ),
    (
        "create table t (id int, a int, b int, primary key (id, a)) partition by list (a); create table t1 partition of t default",
        "where = \"a > 1\"",
        None,
    ),
    (
        "create table t (id int, a int, b int, primary key (id, a)) partition by list (a); create table t1 partition of t default",
        "columns.exclude = [\"b\"]\ncolumns.pushdown = true",
        Some("a partition"),
    ),
];

#[test]
fn no_statement_on_the_source_ever_fails_because_of_a_filter_or_a_list() {
    for version in cache::postgres_versions().into_iter().filter(|version| *version >= 15) {
        let server = Postgres::shared(version);
        for (at, (table, rule, refused)) in RISKS.into_iter().enumerate() {
            let name = format!("risk{at}");
            let (source, target) = (server.database(&name), Postgres::shared(17).database(&format!("{name}_t")));
            source.sql(table);
            source.sql("create table other (id int primary key); insert into other values (1); insert into t values (1, 1, 1), (2, 2, 2), (3, 3, 3)");
            let pipeline = pipeline(&name, &source, &target, &format!("[[table]]\nmatch = \"public.t\"\n{rule}"));
            let before = source.sql("select * from pg_publication_rel");
            match refused {
                Some(reason) => {
                    pipeline.check().code(2).says(&["public.t", reason]);
                    assert_eq!(source.sql("select * from pg_publication_rel"), before);
                    pipeline.run_until_current().code(3).says(&["public.t", reason]);
                }
                None => {
                    pipeline.check().success();
                    pipeline.run_until_current().success();
                }
            }
            // Each of these is refused by PostgreSQL when what is published does harm.
            source.sql(
                "update t set b = b + 1; update t set id = id + 10, a = a + 10 where id = 2; delete from t where id = 3;
                 insert into t values (7, 7, 7); update t set b = null; delete from t where id = 7; truncate t; insert into t values (8, 8, 8)",
            );
            if refused.is_none() {
                pipeline.run_until_current().success();
                assert_eq!(target.one("select count(*) from t"), "1", "{rule}");
            }
        }
    }
}

#[test]
fn a_table_that_can_t_be_published_as_it_is_wanted_keeps_no_other_from_joining() {
    let (source, target) = (Postgres::shared(17).database("choosy"), Postgres::shared(17).database("choosy_t"));
    source.sql("create table first (id int primary key); insert into first values (1)");
    let rule = "[[table]]\nmatch = \"public.r*\"\nwhere = \"a > 1\"";
    let pipeline = pipeline("choosy", &source, &target, rule);
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql(
        "create table risky (id int primary key, a int); insert into risky values (1, 5);
         create table ready (id int, a int primary key); insert into ready values (1, 1), (1, 5);
         create table plain (id int primary key); insert into plain values (1)",
    );
    let count = |table: &str| target.sql(&format!("select 1 from pg_class where relname = '{table}'")).len();
    eventually("the others join", Duration::from_secs(60), || {
        (count("ready") == 1 && count("plain") == 1 && target.one("select count(*) from ready") == "1").then_some(())
    });
    source.sql(
        "update risky set a = 6; delete from risky; insert into ready values (2, 0), (2, 7); update ready set id = 3",
    );
    eventually("their changes come", Duration::from_secs(60), || {
        (target.one("select count(*) from ready where id = 3") == "2").then_some(())
    });
    assert_eq!(count("risky"), 0);
    running.terminate().success().says(&["public.risky", "no part of its replica identity"]);
}

#[test]
fn what_is_no_filter_is_refused_with_the_servers_reason_and_nothing_else_is_run() {
    let (source, target) = (Postgres::shared(17).database("nofilter"), Postgres::shared(17).database("nofilter_t"));
    source.sql("create table t (id int primary key, a int); insert into t values (1, 1)");
    for (filter, reason) in [
        ("id > 1); drop table t; --", "syntax error"),
        ("id > ", "syntax error"),
        ("idd > 1", "idd"),
        ("id > (select 1)", "WHERE"),
        ("id > random()", "WHERE"),
        ("id", "boolean"),
    ] {
        let pipeline =
            pipeline("nofilter", &source, &target, &format!("[[table]]\nmatch = \"public.t\"\nwhere = \"{filter}\""));
        pipeline.check().code(2).says(&["public.t", reason]);
        pipeline.run_until_current().code(3).says(&["public.t", reason]);
        assert_eq!(source.one("select count(*) from t"), "1");
    }
}

#[test]
fn a_publication_that_is_not_ours_is_left_alone_and_its_owner_told_what_to_run() {
    let (source, target) = (Postgres::shared(17).database("theirs"), Postgres::shared(17).database("theirs_t"));
    source.sql(
        "create table t (id int primary key, a int, b int); insert into t values (1, 1, 1), (2, 2, 2);
         create publication theirs for table only t",
    );
    let rule = "where = \"id > 1\"\ncolumns.exclude = [\"b\"]\ncolumns.pushdown = true";
    let file = |create: bool, rule: &str| {
        Tailwater::new("theirs")
            .source_postgres(&source.url(), &["public.*"])
            .toml(&format!("publication = \"theirs\"\ncreate = {create}"))
            .sink_postgres(&target.url(), None)
            .toml(&format!("[[table]]\nmatch = \"public.t\"\n{rule}"))
    };
    let remedy = ["ALTER PUBLICATION \"theirs\" DROP TABLE ONLY \"public\".\"t\"", "(\"id\", \"a\") WHERE (id > 1"];
    let entry = "select oid::text from pg_publication_rel";
    let before = source.one(entry);
    file(false, rule).run_until_current().code(3).says(&remedy);
    file(false, rule).check().code(2).says(&remedy);
    assert_eq!(source.one(entry), before);
    source.sql(
        "begin; alter publication theirs drop table only t; alter publication theirs add table only t (id, a) where (id > 1); commit;
         select pg_create_logical_replication_slot('tailwater_theirs', 'pgoutput')",
    );
    let adopted = source.one(entry);
    file(false, rule).check().success();
    file(false, rule).run_until_current().success();
    assert_eq!((source.one(entry), target.one("select sum(id) from t")), (adopted, "2".to_owned()));
}

#[test]
fn tables_that_inherit_are_published_only_when_they_are_wanted_themselves() {
    for version in cache::postgres_versions() {
        let server = Postgres::shared(version);
        let (source, target) = (server.database("heirs"), Postgres::shared(17).database("heirs_t"));
        source.sql(
            "create table parent (id int primary key, v text); create table heir (extra int) inherits (parent);
             create table keyless () inherits (parent); alter table heir add primary key (id);
             insert into parent values (1, 'p'); insert into heir values (2, 'h', 1); insert into keyless values (3, 'k')",
        );
        let pipeline = Tailwater::new("heirs")
            .source_postgres(&source.url(), &["public.*"])
            .toml("exclude = [\"public.keyless\"]")
            .sink_postgres(&target.url(), None);
        pipeline.run_until_current().success();
        source.sql("update keyless set v = 'x'; delete from keyless; update parent set v = v || '!'");
        pipeline.run_until_current().success();
        let all = "select string_agg(id || v, ',' order by id) from ";
        assert_eq!(target.one(&format!("{all} parent")), "1p!", "each row is told once, under its own table");
        assert_eq!(target.one(&format!("{all} heir")), "2h!");
        assert_eq!(target.one("select count(*) from pg_class where relname = 'keyless'"), "0");
    }
}

#[test]
fn an_identity_that_is_changed_later_is_told_before_anybody_wonders() {
    let (source, target) = (Postgres::shared(17).database("later"), Postgres::shared(17).database("later_t"));
    source.sql(
        "create table t (id int primary key, a int); alter table t replica identity full; insert into t values (1, 5)",
    );
    let pipeline = pipeline("later", &source, &target, "[[table]]\nmatch = \"public.t\"\nwhere = \"a > 1\"");
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql("alter table t replica identity default");
    running.wait_until("the harm is told", |running| running.text().contains("does harm now"));
    pipeline.check().code(2).says(&["no part of its replica identity"]);
    source.sql("alter table t replica identity full; update t set a = 6");
    running.terminate().success();
}
