//! Logical messages: from the stream to changes, and what they look like as events.

use std::sync::Arc;

use crate::avro::read;
use bytes::Bytes;
use serde_json::{Value, json};
use tailwater::codecs::event::{Binaries, Encoder, Format, Modes, Records, Settings, Stamp, message_id};
use tailwater::codecs::pgoutput::{Begin, Commit, Insert, Logical, Message, Relation, RelationColumn};
use tailwater::logic::assemble::{Assembler, Description, Step, shape};
use tailwater::model::*;

fn begin(lsn: u64) -> Message {
    Message::Begin(Begin { final_lsn: Lsn::new(lsn), at: PgTimestamp(7), xid: Xid(9) })
}

fn commit(lsn: u64, end: u64) -> Message {
    Message::Commit(Commit { commit_lsn: Lsn::new(lsn), end_lsn: Lsn::new(end), at: PgTimestamp(7) })
}

fn message(transactional: bool, lsn: u64, prefix: &str) -> Message {
    let content = Bytes::from(format!("at {lsn}"));
    Message::Logical(Logical { xid: None, transactional, lsn: Lsn::new(lsn), prefix: prefix.to_owned(), content })
}

fn relation() -> Relation {
    let column = RelationColumn { key: true, name: "id".into(), type_oid: Oid(20), modifier: -1 };
    let (schema, name) = ("public".into(), "t".into());
    Relation { xid: None, oid: Oid(1), schema, name, identity: ReplicaIdentity::Default, columns: vec![column] }
}

fn insert() -> Message {
    let new = [Cell::Text(b"1")].into_iter().collect();
    Message::Insert(Insert { xid: None, relation: Oid(1), new })
}

fn all() -> Option<Patterns> {
    Some(Patterns::default())
}

/// Id and prefix of each change, and the boundaries' ends.
type Told = (Vec<(u64, u64, String)>, Vec<u64>);

fn run(stored: u64, messages: Option<Patterns>, script: &[Message]) -> Result<Told> {
    let mut assembler = Assembler::new(Lsn::new(stored)).with_messages(messages);
    assembler.sent(PgTimestamp(70));
    let (mut changes, mut ends) = (Vec::new(), Vec::new());
    for message in script {
        let lsn = match message {
            Message::Logical(logical) => logical.lsn,
            _ => Lsn::new(1),
        };
        match assembler.feed(message.clone(), lsn, &mut changes)? {
            Step::Going => {}
            Step::Boundary { end, .. } => ends.push(end.get()),
            Step::Describe(relation) => {
                let table = shape(&relation, &Description::default());
                assembler.define(relation, table, Lsn::ZERO);
            }
        }
    }
    let told = changes.into_iter().map(|change| {
        let prefix = match change.op {
            Op::Message(emitted) => emitted.prefix,
            _ => "row".to_owned(),
        };
        (change.id.commit.get(), change.id.seq, prefix)
    });
    Ok((told.collect(), ends))
}

fn told(ids: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    ids.iter().map(|(commit, seq, prefix)| (*commit, *seq, (*prefix).to_owned())).collect()
}

fn script() -> Vec<Message> {
    vec![
        message(false, 80, "a"),
        begin(104),
        Message::Relation(relation()),
        message(true, 88, "a"),
        insert(),
        message(true, 96, "b"),
        commit(104, 144),
        // Its record ends where the next commit's begins.
        message(false, 192, "b"),
        begin(192),
        Message::Relation(relation()),
        insert(),
        commit(192, 240),
    ]
}

#[test]
fn messages_come_where_they_stand_in_the_log() {
    let (changes, ends) = run(0, all(), &script()).unwrap();
    let expected = [(78, 0, "a"), (104, 0, "a"), (104, 1, "row"), (104, 2, "b"), (190, 0, "b"), (192, 0, "row")];
    assert_eq!(changes, told(&expected));
    assert_eq!(ends, [80, 144, 192, 240], "each that stands alone is complete by itself");
    assert!(changes.is_sorted());
}

#[test]
fn what_is_not_chosen_is_not_told_and_shifts_no_ids() {
    let only_a = Some(Patterns { include: vec![Pattern::new("a")], exclude: Vec::new() });
    let (changes, ends) = run(0, only_a, &script()).unwrap();
    assert_eq!(changes, told(&[(78, 0, "a"), (104, 0, "a"), (104, 1, "row"), (192, 0, "row")]));
    assert_eq!(ends, [80, 144, 192, 240]);
    let (changes, _) = run(0, None, &script()).unwrap();
    assert_eq!(changes, told(&[(104, 0, "row"), (192, 0, "row")]));
}

#[test]
fn after_a_restart_what_is_stored_does_not_come_again_and_the_rest_does() {
    let everything = run(0, all(), &script()).unwrap().0;
    // The ends of all that is complete, as positions that a sink may have stored.
    for (stored, had) in [(80, 1), (144, 4), (192, 5), (240, 6)] {
        let (rest, _) = run(stored, all(), &script()).unwrap();
        assert_eq!(rest, everything[had..], "stored {stored}");
    }
}

#[test]
fn a_message_of_no_transaction_inside_of_one_or_out_of_order_is_refused() {
    let inside = [begin(104), message(false, 96, "a")];
    let late = [begin(104), commit(104, 144), message(false, 136, "a")];
    for (script, what) in [(&inside[..], "inside"), (&late, "committed later")] {
        let error = run(0, all(), script).unwrap_err();
        assert_eq!(error.class(), Class::Corrupt);
        assert!(error.to_string().contains(what), "{error}");
    }
}

