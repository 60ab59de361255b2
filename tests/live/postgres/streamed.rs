//! Transactions that the server sends while they are open: the same changes, whatever happens meanwhile.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tailwater::adapters::postgres::{Form, Options, PostgresSource, SnapshotMode, SpoolOptions};
use tailwater::logic::pipeline::Source;
use tailwater::model::{Change, Class, Error, Meters, Op, Patterns, Position};

use super::{Mirror, of, start};
use crate::support::dir::Dir;
use crate::support::postgres::{Database, Postgres};

/// A server of its own: transactions that stay open keep others' slots from being made.
fn server(version: u32) -> Postgres {
    Postgres::version(version).start()
}

/// A database whose large transactions are very small.
fn database<'s>(server: &'s Postgres, name: &str) -> Database<'s> {
    let database = server.database(name);
    database.sql(&format!("alter database \"{}\" set logical_decoding_work_mem = '64kB'", database.name()));
    database
}

/// Streams into a directory, up to a limit.
pub(super) fn streaming(options: Options, dir: &Dir, limit: u64) -> Options {
    let spool = SpoolOptions { dir: dir.join("spool"), limit, ..SpoolOptions::default() };
    Options { streaming: Some(true), spool, ..options }
}

/// How many transactions a slot has streamed, and how many it has put on the server's disk.
pub(super) fn counted(database: &Database<'_>, slot: &str) -> (u64, u64) {
    let count = |column: &str| {
        database
            .one(&format!("select {column} from pg_stat_replication_slots where slot_name = '{slot}'"))
            .parse()
            .unwrap()
    };
    (count("stream_txns"), count("spill_txns"))
}

/// One transaction of a writer: savepoints inside of savepoints, some rolled back, and messages among its rows.
pub(super) fn transaction(random: &mut StdRng, writer: u32, number: u32) -> String {
    let mut sql = "begin;".to_owned();
    let mut depth = 0;
    for step in 0..random.random_range(1..25) {
        let id = u64::from(writer) << 40 | u64::from(number) << 12 | step;
        match random.random_range(0..9) {
            0 | 1 if depth < 4 => {
                sql += &format!("savepoint s{depth};");
                depth += 1;
            }
            2 if depth > 0 => {
                depth -= 1;
                sql += &format!("release s{depth};");
            }
            3 if depth > 0 => sql += &format!("rollback to s{};", random.random_range(0..depth)),
            4 => {
                sql += &format!(
                    "update t set body = repeat('u', 200) where id % 64 = {writer} and id > 0 and (id >> 12) % 7 = {step} % 7;"
                )
            }
            5 => sql += &format!("delete from t where id >> 40 = {writer} and id % 5 = {step} % 5;"),
            // Between two rows, so that it is plain what it belongs to.
            6 => {
                sql += &format!(
                    "insert into other values ({id}); select pg_logical_emit_message(true, 'p', '{id}'); insert into other values (-{id});"
                )
            }
            _ => {
                sql += &format!(
                    "insert into t select {id} * 1024 + n, repeat('x', n * 40) from generate_series(0, 40) n on conflict do nothing;"
                )
            }
        }
    }
    sql += if random.random_bool(0.15) { "rollback" } else { "insert into ledger values (1); commit" };
    sql
}

pub(super) fn seed() -> u64 {
    let seed = std::env::var("TAILWATER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("TAILWATER_SEED={seed}");
    seed
}

/// Six sessions that write for a while; of their transactions a share is prepared, and committed or rolled back later.
pub(super) fn write(database: &Database<'_>, seed: u64, time: Duration, prepared: f64) {
    std::thread::scope(|scope| {
        for writer in 1..=6 {
            let session = database.session();
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed ^ u64::from(writer));
                let begin = Instant::now();
                let mut number = 0;
                while begin.elapsed() < time {
                    number += 1;
                    let mut sql = transaction(&mut random, writer, number);
                    let name = format!("{writer}-{number}");
                    let prepare = sql.ends_with("commit") && random.random_bool(prepared);
                    if prepare {
                        sql.truncate(sql.len() - "commit".len());
                        sql += &format!("prepare transaction '{name}'");
                    }
                    // A deadlock rolls it back, as anything may.
                    let failed = session.try_sql(&sql).is_err();
                    if failed {
                        session.sql("rollback");
                    } else if prepare {
                        session.sql("select pg_sleep(random() * 0.02)");
                        let decision = if random.random_bool(0.2) { "rollback" } else { "commit" };
                        session.sql(&format!("{decision} prepared '{name}'"));
                    }
                    if writer == 1 && number % 10 == 0 {
                        session.sql(&format!("alter table ledger add c{number} int default {number}"));
                    }
                }
            });
        }
    });
}

/// Panics where two tellings of the same log differ.
#[track_caller]
pub(super) fn assert_same(once: &[Change], twice: &[Change], what: &str) {
    if let Some(at) = once.iter().zip(twice).position(|(once, twice)| once != twice) {
        panic!("{what}, at {at}: {:?}\n{:?}", once[at], twice[at]);
    }
    assert_eq!(once.len(), twice.len(), "{what}");
}

