//! Tables that change while they are followed into a warehouse.

use std::time::Duration;

use crate::support::compare::{Copy, difference, split};
use crate::support::eventually;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

/// What happens between two looks; after each of them all rows and columns are the same.
const STEPS: [&str; 4] = [
    // Columns come with values, go, and come again under their names.
    "alter table t add d text default 'it''s', add e timestamptz not null default now(), add f bytea default '\\x00ff';
     update t set a = a + 1 where id < 5; insert into t (id, a, gone) values (101, 1, 'y');
     alter table t drop gone; alter table t add gone int default 7; insert into t (id, a) values (102, 1);
     alter table t alter d drop default, add g numeric(6,2) default 1.50; delete from t where id = 50",
    // Names change, and change places.
    "alter table t rename b to bb; insert into t (id, a, bb) values (201, 1, 'z');
     begin; alter table t rename d to x; alter table t rename bb to d; alter table t rename x to bb; commit;
     insert into t (id, d, bb) values (202, 'd', 'bb'); update t set bb = 'new' where id = 3",
    // Types become wider.
    "alter table t alter a type bigint, alter c type numeric(12,4), alter g type numeric, alter gone type text;
     insert into t (id, a, c, g, gone) values (301, 9000000000, 12345678.1234, 1e20, 'text'); update t set c = 2 where id = 7",
    // Another key, with a column that was none before.
    "alter table t drop constraint t_pkey, add primary key (keyed, id);
     insert into t (id, keyed) values (1, 'other'); update t set keyed = 'moved' where id = 4;
     update t set a = 5 where id = 1 and keyed = 'k'; delete from t where id = 9",
];

fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql(
        "create table t (id int primary key, a int, b varchar(10), c numeric(8,2), gone text, keyed text not null default 'k');
         insert into t select n, n, 'b' || n, n / 4.0, 'gone' from generate_series(1, 100) n",
    );
    source
}

#[test]
fn a_table_that_changes_in_every_way_has_the_same_rows_and_columns_in_each_warehouse() {
    let source = source("shapes_s");
    let target = Postgres::shared(15).database("shapes_t");
    let postgres =
        Tailwater::new("shapes_p").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    postgres.run_until_current().success();
    #[cfg(feature = "duckdb")]
    let dir = tempfile::tempdir().unwrap();
    #[cfg(feature = "duckdb")]
    let (file, duckdb) = {
        let file = dir.path().join("w.duckdb");
        let pipeline = Tailwater::new("shapes_d").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file);
        pipeline.run_until_current().success();
        (file, pipeline)
    };
    #[cfg(feature = "kafka")]
    let (behind, through) = {
        let kafka = crate::support::kafka::Kafka::shared();
        let prefix = kafka.prefix("shapes");
        let writer = Tailwater::new("shapes_w")
            .source_postgres(&source.url(), &["public.*"])
            .sink_kafka(&kafka.bootstrap(), &prefix)
            .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 3");
        let behind = Postgres::shared(17).database("shapes_k");
        let reader = Tailwater::new("shapes_r")
            .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
            .sink_postgres(&behind.url(), None);
        (behind, [writer, reader])
    };
    for step in STEPS {
        let (begin, rest) = step.split_once("begin;").unwrap_or((step, ""));
        let (inside, after) = rest.split_once("commit;").unwrap_or(("", rest));
        begin
            .split(';')
            .chain([inside])
            .chain(after.split(';'))
            .filter(|s| !s.trim().is_empty())
            .for_each(|s| drop(source.sql(s)));
        postgres.run_until_current().success();
        let (session, of) = (source.session(), target.session());
        let same = |copy: Copy<'_>| difference(&session, split("public.t"), copy, split("public.t"));
        assert_eq!(same(Copy::Postgres(&of)), None, "after {step}");
        #[cfg(feature = "kafka")]
        {
            through.iter().for_each(|pipeline| drop(pipeline.run_until_current().success()));
            assert_eq!(same(Copy::Postgres(&behind.session())), None, "behind Kafka after {step}");
        }
        #[cfg(feature = "duckdb")]
        {
            duckdb.run_until_current().success();
            assert_eq!(same(Copy::Duckdb(&file)), None, "after {step}");
        }
    }
    // What was dropped is there, beside what took its name.
    assert_eq!(target.one("select count(*) from t where gone__dropped2 = 'gone'"), "97");
}

