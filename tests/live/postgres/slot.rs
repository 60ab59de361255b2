//! Slots: which are used, which are refused, and that none is made again in silence.

use std::time::Duration;

use tailwater::logic::pipeline::Source;
use tailwater::model::{Class, Error};

use super::{Mirror, of, refused, start};
use crate::support::eventually;
use crate::support::postgres::Postgres;

#[track_caller]
fn blocked(error: &Error, says: &[&str]) {
    assert_eq!(error.class(), Class::Blocked, "{error}");
    for part in says {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_ours_to_use_is_refused() {
    let server = Postgres::shared(17);
    let (here, there) = (server.database("slots"), server.database("elsewhere"));
    here.sql("create table t (id int primary key)");
    let name = here.name();
    let drop = format!("select pg_drop_replication_slot('{name}')");

    here.sql(&format!("select pg_create_logical_replication_slot('{name}', 'test_decoding')"));
    blocked(&refused(&of(&here), None).await, &[name, "test_decoding"]);
    here.sql(&drop);
    there.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    blocked(&refused(&of(&here), None).await, &[name, there.name()]);
    here.sql(&drop);
    here.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput', false, true)"));
    blocked(&refused(&of(&here), None).await, &[name, "two_phase"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sink_has_and_what_the_slot_has_must_fit_together() {
    let database = Postgres::shared(17).database("fit");
    database.sql("create table t (id int primary key); insert into t values (1)");
    let name = database.name();
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    source.close().await;
    let stored = mirror.checkpoint();

    let mut stranger = stored.clone();
    stranger.position.system_id += 1;
    blocked(&refused(&of(&database), Some(stranger)).await, &["cluster"]);
    let mut future = stored.clone();
    future.position.timeline += 1;
    blocked(&refused(&of(&database), Some(future)).await, &["timeline"]);

    database.sql("insert into t values (2)");
    database.sql(&format!("select pg_replication_slot_advance('{name}', pg_current_wal_lsn())"));
    let error = refused(&of(&database), Some(stored.clone())).await;
    blocked(&error, &[name, &stored.position.lsn.to_string(), "lost"]);

    database.sql(&format!("select pg_drop_replication_slot('{name}')"));
    blocked(&refused(&of(&database), Some(stored.clone())).await, &[name, "gone"]);
    assert_eq!(database.one(&format!("select count(*) from pg_replication_slots where slot_name = '{name}'")), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidated_slot_is_refused_with_what_is_lost() {
    for version in [15, 17] {
        let server = Postgres::version(version)
            .config("max_slot_wal_keep_size = 1MB\nmin_wal_size = 32MB\nmax_wal_size = 32MB")
            .start();
        let database = server.database("lost");
        database.sql("create table t (id int primary key)");
        let mut mirror = Mirror::default();
        let mut source = start(&of(&database), None).await;
        mirror.follow(&mut source).await;
        source.close().await;
        for _ in 0..4 {
            database.sql(
                "select pg_logical_emit_message(true, 'x', repeat('x', 20000000)); select pg_switch_wal(); checkpoint",
            );
        }
        eventually("the slot is lost", Duration::from_secs(10), || {
            database.sql("checkpoint");
            (database.one("select wal_status from pg_replication_slots") == "lost").then_some(())
        });
        blocked(&refused(&of(&database), Some(mirror.checkpoint())).await, &["invalidated", database.name()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_zombie_is_replaced_and_a_stranger_is_named() {
    let database = Postgres::shared(15).database("zombie");
    database.sql("create table t (id int primary key); insert into t values (1)");
    let mut mirror = Mirror::default();
    let mut zombie = start(&of(&database), None).await;
    mirror.follow(&mut zombie).await;

    let mut other = of(&database);
    other.pipeline = "other".into();
    let pid =
        database.one(&format!("select active_pid from pg_replication_slots where slot_name = '{}'", database.name()));
    let stored = mirror.checkpoint();
    blocked(&refused(&other, Some(stored.clone())).await, &[&pid, "tailwater:zombie"]);

    let mut source = start(&of(&database), Some(stored)).await;
    database.sql("insert into t values (2)");
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, "select id from t");
    let error = loop {
        if let Err(error) = tokio::time::timeout(Duration::from_secs(10), zombie.next()).await.unwrap() {
            break error;
        }
    };
    assert_eq!(error.class(), Class::Transient, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_does_not_send_what_is_wanted_is_refused_with_the_statement_that_mends_it() {
    let database = Postgres::shared(15).database("published");
    let name = database.name();
    database.sql(
        "create table a (id int primary key); create table p (id int primary key) partition by range (id);
        create table p1 partition of p for values from (0) to (100)",
    );
    let mut options = of(&database);
    options.create = false;
    let mended = async |says: &[&str]| {
        let error = refused(&options, None).await;
        blocked(&error, says);
        let statement = error.advice().unwrap().strip_prefix("run: ").expect("a statement to run").to_owned();
        database.sql(&statement);
    };
    database.sql(&format!("create publication {name} for table a with (publish = 'insert, delete')"));
    mended(&["update", "truncate"]).await;
    mended(&["partitions", "public.p"]).await;
    mended(&["lacks", "public.p"]).await;
    mended(&["slot", name, "does not exist"]).await;
    database.sql("insert into p values (1)");
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    database.sql("insert into p values (2)");
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, "select id from p");
}
