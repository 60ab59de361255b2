//! Histories that begin where the warehouse has nothing: rows whose large values nobody told are read at the source,
//! which is ahead by then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tailwater::adapters::warehouse::{Options, Reread};
use tailwater::model::{Change, ChangeId, Class, Lsn, Op, Origin, PgTimestamp};

use super::story::Event;
use super::{History, Look, Tables, keyed, options, seeds};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
use crate::support::postgres::Postgres;
use crate::support::session::Rows;
use crate::support::tailwater::Tailwater;
use crate::warehouse::{Warehouse, durable, runtime};

/// A source that is ahead of what has been handed over, by a random number of transactions.
fn source(history: &Arc<History>, handed: &Arc<AtomicUsize>, seed: u64) -> Reread {
    let (history, handed) = (Arc::clone(history), Arc::clone(handed));
    let random = std::sync::Mutex::new(StdRng::seed_from_u64(seed));
    Reread::new(move |table, columns, keys| {
        assert_eq!(columns, ["name", "id"]);
        let last = history.transactions.len() - 1;
        let at = random.lock().unwrap().random_range(handed.load(Ordering::SeqCst).min(last)..=last);
        let transaction = &history.transactions[at];
        // Behind all of its changes, before those of the next.
        let point = Lsn::new(transaction.commit + 4);
        let tables = &Tables::new().keyed[usize::from(transaction.wider)];
        let table = Arc::clone(tables.iter().find(|told| told.name == table).unwrap());
        let mut rows = Vec::new();
        for (key, values) in history.truths[at].rows() {
            if keys.contains(&vec![key.0.clone(), key.1.to_string()]) {
                let event = Event::Put { key: key.clone(), values: values.clone(), read: true };
                let id = ChangeId::snapshot(point, rows.len() as u64 + 1);
                let at = PgTimestamp(transaction.at);
                let origin = Origin { at, xid: None, lsn: point, last_commit: None, snapshot: None };
                let op: Op = keyed(&event, transaction.wider).unwrap();
                rows.push(Change { id, origin, table: Arc::clone(&table), op });
            }
        }
        Box::pin(async move { Ok((point, rows)) })
    })
}

/// The rows that somebody told of from `first` on, and that are there at the end.
fn wanted(history: &History, first: usize) -> Rows {
    let mut told = BTreeSet::new();
    for event in history.transactions[first..].iter().flat_map(|transaction| &transaction.events) {
        match event {
            Event::Put { key, .. } => drop(told.insert(key.clone())),
            Event::Change { to, .. } => drop(told.insert(to.clone())),
            _ => {}
        }
    }
    let rows = history.truths.last().unwrap().rows().filter(|(key, _)| told.contains(key));
    rows.map(|(key, values)| super::truth::cells(key, values)).collect()
}

async fn play(warehouse: &Warehouse<'_>, look: &Look, seed: u64) -> usize {
    let history = Arc::new(History::new(seed));
    let mut random = StdRng::seed_from_u64(seed ^ 3);
    let first = random.random_range(3..12);
    let handed = Arc::new(AtomicUsize::new(first));
    let reread = Some(source(&history, &handed, seed));
    let limit = random.random_range(5..200);
    let mut again = 0;
    for attempt in 0.. {
        assert!(attempt < 400, "it gets nowhere");
        let options = Options { reread: reread.clone(), ..options(seed, limit) };
        let (mut sink, stored) = warehouse.start(options).await.unwrap();
        let done = history.done(stored.as_ref()).max(first);
        let mut failed = None;
        let mut deliveries = Vec::new();
        for piece in history.batches(done, &mut random) {
            let commit = piece.changes.last().unwrap().id.commit.get();
            let ends = history.transactions.iter().position(|t| t.commit == commit).unwrap();
            handed.fetch_max(ends, Ordering::SeqCst);
            match tailwater::logic::pipeline::Sink::apply(&mut sink, piece).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            if random.random_bool(0.3)
                && tailwater::logic::pipeline::Sink::<crate::history::At>::flush(&mut sink).await.is_err()
            {
                break;
            }
        }
        let _ = tailwater::logic::pipeline::Sink::<crate::history::At>::flush(&mut sink).await;
        for delivery in deliveries {
            failed = failed.or(durable(delivery).await.err());
        }
        sink.close().await;
        match failed {
            None => break,
            Some(error) => {
                assert_eq!(error.class(), Class::Transient, "{error}");
                assert!(error.to_string().contains("read again"), "{error}");
                again += 1;
            }
        }
    }
    let (sink, _) = warehouse.start(options(seed, limit)).await.unwrap();
    let extra = if look.has(&format!("s{seed}"), "mirrored", "extra") { "extra" } else { "null" };
    for (table, live) in [("mirrored", "true"), ("soft", "not _tw_deleted"), ("versions", "_tw_valid_to is null")] {
        let mut rows = look.rows(&format!("select name, id, v, big, wide, {extra} from s{seed}.{table} where {live}"));
        let mut wanted = wanted(&history, first);
        rows.sort();
        wanted.sort();
        assert_eq!(rows, wanted, "{table}");
    }
    sink.close().await;
    again
}

fn play_all(warehouse: &Warehouse<'_>, look: &Look) {
    let runtime = runtime();
    let mut again = 0;
    for seed in seeds(8) {
        println!("TAILWATER_SEED={seed}");
        again += runtime.block_on(play(warehouse, look, seed));
    }
    assert!(again > 0, "no row was read again");
}

#[test]
fn rows_that_postgres_does_not_have_are_read_again_and_end_as_the_source_has_them() {
    let database = Postgres::shared(17).database("lost");
    play_all(&Warehouse::Postgres(&database), &Look::Postgres(database.session()));
}

#[cfg(feature = "duckdb")]
#[test]
fn rows_that_duckdb_does_not_have_are_read_again_and_end_as_the_source_has_them() {
    let dir = Dir::new();
    let path = dir.join("w.duckdb");
    play_all(&Warehouse::Duckdb(path.clone()), &Look::Duckdb(path));
}

#[test]
fn a_row_that_no_snapshot_read_is_read_when_an_update_leaves_its_large_value_out() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("lost_s"), server.database("lost_t"));
    source.sql(
        "create table items (id int, name text, n int, big text, primary key (name, id));
         alter table items alter big set storage external;
         insert into items select i, 'it''s', 0, repeat(md5(i::text), 400) from generate_series(1, 3) i",
    );
    let pipeline = Tailwater::new(source.name())
        .source_postgres(&source.url(), &["public.*"])
        .toml("snapshot = \"never\"")
        .sink_postgres(&target.url(), None);
    pipeline.run_until_current().success();
    source.sql(
        "update items set n = 1 where id = 1; update items set n = 2 where id = 2; delete from items where id = 2",
    );
    pipeline.run_until_current().success().says(&["read again"]);
    let all = "select id, n, md5(big) from items order by id";
    assert_eq!(target.sql(all), source.sql(&all.replace("from items", "from items where id = 1")));
    source.sql("update items set id = 5, n = 3 where id = 3; update items set n = 4 where id = 5");
    pipeline.run_until_current().success();
    assert_eq!(target.sql(all), source.sql(all));
}
