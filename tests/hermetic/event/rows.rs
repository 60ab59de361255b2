//! A table of every type, rows with usual values and with values at the edges, and a change of each kind.

use std::sync::Arc;

use tailwater::codecs::event::{Decoder, Encoder, Modes, Records, Settings, Stamp};
use tailwater::model::*;

pub fn settings() -> Settings {
    settings_in(Modes::default())
}

pub fn settings_in(modes: Modes) -> Settings {
    Settings { modes, ..Settings::new("srv", "shop") }
}

pub fn column(name: &str, pg_type: PgType, modifier: i32, optional: bool) -> Column {
    Column { name: name.into(), pg_type, oid: Oid(1), modifier, optional, default: None, birth: Default::default() }
}

pub fn array(element: PgType) -> PgType {
    PgType::Array(Box::new(element))
}

pub fn mood() -> PgType {
    PgType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok \"so so\"".into()] }
}

pub fn numeric(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale) + 4
}

/// Column, a usual value, a value at an edge.
pub fn shapes() -> Vec<(Column, &'static str, &'static str)> {
    let c = column;
    let other = PgType::Other { name: "inet".into() };
    vec![
        (c("id", PgType::Int8, -1, false), "7", "-9223372036854775808"),
        (c("Odd \"näme\" 😀", PgType::Varchar, 9, false), "a b", "\u{1}\"\\\n😀ü\u{7f}"),
        (c("small", PgType::Int2, -1, false), "1", "-32768"),
        (c("oid", PgType::Oid, -1, true), "4000000000", "0"),
        (c("real", PgType::Float4, -1, true), "1e+06", "NaN"),
        (c("double", PgType::Float8, -1, false), "0.1", "-Infinity"),
        (c("price", PgType::Numeric, numeric(10, 2), false), "12.34", "NaN"),
        (
            c("big", PgType::Numeric, numeric(60, 5), true),
            "-0.05000",
            "-1234567890123456789012345678901234567890.12345",
        ),
        (c("free", PgType::Numeric, -1, false), "10.1111", "-Infinity"),
        (c("zeros", PgType::Numeric, -1, true), "1.5", "0"),
        (c("flag", PgType::Bool, -1, false), "t", "f"),
        (c("note", PgType::Text, -1, true), "", "null"),
        (c("code", PgType::Bpchar, 9, true), "abc  ", "     "),
        (c("raw", PgType::Bytea, -1, false), "\\x010203", "\\x"),
        (c("day", PgType::Date, -1, false), "2016-11-04", "0044-03-15 BC"),
        (c("ends", PgType::Date, -1, true), "infinity", "5874897-12-31"),
        (c("t3", PgType::Time, 3, true), "13:51:30.123", "24:00:00"),
        (c("t", PgType::Time, -1, false), "13:51:30.123456", "00:00:00"),
        (c("ts", PgType::Timestamp, -1, false), "2016-11-04 13:51:30.123456", "294276-12-31 23:59:59.999999"),
        (c("ts3", PgType::Timestamp, 3, true), "2016-11-04 13:51:30.5", "294276-12-31 23:59:59.999"),
        (c("ts_end", PgType::Timestamp, -1, true), "infinity", "-infinity"),
        (c("ts_near", PgType::Timestamp, -1, true), "294247-01-10 03:20:25.2", "4714-11-24 00:00:00 BC"),
        (c("tz", PgType::Timestamptz, -1, false), "2016-11-04 11:51:30.123456+00", "0044-03-15 00:00:00+00 BC"),
        (c("tz0", PgType::Timestamptz, 0, true), "2016-11-04 11:51:30+00", "-infinity"),
        (c("tz_far", PgType::Timestamptz, 2, true), "294276-12-31 23:59:59.99+00", "0001-12-31 23:59:59+00 BC"),
        (
            c("uuid", PgType::Uuid, -1, false),
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "00000000-0000-0000-0000-000000000000",
        ),
        (c("json", PgType::Json, -1, true), "{\"a\" :  1}", "\"\\u0000\""),
        (c("jsonb", PgType::Jsonb, -1, false), "{\"a\": 1.50}", "null"),
        (c("mood", mood(), -1, false), "sad", "ok \"so so\""),
        (c("net", other.clone(), -1, false), "10.0.0.0/8", "::1"),
        (c("ints", array(PgType::Int4), -1, false), "{1,NULL,-3}", "{}"),
        (c("deep", array(PgType::Int4), -1, true), "{{1,2},{3,4}}", "[0:1]={1,2}"),
        (c("texts", array(PgType::Text), -1, true), "{a,\"b c\",\"NULL\",NULL}", "{\"\",\"\\\"\\\\\",\"{}\"}"),
        (c("prices", array(PgType::Numeric), numeric(5, 2), true), "{1.20,NaN}", "{NULL}"),
        (c("frees", array(PgType::Numeric), -1, true), "{1.2,-3}", "{Infinity}"),
        (c("raws", array(PgType::Bytea), -1, true), "{\"\\\\x0a\"}", "{\"\\\\x\"}"),
        (c("stamps", array(PgType::Timestamptz), -1, true), "{\"2016-11-04 11:51:30+00\"}", "{infinity}"),
        (c("plain", array(PgType::Timestamp), -1, true), "{\"2016-11-04 11:51:30\"}", "{infinity,-infinity}"),
        (c("days", array(PgType::Date), -1, true), "{2016-11-04}", "{\"0044-03-15 BC\"}"),
        (c("flags", array(PgType::Bool), -1, true), "{t,f}", "{t}"),
        (c("uuids", array(PgType::Uuid), -1, true), "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "{}"),
        (c("moods", array(mood()), -1, true), "{sad,\"ok \\\"so so\\\"\"}", "{}"),
        (c("nets", array(other), -1, true), "{10.0.0.0/8,::1}", "{}"),
    ]
}

pub fn table(identity: ReplicaIdentity, key: Vec<usize>) -> Arc<Table> {
    let columns = shapes().into_iter().map(|(column, ..)| column).collect();
    let name = TableName::new("inv", "Odd.Name tbl");
    Arc::new(Table { oid: Oid(16_400), name, version: 3, columns, identity, key })
}

pub fn origin(snapshot: Option<SnapshotMark>) -> Origin {
    Origin {
        at: PgTimestamp::from_unix_micros(1_478_267_490_123_456),
        xid: snapshot.is_none().then_some(Xid(4_000_000_000)),
        lsn: Lsn::new(40_270_032),
        last_commit: snapshot.is_none().then_some(Lsn::new(40_270_000)),
        snapshot,
    }
}

pub fn change(table: &Arc<Table>, op: Op) -> Change {
    let snapshot = matches!(op, Op::Read { .. }).then_some(SnapshotMark::FirstInTable);
    let id = ChangeId { commit: Lsn::new(u64::MAX), seq: 12 };
    Change { id, origin: origin(snapshot), table: Arc::clone(table), op }
}

pub fn encode(change: &Change) -> Records {
    let mut records = Records::new();
    let now = PgTimestamp::from_unix_micros(1_500_000_000_000_001);
    Encoder::new(Arc::clone(&change.table), &settings()).unwrap().encode(change, now, &mut records).unwrap();
    records
}

/// The changes that the records of one change are read as.
pub fn decode(table: &Arc<Table>, records: &Records) -> Vec<Change> {
    let mut decoder = Decoder::new(Arc::clone(table), &Modes::default());
    let read = |record: tailwater::codecs::event::Record<'_>| {
        let stamp = Stamp::read(record.headers()).expect("our headers");
        assert_eq!(stamp.table, "inv.Odd.Name tbl@3");
        decoder.decode(&stamp, record.value).unwrap()
    };
    records.iter().filter_map(read).collect()
}

