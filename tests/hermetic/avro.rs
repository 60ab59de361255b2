//! Avro: another implementation reads what the JSON form says, and every change comes back as it was.

use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tailwater::codecs::event::{Decoder, Encoder, Modes, Orders, Records, Settings, Stamp};
use tailwater::model::*;

use crate::cases::{Case, cases};

fn settings(modes: Modes) -> Settings {
    Settings { modes, ..Settings::new("srv", "shop") }
}

fn avro(modes: Modes) -> Modes {
    let mut modes = modes;
    assert!(modes.set("format", "avro"));
    modes
}

fn table(columns: &[(&PgType, i32, bool)]) -> Arc<Table> {
    let id = Column {
        name: "id".into(),
        pg_type: PgType::Int4,
        oid: Oid(23),
        modifier: -1,
        optional: false,
        default: None,
        birth: Default::default(),
    };
    let column = |(at, (pg_type, modifier, optional)): (usize, &(&PgType, i32, bool))| Column {
        name: format!("v{at}"),
        pg_type: (*pg_type).clone(),
        oid: Oid(1),
        modifier: *modifier,
        optional: *optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: std::iter::once(id).chain(columns.iter().enumerate().map(column)).collect(),
        identity: ReplicaIdentity::Full,
        key: vec![0],
    })
}

fn change(table: &Arc<Table>, op: Op) -> Change {
    let snapshot = matches!(op, Op::Read { .. }).then_some(SnapshotMark::LastInTable);
    let origin = Origin {
        at: PgTimestamp::from_unix_micros(1_478_267_490_123_456),
        xid: snapshot.is_none().then_some(Xid(4_000_000_000)),
        lsn: Lsn::new(40_270_032),
        last_commit: snapshot.is_none().then_some(Lsn::new(40_270_000)),
        snapshot,
    };
    Change { id: ChangeId { commit: Lsn::new(40_270_100), seq: 12 }, origin, table: Arc::clone(table), op }
}

fn now() -> PgTimestamp {
    PgTimestamp::from_unix_micros(1_500_000_000_000_001)
}

fn encode(change: &Change, modes: Modes) -> (Encoder, Records) {
    let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(modes)).unwrap();
    encoder.number(7, 0x0102_0304);
    let mut records = Records::new();
    encoder.encode(change, now(), &mut records).unwrap_or_else(|error| panic!("{error}: {change:?}"));
    (encoder, records)
}

/// What another implementation reads, as Connect's JSON converter would tell it.
pub fn read(schema: &str, number: u32, bytes: &[u8]) -> Value {
    let [0, head @ ..] = bytes else { panic!("the magic byte") };
    assert_eq!(head[..4], number.to_be_bytes());
    let schema = apache_avro::Schema::parse_str(schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    let mut rest = &head[4..];
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let value = reader.read_value(&mut rest).unwrap_or_else(|error| panic!("{error}"));
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    told(value)
}

fn told(value: Avro) -> Value {
    let float = |number: f64| match number {
        number if number.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        number => json!(number),
    };
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(value) => json!(value),
        Avro::Int(value) | Avro::Date(value) | Avro::TimeMillis(value) => json!(value),
        Avro::Long(value) | Avro::TimestampMillis(value) => json!(value),
        Avro::Float(value) if value.is_finite() => serde_json::from_str(&value.to_string()).unwrap(),
        Avro::Float(value) => float(f64::from(value)),
        Avro::Double(value) => float(value),
        Avro::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Avro::Decimal(decimal) => json!(STANDARD.encode(Vec::<u8>::try_from(decimal).unwrap())),
        Avro::String(text) => json!(text),
        Avro::Union(_, inner) => told(*inner),
        // Entries of a map whose keys are no strings are pairs in JSON.
        Avro::Array(items) => items.into_iter().map(told).map(pair).collect(),
        Avro::Map(items) => items.into_iter().map(|(key, value)| (key, told(value))).collect::<Map<_, _>>().into(),
        Avro::Record(fields) => {
            fields.into_iter().map(|(name, value)| (name, told(value))).collect::<Map<_, _>>().into()
        }
        other => panic!("{other:?}"),
    }
}

fn pair(entry: Value) -> Value {
    match &entry {
        Value::Object(fields) if fields.len() == 2 && fields.contains_key("key") => {
            json!([fields["key"], fields["value"]])
        }
        _ => entry,
    }
}

/// The headers of a record by name.
fn headers(records: &Records, at: usize) -> Vec<(&'static str, String)> {
    let record = records.iter().nth(at).unwrap();
    record.headers().map(|(name, value)| (name, String::from_utf8(value.to_vec()).unwrap())).collect()
}

/// JSON numbers of the same value are equal, however many digits they are written with.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

