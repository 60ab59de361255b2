//! Snapshot and stream: each change once, in order, whatever the consumer and the server do.

use std::time::{Duration, Instant};

use tailwater::logic::pipeline::Source;
use tailwater::model::{Class, Phase};

use super::writers::Writers;
use super::{Mirror, of, start};
use crate::support::postgres::{Postgres, Stop};

const ALL: &str = "select id, body from t";

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_stream_after_it_leave_no_gap_and_do_not_overlap() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("overlap");
        database.sql("create table t (id int primary key, body text); insert into t select n, repeat('x', 100) from generate_series(1, 50000) n");
        let writers = Writers::start(&database, "t");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut mirror = Mirror::default();
        let mut source = start(&of(&database), None).await;
        // Mirror panics on a row that comes twice and on a change to a row that never came.
        mirror.follow(&mut source).await;
        // Stopping between batches, and starting from what was stored, changes nothing.
        for _ in 0..5 {
            source.close().await;
            source = start(&of(&database), Some(mirror.checkpoint())).await;
            mirror.follow(&mut source).await;
        }
        writers.stop();
        mirror.follow(&mut source).await;
        mirror.assert_equals(&database, ALL);
        source.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_snapshot_begins_again_without_what_has_gone_meanwhile() {
    let database = Postgres::shared(15).database("again");
    database.sql("create table t (id int primary key, body text); insert into t select n, repeat('x', 500) from generate_series(1, 20000) n");
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    for _ in 0..3 {
        mirror.take(&mut source).await.unwrap();
    }
    let stored = mirror.stored.clone().unwrap();
    assert_eq!(stored.phase, Phase::Snapshot);
    assert!(mirror.taken > 1000 && mirror.taken < 20000, "{}", mirror.taken);
    drop(source);
    database.sql("delete from t where id <= 100; insert into t values (0, 'late')");
    let mut source = start(&of(&database), Some(stored)).await;
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, ALL);
    database.sql("update t set body = 'streamed' where id = 0");
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_pieces_is_complete_only_at_its_end() {
    let database = Postgres::shared(17).database("pieces");
    database.sql("create table t (id int primary key, body text)");
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    database.sql("insert into t select n, repeat('x', 200) from generate_series(1, 100000) n");
    let (mut pieces, mut largest) = (0, 0);
    loop {
        let batch = source.next().await.unwrap();
        largest = largest.max(batch.bytes);
        pieces += usize::from(!batch.changes.is_empty());
        mirror.taken += batch.changes.len();
        if batch.upto.is_some() && mirror.taken > 0 {
            break;
        }
    }
    assert_eq!(mirror.taken, 100_000);
    assert!(pieces >= 4 && largest < 8 << 20, "{pieces} pieces, the largest of {largest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_outlives_a_consumer_that_does_not_read() {
    let server = Postgres::version(15).config("wal_sender_timeout = 4s").start();
    let database = server.database("slow");
    database.sql("create table t (id int primary key, body text)");
    let mut options = of(&database);
    options.buffer_bytes = 256 * 1024;
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    let pid = || database.one("select active_pid from pg_replication_slots");
    let before = pid();
    // More than fits into the buffer and into both sockets.
    database.sql("insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 60000) n");
    tokio::time::sleep(Duration::from_secs(11)).await;
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, ALL);
    assert_eq!(pid(), before, "the server ended the connection");
}

/// Stops a server whose consumer takes nothing, having left it `rows` rows.
async fn stops_in_time(version: u32, rows: u32) {
    let server = Postgres::version(version).start();
    let database = server.database("drain");
    database.sql("create table t (id int primary key, body text)");
    let mut options = of(&database);
    options.buffer_bytes = 256 * 1024;
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    database.sql(&format!("insert into t select n, repeat(md5(n::text), 20) from generate_series(1, {rows}) n"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    server.stop(Stop::Fast);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "PostgreSQL {version} with {rows} rows waiting stopped after {took:?}");
    let error = loop {
        match tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
            .await
            .expect("the stream ends")
        {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Transient, "{error}");
    source.close().await;
    server.restart();
    let mut source = start(&options, Some(mirror.checkpoint())).await;
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shuts_down_in_time_though_nothing_becomes_durable() {
    stops_in_time(15, 10).await;
    stops_in_time(17, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shuts_down_in_time_though_the_socket_is_not_read() {
    stops_in_time(15, 60_000).await;
    stops_in_time(17, 60_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_does_not_keep_the_log_of_a_busy_neighbour() {
    let server = Postgres::version(17).start();
    let (idle, busy) = (server.database("idle"), server.database("busy"));
    idle.sql("create table t (id int primary key, body text)");
    let mut mirror = Mirror::default();
    let mut source = start(&of(&idle), None).await;
    mirror.follow(&mut source).await;
    busy.sql(
        "create table noise (body text); insert into noise select repeat('x', 1000) from generate_series(1, 60000)",
    );
    let end = busy.one("select pg_current_wal_lsn()");
    let behind = format!(
        "select pg_wal_lsn_diff('{end}', confirmed_flush_lsn)::bigint from pg_replication_slots where slot_name = '{}'",
        idle.name()
    );
    let before: i64 = idle.one(&behind).parse().unwrap();
    assert!(before > 40 << 20, "{before}");
    let begin = Instant::now();
    while idle.one(&behind).parse::<i64>().unwrap() > 16 << 20 {
        assert!(begin.elapsed() < Duration::from_secs(40), "the slot does not move");
        mirror.take(&mut source).await.unwrap();
    }
    assert_eq!(mirror.taken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_is_dropped_stops_the_stream_and_is_not_made_again() {
    for version in [15, 17, 18] {
        let database = Postgres::shared(version).database("unpublished");
        database.sql("create table t (id int primary key, body text)");
        let mut mirror = Mirror::default();
        let mut source = start(&of(&database), None).await;
        mirror.follow(&mut source).await;
        database.sql(&format!("drop publication \"{}\"; insert into t values (1, 'unseen')", database.name()));
        let error = loop {
            match tokio::time::timeout(crate::support::patient(Duration::from_secs(40)), source.next())
                .await
                .expect("the stream ends")
            {
                Ok(batch) => assert!(batch.changes.is_empty()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.class(), Class::Blocked, "PostgreSQL {version}: {error}");
        assert!(error.to_string().contains("publication"), "{error}");
        assert_eq!(database.one("select count(*) from pg_publication"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_current_is_said_at_once_when_there_is_nothing_to_read() {
    let server = Postgres::version(15).start();
    let database = server.database("current");
    database.sql("create table t (id int primary key, body text)");
    let mut mirror = Mirror::default();
    let mut source = start(&of(&database), None).await;
    mirror.follow(&mut source).await;
    for _ in 0..3 {
        let begin = Instant::now();
        mirror.follow(&mut source).await;
        source.close().await;
        source = start(&of(&database), Some(mirror.checkpoint())).await;
        mirror.follow(&mut source).await;
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    assert_eq!(mirror.taken, 0);
}
