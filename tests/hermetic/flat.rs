//! Rows without an envelope.

use std::sync::Arc;

use serde_json::{Value, json};
use tailwater::codecs::event::{ADDED, DELETES, Deletes, Encoder, Flat, Modes, PLACEHOLDER, Records, Settings, Shapes};
use tailwater::model::*;

fn table() -> Arc<Table> {
    let column = |name: &str, pg_type, optional| Column {
        name: name.into(),
        pg_type,
        oid: Oid(1),
        modifier: -1,
        optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: vec![column("id", PgType::Int4, false), column("v", PgType::Text, true)],
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

fn told(flat: Flat, op: Op) -> Vec<(Value, Option<Value>)> {
    let settings = Settings {
        tombstones: false,
        modes: Modes { kind: Shapes::Flat, ..Modes::default() },
        flat,
        ..Settings::new("s", "shop")
    };
    let at = PgTimestamp::from_unix_micros(5_000_000);
    let origin = Origin { at, xid: Some(Xid(7)), lsn: Lsn::new(9), last_commit: None, snapshot: None };
    let change = Change { id: ChangeId { commit: Lsn::new(8), seq: 0 }, origin, table: table(), op };
    let mut records = Records::new();
    Encoder::new(table(), &settings)
        .unwrap()
        .encode(&change, PgTimestamp::from_unix_micros(6_000_000), &mut records)
        .unwrap();
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
    records.iter().map(|record| (record.key.map_or(Value::Null, parse), record.value.map(parse))).collect()
}

fn row(id: &'static str, v: Cell<'static>) -> Row {
    [Cell::Text(id.as_bytes()), v].into_iter().collect()
}

fn delete() -> Op {
    Op::Delete { old: OldRow::Key(row("1", Cell::Null)) }
}

#[test]
fn a_row_is_alone_and_has_what_is_added_after_its_columns() {
    let insert = || Op::Insert { new: row("1", Cell::Text(b"a")) };
    assert_eq!(told(Flat::default(), insert()), [(json!({ "id": 1 }), Some(json!({ "id": 1, "v": "a" })))]);
    let fields = ADDED.map(|(_, added)| added).into();
    let found = told(Flat { deletes: Deletes::Rewrite, fields }, insert());
    let expected = json!({
        "id": 1, "v": "a", "__op": "c", "__ts_ms": 6000, "__db": "shop", "__schema": "public", "__table": "t",
        "__txId": 7, "__lsn": 9, "__source_ts_ms": 5000, "__deleted": "false",
    });
    assert_eq!(found, [(json!({ "id": 1 }), Some(expected))]);
    assert_eq!(told(Flat::default(), Op::Truncate), []);
}

#[test]
fn a_delete_becomes_what_is_asked_for() {
    let key = || json!({ "id": 1 });
    let gone = || Some(json!({ "id": 1, "v": null, "__deleted": "true" }));
    for (name, deletes) in DELETES {
        let expected = match deletes {
            Deletes::Tombstone => vec![(key(), None)],
            Deletes::Drop => vec![],
            Deletes::Rewrite => vec![(key(), gone())],
            Deletes::RewriteWithTombstone => vec![(key(), gone()), (key(), None)],
        };
        assert_eq!(told(Flat { deletes, fields: vec![] }, delete()), expected, "{name}");
    }
}

#[test]
fn a_changed_key_ends_one_row_and_begins_another() {
    let old = Some(OldRow::Key(row("1", Cell::Null)));
    let found = told(Flat::default(), Op::Update { old, new: row("2", Cell::Unchanged) });
    let begun = json!({ "id": 2, "v": PLACEHOLDER });
    assert_eq!(found, [(json!({ "id": 1 }), None), (json!({ "id": 2 }), Some(begun))]);
}
