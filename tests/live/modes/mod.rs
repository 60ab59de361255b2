//! Every mode against a model, in random histories with crashes, rewinds, overlaps and zombies.
//!
//! A failure prints its seed: `TAILWATER_SEED=... make test-live TEST_ARGS=modes::` plays it again, `make histories
//! SEEDS=1000` plays many.

mod edges;
mod lost;
mod story;
mod truth;

#[cfg(feature = "duckdb")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tailwater::adapters::warehouse::{Flush, Options, Reach, WarehouseSink};
use tailwater::codecs::dialect::Mode;
use tailwater::logic::pipeline::Batch;
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Class, Lsn, OldRow, Op, Origin, Pattern, PgTimestamp, PgType, ReplicaIdentity,
    Row, Table, TableName,
};

use self::story::{Event, Key, Plain, Story, Transaction, Values};
use self::truth::Truth;
use crate::history::{At, at, batch, table};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "duckdb")]
use crate::support::duck;
use crate::support::postgres::{Database, Postgres};
use crate::support::session::{Rows, Session};
use crate::warehouse::{Warehouse, apply, durable, flush, runtime};

const KEYED: [(&str, Mode); 4] =
    [("mirrored", Mode::Mirror), ("soft", Mode::SoftDelete), ("versions", Mode::History), ("events", Mode::Append)];

/// The tables of one history, narrow and wide.
struct Tables {
    keyed: [Vec<Arc<Table>>; 2],
    copies: Arc<Table>,
    log: Arc<Table>,
}

impl Tables {
    fn new() -> Tables {
        let columns = [
            ("id", PgType::Int4),
            ("name", PgType::Text),
            ("v", PgType::Varchar),
            ("big", PgType::Text),
            ("wide", PgType::Text),
            ("extra", PgType::Text),
        ];
        let keyed = |width: usize| {
            let table = |(name, _): &(&str, Mode)| table(TableName::new("public", *name), &columns[..width], &[1, 0]);
            KEYED.iter().map(table).collect()
        };
        let plain = [("t", PgType::Text), ("n", PgType::Float8)];
        let full = |name: &str, identity| {
            let plain = table(TableName::new("public", name), &plain, &[]);
            Arc::new(Table { identity, ..Table::clone(&plain) })
        };
        let copies = full("copies", ReplicaIdentity::Full);
        let log = full("log", ReplicaIdentity::Nothing);
        Tables { keyed: [keyed(5), keyed(6)], copies, log }
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
        for event in &transaction.events {
            if let Some(op) = keyed(event, transaction.wider) {
                self.keyed[usize::from(transaction.wider)].iter().for_each(|table| push(table, op.clone()));
            }
            if let Some((copies, log)) = plain(event) {
                push(&self.copies, copies);
                push(&self.log, log);
            }
        }
        changes
    }
}

fn cell(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))
}

fn keyed(event: &Event, wider: bool) -> Option<Op> {
    let width = if wider { 6 } else { 5 };
    let row = |key: &Key, values: Option<(&Values, bool, bool)>| -> Row {
        let id = key.1.to_string();
        let mut cells = vec![Cell::Text(id.as_bytes()), Cell::Text(key.0.as_bytes())];
        match values {
            None => cells.resize(width, Cell::Null),
            Some((values, big, wide)) => {
                cells.push(cell(Some(&values.v)));
                cells.push(if big { cell(Some(&values.big)) } else { Cell::Unchanged });
                cells.push(if wide { cell(values.wide.as_deref()) } else { Cell::Unchanged });
                cells.extend(wider.then(|| cell(values.extra.as_deref())));
            }
        }
        cells.into_iter().collect()
    };
    Some(match event {
        Event::Put { key, values, read: true } => Op::Read { new: row(key, Some((values, true, true))) },
        Event::Put { key, values, read: false } => Op::Insert { new: row(key, Some((values, true, true))) },
        Event::Change { from, to, values, big, wide } => {
            let old = (from != to).then(|| OldRow::Key(row(from, None)));
            Op::Update { old, new: row(to, Some((values, *big, *wide))) }
        }
        Event::Remove(key) => Op::Delete { old: OldRow::Key(row(key, None)) },
        Event::Clear => Op::Truncate,
        _ => return None,
    })
}