/// Everything that a slot has, of complete transactions.
pub(super) async fn all(options: Options) -> Vec<Change> {
    let mut source = PostgresSource::start(options, None, Meters::new()).await.unwrap();
    let goal = source.current().await.unwrap();
    let mut changes = Vec::new();
    loop {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(60)), source.next())
            .await
            .expect("a batch")
            .unwrap();
        changes.extend(batch.changes);
        if batch.upto.is_some_and(|upto| upto.reaches(&goal)) {
            source.close().await;
            return changes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_changes_come_with_the_same_ids_whether_they_are_streamed_or_not() {
    for version in [15, 17] {
        let (database, dir) = (database(Postgres::shared(version), "streamed_same"), Dir::new());
        let (name, seed) = (database.name().to_owned(), seed());
        database.sql(&format!(
            "create table t (id bigint primary key, body text);
             create table other (id bigint, at timestamptz default clock_timestamp(), f float8 default random(),
                 n numeric(20, 6)[] default array[random(), null], raw bytea default gen_random_uuid()::text::bytea);
             create table ledger (n int); alter table ledger replica identity full;
             create publication \"{name}\" for all tables"
        ));
        database.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"));
        for copy in ["open", "binary"] {
            database.sql(&format!("select pg_copy_logical_replication_slot('{name}', '{name}_{copy}')"));
        }
        tokio::task::block_in_place(|| write(&database, seed, Duration::from_millis(2500), 0.0));
        let options = Options {
            create: false,
            snapshot: SnapshotMode::Never,
            messages: Some(Patterns::default()),
            commits: true,
            ..of(&database)
        };
        let whole = all(options.clone()).await;
        for (copy, form) in [("open", Form::Text), ("binary", Form::Binary)] {
            let slot = format!("{name}_{copy}");
            let streamed = all(streaming(Options { slot, form, ..options.clone() }, &dir, 1 << 30)).await;
            assert_same(&whole, &streamed, copy);
        }
        let commits = whole.iter().filter(|change| matches!(change.op, Op::Commit { .. })).count();
        let messages = whole.iter().filter(|change| matches!(change.op, Op::Message(_))).count();
        let [streams, binary, none] = ["_open", "_binary", ""].map(|end| counted(&database, &format!("{name}{end}")).0);
        println!(
            "PostgreSQL {version}: {} changes, {commits} commits, {messages} messages, {streams} streamed",
            whole.len()
        );
        assert!(commits > 50 && messages > 10 && streams > 20 && binary > 20 && none == 0, "enough of all");
        database.sql(&format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like '{name}%'"
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_while_a_transaction_is_open_does_not_take_it_away() {
    for version in [15, 17] {
        let server = server(version);
        let (database, dir) = (database(&server, "streamed_open"), Dir::new());
        database.sql("create table t (id int primary key, body text)");
        let options = streaming(of(&database), &dir, 1 << 30);
        let mut mirror = Mirror::default();
        let mut source = start(&options, None).await;
        mirror.follow(&mut source).await;
        let slot = &options.slot;
        let open = database.session();
        open.sql("begin; insert into t select n, repeat('x', 300) from generate_series(1, 5000) n");
        let far = database.one("select pg_current_wal_insert_lsn()");
        for n in 0..3 {
            database.sql(&format!("insert into t values (-{n} - 1, 'beside')"));
            mirror.follow(&mut source).await;
            assert_eq!(mirror.taken, n + 1, "nothing of what is open is handed on");
        }
        assert!(counted(&database, slot).0 > 0, "it has been streamed");
        // The process ends without a word once what lies behind the open rows is acknowledged.
        let acknowledged =
            format!("select confirmed_flush_lsn > '{far}' from pg_replication_slots where slot_name = '{slot}'");
        let begin = Instant::now();
        while database.one(&acknowledged) != "t" {
            assert!(begin.elapsed() < Duration::from_secs(20), "what lies behind the open rows is acknowledged");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(source);
        let mut source = start(&options, Some(mirror.checkpoint())).await;
        open.sql("update t set body = 'changed' where id % 7 = 0; savepoint a; delete from t; rollback to a; delete from t where id % 2 = 0; commit");
        mirror.follow(&mut source).await;
        mirror.assert_equals(&database, "select id, body from t");
        source.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_leaves_the_transaction_to_the_server_once() {
    let server = server(17);
    let (database, dir) = (database(&server, "streamed_full"), Dir::new());
    database.sql("create table t (id int primary key, body text)");
    let options = streaming(of(&database), &dir, 1 << 20);
    let mut mirror = Mirror::default();
    let mut source = start(&options, None).await;
    mirror.follow(&mut source).await;
    let open = database.session();
    open.sql("begin; insert into t select n, (select string_agg(md5((n * i)::text), '') from generate_series(1, 100) i) from generate_series(1, 3000) n");
    let error: Error = loop {
        match source.next().await {
            Ok(batch) => assert!(batch.changes.is_empty()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("spool_bytes"), "{error}");
    drop(source);
    for streams in [false, true] {
        let before = counted(&database, &options.slot);
        let mut source = start(&options, Some(mirror.checkpoint())).await;
        open.sql("commit; begin; insert into t select max(id) + n, 'x' from t, generate_series(1, 3000) n group by n");
        database.sql("insert into t select min(id) - 1, 'beside' from t");
        mirror.follow(&mut source).await;
        source.close().await;
        let after = counted(&database, &options.slot);
        assert_eq!(after.0 > before.0, streams, "{before:?} {after:?}");
    }
    open.sql("commit");
    let mut source = start(&options, Some(mirror.checkpoint())).await;
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, "select id, body from t");
    source.close().await;
}
