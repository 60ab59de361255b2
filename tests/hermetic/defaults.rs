//! Column defaults: in schemas, in the records of the tables topic, under masks.

use std::sync::Arc;

use serde_json::{Value, json};
use tailwater::codecs::event::{Modes, Settings, TableRecord, decode_table, describe, encode_table};
use tailwater::logic::project::{Mask, Origins, Projection, Rule};
use tailwater::model::*;

fn literal(text: &str) -> Option<ColumnDefault> {
    Some(ColumnDefault::Literal(text.into()))
}

fn table(pg_type: PgType, oid: u32, modifier: i32, default: Option<ColumnDefault>) -> Table {
    let optional = default != Some(ColumnDefault::Sequence);
    let column =
        Column { name: "c".into(), pg_type, oid: Oid(oid), modifier, optional, default, birth: Default::default() };
    let id = Column {
        name: "id".into(),
        pg_type: PgType::Int8,
        oid: Oid(20),
        modifier: -1,
        optional: false,
        default: Some(ColumnDefault::Sequence),
        birth: Default::default(),
    };
    Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: vec![id, column],
        identity: ReplicaIdentity::Default,
        key: vec![0],
    }
}

fn settings(modes: Modes) -> Settings {
    Settings { modes, inline_schema: true, ..Settings::new("srv", "shop") }
}

/// What the Connect schema of the row says of the column's default.
fn told(table: &Table, modes: Modes) -> Option<Value> {
    let described = describe(table, &settings(modes));
    let schema: Value = serde_json::from_str(&described.value_schema).unwrap();
    schema["fields"][1]["fields"][1].get("default").cloned()
}

fn other(name: &str) -> PgType {
    PgType::Other { name: name.into() }
}

