//! Outboxes: which rows and messages are events, and of what they are made.

use std::sync::Arc;

use bytes::Bytes;
use tailwater::codecs::event::{Outbox, OutboxColumns, OutboxError, Payload, Routed, route_message};
use tailwater::model::*;

fn table(columns: &[(&str, PgType)]) -> Arc<Table> {
    let column = |(name, pg_type): &(&str, PgType)| Column {
        name: (*name).into(),
        pg_type: pg_type.clone(),
        oid: Oid(1),
        modifier: -1,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "outbox"),
        version: 1,
        columns: columns.iter().map(column).collect(),
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

fn usual() -> Arc<Table> {
    table(&[
        ("id", PgType::Uuid),
        ("aggregatetype", PgType::Varchar),
        ("aggregateid", PgType::Varchar),
        ("type", PgType::Varchar),
        ("payload", PgType::Jsonb),
        ("at", PgType::Timestamptz),
    ])
}

const ROW: [&str; 6] =
    ["a0ee", "order", "17", "OrderCreated", "{\"a\": [1, 2], \"b c\": \"d \\\" e\"}", "1970-01-01 00:00:01.5+00"];

fn row(cells: &[&str]) -> Row {
    cells.iter().map(|text| if *text == "NULL" { Cell::Null } else { Cell::Text(text.as_bytes()) }).collect()
}

fn change(op: Op) -> Change {
    let origin = Origin {
        at: PgTimestamp::from_unix_micros(9_000_000),
        xid: Some(Xid(7)),
        lsn: Lsn::new(9),
        last_commit: None,
        snapshot: None,
    };
    Change { id: ChangeId { commit: Lsn::new(10), seq: 0 }, origin, table: usual(), op }
}

fn route(columns: &OutboxColumns, form: Payload, op: Op) -> Result<Option<Routed>, OutboxError> {
    Outbox::new(&usual(), columns, form)?.route(&change(op))
}

#[test]
fn an_insert_is_an_event_with_key_value_id_and_time() {
    let insert = || Op::Insert { new: row(&ROW) };
    let event = route(&OutboxColumns::default(), Payload::Raw, insert()).unwrap().unwrap();
    assert_eq!(
        event,
        Routed {
            route: "order".into(),
            key: Some(b"17".to_vec()),
            value: Some(ROW[4].as_bytes().to_vec()),
            headers: vec![("id".into(), Some(b"a0ee".to_vec()))],
            timestamp: 9000,
        }
    );
    let columns = OutboxColumns {
        timestamp: Some("at".into()),
        headers: vec![("type".into(), "eventType".into())],
        ..OutboxColumns::default()
    };
    let event = route(&columns, Payload::Expanded, insert()).unwrap().unwrap();
    assert_eq!(event.value.unwrap(), b"{\"a\":[1,2],\"b c\":\"d \\\" e\"}");
    assert_eq!(event.headers[1], ("eventType".into(), Some(b"OrderCreated".to_vec())));
    assert_eq!(event.timestamp, 1500);
    // A row that a snapshot reads has not been told yet.
    assert!(route(&columns, Payload::Raw, Op::Read { new: row(&ROW) }).unwrap().is_some());
}

#[test]
fn deletes_and_truncates_say_nothing_and_an_update_is_a_mistake() {
    let columns = OutboxColumns::default();
    assert_eq!(route(&columns, Payload::Raw, Op::Delete { old: OldRow::Key(row(&ROW)) }), Ok(None));
    assert_eq!(route(&columns, Payload::Raw, Op::Truncate), Ok(None));
    assert_eq!(route(&columns, Payload::Raw, Op::Update { old: None, new: row(&ROW) }), Err(OutboxError::Update));
}

#[test]
fn what_is_missing_or_null_is_named() {
    let without = table(&[("id", PgType::Uuid), ("payload", PgType::Jsonb)]);
    let error = Outbox::new(&without, &OutboxColumns::default(), Payload::Raw).unwrap_err();
    assert_eq!(error.to_string(), "there is no column aggregatetype");
    let mut cells = ROW;
    cells[1] = "NULL";
    let error = route(&OutboxColumns::default(), Payload::Raw, Op::Insert { new: row(&cells) }).unwrap_err();
    assert_eq!(error.to_string(), "column aggregatetype is NULL");
    let columns = OutboxColumns { timestamp: Some("type".into()), ..OutboxColumns::default() };
    let error = Outbox::new(&usual(), &columns, Payload::Raw).unwrap_err();
    assert!(error.to_string().contains("column type is not a timestamp"), "{error}");
    // A payload may be NULL: an event without a value; so may a key.
    let mut cells = ROW;
    (cells[2], cells[4]) = ("NULL", "NULL");
    let event = route(&OutboxColumns::default(), Payload::Raw, Op::Insert { new: row(&cells) }).unwrap().unwrap();
    assert_eq!((event.key, event.value), (None, None));
}

#[test]
fn the_bytes_of_a_bytea_are_told_as_they_are() {
    let table = table(&[
        ("id", PgType::Uuid),
        ("aggregatetype", PgType::Text),
        ("aggregateid", PgType::Text),
        ("payload", PgType::Bytea),
    ]);
    let outbox = Outbox::new(&table, &OutboxColumns::default(), Payload::Raw).unwrap();
    let event = outbox.route(&change(Op::Insert { new: row(&["1", "a", "b", "\\x00ff"]) })).unwrap().unwrap();
    assert_eq!(event.value.unwrap(), [0, 255]);
}

#[test]
fn a_logical_message_is_an_event_of_its_members() {
    let content = r#"{"id": 5, "aggregatetype": "order", "aggregateid": "17", "payload": {"a": 1}, "kind": "new"}"#;
    let message = |content: &str| Emitted {
        transactional: true,
        prefix: "outbox".into(),
        content: Bytes::copy_from_slice(content.as_bytes()),
    };
    let columns = OutboxColumns { headers: vec![("kind".into(), "eventType".into())], ..OutboxColumns::default() };
    let told = |content: &str| {
        let message = message(content);
        route_message(&change(Op::Message(message.clone())), &message, &columns, Payload::Raw)
    };
    assert_eq!(
        told(content).unwrap(),
        Routed {
            route: "order".into(),
            key: Some(b"17".to_vec()),
            value: Some(b"{\"a\":1}".to_vec()),
            headers: vec![("id".into(), Some(b"5".to_vec())), ("eventType".into(), Some(b"new".to_vec()))],
            timestamp: 9000,
        }
    );
    assert_eq!(told("no JSON").unwrap_err().to_string(), "the content of message outbox is not JSON");
    assert_eq!(told("{\"id\":1}").unwrap_err().to_string(), "there is no aggregatetype in message outbox");
}