/// What the table of copies is told, and the log.
fn plain(event: &Event) -> Option<(Op, Op)> {
    let row =
        |(text, number): &Plain| -> Row { [cell(text.as_deref()), cell(number.as_deref())].into_iter().collect() };
    let both = |op: Op| (op.clone(), op);
    Some(match event {
        Event::PlainPut(new) => both(Op::Insert { new: row(new) }),
        Event::PlainChange(old, new) => {
            (Op::Update { old: Some(OldRow::Full(row(old))), new: row(new) }, Op::Update { old: None, new: row(new) })
        }
        Event::PlainRemove(old) => both(Op::Delete { old: OldRow::Full(row(old)) }),
        Event::PlainClear => both(Op::Truncate),
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
    fn new(seed: u64) -> History {
        let mut random = StdRng::seed_from_u64(seed);
        let mut story = Story::new(StdRng::seed_from_u64(seed ^ 1));
        let size = |random: &mut StdRng| if random.random_bool(0.1) { 40 } else { random.random_range(1..8) };
        let transactions: Vec<Transaction> = (0..24).map(|_| story.transaction(size(&mut random))).collect();
        let mut truth = Truth::default();
        let truths = transactions
            .iter()
            .map(|transaction| {
                truth.apply(transaction);
                truth.clone()
            })
            .collect();
        History { tables: Tables::new(), transactions, truths }
    }

    /// How many transactions are in a warehouse that has stored this.
    fn done(&self, stored: Option<&Checkpoint>) -> usize {
        stored.map_or(0, |stored| {
            let commit = stored.change.commit.get();
            self.transactions.iter().position(|t| t.commit == commit).expect("a transaction's end is stored") + 1
        })
    }

    /// What comes after the first `from` transactions: several in one batch, or one in several.
    fn batches(&self, from: usize, random: &mut StdRng) -> Vec<Batch<At>> {
        let mut all = Vec::new();
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
    Options { schema, modes: tables, stop: Reach::Pipeline, ..Options::new(&format!("p{seed}"), flush) }
}

/// Where to look while a sink is there.
enum Look {
    Postgres(Session),
    #[cfg(feature = "duckdb")]
    Duckdb(PathBuf),
}

impl Look {
    fn rows(&self, sql: &str) -> Rows {
        match self {
            Look::Postgres(session) => session.sql(sql),
            #[cfg(feature = "duckdb")]
            Look::Duckdb(path) => {
                let reader = tailwater::adapters::warehouse::duckdb::reader(path).expect("a sink holds the file");
                reader.execute_batch("set TimeZone = 'UTC'").unwrap();
                duck::query(&reader, sql)
            }
        }
    }

    /// A time in microseconds since 2000.
    fn micros(&self, column: &str) -> String {
        match self {
            Look::Postgres(_) => format!("(extract(epoch from {column}) * 1000000)::bigint - 946684800000000"),
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => format!("epoch_us({column}) - 946684800000000"),
        }
    }

    /// Whether a table is there: each is made with its first change.
    fn has(&self, schema: &str, name: &str, column: &str) -> bool {
        let sql = format!(
            "select count(*) from information_schema.columns where table_schema = '{schema}' and table_name = '{name}' and column_name = '{column}'"
        );
        self.rows(&sql) == [[Some("1".to_owned())]]
    }

    fn compare(&self, seed: u64, truth: &Truth) {
        let schema = format!("s{seed}");
        let check = |name: &str, columns: &[String], sorted: bool, mut wanted: Rows| {
            if !self.has(&schema, name, columns[0].trim_matches('"')) {
                assert!(wanted.is_empty(), "{name} is not there");
                return;
            }
            let order = if sorted { "" } else { " order by _tw_lsn, _tw_seq" };
            let mut rows = self.rows(&format!("select {} from {schema}.{name}{order}", columns.join(", ")));
            if sorted {
                rows.sort();
                wanted.sort();
            }
            assert_eq!(rows, wanted, "{name}");
        };
        let extra = if self.has(&schema, "mirrored", "extra") { "extra" } else { "null" };
        let own = ["name", "id", "v", "big", "wide", extra].map(str::to_owned);
        let with = |more: &[String]| [own.to_vec(), more.to_vec()].concat();
        check("mirrored", &own, true, truth.mirror());
        let gone = format!("case when _tw_deleted then {} end", self.micros("_tw_deleted_at"));
        check("soft", &with(&[gone]), true, truth.soft_delete());
        let span = [self.micros("_tw_valid_from"), self.micros("_tw_valid_to")];
        check("versions", &with(&span), true, truth.history());
        let more = ["_tw_unchanged".to_owned(), "_tw_old".to_owned(), self.micros("_tw_committed_at")];
        let columns = [vec!["_tw_op".to_owned()], with(&more)].concat();
        check("events", &columns, false, truth.append_rows());
        let number = match self {
            Look::Postgres(_) => "n::text",
            // Its storage takes zero's two signs for one value.
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => "replace(replace(lower(n::varchar), '-0.0', '0'), '.0', '')",
        };
        let plain = ["t".to_owned(), number.to_owned()];
        let unsigned = |mut rows: Rows| {
            let number = |row: &mut Vec<Option<String>>| row.last_mut().and_then(Option::as_mut).map(|n| *n = zero(n));
            if !matches!(self, Look::Postgres(_)) {
                rows.iter_mut().for_each(|row| number(row).unwrap_or_default());
            }
            rows
        };
        check("copies", &plain, true, unsigned(truth.copies()));
        let log = [vec!["_tw_op".to_owned()], plain.to_vec()].concat();
        check("log", &log, false, unsigned(truth.log()));
    }
}

/// As DuckDB shows it.
fn zero(number: &str) -> String {
    if number == "-0" { "0".to_owned() } else { number.to_lowercase() }
}

/// Plays a history in several lives, each of which ends without notice and begins somewhere before its end.
async fn play(warehouse: &Warehouse<'_>, look: &Look, seed: u64) {
    let history = History::new(seed);
    let mut random = StdRng::seed_from_u64(seed ^ 2);
    let rows = random.random_range(5..200);
    let lives = 3;
    for life in 0..=lives {
        let (mut sink, stored) = warehouse.start(options(seed, rows)).await.unwrap();
        let done = history.done(stored.as_ref());
        if done > 0 {
            look.compare(seed, &history.truths[done - 1]);
        }
        let begin = random.random_range(done.saturating_sub(5)..=done);
        let mut pieces = history.batches(begin, &mut random);
        let last = life == lives;
        if !last {
            pieces.truncate(random.random_range(0..=pieces.len()));
        }
        let mut deliveries = Vec::new();
        let mut rest = pieces.into_iter();
        for piece in rest.by_ref() {
            deliveries.push(apply(&mut sink, piece).await.unwrap());
            if random.random_bool(0.3) {
                flush(&mut sink).await;
            }
            if !last && random.random_bool(0.05) {
                break;
            }
        }
        if last {
            flush(&mut sink).await;
            for delivery in deliveries {
                durable(delivery).await.unwrap();
            }
            look.compare(seed, history.truths.last().unwrap());
        } else if random.random_bool(0.3) && matches!(look, Look::Postgres(_)) {
            zombie(warehouse, sink, options(seed, rows), rest).await;
            continue;
        }
        sink.close().await;
    }
}

/// Another process takes over; what this one still brings is refused, and nothing of it is seen.
async fn zombie(
    warehouse: &Warehouse<'_>,
    mut sink: WarehouseSink,
    options: Options,
    rest: impl Iterator<Item = Batch<At>>,
) {
    // Until it has settled what it took, it is not known which of the two comes first.
    flush(&mut sink).await;
    let (newer, _) = warehouse.start(options).await.unwrap();
    for piece in rest {
        let complete = piece.upto.is_some();
        let delivery = match tailwater::logic::pipeline::Sink::apply(&mut sink, piece).await {
            Ok(delivery) => delivery,
            Err(error) => {
                assert_eq!(error.class(), Class::Blocked, "{error}");
                break;
            }
        };
        if complete {
            // It may have failed with an earlier piece.
            let _ = tailwater::logic::pipeline::Sink::<At>::flush(&mut sink).await;
            let error = durable(delivery).await.expect_err("the older of two writers is refused");
            assert_eq!(error.class(), Class::Blocked, "{error}");
            break;
        }
    }
    sink.close().await;
    newer.close().await;
}

/// How many seeds, or the one to play again.
fn seeds(count: u32) -> Vec<u64> {
    let one = std::env::var("TAILWATER_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(count);
    one.map_or_else(|| (0..count).map(|_| u64::from(rand::random::<u32>())).collect(), |seed| vec![seed])
}

fn play_all(warehouse: &Warehouse<'_>, look: &Look, count: u32) {
    let runtime = runtime();
    for seed in seeds(count) {
        let played = std::panic::AssertUnwindSafe(|| runtime.block_on(play(warehouse, look, seed)));
        if let Err(failed) = std::panic::catch_unwind(played) {
            eprintln!("TAILWATER_SEED={seed}");
            std::panic::resume_unwind(failed);
        }
    }
}

#[test]
fn postgres_keeps_every_mode_as_the_model_does() {
    let database: Database<'_> = Postgres::shared(17).database("modes");
    play_all(&Warehouse::Postgres(&database), &Look::Postgres(database.session()), 12);
}

#[cfg(feature = "duckdb")]
#[test]
fn duckdb_keeps_every_mode_as_the_model_does() {
    let dir = Dir::new();
    let path = dir.join("w.duckdb");
    play_all(&Warehouse::Duckdb(path.clone()), &Look::Duckdb(path), 8);
}
