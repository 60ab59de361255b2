//! The consumer in `docs/examples` prints what our encoder wrote.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use prost::Message as _;
use tailwater::codecs::event::{Encoder, Format, Modes, Records, Settings};
use tailwater::model::*;

use crate::support::cache;
use crate::support::dir::Dir;

/// Column, type, value, and how Python shows it.
const COLUMNS: &[(&str, &str, &str, &str)] = &[
    ("id", "bigint", "7", "7"),
    ("näme", "text", "a \"b\" 😀", r#""a \"b\" 😀""#),
    ("flag", "boolean", "t", "true"),
    ("ratio", "double precision", "0.1", "0.1"),
    ("price", "numeric", "-12.30", "\"-12.30\""),
    ("raw", "bytea", "\\x00ff", "\"00ff\""),
    ("day", "date", "2016-11-04", "\"2016-11-04\""),
    ("far", "date", "12345-01-02", "3789392"),
    ("end", "date", "infinity", "\"infinity\""),
    ("at", "timestamp with time zone", "2016-11-04 11:51:30.123456+00", "\"2016-11-04 11:51:30.123456\""),
    ("span", "interval", "1 mon -2 days", "{\"months\": 1, \"days\": -2}"),
    ("key", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
    ("doc", "jsonb", "{\"a\": [1]}", "{\"a\": [1]}"),
    ("grid", "integer[]", "{{1,2},{3,NULL}}", "[[1, 2], [3, null]]"),
    ("map", "hstore", "\"k\"=>NULL", "{\"k\": null}"),
    ("bits", "bit varying", "000000001", "\"000000001\""),
    ("spot", "point", "(1.5,-2)", "[1.5, -2.0]"),
    ("net", "inet", "::1", "\"::1\""),
];

fn table() -> Arc<Table> {
    let named = |name: &str| PgType::named(name).unwrap_or(PgType::Other { name: name.into() });
    let column = |(name, pg_type, ..): &(&str, &str, &str, &str)| Column {
        name: (*name).into(),
        pg_type: named(pg_type),
        oid: Oid(1),
        modifier: -1,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    let columns = COLUMNS.iter().map(column).collect();
    let name = TableName::new("public", "orders");
    Arc::new(Table { oid: Oid(2), name, version: 1, columns, identity: ReplicaIdentity::Default, key: vec![0] })
}

/// The row with another id, and with these cells instead of all others.
fn row(id: &'static str, others: Option<Cell<'static>>) -> Row {
    let cell = |(at, (_, _, text, _)): (usize, &(&str, &str, &'static str, &str))| match at {
        0 => Cell::Text(id.as_bytes()),
        _ => others.unwrap_or(Cell::Text(text.as_bytes())),
    };
    COLUMNS.iter().enumerate().map(cell).collect()
}

/// The events of some changes, each with its length in front of it.
fn delimited(ops: Vec<Op>) -> Vec<u8> {
    let settings =
        Settings { modes: Modes { format: Format::Protobuf, ..Modes::default() }, ..Settings::new("shop", "shop") };
    let table = table();
    let mut encoder = Encoder::new(Arc::clone(&table), &settings).unwrap();
    let mut records = Records::new();
    for (seq, op) in (0..).zip(ops) {
        let origin = Origin { at: PgTimestamp(5), xid: None, lsn: Lsn::new(7), last_commit: None, snapshot: None };
        let id = ChangeId { commit: Lsn::new(0x16_B374_D848), seq };
        let change = Change { id, origin, table: Arc::clone(&table), op };
        encoder.encode(&change, PgTimestamp(9), &mut records).unwrap();
    }
    records.iter().filter_map(|record| record.value).fold(Vec::new(), |mut out, value| {
        prost::encode_length_delimiter(value.len(), &mut out).unwrap();
        out.extend_from_slice(value);
        out
    })
}

/// What `protoc --python_out` makes of the schema: its descriptor, and the library's calls that make classes of it.
fn compiled() -> String {
    let pool = prost_reflect::DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/event.bin"))[..]);
    let mut file = pool.unwrap().files().next().unwrap().file_descriptor_proto().clone();
    file.source_code_info = None;
    let bytes = file.encode_to_vec().iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\x{byte:02x}").unwrap();
        text
    });
    format!(
        "from google.protobuf import descriptor_pool
from google.protobuf.internal import builder
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(b'{bytes}')
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, 'event_pb2', globals())
"
    )
}

#[test]
fn the_consumer_in_python_prints_what_was_written() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("event_pb2.py"), compiled()).unwrap();
    let whole = || row("7", None);
    let key = || OldRow::Key(row("7", Some(Cell::Null)));
    let ops = vec![
        Op::Read { new: whole() },
        Op::Update { old: None, new: row("7", Some(Cell::Unchanged)) },
        Op::Update { old: Some(key()), new: row("8", Some(Cell::Null)) },
        Op::Delete { old: key() },
        Op::Truncate,
    ];
    std::fs::write(dir.path().join("events.bin"), delimited(ops)).unwrap();
    let python = format!("{}:{}", dir.path().display(), cache::python_protobuf().display());
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/read_events.py"))
        .args(["--file", "events.bin"])
        .current_dir(dir.path())
        .env("PYTHONPATH", python)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let shown = |others: Option<&str>, id: &str| {
        let column = |(at, (name, _, _, shown)): (usize, &(&str, &str, &str, &str))| {
            format!("\"{name}\": {}", if at == 0 { id } else { others.unwrap_or(shown) })
        };
        format!("{{{}}}", COLUMNS.iter().enumerate().map(column).collect::<Vec<_>>().join(", "))
    };
    let expected = [
        format!("READ public.orders 16/B374D848#0 {}", shown(None, "7")),
        format!("UPDATE public.orders 16/B374D848#1 {}", shown(Some("\"(not sent: it did not change)\""), "7")),
        "DELETE public.orders 16/B374D848#2 was {\"id\": 7} becomes {\"id\": 8}".to_owned(),
        format!("INSERT public.orders 16/B374D848#2 {} was {{\"id\": 7}}", shown(Some("null"), "8")),
        "DELETE public.orders 16/B374D848#3 was {\"id\": 7}".to_owned(),
        "TRUNCATE public.orders 16/B374D848#4".to_owned(),
    ];
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
}
