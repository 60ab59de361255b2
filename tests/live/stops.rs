//! A table that can't proceed stops alone in the warehouse: the others go on, and nothing of it is lost.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tailwater::adapters::warehouse::{Flush, Options};
use tailwater::logic::pipeline::Sink;
use tailwater::model::Class;

use crate::history::{At, PLAIN_SQL, Story, batches};
use crate::support::compare::{Copy, assert_all_equal};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
use crate::support::eventually;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;
use crate::warehouse::{Warehouse, apply, compare, durable, runtime, same, seeds};

const PUT_IN_THE_WAY: [&str; 2] =
    [r#"ALTER TABLE "Sales dep't"."or""der.s" RENAME TO aside"#, r#"CREATE TABLE "Sales dep't"."or""der.s" (i int)"#];
const TAKEN_AWAY: [&str; 2] =
    [r#"DROP TABLE "Sales dep't"."or""der.s""#, r#"ALTER TABLE "Sales dep't".aside RENAME TO "or""der.s""#];

/// A history in several lives; in the second something stands in a table's way, until a later one.
async fn lives(warehouse: &Warehouse<'_>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut story = Story::new(StdRng::seed_from_u64(seed ^ 1));
    let history: Vec<_> = (0..60).map(|_| story.transaction(random.random_range(20..60))).collect();
    let options = || Options {
        // Small portions, tried again and again.
        retry: Duration::from_millis(random_pause(seed)),
        ..Options::new("it's", Flush { rows: 40, bytes: 4000, after: Duration::from_millis(20) })
    };
    let mut done = 0;
    for life in 0..8 {
        match life {
            1 => PUT_IN_THE_WAY.iter().for_each(|sql| warehouse.execute(sql)),
            5 => TAKEN_AWAY.iter().for_each(|sql| warehouse.execute(sql)),
            _ => {}
        }
        let last = life == 7;
        let end = if last { history.len() } else { history.len().min(done + random.random_range(4..12)) };
        // A life that stops a table ends with that; the next one knows of it.
        for attempt in 0.. {
            assert!(attempt < 5, "life {life} is stopped again and again");
            let (mut sink, stored) = warehouse.start(options()).await.unwrap();
            done = stored.map_or(0, |stored| history.iter().position(|t| t.last() == stored.change).unwrap() + 1);
            let mut ended = Ok(());
            let mut deliveries = Vec::new();
            for piece in batches(&history[done.saturating_sub(2)..end], &mut random) {
                match apply(&mut sink, piece).await {
                    Ok(delivery) => deliveries.push(delivery),
                    Err(error) => ended = Err(error),
                }
            }
            for delivery in deliveries {
                ended = ended.and(durable(delivery).await);
            }
            if ended.is_ok() && last {
                Sink::<At>::tend(&mut sink).await.unwrap();
            }
            sink.close().await;
            match ended {
                Ok(()) => break,
                Err(error) => {
                    assert_eq!(error.class(), Class::Transient, "{error}");
                    assert!(error.to_string().contains("or\"der.s is stopped"), "{error}");
                    assert_eq!(life, 1, "it stops once");
                }
            }
        }
        done = end;
        if done > 0 {
            same(warehouse.rows(PLAIN_SQL), history[done - 1].after.plain());
        }
        let held = &warehouse.rows("select count(*) from _tailwater.held")[0][0];
        match life {
            0 | 7 => assert_eq!(held.as_deref(), Some("0"), "life {life}"),
            1..5 => assert_ne!(held.as_deref(), Some("0"), "life {life}"),
            _ => {}
        }
    }
    compare(warehouse, &history[history.len() - 1].after);
    assert!(warehouse.rows("select * from _tailwater.stopped").is_empty());
}

fn random_pause(seed: u64) -> u64 {
    seed % 50 + 1
}

#[test]
fn whatever_waited_is_merged_in_its_place_after_any_history_into_postgres() {
    for seed in seeds() {
        let database = Postgres::shared(17).database("stops_history");
        runtime().block_on(lives(&Warehouse::Postgres(&database), seed));
    }
}

#[cfg(feature = "duckdb")]
#[test]
fn whatever_waited_is_merged_in_its_place_after_any_history_into_duckdb() {
    for seed in seeds() {
        let dir = Dir::new();
        runtime().block_on(lives(&Warehouse::Duckdb(dir.join("w.duckdb")), seed));
    }
}

const TABLES: &str =
    "create table fine (id int primary key, v text); create table altered (id int primary key, v numeric);
    create table viewed (id int primary key, v text); create table forbidden (id int primary key, v text);
    insert into fine values (1, 'a'); insert into altered values (1, 1); insert into viewed values (1, 'a');
    insert into forbidden values (1, 'a')";

/// The warehouse's user, who is no superuser.
fn user(target: &Database<'_>, name: &str) -> String {
    target.sql(&format!(
        "create role {name} login password 'pw'; do $$ begin execute format('grant create on database %I to {name}', current_database()); end $$; grant create on schema public to {name}"
    ));
    target.url_for(name, "pw")
}

#[test]
fn tables_that_somebody_altered_hid_or_locked_away_stop_alone_and_go_on_when_that_is_undone() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("stops_s"), server.database("stops_t"));
    source.sql(TABLES);
    let pipeline = Tailwater::new("stops")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&user(&target, "stops_user"), None);
    pipeline.run_until_current().success();
    target.sql(
        "alter table altered alter v type date using null; alter table viewed rename to aside;
         create view viewed as select 1 as x; alter table forbidden owner to postgres",
    );
    for table in ["fine", "altered", "viewed", "forbidden"] {
        source.sql(&format!("insert into {table} select n, n from generate_series(2, 2000) n"));
    }
    let reasons = ["public.altered", "public.viewed", "public.forbidden", "column v", "not Tailwater's", "42501"];
    pipeline.run_until_current().code(3).says(&reasons).says(&["1999 changes wait"]);
    assert_all_equal(&source.session(), &["public.fine"], Copy::Postgres(&target.session()));
    pipeline.status().success().says(&["public.altered", "1999 changes wait", "reason:", "to do:"]);
    // One that has a way to go on does; an earlier key is not taken for a later one's.
    source.sql(
        "update altered set id = -id where id < 10; delete from forbidden where id < 5; insert into fine values (-1)",
    );
    target.sql("drop view viewed; alter table aside rename to viewed");
    pipeline.run_until_current().code(3).says(&["public.altered", "public.forbidden"]).hides(&["public.viewed ("]);
    assert_all_equal(&source.session(), &["public.fine", "public.viewed"], Copy::Postgres(&target.session()));
    target.sql("alter table altered alter v type numeric using 1; alter table forbidden owner to stops_user");
    pipeline.run_until_current().success();
    let all = ["public.fine", "public.viewed", "public.altered", "public.forbidden"];
    assert_all_equal(&source.session(), &all, Copy::Postgres(&target.session()));
    assert_eq!(target.one("select count(*) from _tailwater.held"), "0");
    assert_eq!(target.one("select count(*) from _tailwater.stopped"), "0");
    pipeline.status().success().hides(&["stopped"]);
}