#[test]
fn a_type_that_does_not_fit_stops_its_table_or_goes_beside_and_a_name_can_be_kept() {
    let source = source("shapes_policy_s");
    let target = Postgres::shared(17).database("shapes_policy_t");
    source.sql("create table u (id int primary key, a int, old text); insert into u values (1, 1, 'x')");
    let pipeline = Tailwater::new("shapes_policy")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml("[[table]]\nmatch = \"public.u\"\non_incompatible = \"new_column\"\non_rename = \"keep\"");
    pipeline.run_until_current().success();
    source.sql("alter table u rename old to new; alter table u alter a type date using '2020-01-01'");
    source.sql("alter table t alter a type date using '2020-01-01'");
    source.sql("insert into u values (2, '2021-02-03', 'y'); insert into t (id, a) values (900, '2021-02-03')");
    pipeline.run_until_current().code(3).says(&["public.t", "column a", "date", "integer"]).hides(&["public.u ("]);
    let rows = "select string_agg(concat_ws(' ', id, a, a__v2, old), ', ' order by id) from u";
    assert_eq!(target.one(rows), "1 1 x, 2 2021-02-03 y");
    // The way that is said helps; what waited is there.
    target.sql("alter table t rename a to a_before");
    pipeline.run_until_current().success();
    assert_eq!(target.one("select a from t where id = 900"), "2021-02-03");
}

/// Has the warehouse wait, at the n-th statement that alters or notes something, for whoever holds the lock.
const PAUSES: &str = "
    create sequence steps; create table pause_at (n int); insert into pause_at values (0);
    create function pause() returns void language plpgsql as $$ begin
      if nextval('public.steps') = (select n from public.pause_at) then
        perform pg_advisory_lock(7); perform pg_advisory_unlock(7); end if; end $$;
    create function on_ddl() returns event_trigger language plpgsql as $$ begin
      if current_query() ~ '^(ALTER|DO|CREATE UNLOGGED)' then perform public.pause(); end if; end $$;
    create function on_note() returns trigger language plpgsql as $$ begin perform public.pause(); return null; end $$;
    create trigger noted after delete or insert on _tailwater.columns for each statement execute function on_note();
    create constraint trigger commits after insert on _tailwater.columns deferrable initially deferred
      for each row when (new.target_column = 'id') execute function on_note();
    create event trigger on_ddl on ddl_command_start execute function on_ddl()";

#[test]
fn a_kill_at_each_step_of_a_change_leaves_nothing_half_and_the_next_run_goes_on() {
    let source = source("shapes_kill_s");
    let target = Postgres::shared(17).database("shapes_kill_t");
    let pipeline =
        Tailwater::new("shapes_kill").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    pipeline.run_until_current().success();
    target.sql(PAUSES);
    source.sql(
        "begin; alter table t add d text not null default 'it''s', alter a type bigint, drop gone;
         alter table t rename b to x; alter table t rename c to b; alter table t rename x to c;
         alter table t add gone int default 7; alter table t drop constraint t_pkey, add primary key (keyed, id); commit",
    );
    source.sql("insert into t (id, a, d) values (101, 9000000000, 'new'); update t set c = 'moved' where id < 5");
    let before = "select string_agg(attname || ' ' || atttypid::regtype, ', ' order by attnum) from pg_attribute
                  where attrelid = 't'::regclass and attnum > 0 and not attisdropped";
    let untouched = target.one(before);
    let holder = target.session();
    let waits = || {
        target
            .one("select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'")
            != "0"
    };
    let mut steps = 0;
    loop {
        steps += 1;
        target.sql(&format!("alter sequence steps restart; update pause_at set n = {steps}"));
        holder.sql("select pg_advisory_lock(7)");
        let mut running = pipeline.start(&["run", "--until-current"]);
        let paused = eventually("it waits or has ended", Duration::from_secs(60), || {
            if waits() { Some(true) } else { (!running.alive()).then_some(false) }
        });
        if !paused {
            running.wait().success();
            break;
        }
        running.kill9();
        target.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'");
        eventually("its connection is gone", Duration::from_secs(60), || (!waits()).then_some(()));
        holder.sql("select pg_advisory_unlock(7)");
        let now = target.one(before);
        let whole = ["gone__dropped2", "d text", "c text", "a bigint"].iter().all(|part| now.contains(part));
        assert!(now == untouched || whole, "all of it or nothing: {now}");
    }
    assert!(steps > 12, "every statement was met once: {steps}");
    let (session, of) = (source.session(), target.session());
    assert_eq!(difference(&session, split("public.t"), Copy::Postgres(&of), split("public.t")), None);
    assert_eq!(target.one("select count(*) from pg_attribute where attname like '\\_tw\\_moved%'"), "0");
}
