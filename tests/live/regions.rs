//! Several databases with the same tables, in one table of a warehouse.

use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::{Running, Tailwater};

const TABLES: &str = "create table t (id int primary key, v text); create table log (n int);
    insert into t select n, 'old ' || n from generate_series(1, 50) n";

fn pipeline(region: &str, source: &Database<'_>, target: &Database<'_>) -> Tailwater {
    Tailwater::new(&format!("shop_{region}"))
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), Some("shop"))
        .toml(&format!("[[table]]\nmatch = \"public.*\"\nsource_column = \"region\"\nsource_value = {region:?}"))
}

/// Waits until a region's rows are those of its database.
#[track_caller]
fn wait_equal(running: &mut Running, region: &str, source: &Database<'_>, target: &Database<'_>) {
    running.wait_until(&format!("equal in {region}"), |_| {
        let there =
            target.one("select count(*) from pg_tables where schemaname = 'shop' and tablename in ('t', 'log')");
        there == "2"
            && source.sql("select id::text, v from t order by t.id")
                == target.sql(&format!("select id::text, v from shop.t where region = '{region}' order by t.id"))
            && source.one("select count(*) from log")
                == target.one(&format!("select count(*) from shop.log where region = '{region}'"))
    });
}

#[test]
fn regions_share_a_table_and_each_empties_and_reads_again_only_its_own() {
    // Two of the systems are the same and so count the same log; the third has one of its own.
    let (server, other) = (Postgres::shared(17), Postgres::shared(15));
    let target = server.database("regions");
    let sources = [("eu", server.database("eu")), ("us", other.database("us")), ("asia", server.database("asia"))];
    for (_, source) in &sources {
        source.sql(TABLES);
    }
    let pipelines: Vec<Tailwater> = sources.iter().map(|(region, source)| pipeline(region, source, &target)).collect();
    // All at one moment: each makes what it finds absent.
    let mut running: Vec<Running> = pipelines.iter().map(Tailwater::run).collect();
    for round in 1..=20 {
        for (_, source) in &sources {
            source.sql(&format!(
                "update t set v = 'round {round}' where id % 20 = {round}; insert into t values ({round} + 100, 'new');
                 delete from t where id = {round}; insert into log values ({round}), ({round})"
            ));
        }
    }
    for ((region, source), running) in sources.iter().zip(&mut running) {
        wait_equal(running, region, source, &target);
    }
    let (us, eu) = (&sources[1].1, &sources[0].1);
    us.sql("truncate t, log; insert into t values (1, 'after'); insert into log values (7)");
    wait_equal(&mut running[1], "us", us, &target);
    running.remove(0).terminate().success();
    eu.sql("delete from t where id > 40; insert into t values (1000, 'read again')");
    pipelines[0].command(&["run", "--until-current", "--resnapshot"]).success();
    running.into_iter().for_each(|running| drop(running.terminate().success()));
    for (region, source) in &sources {
        pipelines.iter().for_each(|pipeline| drop(pipeline.run_until_current().success()));
        let rows = format!("select id::text, v from shop.t where region = '{region}' order by t.id");
        assert_eq!(source.sql("select id::text, v from t order by t.id"), target.sql(&rows), "{region}");
        let logged = target.one(&format!("select count(*) from shop.log where region = '{region}'"));
        assert_eq!(source.one("select count(*) from log"), logged, "{region}");
    }
    assert_eq!(target.one("select string_agg(distinct region, ',' order by region) from shop.t"), "asia,eu,us");
    let twin = pipelines[0].variant("name = \"shop_eu\"", "name = \"shop_twin\"");
    twin.run_until_current().code(3).says(&["shop_eu has the rows of shop.", "`source_value` of its own"]);
    let alone = Tailwater::new("shop_alone").source_postgres(&eu.url(), &["public.*"]);
    let alone = alone.sink_postgres(&target.url(), Some("shop"));
    alone.run_until_current().code(3).says(&["is shared by several sources, and this one has no value"]);
}

#[test]
fn a_table_that_can_not_be_made_keeps_no_other_pipeline_from_making_its_own() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("stuck_s"), server.database("stuck_t"));
    source.sql("create table t (id int primary key, v text); insert into t values (1, 'x')");
    target.sql("create schema one; create table one.t (id int)");
    let pipeline = |name: &str| {
        Tailwater::new(&format!("stuck_{name}"))
            .source_postgres(&source.url(), &["public.*"])
            .sink_postgres(&target.url(), Some(name))
            .toml("retry_stopped_seconds = 1")
    };
    let (one, two) = (pipeline("one"), pipeline("two"));
    let mut running = one.run();
    let reason = || {
        let made = target.one("select to_regclass('_tailwater.stopped') is not null") == "t";
        let told = "select coalesce(string_agg(reason, ''), '') from _tailwater.stopped";
        if made { target.one(told) } else { String::new() }
    };
    running.wait_until("stopping", |_| reason().contains("is not Tailwater's"));
    // For another reason from now on: that shows when it has been tried again, in vain.
    target.sql("alter table one.t add _tw_lsn bigint, add _tw_seq bigint");
    running.wait_until("trying again", |_| reason().contains("the key of"));
    two.run_until_current().success();
    assert_eq!(target.one("select v from two.t"), "x");
    target.sql("drop table one.t");
    running.wait_until("going on", |_| {
        target.one("select to_regclass('one.t') is not null") == "t" && target.one("select count(*) from one.t") == "1"
    });
    running.terminate().success();
}
