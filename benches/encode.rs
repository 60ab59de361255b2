//! How long does one event take in each format, on one core, and how many bytes is it?
//!
//! A row of ten columns and about 200 bytes as PostgreSQL sends it: two integers, three texts, a boolean, a float, a
//! numeric, two timestamps, with NULLs as in real tables. An event is key, value and headers of an insert, a row
//! is its `after` alone; reading is of the value. `EVENTS` says how many a round has (200,000), `ROUNDS` how many rounds (seven; medians are shown).
//! The time is the thread's own, so that a busy machine does not count.

// What goes wrong ends the benchmark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;
use std::sync::Arc;

use nix::sys::resource::{UsageWho, getrusage};
use tailwater::codecs::copy::binary::BinaryType;
use tailwater::codecs::event::{Decoder, Encoder, FORMATS, Format, Modes, Records, Settings, Stamp};
use tailwater::codecs::send::{Form, Forms, Plan, Server};
use tailwater::model::value::{self, Finite, Numeric};
use tailwater::model::{
    Cell, Change, ChangeId, Column, Lsn, Oid, Op, Origin, PgTimestamp, PgType, ReplicaIdentity, Row, RowWriter, Table,
    TableName, Xid,
};

/// Name, type, modifier, whether it may be NULL.
const COLUMNS: [(&str, PgType, i32, bool); 10] = [
    ("id", PgType::Int8, -1, false),
    ("customer", PgType::Int4, -1, false),
    ("email", PgType::Text, -1, false),
    ("address", PgType::Varchar, 84, false),
    ("paid", PgType::Bool, -1, false),
    ("weight", PgType::Float8, -1, false),
    ("amount", PgType::Numeric, (12 << 16) + 2 + 4, false),
    ("created", PgType::Timestamp, -1, false),
    ("shipped", PgType::Timestamptz, -1, true),
    ("note", PgType::Text, -1, true),
];

