//! Every mode against a model, in random histories with crashes, rewinds, overlaps and zombies: folds, merges and
//! progress in this process, on real warehouses, without a source.
//!
//! A failure prints its seed: `TAILWATER_SEED=... make test-live TEST_ARGS=modes::` plays it again, `make histories
//! SEEDS=1000` plays many.

mod edges;
mod look;
mod lost;
mod play;
mod shape;
mod story;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
#[cfg(feature = "redshift")]
use tailwater::adapters::warehouse::ObjectFormat;
use tailwater::adapters::warehouse::{Flush, Options};
use tailwater::codecs::dialect::Mode;
use tailwater::logic::pipeline::Batch;
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Lsn, OldRow, Op, Origin, Pattern, PgTimestamp, PgType, ReplicaIdentity, Row,
    Table, TableName,
};

use self::look::Look;
use self::play::play_all;
use self::shape::{BIG, Field, ID, NAME, Reach, Shape, UID, WIDE};
use self::story::{Event, Key, Plain, Story, Transaction, Values, cells};
use self::truth::Truth;
use crate::history::{At, at, batch, table};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
use crate::support::postgres::Postgres;
#[cfg(feature = "redshift")]
use crate::support::redshift::servers;
#[cfg(feature = "redshift")]
use crate::warehouse::Cluster;
use crate::warehouse::Warehouse;

const KEYED: [(&str, Mode); 4] =
    [("mirrored", Mode::Mirror), ("soft", Mode::SoftDelete), ("versions", Mode::History), ("events", Mode::Append)];

/// Which layouts a warehouse is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    /// All of them.
    All,
    /// Mirrors and logs.
    #[cfg(feature = "redshift")]
    Plainly,
}

impl Kept {
    fn has(self, mode: Mode) -> bool {
        self == Kept::All || matches!(mode, Mode::Mirror | Mode::Append)
    }
}

/// The tables of one history.
struct Tables {
    keyed: Vec<(&'static str, Mode)>,
    plain: Vec<Arc<Table>>,
}

impl Tables {
    fn new(kept: Kept, reach: Reach, inside: bool) -> Tables {
        // With another key a history stops, and in DuckDB rows that are marked as deleted.
        let follows = |mode: Mode| match mode {
            Mode::History => reach != Reach::Key,
            Mode::SoftDelete => reach != Reach::Key || inside,
            _ => true,
        };
        let keyed = KEYED.into_iter().filter(|(_, mode)| kept.has(*mode) && follows(*mode)).collect();
        let plain = [("t", PgType::Text), ("n", PgType::Float8)];
        let full = |name: &str, identity| {
            let plain = table(TableName::new("public", name), &plain, &[]);
            Arc::new(Table { identity, ..Table::clone(&plain) })
        };
        let copies = full("copies", ReplicaIdentity::Full);
        let log = full("log", ReplicaIdentity::Nothing);
        let plain = if kept == Kept::All { vec![log, copies] } else { vec![log] };
        Tables { keyed, plain }
    }

    /// Those with a key, as they are told with a shape.
    fn shaped(&self, shape: &Shape) -> Vec<Arc<Table>> {
        self.keyed.iter().map(|(name, _)| shape.table(name)).collect()
    }

    /// The transaction as the tables' changes.
    fn changes(&self, transaction: &Transaction) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut push = |table: &Arc<Table>, op: Op| {
            let id = ChangeId { commit: Lsn::new(transaction.commit), seq: changes.len() as u64 + 1 };
            let at = PgTimestamp(transaction.at);
            let origin = Origin { at, xid: None, lsn: id.commit, last_commit: None, snapshot: None };
            changes.push(Change { id, origin, table: Arc::clone(table), op });
        };
        let (mut shape, mut tables) = (&transaction.shape, self.shaped(&transaction.shape));
        for event in &transaction.events {
            if let Event::Alter(altered) = event {
                (shape, tables) = (altered, self.shaped(altered));
            }
            if let Some(op) = keyed(event, shape) {
                tables.iter().for_each(|table| push(table, op.clone()));
            }
            self.plain.iter().for_each(|table| plain(event, table.identity).into_iter().for_each(|op| push(table, op)));
        }
        changes
    }
}

fn cell(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))
}

fn keyed(event: &Event, shape: &Shape) -> Option<Op> {
    let row = |key: &Key, values: &Values, big: bool, wide: bool| -> Row {
        let told = cells(key, values);
        let value = |field: &Field| match field.number {
            BIG if !big => Cell::Unchanged,
            WIDE if !wide => Cell::Unchanged,
            number => cell(told.get(&number).and_then(Option::as_deref)),
        };
        shape.fields.iter().map(value).collect()
    };
    let old = |key: &Key, uid: u32| -> OldRow {
        let (id, uid) = (key.1.to_string(), uid.to_string());
        let value = |field: &Field| match (field.number, shape.by_uid) {
            (ID, false) => cell(Some(&id)),
            (NAME, false) => cell(Some(&key.0)),
            (UID, true) => cell(Some(&uid)),
            _ => Cell::Null,
        };
        OldRow::Key(shape.fields.iter().map(value).collect())
    };
    Some(match event {
        Event::Put { key, values, read: true } => Op::Read { new: row(key, values, true, true) },
        Event::Put { key, values, read: false } => Op::Insert { new: row(key, values, true, true) },
        Event::Change { from, to, values, big, wide } => {
            let moved = (from != to && !shape.by_uid).then(|| old(from, values.uid));
            Op::Update { old: moved, new: row(to, values, *big, *wide) }
        }
        Event::Remove(key, uid) => Op::Delete { old: old(key, *uid) },
        Event::Clear => Op::Truncate,
        _ => return None,
    })
}

