//! Histories that begin where the warehouse has nothing: rows whose large values nobody told are read at the source,
//! which is ahead by then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
#[cfg(feature = "redshift")]
use tailwater::adapters::warehouse::ObjectFormat;
use tailwater::adapters::warehouse::{Options, Reread};
use tailwater::logic::pipeline::Sink;
use tailwater::model::{Cell, Change, ChangeId, Class, Lsn, OldRow, Op, Origin, PgTimestamp, PgType, TableName};

use super::look::Look;
use super::play::seeds;
use super::shape::{BIG, ID, NAME, Reach, UID, V, WIDE};
use super::story::{Cells, Event, cells};
use super::{History, Kept, keyed, options};
use crate::history::{At, change, row, table};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
use crate::support::postgres::Postgres;
#[cfg(feature = "redshift")]
use crate::support::redshift::servers;
use crate::support::session::Rows;
use crate::support::tailwater::Tailwater;
#[cfg(feature = "redshift")]
use crate::warehouse::Cluster;
use crate::warehouse::{Warehouse, applied, durable, refused, runtime};

/// The number of the column that comes.
const EXTRA: u16 = UID + 1;

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
        let table = transaction.after().table(&table.name);
        let mut rows = Vec::new();
        for (key, values) in history.truths[at].rows() {
            if keys.contains(&vec![key.0.clone(), key.1.to_string()]) {
                let event = Event::Put { key: key.clone(), values: values.clone(), read: true };
                let id = ChangeId::snapshot(point, rows.len() as u64 + 1);
                let at = PgTimestamp(transaction.at);
                let origin = Origin { at, xid: None, lsn: point, last_commit: None, snapshot: None };
                let op: Op = keyed(&event, transaction.after()).unwrap();
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
    let row =
        |cells: Cells| [NAME, ID, V, BIG, WIDE, EXTRA].map(|number| cells.get(&number).cloned().flatten()).to_vec();
    rows.map(|(key, values)| row(cells(key, values))).collect()
}

async fn play(warehouse: &Warehouse<'_>, look: &Look<'_>, seed: u64) -> usize {
    let kept = look.kept();
    let history = Arc::new(History::new(seed, 24, kept, Reach::Grows, false));
    let mut random = StdRng::seed_from_u64(seed ^ 3);
    let first = random.random_range(3..12);
    let handed = Arc::new(AtomicUsize::new(first));
    let reread = Some(source(&history, &handed, seed));
    let limit = random.random_range(5..200);
    // As the process has it: what one attempt learns the next one knows.
    let one_by_one = Arc::default();
    let mut again = 0;
    for attempt in 0.. {
        assert!(attempt < 400, "it gets nowhere");
        let options = Options { reread: reread.clone(), one_by_one: Arc::clone(&one_by_one), ..options(seed, limit) };
        let (mut sink, stored) = warehouse.start(options).await.unwrap();
        look.settle();
        let done = history.done(stored.as_ref()).max(first);
        let mut failed = None;
        let mut deliveries = Vec::new();
        for piece in history.batches(done, &mut random) {
            let commit = piece.changes.last().unwrap().id.commit.get();
            let ends = history.transactions.iter().position(|t| t.commit == commit).unwrap();
            handed.fetch_max(ends, Ordering::SeqCst);
            match Sink::apply(&mut sink, piece).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            if random.random_bool(0.3) && Sink::<At>::flush(&mut sink).await.is_err() {
                break;
            }
        }
        let _ = Sink::<At>::flush(&mut sink).await;
        for delivery in deliveries {
            failed = failed.or(durable(delivery).await.err());
        }
        sink.close().await;
        match failed {
            None => break,
            Some(error) => {
                assert_eq!(error.class(), Class::Transient, "{error}");
                let apart = error.to_string().contains("they come one by one");
                assert!(apart || error.to_string().contains("read again"), "{error}");
                again += usize::from(!apart);
            }
        }
    }
    let (sink, _) = warehouse.start(options(seed, limit)).await.unwrap();
    let all = [("mirrored", "true"), ("soft", "not _tw_deleted"), ("versions", "_tw_valid_to is null")];
    for (table, live) in all.into_iter().take(if kept == Kept::All { 3 } else { 1 }) {
        // One whose rows were read again may know of the column that came last when the others do not.
        let extra = look.held(seed, table).remove(&EXTRA).unwrap_or_else(|| "null".to_owned());
        let mut rows = look.rows(&format!("select name, id, v, big, wide, {extra} from s{seed}.{table} where {live}"));
        let mut wanted = wanted(&history, first);
        rows.sort();
        wanted.sort();
        assert_eq!(rows, wanted, "{table}");
    }
    sink.close().await;
    again
}

fn play_all<'a>(stage: impl Fn(u64) -> (Warehouse<'a>, Look<'a>)) {
    let seeds = seeds(12);
    let mut again = 0;
    for &seed in &seeds {
        println!("TAILWATER_SEED={seed}");
        let (warehouse, look) = stage(seed);
        again += runtime().block_on(play(&warehouse, &look, seed));
    }
    assert!(again > 0 || seeds.len() == 1, "no row was read again");
}