fn table() -> Arc<Table> {
    let column = |(name, pg_type, modifier, optional): (&str, PgType, i32, bool)| Column {
        name: name.into(),
        pg_type,
        oid: Oid(1),
        modifier,
        optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(16_400),
        name: TableName::new("public", "orders"),
        version: 1,
        columns: COLUMNS.into_iter().map(column).collect(),
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

/// The `n`-th row: always the same for the same number.
fn row(n: u64) -> Row {
    let shipped = format!("2025-11-{:02} 08:15:{:02}.{:06}+00", n % 28 + 1, n % 60, n * 7919 % 1_000_000);
    let note = format!("leave it at the door of number {n}, please");
    let texts = [
        Some((1_000_000_000 + n).to_string()),
        Some((n * 48_271 % 2_147_483_647).to_string()),
        Some(format!("customer.{n}@example.com")),
        Some(format!("{} Long Street, 12345 Springfield, Somewhere", n % 900)),
        Some(if n.is_multiple_of(3) { "t" } else { "f" }.to_owned()),
        Some(format!("{}.{:03}", n % 90, n * 31 % 1000)),
        Some(format!("{}.{:02}", n * 977 % 1_000_000, n % 100)),
        Some(format!("2025-10-{:02} 23:{:02}:07.{:06}", n % 28 + 1, n % 60, n * 104_729 % 1_000_000)),
        Some(shipped).filter(|_| !n.is_multiple_of(4)),
        Some(note).filter(|_| !n.is_multiple_of(3)),
    ];
    texts.iter().map(|text| text.as_ref().map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
}

fn changes(table: &Arc<Table>) -> Vec<Change> {
    let change = |n: u64| {
        let origin = Origin {
            at: PgTimestamp(815_000_000_000_000),
            xid: Some(Xid(771_204)),
            lsn: Lsn::new(0x16_B374_D848 + n * 300),
            last_commit: Some(Lsn::new(0x16_B374_D000)),
            snapshot: None,
        };
        let id = ChangeId { commit: Lsn::new(0x16_B3FF_0000), seq: n };
        Change { id, origin, table: Arc::clone(table), op: Op::Insert { new: row(n) } }
    };
    (0..1000).map(change).collect()
}

fn settings(format: Format, inline_schema: bool) -> Settings {
    Settings { modes: Modes { format, ..Modes::default() }, inline_schema, ..Settings::new("shop", "shop") }
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The processor's time that this thread has had, in nanoseconds.
fn spent() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    (micros(usage.user_time()) + micros(usage.system_time())) * 1000
}

/// Nanoseconds of one call, the median of the rounds.
fn measure(mut call: impl FnMut(usize)) -> i64 {
    let (events, rounds) = (number("EVENTS", 200_000), number("ROUNDS", 7));
    let mut round = || {
        let before = spent();
        (0..events).for_each(&mut call);
        (spent() - before) / i64::try_from(events).unwrap()
    };
    let mut times: Vec<_> = (0..rounds).map(|_| round()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Nanoseconds of what no writer can do without: each text read once, and what is read thrown away.
fn texts(changes: &[Change]) -> i64 {
    let read = |cell: Cell<'_>, pg_type: &PgType| {
        let Cell::Text(text) = cell else { return 0 };
        match pg_type {
            PgType::Int4 | PgType::Int8 => value::int(text).unwrap(),
            PgType::Bool => i64::from(value::boolean(text).unwrap()),
            PgType::Float8 => value::float8(text).unwrap().to_bits().cast_signed(),
            PgType::Numeric => Numeric::short(text, 2).unwrap(),
            PgType::Timestamp => value::pg_timestamp(text)
                .unwrap()
                .and_then(Some)
                .map_or(0, |moment| i64::from(moment > Finite::Value(0))),
            PgType::Timestamptz => value::of_utc(text).map_or(0, |(_, fraction)| i64::from(fraction.len() as u32)),
            _ => i64::from(text.is_ascii()),
        }
    };
    measure(|n| {
        let Op::Insert { new } = &changes[n % changes.len()].op else { unreachable!("all are inserts") };
        for (cell, (_, pg_type, ..)) in new.cells().zip(&COLUMNS) {
            black_box(read(cell, pg_type));
        }
    })
}

/// Nanoseconds of the row alone: no envelope, no key, no headers.
fn rows(changes: &[Change], encoder: &mut Encoder) -> i64 {
    let mut out = Vec::new();
    measure(|n| {
        let Op::Insert { new } = &changes[n % changes.len()].op else { unreachable!("all are inserts") };
        out.clear();
        encoder.encode_row(new, &mut out).unwrap();
    })
}

fn bench(name: &str, settings: &Settings) {
    let table = table();
    let changes = changes(&table);
    let now = PgTimestamp(815_000_000_500_000);
    let mut encoder = Encoder::new(Arc::clone(&table), settings).unwrap();
    let mut records = Records::new();
    let encoded = measure(|n| {
        records.clear();
        encoder.encode(&changes[n % changes.len()], now, &mut records).unwrap();
    });
    let (mut values, mut sizes) = (Vec::new(), (0, 0));
    for change in &changes {
        records.clear();
        encoder.encode(change, now, &mut records).unwrap();
        let record = records.iter().next().unwrap();
        sizes = (sizes.0 + record.value.unwrap().len(), sizes.1 + record.key.unwrap().len());
        values.push(record.value.unwrap().to_vec());
    }
    let mut decoder = Decoder::new(table, &settings.modes);
    let headers = [("tw.commit_lsn", &b"1"[..]), ("tw.seq", b"2"), ("tw.table", b"public.orders@1")];
    let stamp = Stamp::read(headers.into_iter()).unwrap();
    let decoded = measure(|n| {
        decoder.decode(&stamp, Some(&values[n % values.len()])).unwrap().unwrap();
    });
    let (value, key) = (sizes.0 / changes.len(), sizes.1 / changes.len());
    let row = rows(&changes, &mut encoder);
    println!("{name:<24} {encoded:>8} {row:>8} {decoded:>8} {value:>8} {key:>6}");
}

/// Nanoseconds of a row that came in binary form, made into the same row in text form.
fn from_binary() -> i64 {
    let server = Server { version: 170_000, dollars: true };
    let names = ["int8", "int4", "text", "varchar", "bool", "float8", "numeric", "timestamp", "timestamptz", "text"];
    let plan = Plan::new(names.iter().map(|name| Form::builtin(name, server).unwrap()).collect(), Forms::new());
    let binary = |row: &Row| -> Row {
        let mut writer = RowWriter::new();
        for ((_, pg_type, ..), cell) in COLUMNS.iter().zip(row.cells()) {
            let Cell::Text(text) = cell else {
                writer.push(cell);
                continue;
            };
            let mut field = Vec::new();
            BinaryType::of(pg_type).unwrap().field(Some(text), &mut field).unwrap();
            writer.push(Cell::Binary(&field[4..]));
        }
        writer.finish()
    };
    let rows: Vec<Row> = (0..1000).map(|n| binary(&row(n))).collect();
    let (mut scratch, mut writer) = (Vec::new(), RowWriter::new());
    let text = plan.row(&rows[7], &mut scratch, &mut writer).unwrap();
    assert!(plan.row(&binary(&text), &mut scratch, &mut writer).unwrap() == text);
    measure(|n| {
        plan.row(&rows[n % rows.len()], &mut scratch, &mut writer).unwrap();
    })
}

fn main() {
    let heads = ["write ns", "row ns", "read ns", "value B", "key B"];
    let [write, row, read, value, key] = heads;
    println!("{:<24} {write:>8} {row:>8} {read:>8} {value:>8} {key:>6}", "one event of ten columns");
    // A part of a name keeps to those that have it.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let forms = FORMATS.map(|(name, format)| (name, format, false));
    for (name, format, inline) in forms.into_iter().chain([("json with its schema", Format::Json, true)]) {
        if name.contains(&wanted) {
            bench(name, &settings(format, inline));
        }
    }
    println!("{:<33} {:>8}", "reading the texts of a row alone", texts(&changes(&table())));
    println!("{:<24} {:>8}", "the row out of binary", from_binary());
}