#[test]
fn a_default_has_the_form_of_the_columns_values() {
    let mood = PgType::Enum { name: "mood".into(), labels: vec!["sad".into()] };
    for (pg_type, oid, modifier, text, expected) in [
        (PgType::Int2, 21, -1, "7", json!(7)),
        (PgType::Int8, 20, -1, "-5", json!(-5)),
        (PgType::Float4, 700, -1, "0.1", json!(0.1)),
        (PgType::Float8, 701, -1, "1.5", json!(1.5)),
        (PgType::Bool, 16, -1, "t", json!(true)),
        (PgType::Numeric, 1700, (10 << 16) + 2 + 4, "1.50", json!("AJY=")),
        (PgType::Text, 25, -1, "it's \"x\"", json!("it's \"x\"")),
        (PgType::Date, 1082, -1, "2016-11-04", json!(17109)),
        (PgType::Time, 1083, -1, "10:00:00", json!(36_000_000_000i64)),
        (PgType::Timestamp, 1114, 3, "1970-01-01 00:00:01", json!(1000)),
        (PgType::Timestamptz, 1184, -1, "2016-11-04 11:51:30+00", json!("2016-11-04T11:51:30.000000Z")),
        (PgType::Uuid, 2950, -1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        (PgType::Jsonb, 3802, -1, "{}", json!("{}")),
        (mood, 16_400, -1, "sad", json!("sad")),
        (other("interval"), 1186, -1, "00:00:01", json!(1_000_000)),
        (other("bit"), 1560, 9, "000000101", json!("BQ==")),
        (other("bit"), 1560, 1, "1", json!(true)),
    ] {
        let name = pg_type.name();
        assert_eq!(told(&table(pg_type, oid, modifier, literal(text)), Modes::default()), Some(expected), "{name}");
    }
}

#[test]
fn a_default_follows_the_modes() {
    let numeric = table(PgType::Numeric, 1700, (10 << 16) + 2 + 4, literal("1.50"));
    let time = table(PgType::Timestamp, 1114, -1, Some(ColumnDefault::Now));
    for (key, mode, table, expected) in [
        ("decimal", "string", &numeric, json!("1.50")),
        ("decimal", "double", &numeric, json!(1.5)),
        ("time", "connect", &time, json!(0)),
        ("time", "isostring", &time, json!("1970-01-01T00:00:00Z")),
    ] {
        let mut modes = Modes::default();
        assert!(modes.set(key, mode));
        assert_eq!(told(table, modes), Some(expected), "{key} {mode}");
    }
}

#[test]
fn a_sequence_is_told_as_zero_and_the_time_as_the_epoch() {
    let now = |pg_type, oid, modifier| told(&table(pg_type, oid, modifier, Some(ColumnDefault::Now)), Modes::default());
    assert_eq!(told(&table(PgType::Int4, 23, -1, Some(ColumnDefault::Sequence)), Modes::default()), Some(json!(0)));
    assert_eq!(now(PgType::Timestamp, 1114, -1), Some(json!(0)));
    assert_eq!(now(PgType::Date, 1082, -1), Some(json!(0)));
    assert_eq!(now(PgType::Timestamptz, 1184, 3), Some(json!("1970-01-01T00:00:00.000Z")));
    let key: Value = serde_json::from_str(
        &describe(&table(PgType::Int4, 23, -1, None), &settings(Modes::default())).key_schema.unwrap(),
    )
    .unwrap();
    assert_eq!(key["fields"][0]["default"], 0, "keys have it too");
}

#[test]
fn types_whose_defaults_debezium_does_not_tell_have_none() {
    for (pg_type, oid, text) in [
        (PgType::Bytea, 17, "\\x01"),
        (PgType::Array(Box::new(PgType::Int4)), 1007, "{1}"),
        (PgType::Numeric, 1700, "1.5"),
        (PgType::Oid, 26, "1"),
        (PgType::Int4, 16_500, "1"),
        (other("money"), 790, "$1.00"),
        (other("inet"), 869, "::1"),
        (other("citext"), 16_501, "a"),
        (other("point"), 600, "(1,2)"),
        (PgType::Float8, 701, "NaN"),
        (PgType::Timestamp, 1114, "0001-01-01 00:00:00.0000001 BC"),
    ] {
        let name = pg_type.name();
        assert_eq!(told(&table(pg_type, oid, -1, literal(text)), Modes::default()), None, "{name} {oid}");
    }
}

#[test]
fn a_default_is_part_of_the_shape_and_of_its_record() {
    let before = table(PgType::Int4, 23, -1, literal("1"));
    for default in [None, literal("2"), Some(ColumnDefault::Sequence), Some(ColumnDefault::Now)] {
        let after = Table { version: 2, ..table(PgType::Int4, 23, -1, default) };
        assert!(!after.same_shape(&before));
        let (_, value) = encode_table(&after, &Modes::default());
        let Ok(TableRecord::Version(back, _)) = decode_table(&value) else { panic!() };
        assert_eq!(back, after);
    }
    let (_, value) = encode_table(&before, &Modes::default());
    let mut old: Value = serde_json::from_slice(&value).unwrap();
    for column in old["columns"].as_array_mut().unwrap() {
        column.as_object_mut().unwrap().remove("default").unwrap();
    }
    let Ok(TableRecord::Version(back, _)) = decode_table(old.to_string().as_bytes()) else { panic!() };
    assert!(back.columns.iter().all(|column| column.default.is_none()), "records without defaults are still read");
}

#[test]
fn a_masked_columns_default_is_not_told() {
    let rule = Rule {
        tables: Pattern::new("public.t"),
        exclude: Vec::new(),
        unpublished: false,
        masks: vec![("c".into(), Mask::Redact)],
        renames: Vec::new(),
        casts: Vec::new(),
        key: None,
        rename: None,
        source: None,
    };
    let told = Projection::new(vec![rule], Origins::default())
        .table(&Arc::new(table(PgType::Text, 25, -1, literal("secret"))))
        .unwrap();
    assert_eq!(told.columns[1].default, None);
}
