//! Tables that come, go and come back while others are followed: each of their rows once, whatever happens.

use std::time::{Duration, Instant};

use tailwater::adapters::postgres::PostgresSource;
use tailwater::logic::pipeline::Source;
use tailwater::model::{Class, Op, Pattern};

use super::writers::Writers;
use super::{Mirror, of, start};
use crate::support::patient;
use crate::support::postgres::{Database, Postgres};

const TABLE: &str = "(id int primary key, body text)";

/// Follows until the mirror has rows of a table, which joins by itself some time.
async fn until_joined(mirror: &mut Mirror, source: &mut PostgresSource, table: &str) {
    until_joined_within(mirror, source, table, 30).await;
}

async fn until_joined_within(mirror: &mut Mirror, source: &mut PostgresSource, table: &str, seconds: u64) {
    let begin = Instant::now();
    while !mirror.tables.contains_key(table) {
        assert!(begin.elapsed() < patient(Duration::from_secs(seconds)), "{table} does not join");
        mirror.take(source).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_under_load_is_read_and_followed_without_gap_and_overlap() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("joins");
        database.sql(&format!("create table t {TABLE}; insert into t values (0, 'first')"));
        let mut mirror = Mirror::default();
        let mut source = start(&of(&database), None).await;
        mirror.follow(&mut source).await;
        database.sql(&format!(
            "create table later {TABLE}; insert into later select n, 'old' from generate_series(1, 20000) n"
        ));
        let writers = [Writers::start(&database, "later"), Writers::start(&database, "t")];
        // Mirror panics on a row that comes twice and on a change to a row that never came.
        until_joined(&mut mirror, &mut source, "later").await;
        mirror.follow(&mut source).await;
        writers.into_iter().for_each(Writers::stop);
        mirror.follow(&mut source).await;
        mirror.assert_table(&database, "later");
        mirror.assert_table(&database, "t");
        assert_eq!(
            database.one("select count(*) from pg_replication_slots where temporary and database = current_database()"),
            "0"
        );
        source.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_reading_was_interrupted_is_read_again() {
    let database = Postgres::shared(17).database("joining");
    database.sql(&format!("create table t {TABLE}"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    database.sql(&format!(
        "create table later {TABLE}; insert into later select n, repeat('x', 500) from generate_series(1, 20000) n"
    ));
    until_joined(&mut mirror, &mut source, "later").await;
    let some = mirror.tables["later"].len();
    assert!(some > 100 && some < 20_000, "{some}");
    drop(source);
    database.sql("delete from later where id <= 100; insert into later values (0, 'late')");
    let mut source = start(&of(&database), Some(mirror.checkpoint())).await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "later");
    database.sql("update later set body = 'streamed' where id = 0");
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "later");
}

/// Stops, does something to the tables, starts again, and expects the mirror to be equal at once; then to keep up.
async fn while_stopped(name: &str, rename: &str, statements: &str) {
    let database = Postgres::shared(17).database(name);
    database.sql(&format!("create table t {TABLE}; insert into t select n, 'old' from generate_series(1, 100) n"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    source.close().await;
    database.sql(&statements.replace("PUBLICATION", &format!("\"{}\"", database.name())));
    let mut source = start(&of(&database), Some(mirror.checkpoint())).await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, rename);
    database.sql(&format!("update {rename} set body = 'new' where id = 2; insert into {rename} values (0, 'more')"));
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, rename);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_changed_their_standing_while_nobody_looked_are_read_again() {
    let (came, recreated) = (
        format!("create table later {TABLE}; insert into later values (1, 'a'), (2, 'b')"),
        format!("drop table t; create table t {TABLE}; insert into t values (2, 'another table')"),
    );
    tokio::join!(
        while_stopped("came", "later", &came),
        while_stopped(
            "returned",
            "t",
            "alter publication PUBLICATION drop table t; delete from t where id > 50; alter publication PUBLICATION add table t",
        ),
        while_stopped("left", "t", "alter publication PUBLICATION drop table t; update t set body = 'unseen'"),
        while_stopped("recreated", "t", &recreated),
        while_stopped("renamed", "other", "alter table t rename to other; delete from other where id > 50"),
        while_stopped(
            "renamed_back",
            "t",
            "alter table t rename to other; delete from other where id > 50; alter table other rename to t",
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_for_a_while_under_our_eyes_is_read_again() {
    let database = Postgres::shared(15).database("renaming");
    database.sql(&format!("create table t {TABLE}; insert into t select n, 'old' from generate_series(1, 100) n"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    // Long enough for the first look to be over, too short for the second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    database.sql("alter table t rename to other; delete from other where id > 50; alter table other rename to t");
    let taken = mirror.taken;
    let begin = Instant::now();
    while mirror.taken < taken + 50 {
        assert!(begin.elapsed() < Duration::from_secs(30), "t is not read again");
        mirror.take(&mut source).await.unwrap();
    }
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_leaves_and_comes_back_while_running_is_read_again() {
    let database = Postgres::shared(15).database("away");
    let publication = database.name();
    database.sql(&format!("create table t {TABLE}; insert into t select n, 'old' from generate_series(1, 100) n"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    database.sql(&format!("alter publication \"{publication}\" drop table t; delete from t where id > 50"));
    let taken = mirror.taken;
    let begin = Instant::now();
    // It may leave the publication only for good: what is wanted is put back, and read.
    while mirror.taken < taken + 50 {
        assert!(begin.elapsed() < Duration::from_secs(30), "t does not come back");
        mirror.take(&mut source).await.unwrap();
    }
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_leaves_for_good_stops_a_stream_that_may_not_put_it_back() {
    let database = Postgres::shared(17).database("gone");
    let publication = database.name();
    database.sql(&format!("create table t {TABLE}; create publication \"{publication}\" for table t"));
    database.sql(&format!("select pg_create_logical_replication_slot('{publication}', 'pgoutput')"));
    let mut options = of(&database);
    options.create = false;
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    database.sql(&format!("alter publication \"{publication}\" drop table t"));
    let error = loop {
        match tokio::time::timeout(crate::support::patient(Duration::from_secs(40)), source.next())
            .await
            .expect("the stream ends")
        {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Blocked, "{error}");
    assert!(error.to_string().contains("public.t"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_excluded_for_a_while_is_read_again_and_tables_that_are_not_wanted_stay_away() {
    let database = Postgres::shared(17).database("excluded");
    database.sql(&format!(
        "create table t {TABLE}; create table other {TABLE}; insert into other values (1, 'a'), (2, 'b')"
    ));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    source.close().await;
    let mut without = of(&database);
    without.exclude = vec![Pattern::new("public.other")];
    let mut source = start(&without, Some(mirror.checkpoint())).await;
    // The publication still holds it.
    database.sql("delete from other where id = 1; insert into other values (3, 'c'); insert into t values (1, 'x')");
    let before = mirror.tables["other"].clone();
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "t");
    assert_eq!(mirror.tables["other"], before);
    source.close().await;
    let mut source = start(&of(&database), Some(mirror.checkpoint())).await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "other");
}

/// A role that may replicate and owns the publication's table, but may not read a table that comes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_read_does_not_keep_others_from_joining() {
    let database = Postgres::shared(17).database("unreadable");
    let role = format!("{}_reader", database.name());
    database.sql(&format!(
        "create table t {TABLE}; create role \"{role}\" login replication password 'r';
         grant select on t to \"{role}\"; create publication \"{0}\" for all tables",
        database.name()
    ));
    let mut options = of(&database);
    options.endpoint = tailwater::adapters::postgres::Endpoint::parse(&database.url_for(&role, "r")).unwrap();
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    database.sql(&format!(
        "create table secret {TABLE}; insert into secret values (1, 's'); create table later {TABLE};
         insert into later values (1, 'l'); grant select on later to \"{role}\""
    ));
    until_joined(&mut mirror, &mut source, "later").await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "later");
    assert!(!mirror.tables.contains_key("secret"));
    database.sql(&format!("grant select on secret to \"{role}\""));
    until_joined(&mut mirror, &mut source, "secret").await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_there_are_not_read_when_no_snapshot_is_wanted() {
    let database = Postgres::shared(17).database("unread");
    database.sql(&format!("create table t {TABLE}"));
    let mut options = of(&database);
    options.snapshot = tailwater::adapters::postgres::SnapshotMode::Never;
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    database.sql("insert into t values (1, 'followed')");
    let begin = source.next().await.unwrap();
    assert!(begin.changes.is_empty() && begin.upto.is_some(), "where it begins comes before the first change");
    mirror.follow(&mut source).await;
    database.sql(&format!("create table later {TABLE}; insert into later values (1, 'unread')"));
    let publication = database.name().to_owned();
    crate::support::eventually("the table is published", Duration::from_secs(30), || {
        let query = format!(
            "select count(*) from pg_publication_tables where pubname = '{publication}' and tablename = 'later'"
        );
        (database.one(&query) == "1").then_some(())
    });
    database.sql("insert into later values (2, 'followed')");
    let change = loop {
        // Positions go by while nothing is written.
        if let Some(change) = source.next().await.unwrap().changes.pop() {
            break change;
        }
    };
    assert!(change.table.name.name == "later" && matches!(change.op, Op::Insert { .. }), "{change:?}");
}

/// Holds a transaction that has written open for a while.
fn slow_writer(database: &Database<'_>) -> std::thread::JoinHandle<()> {
    let session = database.session();
    std::thread::spawn(move || drop(session.sql("begin; insert into t values (7, 'slow'); select pg_sleep(4); commit")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_joins_though_transactions_are_open_and_the_stream_goes_on_meanwhile() {
    let database = Postgres::shared(15).database("open");
    database.sql(&format!("create table t {TABLE}"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    source.close().await;
    let slow = slow_writer(&database);
    tokio::time::sleep(Duration::from_millis(300)).await;
    database.sql(&format!(
        "create table later {TABLE}; insert into later values (1, 'l'); insert into t values (1, 'quick')"
    ));
    let mut source = start(&of(&database), Some(mirror.checkpoint())).await;
    let begin = Instant::now();
    while !mirror.tables.get("t").is_some_and(|rows| rows.contains_key("1")) {
        mirror.take(&mut source).await.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(3) && !mirror.tables.contains_key("later"), "{:?}", begin.elapsed());
    until_joined(&mut mirror, &mut source, "later").await;
    slow.join().unwrap();
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "later");
    mirror.assert_table(&database, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_waits_too_long_is_given_up_without_a_trace_and_made_again() {
    // Of its own: other databases of a server would wait for its transactions too.
    let server = Postgres::version(17).start();
    let database = server.database("patient");
    database.sql(&format!("create table t {TABLE}"));
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    // Open when the slot is to be made, but not yet when the attempt begins: each new one begins before the last ends.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (session, stop) = (database.session(), std::sync::Arc::clone(&stop));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(writer * 3));
                for n in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                    session.sql(&format!(
                        "begin; insert into t values ({writer} * 1000 + {n}, 'w'); select pg_sleep(6); commit"
                    ));
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    database.sql(&format!("create table later {TABLE}; insert into later values (1, 'l')"));
    let waiting = || {
        let query = "select count(*) from pg_replication_slots where temporary and database = current_database()";
        database.one(query).parse::<u32>().unwrap()
    };
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < Duration::from_secs(30) {
        let taken = Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(9), mirror.take(&mut source)).await;
        assert!(taken.elapsed() < Duration::from_secs(9), "the stream stands still");
        most = most.max(waiting());
    }
    assert!(most <= 1, "{most} temporary slots at once");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    until_joined_within(&mut mirror, &mut source, "later", 90).await;
    mirror.follow(&mut source).await;
    mirror.assert_table(&database, "later");
    mirror.assert_table(&database, "t");
    assert_eq!(waiting(), 0);
}
