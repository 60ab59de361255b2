//! Transactions and heartbeats: their records and their schemas, as Debezium's connector writes and registers them.

use serde_json::json;
use tailwater::codecs::event::{Modes, Notice, Notices, Settings};
use tailwater::model::*;

fn notices(notice: Notice, format: &str, inline_schema: bool) -> Notices {
    let mut modes = Modes::default();
    assert!(modes.set("format", format));
    let settings = Settings { modes, inline_schema, ..Settings::new("srv", "shop") };
    Notices::new(notice, &settings)
}

fn text((key, value): (Vec<u8>, Vec<u8>)) -> (String, String) {
    (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())
}

fn at() -> PgTimestamp {
    PgTimestamp::from_unix_micros(1_795_247_870_842_999)
}

#[test]
fn a_transactions_beginning_and_end_are_told_as_debezium_does() {
    let notices = notices(Notice::Transaction, "json", false);
    assert_eq!(notices.topic(), "srv.transaction");
    assert_eq!(
        text(notices.begin(Xid(884), Lsn::new(54_160_056), at())),
        (
            r#"{"id":"884:54160056"}"#.to_owned(),
            r#"{"status":"BEGIN","id":"884:54160056","event_count":null,"data_collections":null,"ts_ms":1795247870842}"#.to_owned(),
        )
    );
    let tables = [("public.k2".to_owned(), 1), ("public.t".to_owned(), 2)];
    assert_eq!(
        text(notices.end(Xid(888), Lsn::new(54_161_232), at(), &tables)),
        (
            r#"{"id":"888:54161232"}"#.to_owned(),
            r#"{"status":"END","id":"888:54161232","event_count":3,"data_collections":[{"data_collection":"public.k2","event_count":1},{"data_collection":"public.t","event_count":2}],"ts_ms":1795247870842}"#.to_owned(),
        )
    );
}

#[test]
fn a_heartbeat_is_told_as_debezium_does() {
    let notices = notices(Notice::Heartbeat, "json", false);
    assert_eq!(notices.topic(), "__debezium-heartbeat.srv");
    let (key, value) = text(notices.heartbeat("srv", at()));
    assert_eq!((key.as_str(), value.as_str()), (r#"{"serverName":"srv"}"#, r#"{"ts_ms":1795247870842}"#));
}

#[test]
fn inline_schemas_stand_beside_them_when_asked() {
    let (key, value) = text(notices(Notice::Heartbeat, "json", true).heartbeat("srv", at()));
    assert_eq!(
        key,
        r#"{"schema":{"type":"struct","fields":[{"type":"string","optional":false,"field":"serverName"}],"optional":false,"name":"io.debezium.connector.common.ServerNameKey","version":1},"payload":{"serverName":"srv"}}"#
    );
    assert!(value.ends_with(r#""payload":{"ts_ms":1795247870842}}"#), "{value}");
}

#[test]
fn their_avro_schemas_are_debeziums_and_another_implementation_reads_them() {
    let mut heartbeat = notices(Notice::Heartbeat, "avro", false);
    let mut transaction = notices(Notice::Transaction, "avro", false);
    for (notices, key, value) in [
        (
            &heartbeat,
            r#"{"type":"record","name":"ServerNameKey","namespace":"io.debezium.connector.common","fields":[{"name":"serverName","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.ServerNameKey"}"#,
            r#"{"type":"record","name":"Heartbeat","namespace":"io.debezium.connector.common","fields":[{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.Heartbeat"}"#,
        ),
        (
            &transaction,
            r#"{"type":"record","name":"TransactionMetadataKey","namespace":"io.debezium.connector.common","fields":[{"name":"id","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataKey"}"#,
            r#"{"type":"record","name":"TransactionMetadataValue","namespace":"io.debezium.connector.common","fields":[{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"],"default":null},{"name":"data_collections","type":["null",{"type":"array","items":["null",{"type":"record","name":"collection","namespace":"event","fields":[{"name":"data_collection","type":"string"},{"name":"event_count","type":"long"}],"connect.version":1,"connect.name":"event.collection"}]}],"default":null},{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}"#,
        ),
    ] {
        let (found_key, found_value) = notices.schemas().unwrap();
        assert_eq!((found_key.text.as_str(), found_value.text.as_str()), (key, value));
    }
    heartbeat.number(1, 2);
    transaction.number(3, 0x0405);
    let (key, value) = heartbeat.heartbeat("srv", at());
    let (of_key, of_value) = heartbeat.schemas().unwrap();
    assert_eq!(super::avro::read(&of_key.text, 1, &key), json!({ "serverName": "srv" }));
    assert_eq!(super::avro::read(&of_value.text, 2, &value), json!({ "ts_ms": 1_795_247_870_842_i64 }));
    let (of_key, of_value) = transaction.schemas().unwrap();
    let (key, value) = transaction.end(Xid(7), Lsn::new(90), at(), &[("public.t".to_owned(), 200)]);
    assert_eq!(super::avro::read(&of_key.text, 3, &key), json!({ "id": "7:90" }));
    assert_eq!(
        super::avro::read(&of_value.text, 0x0405, &value),
        json!({ "status": "END", "id": "7:90", "event_count": 200, "ts_ms": 1_795_247_870_842_i64,
            "data_collections": [{ "data_collection": "public.t", "event_count": 200 }] })
    );
    let (_, value) = transaction.begin(Xid(7), Lsn::new(80), at());
    let begin = super::avro::read(&of_value.text, 0x0405, &value);
    assert_eq!((&begin["status"], &begin["event_count"]), (&json!("BEGIN"), &json!(null)));
}
