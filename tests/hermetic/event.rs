//! Events: the envelope's exact form, and that every change comes back as it was.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tailwater::codecs::event::{
    Decoder, Encoder, Modes, Records, Settings, Stamp, TableRecord, decode_table, encode_followed, encode_table,
};
use tailwater::model::*;

fn settings() -> Settings {
    settings_in(Modes::default())
}

fn settings_in(modes: Modes) -> Settings {
    Settings { modes, ..Settings::new("srv", "shop") }
}

fn column(name: &str, pg_type: PgType, modifier: i32, optional: bool) -> Column {
    Column { name: name.into(), pg_type, oid: Oid(1), modifier, optional, default: None }
}

fn array(element: PgType) -> PgType {
    PgType::Array(Box::new(element))
}

fn mood() -> PgType {
    PgType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok \"so so\"".into()] }
}

fn numeric(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale) + 4
}

/// Column, a usual value, a value at an edge.
fn shapes() -> Vec<(Column, &'static str, &'static str)> {
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

fn table(identity: ReplicaIdentity, key: Vec<usize>) -> Arc<Table> {
    let columns = shapes().into_iter().map(|(column, ..)| column).collect();
    let name = TableName::new("inv", "Odd.Name tbl");
    Arc::new(Table { oid: Oid(16_400), name, version: 3, columns, identity, key })
}

fn origin(snapshot: Option<SnapshotMark>) -> Origin {
    Origin {
        at: PgTimestamp::from_unix_micros(1_478_267_490_123_456),
        xid: snapshot.is_none().then_some(Xid(4_000_000_000)),
        lsn: Lsn::new(40_270_032),
        last_commit: snapshot.is_none().then_some(Lsn::new(40_270_000)),
        snapshot,
    }
}

fn change(table: &Arc<Table>, op: Op) -> Change {
    let snapshot = matches!(op, Op::Read { .. }).then_some(SnapshotMark::FirstInTable);
    let id = ChangeId { commit: Lsn::new(u64::MAX), seq: 12 };
    Change { id, origin: origin(snapshot), table: Arc::clone(table), op }
}

fn encode(change: &Change) -> Records {
    let mut records = Records::new();
    let now = PgTimestamp::from_unix_micros(1_500_000_000_000_001);
    Encoder::new(Arc::clone(&change.table), &settings()).unwrap().encode(change, now, &mut records).unwrap();
    records
}

/// The changes that the records of one change are read as.
fn decode(table: &Arc<Table>, records: &Records) -> Vec<Change> {
    let mut decoder = Decoder::new(Arc::clone(table), &Modes::default());
    let read = |record: tailwater::codecs::event::Record<'_>| {
        let stamp = Stamp::read(record.headers()).expect("our headers");
        assert_eq!(stamp.table, "inv.Odd.Name tbl@3");
        decoder.decode(&stamp, record.value).unwrap()
    };
    records.iter().filter_map(read).collect()
}

fn usual(i: usize) -> Row {
    shapes()
        .iter()
        .enumerate()
        .map(|(at, (_, a, b))| Cell::Text(if (at + i).is_multiple_of(2) { a } else { b }.as_bytes()))
        .collect()
}

/// `row` with some cells replaced.
fn with(row: &Row, replace: impl Fn(usize) -> Option<Cell<'static>>) -> Row {
    row.cells().enumerate().map(|(at, cell)| replace(at).unwrap_or(cell)).collect()
}

fn key_of(row: &Row, key: &[usize]) -> Row {
    with(row, |at| (!key.contains(&at)).then_some(Cell::Null))
}

fn is_large(at: usize) -> bool {
    let (column, ..) = &shapes()[at];
    use PgType::*;
    matches!(column.pg_type, Numeric | Text | Bytea | Json | Jsonb | Array(_)) && !at.is_multiple_of(3)
}