fn settings(modes: Modes, inline_schema: bool) -> Settings {
    Settings { modes, inline_schema, ..Settings::new("srv", "shop") }
}

fn emitted(transactional: bool) -> Change {
    let lsn = Lsn::new(0x1234);
    let origin = Origin {
        at: PgTimestamp::from_unix_micros(5_000_000),
        xid: transactional.then_some(Xid(7)),
        lsn,
        last_commit: Some(lsn),
        snapshot: None,
    };
    let op = Op::Message(Emitted { transactional, prefix: "a\"b".into(), content: Bytes::from_static(b"\x00\xff") });
    let table = Arc::new(Table::of_messages());
    Change { id: ChangeId { commit: lsn, seq: 3 }, origin, table, op }
}

fn encoded(transactional: bool, settings: &Settings) -> (Value, Value, Vec<(String, String)>) {
    let change = emitted(transactional);
    let table = Arc::clone(&change.table);
    let mut records = Records::new();
    Encoder::new(table, settings)
        .unwrap()
        .encode(&change, PgTimestamp::from_unix_micros(6_000_000), &mut records)
        .unwrap();
    assert_eq!(records.len(), 1);
    let record = records.iter().next().unwrap();
    assert_eq!(message_id(record.headers()), Some(change.id));
    assert_eq!(Stamp::read(record.headers()), None, "it is no change of a table");
    let headers = record.headers().map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()));
    let json = |text: Option<&[u8]>| serde_json::from_slice(text.unwrap()).unwrap();
    (json(record.key), json(record.value), headers.collect())
}

#[test]
fn a_message_has_debeziums_shape() {
    let (key, value, headers) = encoded(true, &settings(Modes::default(), false));
    assert_eq!(key, json!({ "prefix": "a\"b" }));
    let source = json!({
        "version": env!("CARGO_PKG_VERSION"), "connector": "postgresql", "name": "srv", "ts_ms": 5000,
        "snapshot": "false", "db": "shop", "sequence": "[\"4660\",\"4660\"]", "ts_us": 5_000_000,
        "ts_ns": 5_000_000_000_i64, "schema": "", "table": "", "txId": 7, "lsn": 4660, "xmin": null, "origin": null,
        "origin_lsn": null,
    });
    let message = json!({ "prefix": "a\"b", "content": "AP8=" });
    let expected = json!({ "op": "m", "ts_ms": 6000, "source": source, "transaction": null, "message": message });
    assert_eq!(value, expected);
    let members: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 5);
    assert_eq!(headers, [("tw.commit_lsn".to_owned(), "4660".to_owned()), ("tw.seq".to_owned(), "3".to_owned())]);
    let (_, value, _) = encoded(false, &settings(Modes::default(), false));
    assert_eq!(value["source"]["txId"], Value::Null);
}

#[test]
fn content_takes_the_form_of_bytes_and_the_schema_says_so() {
    for (binary, content, shape) in [
        (Binaries::Bytes, "AP8=", "bytes"),
        (Binaries::Base64, "AP8=", "string"),
        (Binaries::Base64Url, "AP8=", "string"),
        (Binaries::Hex, "00ff", "string"),
    ] {
        let modes = Modes { binary, ..Modes::default() };
        let (key, value, _) = encoded(true, &settings(modes, true));
        assert_eq!(value["payload"]["message"]["content"], content);
        assert_eq!(key["payload"], json!({ "prefix": "a\"b" }));
        let field = json!({ "type": "string", "optional": true, "field": "prefix" });
        let name = "io.debezium.connector.postgresql.MessageKey";
        let schema = json!({ "type": "struct", "fields": [field], "optional": false, "name": name, "version": 1 });
        assert_eq!(key["schema"], schema);
        let schema = &value["schema"];
        assert_eq!(schema["name"], "io.debezium.connector.postgresql.MessageValue");
        let fields: Vec<&str> =
            schema["fields"].as_array().unwrap().iter().map(|field| field["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["op", "ts_ms", "source", "transaction", "message"]);
        let message = &schema["fields"][4];
        assert_eq!(
            (&message["name"], &message["optional"]),
            (&json!("io.debezium.connector.postgresql.Message"), &json!(false))
        );
        assert_eq!((&message["fields"][1]["type"], &message["fields"][1]["optional"]), (&json!(shape), &json!(true)));
    }
}

#[test]
fn another_implementation_reads_of_avro_what_json_says() {
    for binary in [Binaries::Bytes, Binaries::Hex] {
        let modes = Modes { binary, ..Modes::default() };
        let (key, value, _) = encoded(true, &settings(modes, false));
        let change = emitted(true);
        let avro = settings(Modes { format: Format::Avro, ..modes }, false);
        let mut encoder = Encoder::new(Arc::clone(&change.table), &avro).unwrap();
        encoder.number(5, 6);
        let mut records = Records::new();
        encoder.encode(&change, PgTimestamp::from_unix_micros(6_000_000), &mut records).unwrap();
        let record = records.iter().next().unwrap();
        let (of_key, of_value) = encoder.schemas().unwrap();
        let of_key = of_key.unwrap();
        assert_eq!(of_key.name, "io.debezium.connector.postgresql.MessageKey");
        assert_eq!(of_value.name, "io.debezium.connector.postgresql.MessageValue");
        assert_eq!(read(&of_key.text, 5, record.key.unwrap()), key);
        assert_eq!(read(&of_value.text, 6, record.value.unwrap()), value);
    }
}