pub fn usual(i: usize) -> Row {
    shapes()
        .iter()
        .enumerate()
        .map(|(at, (_, a, b))| Cell::Text(if (at + i).is_multiple_of(2) { a } else { b }.as_bytes()))
        .collect()
}

/// `row` with some cells replaced.
pub fn with(row: &Row, replace: impl Fn(usize) -> Option<Cell<'static>>) -> Row {
    row.cells().enumerate().map(|(at, cell)| replace(at).unwrap_or(cell)).collect()
}

pub fn key_of(row: &Row, key: &[usize]) -> Row {
    with(row, |at| (!key.contains(&at)).then_some(Cell::Null))
}

pub fn is_large(at: usize) -> bool {
    let (column, ..) = &shapes()[at];
    use PgType::*;
    matches!(column.pg_type, Numeric | Text | Bytea | Json | Jsonb | Array(_)) && !at.is_multiple_of(3)
}

/// A change of each kind.
pub fn changes(identity: ReplicaIdentity, key: Vec<usize>) -> Vec<(&'static str, Change)> {
    let table = table(identity, key.clone());
    let (a, b) = (usual(0), usual(1));
    let nulls = with(&b, |at| shapes()[at].0.optional.then_some(Cell::Null));
    let same_key = with(&b, |at| key.contains(&at).then(|| Cell::Text(shapes()[at].1.as_bytes())));
    let a_key = with(&a, |at| key.contains(&at).then(|| Cell::Text(shapes()[at].1.as_bytes())));
    let unchanged = with(&same_key, |at| is_large(at).then_some(Cell::Unchanged));
    let full = identity == ReplicaIdentity::Full;
    let old = |row: &Row| if full { OldRow::Full(row.clone()) } else { OldRow::Key(key_of(row, &key)) };
    let mut changes = vec![
        ("read", Op::Read { new: a.clone() }),
        ("insert", Op::Insert { new: a.clone() }),
        ("insert_edges", Op::Insert { new: b.clone() }),
        ("insert_nulls", Op::Insert { new: nulls }),
        ("update", Op::Update { old: full.then(|| old(&a_key)), new: same_key }),
        ("delete", Op::Delete { old: old(&a) }),
        ("truncate", Op::Truncate),
    ];
    if !full {
        changes.push(("update_unchanged", Op::Update { old: None, new: unchanged.clone() }));
    }
    if !key.is_empty() {
        let old = OldRow::Key(key_of(&b, &key));
        let new = with(&unchanged, |at| key.contains(&at).then(|| Cell::Text(shapes()[at].1.as_bytes())));
        changes.push(("key_change", Op::Update { old: Some(old), new }));
    }
    changes.into_iter().map(|(name, op)| (name, change(&table, op))).collect()
}