/// What a table without a key is told: one with a full identity tells the rows that were.
fn plain(event: &Event, identity: ReplicaIdentity) -> Option<Op> {
    let row =
        |(text, number): &Plain| -> Row { [cell(text.as_deref()), cell(number.as_deref())].into_iter().collect() };
    let full = identity == ReplicaIdentity::Full;
    Some(match event {
        Event::PlainPut(new) => Op::Insert { new: row(new) },
        Event::PlainChange(old, new) => Op::Update { old: full.then(|| OldRow::Full(row(old))), new: row(new) },
        Event::PlainRemove(old) => Op::Delete { old: OldRow::Full(row(old)) },
        Event::PlainClear => Op::Truncate,
        _ => return None,
    })
}

/// One history: what happened, and what is true after each transaction.
struct History {
    tables: Tables,
    transactions: Vec<Transaction>,
    truths: Vec<Truth>,
}

impl History {
    /// Short ones mostly: what goes wrong after twenty transactions has gone wrong after five elsewhere.
    fn some(seed: u64, kept: Kept, inside: bool) -> History {
        let mut random = StdRng::seed_from_u64(seed ^ 4);
        let length = if random.random_bool(0.1) { 24 } else { random.random_range(3..10) };
        // Redshift can't give a key's columns other types, nor a table another key.
        let reach = match (random.random_range(0..10), kept) {
            (0..2, _) => Reach::Grows,
            (_, Kept::All) => [Reach::Types, Reach::Key][random.random_range(0..2)],
            #[cfg(feature = "redshift")]
            _ => Reach::Columns,
        };
        History::new(seed, length, kept, reach, inside)
    }

    fn new(seed: u64, length: usize, kept: Kept, reach: Reach, inside: bool) -> History {
        let mut random = StdRng::seed_from_u64(seed);
        let by_uid = reach == Reach::Key && random.random_bool(0.5);
        let mut story = Story::new(StdRng::seed_from_u64(seed ^ 1), reach, by_uid, inside);
        let size = |random: &mut StdRng| if random.random_bool(0.1) { 40 } else { random.random_range(1..8) };
        let transactions: Vec<Transaction> = (0..length).map(|_| story.transaction(size(&mut random))).collect();
        let mut truth = Truth::new(&transactions[0].shape);
        let truths = transactions
            .iter()
            .map(|transaction| {
                truth.apply(transaction);
                truth.clone()
            })
            .collect();
        History { tables: Tables::new(kept, reach, inside), transactions, truths }
    }

    /// How many transactions are in a warehouse that has stored this.
    fn done(&self, stored: Option<&Checkpoint>) -> usize {
        stored.filter(|stored| stored.change > ChangeId::ZERO).map_or(0, |stored| {
            let commit = stored.change.commit.get();
            self.transactions.iter().position(|t| t.commit == commit).expect("a transaction's end is stored") + 1
        })
    }

    /// What comes after the first `from` transactions: several in one batch, or one in several.
    fn batches(&self, from: usize, random: &mut StdRng) -> Vec<Batch<At>> {
        // A source says where it begins.
        let begin = (from == 0).then(|| batch(Vec::new(), Some(at(ChangeId::ZERO))));
        let mut all: Vec<Batch<At>> = begin.into_iter().collect();
        let mut changes = Vec::new();
        for (n, transaction) in self.transactions.iter().enumerate().skip(from) {
            let told = self.tables.changes(transaction);
            let last = told.last().expect("a transaction changes something").id;
            for change in told {
                let id = change.id;
                changes.push(change);
                let ends = id == last && (n + 1 == self.transactions.len() || random.random_bool(0.5));
                if ends || random.random_bool(0.03) {
                    all.push(batch(std::mem::take(&mut changes), (id == last).then(|| at(last))));
                }
            }
        }
        all
    }
}

fn options(seed: u64, rows: usize) -> Options {
    let flush = Flush { rows, bytes: 1 << 20, after: Duration::from_secs(600) };
    let tables = KEYED.iter().map(|(name, mode)| (Pattern::new(format!("public.{name}")), Some(*mode))).collect();
    let schema = Some(format!("s{seed}"));
    Options {
        schema,
        modes: tables,
        stop: tailwater::adapters::warehouse::Reach::Pipeline,
        // In every other history single new rows, too, go straight into the tables that can take them back.
        straight: if seed.is_multiple_of(2) { 1 } else { 100_000 },
        ..Options::new(&format!("p{seed}"), flush)
    }
}

#[test]
fn postgres_keeps_every_mode_as_the_model_does() {
    let database = Postgres::shared(17).database("modes");
    let session = database.session();
    play_all(100, |_| (Warehouse::Postgres(&database), Look::Postgres(&session)));
}

#[cfg(feature = "duckdb")]
#[test]
fn duckdb_keeps_every_mode_as_the_model_does() {
    let dir = Dir::new();
    play_all(50, |seed| {
        let path = dir.join(format!("{seed}.duckdb"));
        (Warehouse::Duckdb(path.clone()), Look::Duckdb(path))
    });
}

#[cfg(feature = "redshift")]
#[test]
fn redshift_keeps_mirrors_and_logs_as_the_model_does() {
    let database = servers().database("modes_rs");
    let (cluster, session) = (Cluster::of(&database), database.session());
    play_all(60, |seed| {
        let format = if seed % 2 == 0 { ObjectFormat::Parquet } else { ObjectFormat::Csv };
        (Warehouse::Redshift(&database, &cluster, format), Look::Redshift(&session))
    });
}