#[test]
fn rows_that_postgres_does_not_have_are_read_again_and_end_as_the_source_has_them() {
    let database = Postgres::shared(17).database("lost");
    let session = database.session();
    play_all(|_| (Warehouse::Postgres(&database), Look::Postgres(&session)));
}

#[cfg(feature = "duckdb")]
#[test]
fn rows_that_duckdb_does_not_have_are_read_again_and_end_as_the_source_has_them() {
    let dir = Dir::new();
    play_all(|seed| {
        let path = dir.join(format!("{seed}.duckdb"));
        (Warehouse::Duckdb(path.clone()), Look::Duckdb(path))
    });
}

#[cfg(feature = "redshift")]
#[test]
fn rows_that_redshift_does_not_have_are_read_again_and_end_as_the_source_has_them() {
    let database = servers().database("lost_rs");
    let (cluster, session) = (Cluster::of(&database), database.session());
    play_all(|_| (Warehouse::Redshift(&database, &cluster, ObjectFormat::Parquet), Look::Redshift(&session)));
}

/// The change that gives a row another key stages two rows: what is gone of the one says nothing of the other.
#[test]
fn a_key_that_a_row_has_left_is_not_taken_for_the_one_that_it_got() {
    let items = table(TableName::new("public", "soft"), &[("id", PgType::Int4), ("big", PgType::Text)], &[0]);
    let update = |seq, from: &str, to: &str| {
        let old = (from != to).then(|| OldRow::Key(row(&[Some(from), None])));
        let new = [Cell::Text(to.as_bytes()), Cell::Unchanged].into_iter().collect();
        change(&items, 800, seq, Op::Update { old, new })
    };
    let database = Postgres::shared(17).database("lost_key");
    let told = Arc::clone(&items);
    let reread = Reread::new(move |_, _, keys| {
        assert_eq!(keys, [["2"]]);
        let rows = vec![change(&told, 808, 0, Op::Read { new: row(&[Some("2"), Some("large")]) })];
        Box::pin(async move { Ok((Lsn::new(808), rows)) })
    });
    let warehouse = Warehouse::Postgres(&database);
    let attempt = || async {
        let options = Options { reread: Some(reread.clone()), ..options(0, 100) };
        let (mut sink, _) = warehouse.start(options).await.unwrap();
        let result = applied(&mut sink, vec![update(0, "1", "1"), update(1, "1", "2")]).await;
        sink.close().await;
        result
    };
    runtime().block_on(async {
        refused(attempt().await, Class::Transient, &["1 updated rows of public.soft", "read again"]);
        attempt().await.unwrap();
    });
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(database.sql("select id, big, _tw_deleted from s0.soft"), [[text("2"), text("large"), text("f")]]);
}

#[test]
fn a_row_that_no_snapshot_read_is_read_when_an_update_leaves_its_large_value_out() {
    let server = Postgres::shared(17);
    // In the second the rows have a column more in their key than the source has.
    for rule in ["", "[[table]]\nmatch = \"public.*\"\nsource_column = \"region\""] {
        let (source, target) = (server.database("lost_s"), server.database("lost_t"));
        source.sql(
            "create table items (id int, name text, n int, big text, primary key (name, id));
             alter table items alter big set storage external;
             insert into items select i, 'it''s', 0, repeat(md5(i::text), 400) from generate_series(1, 3) i",
        );
        let pipeline = Tailwater::new(source.name())
            .source_postgres(&source.url(), &["public.*"])
            .toml("snapshot = \"never\"")
            .sink_postgres(&target.url(), None)
            .toml(rule);
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
}