#[test]
fn another_implementation_reads_of_every_type_in_every_mode_what_the_json_form_says() {
    let mut misfits = 0;
    for case in cases() {
        for optional in [true, false] {
            let table = table(&[(&case.pg_type, case.modifier, optional)]);
            let new: Row = [Cell::Text(b"1"), Cell::Text(case.text.as_bytes())].into_iter().collect();
            let change = change(&table, Op::Update { old: Some(OldRow::Full(new.clone())), new });
            let (_, plain) = encode(&change, case.told);
            let Value::Object(mut json) = serde_json::from_slice(plain.iter().next().unwrap().value.unwrap()).unwrap()
            else {
                panic!("an object")
            };
            let (encoder, records) = encode(&change, avro(case.told));
            let (key, value) = encoder.schemas().unwrap();
            let record = records.iter().next().unwrap();
            assert_eq!(read(&key.unwrap().text, 7, record.key.unwrap()), json!({ "id": 1 }));
            let found = read(&value.text, 0x0102_0304, record.value.unwrap());
            let said: Vec<_> =
                headers(&records, 0).into_iter().filter(|(name, _)| name.starts_with("tw.values")).collect();
            if !said.is_empty() {
                // What Avro can't say is in headers, and in the row is what says nothing.
                misfits += 1;
                let text = json!({ "v0": case.text }).to_string();
                assert_eq!(said, [("tw.values", text.clone()), ("tw.values.before", text)], "{case:?}");
                if optional {
                    assert_eq!(found["after"]["v0"], Value::Null, "{case:?}");
                }
                for side in ["before", "after"] {
                    json[side]["v0"] = found[side]["v0"].clone();
                }
            }
            if json["after"]["v0"] == json!(case.text) && found["after"]["v0"].is_object() {
                // A double says what a JSON number can't.
                assert!(case.text.contains("NaN") && said.is_empty(), "{case:?}");
                continue;
            }
            assert!(same(&found, &Value::Object(json.clone())), "{case:?}\n{found}\n{}", Value::Object(json));
        }
    }
    assert!((10..60).contains(&misfits), "{misfits}");
}

#[test]
fn every_type_leads_back_to_its_text() {
    for case in cases() {
        let table = table(&[(&case.pg_type, case.modifier, true)]);
        let new: Row = [Cell::Text(b"1"), Cell::Text(case.text.as_bytes())].into_iter().collect();
        let (_, records) = encode(&change(&table, Op::Insert { new }), avro(case.told));
        let record = records.iter().next().unwrap();
        let stamp = Stamp::read(record.headers()).unwrap();
        let change = Decoder::new(table, &avro(case.told)).decode(&stamp, record.value).unwrap().unwrap();
        let Op::Insert { new } = change.op else { panic!("an insert") };
        let Cell::Text(found) = new.cell(1) else { panic!("{case:?}: {:?}", new.cell(1)) };
        // The same number may be printed with another last digit.
        let text = String::from_utf8(found.to_vec()).unwrap();
        // A misfit is told as it is, without the loss of its form.
        assert!(text == case.back() || text == case.text, "{case:?}: {text}");
    }
}