#[test]
fn a_warehouse_that_takes_nothing_stops_the_pipeline_and_no_table() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("stops_ro_s"), server.database("stops_ro_t"));
    source.sql(TABLES);
    let pipeline =
        Tailwater::new("stops_ro").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    pipeline.run_until_current().success();
    source.sql("insert into fine values (2, 'b')");
    source.sql(&format!("alter database {} set default_transaction_read_only = on", target.name()));
    pipeline.run_until_current().code(3).says(&["25006"]).hides(&["is stopped"]);
    source.sql(&format!("alter database {} reset default_transaction_read_only", target.name()));
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.fine"], Copy::Postgres(&target.session()));
}

#[test]
fn whoever_wants_the_pipeline_to_stop_has_it_stop() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("stops_all_s"), server.database("stops_all_t"));
    source.sql(TABLES);
    target.sql("create table altered (id int)");
    let pipeline = Tailwater::new("stops_all")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml("stop = \"pipeline\"");
    pipeline.run_until_current().code(3).says(&["public.altered", "not Tailwater's"]).hides(&["is stopped"]);
    assert_eq!(target.one("select count(*) from _tailwater.stopped"), "0");
    target.sql("drop table altered");
    pipeline.run_until_current().success();
}

#[test]
fn a_kill_in_the_middle_of_a_release_loses_and_doubles_nothing() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("stops_kill_s"), server.database("stops_kill_t"));
    source.sql(
        "create table fine (id int primary key, v text); create table log (v text); insert into log values ('first')",
    );
    let pipeline = Tailwater::new("stops_kill")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml("retry_stopped_seconds = 1\n[sink.postgres.flush]\nrows = 500");
    pipeline.run_until_current().success();
    target.sql("alter table log rename to aside; create table log (v text)");
    let mut running = pipeline.run();
    running.wait_ready();
    // Texts of their own, one for each transaction.
    source.sql("do $$ begin for n in 1..40 loop insert into log select n || ' ' || repeat(md5((n * m)::text), 40) from generate_series(1, 50) m; commit; end loop; end $$");
    source.sql("insert into fine values (1, 'x')");
    let held = || target.one("select coalesce(sum(changes), 0) from _tailwater.held").parse::<u32>().unwrap();
    running.wait_until("holding all", |_| held() == 2000);
    let rows = |table: &str| {
        // It is made with its first row.
        let made = target.one(&format!("select to_regclass('{table}') is not null")) == "t";
        made.then(|| target.one(&format!("select count(*) from {table}")))
    };
    running.wait_until("going on with the other table", |_| rows("fine").as_deref() == Some("1"));
    let (_, page) = running.http("/metrics").unwrap();
    assert!(page.contains("tailwater_table_stopped{table=\"public.log\"} 1"), "{page}");
    assert!(page.contains("tailwater_table_held_changes{table=\"public.log\"} 2000"), "{page}");
    assert!(running.http("/readyz").is_some_and(|(status, body)| status == 200 && body.contains("public.log")));
    running.kill9();
    // A portion waits for the lock, so that the kills meet one: the second of the first run, then the first.
    target.sql(
        "drop table log; alter table aside rename to log; create sequence turns;
         create function wait() returns trigger language plpgsql as 'begin
           if nextval(''public.turns'') = 2 then perform pg_advisory_lock(5); perform pg_advisory_unlock(5); end if;
           return null; end';
         create trigger wait after insert on log execute function wait()",
    );
    let small = pipeline.variant("rows = 500", "rows = 500\nbytes = 2000");
    let holder = target.session();
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'";
    for turn in [1, 2, 2] {
        target.sql(&format!("alter sequence turns restart with {turn}"));
        holder.sql("select pg_advisory_lock(5)");
        let before = held();
        let mut running = small.run();
        running.wait_until("in the middle of a portion", |_| target.one(waits) != "0");
        running.kill9();
        target.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'");
        eventually("its connection is gone", Duration::from_secs(60), || (target.one(waits) == "0").then_some(()));
        holder.sql("select pg_advisory_unlock(5)");
        let after = held();
        assert!(after > 0 && (after < before) == (turn == 1), "a whole portion or none of it: {before}, {after}");
    }
    target.sql("drop trigger wait on log");
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.fine", "public.log"], Copy::Postgres(&target.session()));
    assert_eq!((held(), target.one("select count(*) from log").as_str()), (0, "2001"));
}
