//! The Connect schema beside a payload: its exact form, and that payloads are what it says.

use std::sync::Arc;

use serde_json::Value;
use tailwater::codecs::event::{Decoder, Encoder, Modes, Records, Settings, Shapes, Stamp, describe};
use tailwater::model::*;

use crate::cases::named;

fn settings(modes: Modes) -> Settings {
    Settings { modes, inline_schema: true, ..Settings::new("srv", "shop") }
}

/// Type, modifier, value.
const COLUMNS: [(&str, i32, &str); 33] = [
    ("integer", -1, "7"),
    ("smallint", -1, "1"),
    ("bigint", -1, "2"),
    ("real", -1, "0.5"),
    ("double precision", -1, "0.5"),
    ("boolean", -1, "t"),
    ("text", -1, "a"),
    ("bytea", -1, "\\x01"),
    ("numeric", 655366, "12.34"),
    ("numeric", -1, "1.5"),
    ("money", -1, "$1.50"),
    ("date", -1, "2016-11-04"),
    ("time without time zone", 3, "10:00:00"),
    ("time without time zone", -1, "10:00:00"),
    ("time with time zone", -1, "10:00:00+00"),
    ("timestamp without time zone", 3, "2016-11-04 13:51:07"),
    ("timestamp without time zone", -1, "2016-11-04 13:51:07"),
    ("timestamp with time zone", -1, "2016-11-04 11:51:30+00"),
    ("interval", -1, "1 day"),
    ("uuid", -1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("jsonb", -1, "{}"),
    ("xml", -1, "<a/>"),
    ("bit", 1, "1"),
    ("bit", 9, "000000101"),
    ("bit varying", -1, "1"),
    ("point", -1, "(1,2)"),
    ("geometry", -1, "0101000000000000000000F03F0000000000000040"),
    ("hstore", -1, "\"a\"=>NULL"),
    ("vector", -1, "[1,2]"),
    ("sparsevec", -1, "{1:1.5}/5"),
    ("inet", -1, "::1"),
    ("integer[]", -1, "{1,NULL}"),
    ("numeric[]", 655366, "{1.20,NULL}"),
];

fn table() -> Arc<Table> {
    let mut columns: Vec<Column> = COLUMNS
        .iter()
        .enumerate()
        .map(|(at, (name, modifier, _))| Column {
            name: format!("c{at}"),
            pg_type: named(name),
            oid: Oid(1),
            modifier: *modifier,
            optional: at > 0,
            default: None,
            birth: Default::default(),
        })
        .collect();
    let mood = PgType::Enum { name: "mood".into(), labels: vec!["sad".into(), "ok".into()] };
    for (name, pg_type) in [("mood", mood.clone()), ("moods", PgType::Array(Box::new(mood)))] {
        columns.push(Column {
            name: name.into(),
            pg_type,
            oid: Oid(1),
            modifier: -1,
            optional: false,
            default: None,
            birth: Default::default(),
        });
    }
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("inv", "all types"),
        version: 1,
        columns,
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

fn row() -> Row {
    let values = COLUMNS.iter().map(|(.., value)| *value).chain(["ok", "{sad}"]);
    values.map(|value| Cell::Text(value.as_bytes())).collect()
}

/// Panics unless a value is what a schema says.
fn conforms(schema: &Value, value: &Value, path: &str) {
    if value.is_null() {
        assert_eq!(schema["optional"], true, "{path} is null");
        return;
    }
    let fits = match schema["type"].as_str().unwrap() {
        "int16" | "int32" | "int64" => value.is_i64(),
        "float" | "double" => value.is_number(),
        "boolean" => value.is_boolean(),
        "string" | "bytes" => value.is_string(),
        "array" => {
            let items = value.as_array().unwrap_or_else(|| panic!("{path}: {value}"));
            items.iter().for_each(|item| conforms(&schema["items"], item, path));
            true
        }
        "map" => value.is_object() || value.is_array(),
        "struct" => {
            let fields = schema["fields"].as_array().unwrap();
            let members = value.as_object().unwrap_or_else(|| panic!("{path}: {value}"));
            assert_eq!(members.len(), fields.len(), "{path}");
            for field in fields {
                let name = field["field"].as_str().unwrap();
                conforms(
                    field,
                    members.get(name).unwrap_or_else(|| panic!("{path}.{name}")),
                    &format!("{path}.{name}"),
                );
            }
            true
        }
        other => panic!("{path}: {other}"),
    };
    assert!(fits, "{path}: {schema} {value}");
}

fn all_modes() -> Vec<Modes> {
    let mut all = vec![Modes::default()];
    for (key, names) in Modes::keys() {
        for name in names {
            let mut modes = Modes::default();
            assert!(modes.set(key, name));
            all.push(modes);
        }
    }
    all
}

#[test]
fn payloads_are_what_the_schema_beside_them_says_in_every_mode_and_come_back() {
    let table = table();
    let origin = Origin { at: PgTimestamp(0), xid: Some(Xid(7)), lsn: Lsn::new(9), last_commit: None, snapshot: None };
    let old: Row = row().cells().enumerate().map(|(at, cell)| if at == 0 { cell } else { Cell::Null }).collect();
    for modes in all_modes() {
        for op in [Op::Insert { new: row() }, Op::Delete { old: OldRow::Key(old.clone()) }, Op::Truncate] {
            let id = ChangeId { commit: Lsn::new(8), seq: 0 };
            let change = Change { id, origin, table: Arc::clone(&table), op };
            let mut records = Records::new();
            Encoder::new(Arc::clone(&table), &settings(modes))
                .unwrap()
                .encode(&change, PgTimestamp(0), &mut records)
                .unwrap();
            for record in records.iter() {
                for text in [record.key, record.value].into_iter().flatten() {
                    let value: Value = serde_json::from_slice(text).unwrap();
                    conforms(&value["schema"], &value["payload"], "");
                }
            }
            if modes.kind == Shapes::Flat {
                continue;
            }
            let first = records.iter().next().unwrap();
            let stamp = Stamp::read(first.headers()).unwrap();
            let back = Decoder::new(Arc::clone(&table), &modes).decode(&stamp, first.value).unwrap().unwrap();
            assert_eq!(std::mem::discriminant(&back.op), std::mem::discriminant(&change.op));
            if let (Op::Insert { new: back }, Op::Insert { new }) = (&back.op, &change.op) {
                assert_eq!(back.cell(0), new.cell(0));
                assert_eq!(back.width(), new.width());
            }
        }
    }
}

#[test]
fn the_schema_has_the_converters_form() {
    let described = describe(&table(), &settings(Modes::default()));
    let lines = |schema: &str| schema.replace("},{", "},\n{").replace("\"fields\":[", "\"fields\":[\n");
    let text = format!("{}\n\n{}\n", lines(&described.key_schema.unwrap()), lines(&described.value_schema));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/event/inline_schema.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "{} differs; BLESS=1 rewrites it",
        path.display()
    );
}
