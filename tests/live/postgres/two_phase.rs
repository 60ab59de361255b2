//! Transactions that come when they are prepared: the same changes, each once, whatever happens before they are decided.

use std::time::Duration;

use tailwater::adapters::postgres::{Form, Options, PostgresSource, SnapshotMode};
use tailwater::logic::pipeline::Source;
use tailwater::model::{Class, Op, Patterns};

use super::streamed::{all, assert_same, counted, seed, streaming, write};
use super::{Mirror, of, refused, start};
use crate::support::dir::Dir;
use crate::support::eventually;
use crate::support::postgres::Postgres;

/// A server of its own: a transaction that is prepared keeps others' slots from being made.
fn server(version: u32) -> Postgres {
    let server = Postgres::version(version).config("max_prepared_transactions = 20");
    server.config("logical_decoding_work_mem = 64kB").start()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_changes_come_with_the_same_ids_whether_they_are_prepared_or_not() {
    for version in [15, 17] {
        let server = server(version);
        let (database, dir, seed) = (server.database("prepared_same"), Dir::new(), seed());
        let name = database.name().to_owned();
        database.sql(&format!(
            "create table t (id bigint primary key, body text);
             create table other (id bigint, at timestamptz default clock_timestamp());
             create table ledger (n int); alter table ledger replica identity full;
             create publication \"{name}\" for all tables"
        ));
        database.sql(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')"));
        for copy in ["whole", "open", "binary"] {
            database.sql(&format!("select pg_copy_logical_replication_slot('{name}', '{name}_{copy}')"));
        }
        tokio::task::block_in_place(|| write(&database, seed, Duration::from_millis(2500), 0.4));
        let options = Options {
            create: false,
            snapshot: SnapshotMode::Never,
            messages: Some(Patterns::default()),
            commits: true,
            ..of(&database)
        };
        let once = all(options.clone()).await;
        let forms = [("whole", false, Form::Text), ("open", true, Form::Text), ("binary", true, Form::Binary)];
        for (copy, open, form) in forms {
            let slot = format!("{name}_{copy}");
            let options = streaming(Options { slot, form, two_phase: true, ..options.clone() }, &dir, 1 << 30);
            let twice = all(Options { streaming: Some(open), ..options }).await;
            assert_same(&once, &twice, &format!("PostgreSQL {version}, {copy}"));
        }
        let commits = once.iter().filter(|change| matches!(change.op, Op::Commit { .. })).count();
        let streams = counted(&database, &format!("{name}_open")).0;
        println!("PostgreSQL {version}: {} changes, {commits} commits, {streams} streamed", once.len());
        assert!(commits > 50 && streams > 20, "enough of all");
        // It stays what it was made, and is not used otherwise.
        let error = refused(&Options { slot: format!("{name}_whole"), ..options.clone() }, None).await;
        assert_eq!(error.class(), Class::Blocked);
        assert!(error.to_string().contains("two_phase = true"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_while_a_transaction_is_prepared_does_not_take_it_away() {
    for (version, rows) in [(15, 3), (17, 3), (17, 5000)] {
        let server = server(version);
        let (database, dir) = (server.database("prepared_open"), Dir::new());
        database.sql("create table t (id int primary key, body text)");
        let options = Options { two_phase: true, ..streaming(of(&database), &dir, 1 << 30) };
        let mut mirror = Mirror::default();
        let mut source = start(&options, None).await;
        mirror.follow(&mut source).await;
        let write = |from: u32, name: &str| {
            database.session().sql(&format!(
                "begin; insert into t select n, repeat('x', 300) from generate_series({from}, {from} + {rows} - 1) n; prepare transaction '{name}'"
            ));
        };
        write(1, "committed");
        write(10_001, "rolled back");
        let prepared = database.one("select pg_current_wal_insert_lsn()");
        for n in 0..3 {
            database.sql(&format!("insert into t values (-{n} - 1, 'beside')"));
            mirror.follow(&mut source).await;
            assert_eq!(mirror.taken, n + 1, "nothing of what is prepared is handed on");
        }
        let stands = |beyond: &str| {
            let slot = &options.slot;
            // The server has read the good-bye when it lets go of the slot.
            let released = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
            eventually("the slot is released", Duration::from_secs(10), || {
                (database.one(&released) == "t").then_some(())
            });
            database.one(&format!(
                "select confirmed_flush_lsn > '{beyond}' from pg_replication_slots where slot_name = '{slot}'"
            ))
        };
        // It says good-bye with all that it may say.
        source.close().await;
        assert!(mirror.checkpoint().position.lsn > prepared.parse().unwrap(), "what lies behind them is stored");
        assert_eq!(stands(&prepared), "f", "and not acknowledged");
        let mut source = start(&options, Some(mirror.checkpoint())).await;
        database.sql("insert into t values (-10, 'beside')");
        mirror.follow(&mut source).await;
        assert_eq!(mirror.taken, 4);
        database.sql("commit prepared 'committed'");
        // It is handed on, but was not stored: it comes again.
        let goal = source_reaches(&mut source, rows).await;
        assert_eq!(goal, rows);
        source.close().await;
        assert_eq!(stands(&prepared), "f", "what is not stored is not acknowledged");
        let mut source = start(&options, Some(mirror.checkpoint())).await;
        database.sql("rollback prepared 'rolled back'");
        mirror.follow(&mut source).await;
        assert_eq!(mirror.taken, 4 + rows);
        mirror.assert_equals(&database, "select id, body from t");
        // Nothing holds it back any more.
        database.sql("insert into t values (-11, 'beside')");
        mirror.follow(&mut source).await;
        source.close().await;
        assert_eq!(stands(&prepared), "t", "all of it is acknowledged");
    }
}

/// Takes changes without acknowledging any, until there are so many.
async fn source_reaches(source: &mut PostgresSource, count: usize) -> usize {
    let mut taken = 0;
    while taken < count {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
            .await
            .expect("a batch comes")
            .unwrap();
        taken += batch.changes.len();
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_beyond_the_spool_are_named_and_nothing_is_lost() {
    let server = server(17);
    let (database, dir) = (server.database("prepared_full"), Dir::new());
    database.sql("create table t (id int primary key, body text)");
    let small = Options { two_phase: true, ..streaming(of(&database), &dir, 1 << 20) };
    let mut mirror = Mirror::default();
    let mut source = start(&small, None).await;
    mirror.follow(&mut source).await;
    database.session().sql("begin; insert into t select n, (select string_agg(md5((n * i)::text), '') from generate_series(1, 100) i) from generate_series(1, 3000) n; prepare transaction 'large'");
    for class in [Class::Transient, Class::Blocked] {
        let error = loop {
            match source.next().await {
                Ok(batch) => assert!(batch.changes.is_empty()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains("spool_bytes"), "{error}");
        source = start(&small, Some(mirror.checkpoint())).await;
    }
    source.close().await;
    let mut source =
        start(&Options { two_phase: true, ..streaming(of(&database), &dir, 1 << 30) }, Some(mirror.checkpoint())).await;
    database.sql("commit prepared 'large'");
    mirror.follow(&mut source).await;
    mirror.assert_equals(&database, "select id, body from t");
    source.close().await;
}