#[test]
fn an_events_place_in_its_transaction_is_told_alike_in_both_forms() {
    let table = table(&[(&PgType::Int4, -1, true)]);
    let row = |id: &[u8]| -> Row { [Cell::Text(id), Cell::Null].into_iter().collect() };
    // A changed key is two events, and its tombstone none.
    let op = Op::Update { old: Some(OldRow::Full(row(b"1"))), new: row(b"2") };
    let change = change(&table, op);
    for format in ["json", "avro"] {
        let mut modes = Modes::default();
        assert!(modes.set("format", format));
        let mut encoder = Encoder::new(Arc::clone(&table), &settings(modes)).unwrap();
        let (mut orders, mut records) = (Orders { total: 4, table: 2 }, Records::new());
        encoder.encode_placed(&change, now(), Some(&mut orders), &mut records).unwrap();
        assert_eq!(orders, Orders { total: 6, table: 4 });
        let events: Vec<Value> = records
            .iter()
            .filter_map(|record| record.value)
            .map(|bytes| match encoder.schemas() {
                Some((_, value)) => read(&value.text, 0, bytes),
                None => serde_json::from_slice(bytes).unwrap(),
            })
            .collect();
        let place =
            |total, table| json!({ "id": "4000000000:40270032", "total_order": total, "data_collection_order": table });
        assert_eq!(events.len(), 2);
        assert_eq!((&events[0]["transaction"], &events[1]["transaction"]), (&place(5, 3), &place(6, 4)));
        let mut decoder = Decoder::new(Arc::clone(&table), &modes);
        let stamps = records.iter().map(|record| (Stamp::read(record.headers()).unwrap(), record.value));
        let found: Vec<Change> = stamps.filter_map(|(stamp, value)| decoder.decode(&stamp, value).unwrap()).collect();
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn a_null_where_none_is_allowed_is_an_error_that_says_so() {
    let table = table(&[(&PgType::Int4, -1, false)]);
    let new: Row = [Cell::Text(b"1"), Cell::Null].into_iter().collect();
    let mut encoder = Encoder::new(Arc::clone(&table), &settings(avro(Modes::default()))).unwrap();
    let mut records = Records::new();
    let error = encoder.encode(&change(&table, Op::Insert { new }), now(), &mut records).unwrap_err();
    assert!(error.of_null() && records.is_empty(), "{error}");
    assert_eq!(error.to_string(), "column v0: expected a value: the column is NOT NULL");
}

#[test]
fn a_name_that_avro_does_not_allow_is_named() {
    let mut odd = (*table(&[(&PgType::Int4, -1, true)])).clone();
    for (name, legal) in [("col-1", false), ("1st", false), ("für", false), ("a b", false), ("_x1", true)] {
        odd.columns[1].name = name.into();
        let plan = Encoder::new(Arc::new(odd.clone()), &settings(avro(Modes::default())));
        assert_eq!(plan.is_ok(), legal, "{name}");
        if let Err(error) = plan {
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }
}

/// A row of each column's value number `pick`, NULL where that says so.
fn row(columns: &[(Case, bool)], id: u32, pick: &[u8]) -> Row {
    let id = id.to_string();
    let cells = columns.iter().zip(pick.iter().cycle()).map(|((case, optional), pick)| match pick % 4 {
        0 if *optional => Cell::Null,
        _ => Cell::Text(case.back().as_bytes()),
    });
    std::iter::once(Cell::Text(id.as_bytes())).chain(cells).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_any_table_comes_back_and_is_read_by_another_implementation(
        picked in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..12),
        kinds in prop::collection::vec((0_u8..6, prop::collection::vec(any::<u8>(), 1..6), 0_u32..3), 1..8),
    ) {
        // The modes of one table are the same for all its columns.
        let all: Vec<Case> = cases().into_iter().filter(|case| case.told == Modes::default()).collect();
        let columns: Vec<(Case, bool)> =
            picked.iter().map(|(index, optional)| (index.get(&all).clone(), *optional)).collect();
        let shapes: Vec<_> = columns.iter().map(|(case, optional)| (&case.pg_type, case.modifier, *optional)).collect();
        let table = table(&shapes);
        for (kind, pick, id) in kinds {
            let (new, old) = (row(&columns, id, &pick), row(&columns, 1, &pick[..1]));
            let toasted = || -> Row {
                new.cells().enumerate().map(|(at, cell)| if at % 3 == 1 { Cell::Unchanged } else { cell }).collect()
            };
            let op = match kind {
                0 => Op::Insert { new },
                1 => Op::Read { new },
                2 => Op::Delete { old: OldRow::Full(old) },
                3 => Op::Truncate,
                4 if id == 1 => Op::Update { old: Some(OldRow::Full(old)), new },
                _ => Op::Update { old: None, new: toasted() },
            };
            let change = change(&table, op);
            let (encoder, records) = encode(&change, avro(Modes::default()));
            let (key, value) = encoder.schemas().unwrap();
            let mut decoder = Decoder::new(Arc::clone(&table), &avro(Modes::default()));
            let mut found = Vec::new();
            for record in records.iter() {
                record.key.map(|bytes| read(&key.unwrap().text, 7, bytes));
                record.value.map(|bytes| read(&value.text, 0x0102_0304, bytes));
                let stamp = Stamp::read(record.headers()).unwrap();
                found.extend(decoder.decode(&stamp, record.value).unwrap());
            }
            prop_assert_eq!(found, vec![change]);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, cut in 0_usize..300, flip in 0_usize..300, bit in 0_u32..8) {
        let all = cases().into_iter().filter(|case| case.told == Modes::default()).step_by(3);
        let columns: Vec<_> = all.map(|case| (case, true)).collect();
        let shapes: Vec<_> = columns.iter().map(|(case, _)| (&case.pg_type, case.modifier, true)).collect();
        let table = table(&shapes);
        let change = change(&table, Op::Insert { new: row(&columns, 1, &[1]) });
        let (_, records) = encode(&change, avro(Modes::default()));
        let record = records.iter().next().unwrap();
        let stamp = Stamp::read(record.headers()).unwrap();
        let mut decoder = Decoder::new(table, &avro(Modes::default()));
        let mut value = record.value.unwrap().to_vec();
        let _ = decoder.decode(&stamp, Some(&bytes));
        let _ = decoder.decode(&stamp, value.get(..cut));
        let at = flip % value.len();
        value[at] ^= 1 << bit;
        let _ = decoder.decode(&stamp, Some(&value));
    }
}
