//! Constants in keys: tables that share a topic have no key in common, and every change comes back as it was.

use std::sync::Arc;

use serde_json::{Value, json};
use tailwater::codecs::event::{
    Decoder, Encoder, FORMATS, Format, Modes, PlanError, Records, Settings, Stamp, describe,
};
use tailwater::model::*;

fn table(name: &str) -> Arc<Table> {
    let column = |name: &str, optional| Column {
        name: name.into(),
        pg_type: PgType::Int4,
        oid: Oid(23),
        modifier: -1,
        optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", name),
        version: 1,
        columns: vec![column("v", true), column("id", false)],
        identity: ReplicaIdentity::Default,
        key: vec![1],
    })
}

fn settings(format: Format, table: &Table) -> Settings {
    Settings {
        modes: Modes { format, ..Modes::default() },
        key_fields: vec![("from".into(), format!("srv \"{}\"", table.name)), ("b".into(), String::new())],
        ..Settings::new("srv", "shop")
    }
}

fn row(id: &str) -> Row {
    [Cell::Text(b"5"), Cell::Text(id.as_bytes())].into_iter().collect()
}

/// A row that gets another key.
fn change(table: &Arc<Table>) -> Change {
    let old: Row = [Cell::Null, Cell::Text(b"1")].into_iter().collect();
    let origin = Origin { at: PgTimestamp(0), xid: Some(Xid(1)), lsn: Lsn::new(1), last_commit: None, snapshot: None };
    let id = ChangeId { commit: Lsn::new(2), seq: 0 };
    Change { id, origin, table: Arc::clone(table), op: Op::Update { old: Some(OldRow::Key(old)), new: row("2") } }
}

fn encode(change: &Change, settings: &Settings) -> (Encoder, Records) {
    let mut encoder = Encoder::new(Arc::clone(&change.table), settings).unwrap();
    let mut records = Records::new();
    encoder.encode(change, PgTimestamp(0), &mut records).unwrap();
    (encoder, records)
}

#[test]
fn a_changed_key_with_constants_comes_back_in_every_form() {
    for (name, format) in FORMATS {
        let table = table("t");
        let change = change(&table);
        let (_, records) = encode(&change, &settings(format, &table));
        let mut decoder = Decoder::new(Arc::clone(&table), &Modes { format, ..Modes::default() });
        let stamps = records.iter().map(|record| (Stamp::read(record.headers()).unwrap(), record.value));
        let found: Vec<Change> = stamps.filter_map(|(stamp, value)| decoder.decode(&stamp, value).unwrap()).collect();
        assert_eq!(found, [change], "{name}");
    }
}

#[test]
fn keys_of_two_tables_differ_in_every_form() {
    for (name, format) in FORMATS {
        let keys = ["one", "two"].map(|name| {
            let table = table(name);
            let (_, records) = encode(&change(&table), &settings(format, &table));
            records.iter().map(|record| record.key.unwrap().to_vec()).collect::<Vec<_>>()
        });
        assert!(keys[0].len() == 3 && keys[0].iter().all(|key| !keys[1].contains(key)), "{name}");
        assert_eq!(keys[0][0], keys[0][1], "the tombstone has the key of its delete: {name}");
    }
}

#[test]
fn constants_stand_behind_the_columns_as_the_schemas_say() {
    let table = table("t");
    let said = |id: i32| json!({ "id": id, "from": "srv \"public.t\"", "b": "" });
    let (_, records) = encode(&change(&table), &settings(Format::Json, &table));
    let last = records.iter().last().unwrap();
    assert_eq!(last.key.unwrap(), br#"{"id":2,"from":"srv \"public.t\"","b":""}"#);
    let old = last.headers().find(|(name, _)| *name == "__debezium.oldkey").unwrap().1;
    assert_eq!(serde_json::from_slice::<Value>(old).unwrap(), said(1), "headers have the key that records have");

    let (encoder, records) = encode(&change(&table), &settings(Format::Avro, &table));
    let schema = &encoder.schemas().unwrap().0.unwrap().text;
    assert_eq!(crate::avro::read(schema, 0, records.iter().last().unwrap().key.unwrap()), said(2));

    let described = describe(&table, &settings(Format::Json, &table));
    let fields = serde_json::from_str::<Value>(&described.key_schema.unwrap()).unwrap();
    let names: Vec<&str> =
        fields["fields"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "from", "b"]);
    assert_eq!(fields["fields"][1], json!({ "type": "string", "optional": false, "field": "from" }));
}

#[test]
fn a_constant_under_the_name_of_a_column_of_the_key_is_refused() {
    let table = table("t");
    for (name, refused) in [("id", true), ("v", false)] {
        let key_fields = vec![(name.to_owned(), "x".to_owned())];
        let plan = Encoder::new(Arc::clone(&table), &Settings { key_fields, ..Settings::new("srv", "shop") });
        assert_eq!(plan.err(), refused.then(|| PlanError::KeyField("id".into())));
    }
}