/// A change of each kind.
fn changes(identity: ReplicaIdentity, key: Vec<usize>) -> Vec<(&'static str, Change)> {
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

#[test]
fn every_kind_of_change_comes_back_as_it_was() {
    let keys = [vec![0], vec![1, 0, 6, 8, 13, 22], vec![]];
    for identity in [ReplicaIdentity::Default, ReplicaIdentity::Index, ReplicaIdentity::Full] {
        for key in &keys {
            for (name, change) in changes(identity, key.clone()) {
                if key.is_empty() && name == "delete" && identity != ReplicaIdentity::Full {
                    continue;
                }
                let back = decode(&change.table, &encode(&change));
                assert_eq!(back.len(), 1, "{name} {identity:?} {key:?}");
                for (at, cells) in cells_of(&back[0]).into_iter().zip(cells_of(&change)).enumerate() {
                    assert_eq!(cells.0, cells.1, "{name} {identity:?} {key:?}: cell {at}");
                }
                assert_eq!(back[0], change, "{name} {identity:?} {key:?}");
            }
        }
    }
}

fn cells_of(change: &Change) -> Vec<String> {
    let show = |row: &Row| {
        row.cells()
            .map(|cell| match cell {
                Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    match &change.op {
        Op::Read { new } | Op::Insert { new } => show(new),
        Op::Update { old, new } => old.iter().flat_map(|old| show(old.row())).chain(show(new)).collect(),
        Op::Delete { old } => show(old.row()),
        Op::Truncate | Op::Message(_) | Op::Commit { .. } => vec![],
    }
}

#[test]
fn under_full_identity_unchanged_values_are_taken_from_the_old_row() {
    let table = table(ReplicaIdentity::Full, vec![0]);
    let (old, new) = (usual(0), with(&usual(0), |at| is_large(at).then_some(Cell::Unchanged)));
    let change = change(&table, Op::Update { old: Some(OldRow::Full(old.clone())), new });
    let records = encode(&change);
    assert!(records.iter().all(|record| record.headers().all(|(name, _)| name != "tw.unchanged")));
    assert_eq!(decode(&table, &records)[0].op, Op::Update { old: Some(OldRow::Full(old.clone())), new: old });
}

#[test]
fn a_key_change_is_a_delete_a_tombstone_and_a_create() {
    let (_, change) = changes(ReplicaIdentity::Default, vec![0]).pop().unwrap();
    let records = encode(&change);
    let shown: Vec<_> = records.iter().map(|r| (r.key.map(text), r.value.is_some(), headers(&r)[0].clone())).collect();
    let old = "{\"id\":-9223372036854775808}".to_owned();
    let new = "{\"id\":7}".to_owned();
    let next = ("__debezium.newkey".to_owned(), new.clone());
    let expected = [
        (Some(old.clone()), true, next.clone()),
        (Some(old.clone()), false, next),
        (Some(new), true, ("__debezium.oldkey".to_owned(), old)),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn text_that_is_not_utf_8_names_its_column_and_leaves_nothing_behind() {
    let table = table(ReplicaIdentity::Default, vec![0]);
    let new = with(&usual(0), |at| (at == 11).then_some(Cell::Text(b"secret\xff")));
    let change = change(&table, Op::Insert { new });
    let mut records = Records::new();
    let error = Encoder::new(table, &settings()).unwrap().encode(&change, PgTimestamp(0), &mut records).unwrap_err();
    assert_eq!(error.to_string(), "column note: expected UTF-8");
    assert!(records.is_empty() && records.size() == 0);
}

#[test]
fn a_table_version_comes_back_as_it_was() {
    let table = table(ReplicaIdentity::Full, vec![6, 0]);
    let (key, value) = encode_table(&table, &Modes::default());
    assert_eq!(text(&key), "inv.Odd.Name tbl@3");
    assert_eq!(decode_table(&value).unwrap(), TableRecord::Version(Table::clone(&table), Modes::default()));
    for bytes in [&b"{}"[..], b"", b"null", b"{\"schema\":1}"] {
        assert!(decode_table(bytes).is_err());
    }
}

#[test]
fn that_a_table_is_followed_comes_back_under_a_key_that_no_version_has() {
    let name = TableName::new("inv", "Odd@followed");
    let membership = Membership { table: Oid(u32::MAX), publication: Oid(2), entry: Oid(0) };
    for membership in [Some(membership), None] {
        let (key, value) = encode_followed(&name, membership);
        assert_eq!(text(&key), "inv.Odd@followed@followed");
        assert_eq!(decode_table(&value).unwrap(), TableRecord::Followed(name.clone(), membership));
    }
}

#[test]
fn a_table_without_columns_has_events_too() {
    let mut table = Table::clone(&table(ReplicaIdentity::Default, vec![]));
    table.columns.clear();
    let table = Arc::new(table);
    let change = change(&table, Op::Insert { new: [].into_iter().collect() });
    assert_eq!(decode(&table, &encode(&change)), [change]);
}

#[test]
fn the_envelope_has_debeziums_form() {
    for (name, change) in changes(ReplicaIdentity::Default, vec![0, 6]) {
        golden(name, &encode(&change));
    }
    for (name, change) in changes(ReplicaIdentity::Full, vec![0]) {
        if matches!(name, "update" | "delete") {
            golden(&format!("{name}_full"), &encode(&change));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn headers(record: &tailwater::codecs::event::Record<'_>) -> Vec<(String, String)> {
    record.headers().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// Compares with `tests/golden/event/<name>.json`, one line for each field; `BLESS=1` writes it.
fn golden(name: &str, records: &Records) {
    let mut shown = String::from("[\n");
    for (at, record) in records.iter().enumerate() {
        let comma = if at + 1 < records.len() { "," } else { "" };
        let key = record.key.map_or("null".into(), text);
        let value = record.value.map_or("null".into(), text);
        let value = value.replace(",\"", ",\n    \"").replace("{\"", "{\n    \"");
        let headers = serde_json::to_string(&headers(&record)).unwrap();
        writeln!(shown, "  {{\"key\": {key},\n   \"headers\": {headers},\n   \"value\": {value}}}{comma}").unwrap();
    }
    shown.push_str("]\n");
    serde_json::from_str::<serde_json::Value>(&shown).unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/event/{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(shown.contains(&version));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        shown,
        "{} differs; BLESS=1 rewrites",
        path.display()
    );
}

/// A column with values that its type prints.
fn any_column() -> impl Strategy<Value = (PgType, i32, Vec<Option<String>>)> {
    let text = || any::<String>().prop_map(|text| text.replace('\0', ""));
    let values = |pg_type: PgType, modifier, one: BoxedStrategy<String>| {
        let several = proptest::collection::vec(proptest::option::weighted(0.8, one), 4);
        several.prop_map(move |values| (pg_type.clone(), modifier, values)).boxed()
    };
    let micros = -211_813_488_000_000_000_i64..9_223_371_331_200_000_000;
    let stamp = micros.prop_map(|micros| {
        let mut out = Vec::new();
        value::print::pg_timestamp(value::Finite::Value(micros), &mut out);
        String::from_utf8(out).unwrap()
    });
    let texts = proptest::collection::vec(proptest::option::of(text()), 0..4).prop_map(|elements| {
        let mut out = Vec::new();
        let mut writer = value::ArrayWriter::new(&mut out, b',');
        elements.iter().for_each(|element| writer.push(element.as_ref().map(String::as_bytes)));
        writer.finish();
        String::from_utf8(out).unwrap()
    });
    let hex = any::<Vec<u8>>().prop_map(|bytes| {
        let mut out = Vec::new();
        value::print::bytea(&bytes, &mut out);
        String::from_utf8(out).unwrap()
    });
    let decimal = "(0|-?[1-9][0-9]{0,50})\\.[0-9]{4}";
    prop_oneof![
        values(PgType::Int8, -1, any::<i64>().prop_map(|n| n.to_string()).boxed()),
        values(PgType::Text, -1, text().boxed()),
        values(PgType::Other { name: "xml".into() }, -1, text().boxed()),
        values(PgType::Numeric, -1, "(0|-?[1-9][0-9]{0,50})(\\.[0-9]{0,49}[1-9])?".boxed()),
        values(PgType::Numeric, numeric(100, 4), decimal.boxed()),
        values(PgType::Timestamp, -1, stamp.boxed()),
        values(PgType::Bytea, -1, hex.boxed()),
        values(array(PgType::Text), -1, texts.boxed()),
    ]
}

proptest! {
    #[test]
    fn any_row_of_any_table_comes_back(
        columns in proptest::collection::vec((any_column(), any::<String>()), 1..6),
        kinds in proptest::collection::vec(0_usize..6, 4),
        unchanged: u8,
        full: bool,
    ) {
        let named = |(at, ((pg_type, modifier, _), name)): (usize, &((PgType, i32, Vec<_>), String))| {
            column(&format!("{name}{at}"), pg_type.clone(), *modifier, true)
        };
        let table = Arc::new(Table {
            oid: Oid(1),
            name: TableName::new("inv", "Odd.Name tbl"),
            version: 3,
            columns: columns.iter().enumerate().map(named).collect(),
            identity: if full { ReplicaIdentity::Full } else { ReplicaIdentity::Default },
            key: vec![0],
        });
        let row = |i: usize| -> Row {
            let cell = |((_, _, values), _): &((PgType, i32, Vec<Option<String>>), String)| {
                values[i].clone()
            };
            let values: Vec<_> = columns.iter().map(cell).collect();
            values.iter().map(|v| v.as_ref().map_or(Cell::Null, |v| Cell::Text(v.as_bytes()))).collect()
        };
        for (i, kind) in kinds.into_iter().enumerate() {
            let new = row(i);
            let toasted = with(&new, |at| (at > 0 && unchanged >> at & 1 == 1).then_some(Cell::Unchanged));
            let before = row((i + 1) % 4);
            let op = match kind {
                0 => Op::Insert { new },
                1 => Op::Read { new },
                2 if full => Op::Delete { old: OldRow::Full(new) },
                2 => Op::Delete { old: OldRow::Key(key_of(&new, &[0])) },
                3 => Op::Truncate,
                4 if before.cell(0) != new.cell(0) => {
                    Op::Update { old: Some(OldRow::Key(key_of(&before, &[0]))), new: toasted }
                }
                _ => Op::Update { old: None, new: toasted },
            };
            let change = change(&table, op);
            let records = encode(&change);
            for record in records.iter() {
                for json in [record.key, record.value].into_iter().flatten() {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(json).is_ok());
                }
            }
            prop_assert_eq!(decode(&table, &records), vec![change]);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, cut in 0_usize..2000, flip in 0_usize..2000) {
        let (_, change) = &changes(ReplicaIdentity::Default, vec![0])[1];
        let records = encode(change);
        let record = records.iter().next().unwrap();
        let stamp = Stamp::read(record.headers()).unwrap();
        let mut decoder = Decoder::new(Arc::clone(&change.table), &Modes::default());
        let mut value = record.value.unwrap().to_vec();
        let _ = decoder.decode(&stamp, Some(&bytes));
        let _ = decoder.decode(&stamp, value.get(..cut));
        let at = flip % value.len();
        value[at] ^= 4;
        let _ = decoder.decode(&stamp, Some(&value));
    }
}
