//! Names that Avro refuses, in events and back.

use std::sync::Arc;

use tailwater::codecs::event::{Decoder, Encoder, Modes, Records, Settings, Stamp, describe};
use tailwater::model::*;

fn table() -> Arc<Table> {
    let column = |name: &str| Column {
        name: name.into(),
        pg_type: PgType::Text,
        oid: Oid(25),
        modifier: -1,
        optional: name != "id-1",
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("inv", "Name tbl"),
        version: 1,
        columns: ["id-1", "2nd", "größe"].map(column).into(),
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

fn settings(adjustment: &str) -> Settings {
    let mut modes = Modes::default();
    assert!(modes.set("name_adjustment", adjustment));
    Settings { modes, inline_schema: true, ..Settings::new("srv", "d") }
}

#[test]
fn adjusted_names_stand_in_values_keys_headers_and_schemas_and_lead_back_to_the_columns() {
    let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    let old: Row = [Cell::Text(b"k"), Cell::Null, Cell::Null].into_iter().collect();
    let new: Row = [Cell::Text(b"l"), Cell::Unchanged, Cell::Text(b"x")].into_iter().collect();
    let op = Op::Update { old: Some(OldRow::Key(old)), new };
    let change = Change { id: ChangeId { commit: Lsn::new(5), seq: 0 }, origin, table: table(), op };
    for (adjustment, [id, second, size], schema) in [
        ("none", ["id-1", "2nd", "größe"], "srv.inv.Name_tbl"),
        ("avro", ["id_1", "_2nd", "gr__e"], "srv.inv.Name_tbl"),
        ("avro_unicode", ["id_u002d1", "_u0032nd", "gr_u00f6_u00dfe"], "srv.inv.Name_u005ftbl"),
    ] {
        let settings = settings(adjustment);
        let mut records = Records::new();
        Encoder::new(table(), &settings).unwrap().encode(&change, PgTimestamp(0), &mut records).unwrap();
        let create = records.iter().nth(2).expect("a delete, a tombstone and a create");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let value = text(create.value.unwrap());
        for name in [id, second, size] {
            assert!(value.contains(&format!("\"field\":\"{name}\"")), "{value}");
            assert!(value.contains(&format!("\"{name}\":\"")), "{value}");
        }
        assert!(value.contains(&format!("\"name\":\"{schema}.Envelope\"")), "{value}");
        let key = text(create.key.unwrap());
        assert!(key.ends_with(&format!("\"payload\":{{\"{id}\":\"l\"}}}}")), "{key}");
        let header =
            |name: &str| create.headers().find(|(found, _)| *found == name).map(|(_, value)| text(value)).unwrap();
        assert_eq!(header("__debezium.oldkey"), format!("{{\"{id}\":\"k\"}}"));
        assert_eq!(header("tw.unchanged"), format!("[\"{second}\"]"));

        let stamp = Stamp::read(create.headers()).unwrap();
        let decoded = Decoder::new(table(), &settings.modes).decode(&stamp, create.value).unwrap();
        assert_eq!(decoded.as_ref(), Some(&change));
        assert!(describe(&table(), &settings).value_schema.contains(second));
    }
}
