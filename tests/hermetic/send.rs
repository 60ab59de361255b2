//! Values in binary form, as text: what captures hold, both directions of the code, and bytes that are none.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use tailwater::codecs::copy::binary::BinaryType;
use tailwater::codecs::pgoutput::{Decoder, Message, Streaming};
use tailwater::codecs::send::{Form, Forms, Plan, SendError, Server};
use tailwater::model::{Cell, Oid, OldRow, PgType, Row, RowWriter};

const SERVER: Server = Server { version: 170_000, dollars: true };

fn builtin(name: &str) -> Form {
    Form::builtin(name, SERVER).unwrap_or_else(|| panic!("{name} has a form"))
}

/// Types inside of values: a few numbers and texts, arrays of them, a composite type that may hold itself.
fn forms() -> Forms {
    let mut forms: Forms = HashMap::from([
        (Oid(1000), Form::array(b',')),
        (Oid(1001), Form::array(b';')),
        (Oid(2000), Form::record()),
        (Oid(3000), Form::range(builtin("text"))),
    ]);
    for (oid, name) in [(23, "int4"), (25, "text"), (701, "float8"), (1700, "numeric"), (603, "box"), (17, "bytea")] {
        forms.insert(Oid(oid), builtin(name));
    }
    forms
}

fn printed(form: &Form, value: &[u8]) -> Result<String, SendError> {
    let mut out = Vec::new();
    form.print(value, &forms(), &mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
}

const NAMES: [&str; 47] = [
    "bool",
    "int2",
    "int4",
    "int8",
    "oid",
    "xid",
    "cid",
    "xid8",
    "tid",
    "float4",
    "float8",
    "numeric",
    "bytea",
    "uuid",
    "jsonb",
    "jsonpath",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "bit",
    "varbit",
    "money",
    "pg_lsn",
    "pg_snapshot",
    "txid_snapshot",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "tsvector",
    "tsquery",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int2vector",
    "oidvector",
    "char",
    "text",
    "json",
    "xml",
];

fn all() -> Vec<(String, Form)> {
    let mut all: Vec<_> = NAMES.iter().map(|name| ((*name).to_owned(), builtin(name))).collect();
    for (extension, name) in [
        ("hstore", "hstore"),
        ("ltree", "lquery"),
        ("postgis", "geometry"),
        ("vector", "vector"),
        ("vector", "halfvec"),
        ("vector", "sparsevec"),
    ] {
        all.push((name.to_owned(), Form::of_extension(extension, name).unwrap()));
    }
    all.push(("array".to_owned(), Form::array(b',')));
    all.push(("record".to_owned(), Form::record()));
    all.push(("range".to_owned(), Form::range(builtin("numeric"))));
    all.push(("multirange".to_owned(), Form::multirange(builtin("text"))));
    all
}

/// A length of 32 bits and the bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A record of one field.
fn record(oid: u32, value: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1][..], &oid.to_be_bytes(), &counted(value)].concat()
}

#[test]
fn a_captured_stream_in_binary_holds_what_was_inserted() {
    let columns = ["int8", "float8", "numeric", "text", "bytea", "timestamptz", "uuid"];
    let mut columns: Vec<Form> = columns.iter().map(|name| builtin(name)).collect();
    columns.push(Form::array(b','));
    let plan = Plan::new(columns, forms());
    for server in ["pg15", "pg17"] {
        let path = format!("{}/tests/corpus/{server}/binary.bin", env!("CARGO_MANIFEST_DIR"));
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        let (mut decoder, mut rows, mut at) = (Decoder::new(Streaming::Off), Vec::new(), 19);
        while bytes[at..at + 2] != [0xff, 0xff] {
            let length = u32::from_be_bytes(bytes[at + 14..at + 18].try_into().unwrap()) as usize;
            match decoder.decode(&bytes.slice(at + 18..at + 18 + length)).unwrap() {
                Message::Insert(insert) => rows.push(insert.new),
                Message::Update(update) => rows.push(update.new),
                Message::Delete(delete) => rows.push(match delete.old {
                    OldRow::Key(row) | OldRow::Full(row) => row,
                }),
                _ => {}
            }
            at += 18 + length;
        }
        let text = |row: &Row| {
            let row = plan.row(row, &mut Vec::new(), &mut RowWriter::new()).unwrap();
            let cells = row.cells().map(|cell| match cell {
                Cell::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                Cell::Null => "null".to_owned(),
                other => panic!("{other:?}"),
            });
            cells.collect::<Vec<_>>().join(" | ")
        };
        let texts: Vec<String> = rows.iter().map(text).collect();
        assert_eq!(
            texts,
            [
                r"1 | 1.5 | 12.30 | text | \x00ff | 2026-01-02 03:04:05+00 | 00000000-0000-0000-0000-000000000001 | {1,NULL}",
                r"2 | NaN | null |  | \x | infinity | null | {}",
                r"3 | NaN | null |  | \x | infinity | null | {}",
                "3 | null | null | null | null | null | null | null",
            ],
            "{server}"
        );
    }
}

#[test]
fn vectors_and_geometries_are_printed_as_their_extensions_do() {
    let float = |number: f32| number.to_be_bytes();
    for (extension, name, bytes, text) in [
        ("vector", "vector", [&[0, 2, 0, 0][..], &float(1.0), &float(-3e-5)].concat(), "[1,-3e-05]"),
        ("vector", "halfvec", vec![0, 3, 0, 0, 0x3c, 0, 0xc1, 0, 0, 1], "[1,-2.5,5.9604645e-08]"),
        (
            "vector",
            "sparsevec",
            [&[0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &float(1.5), &float(2.0)].concat(),
            "{1:1.5,3:2}/5",
        ),
        ("postgis", "geometry", vec![1, 1, 0, 0, 0xf0, 0x3f], "01010000F03F"),
    ] {
        assert_eq!(printed(&Form::of_extension(extension, name).unwrap(), &bytes).as_deref(), Ok(text), "{name}");
    }
    assert!(Form::of_extension("cube", "cube").is_none());
    for name in ["regclass", "regtype", "regproc", "aclitem"] {
        assert!(Form::builtin(name, SERVER).is_none(), "{name}");
    }
    assert!(Form::builtin("money", Server { dollars: false, ..SERVER }).is_none());
}

#[test]
fn quotes_inside_of_quotes_are_doubled_at_each_depth() {
    assert_eq!(printed(&Form::record(), &record(25, b"a\"\\")).as_deref(), Ok(r#"("a""\\")"#));
    let inner = record(25, b"a b");
    assert_eq!(printed(&Form::record(), &record(2000, &inner)).as_deref(), Ok(r#"("(""a b"")")"#));
    let array = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x07, 0xd0, 0, 0, 0, 1, 0, 0, 0, 1][..], &counted(&inner)].concat();
    assert_eq!(printed(&Form::array(b','), &array).as_deref(), Ok(r#"{"(\"a b\")"}"#));
    assert_eq!(printed(&Form::record(), &record(25, b"")).as_deref(), Ok("(\"\")"));
}

#[test]
fn a_type_that_was_not_known_is_named_by_its_oid() {
    assert_eq!(printed(&Form::record(), &record(4711, b"x")), Err(SendError::Unknown(Oid(4711))));
}

#[test]
fn values_that_hold_themselves_for_ever_end_early() {
    // The quotes of each depth are doubled by the next.
    let mut value = record(25, b"a");
    (0..10).for_each(|_| value = record(2000, &value));
    assert_eq!(printed(&Form::record(), &value).map(|text| text.len()), Ok(2069));
    let depth = 1_000_000;
    let lengths = (0..depth).map(|at| 12 * (depth - 1 - at));
    let deep: Vec<u8> =
        lengths.flat_map(|length| [[0, 0, 0, 1], [0, 0, 0x07, 0xd0], u32::to_be_bytes(length)].concat()).collect();
    assert_eq!(printed(&Form::record(), &deep), Err(SendError::Broken));
}

#[test]
fn counts_and_lengths_that_cant_be_are_refused_before_anything_is_made_for_them() {
    let most = [0xff; 16];
    for (name, form) in all() {
        if !matches!(name.as_str(), "text" | "json" | "xml" | "bytea" | "geometry") {
            for bytes in [&most[..], &[0x7f; 64]] {
                let found = printed(&form, bytes);
                let fixed = ["uuid", "float8", "int8", "xid8", "pg_lsn", "timestamp", "line", "point", "macaddr8"];
                assert!(found.is_err() || fixed.contains(&name.as_str()) || found.unwrap().len() < 200, "{name}");
            }
        }
    }
}

#[test]
fn a_value_that_is_cut_off_or_goes_on_is_refused() {
    let numeric = [0, 2, 0, 0, 0x40, 0, 0, 2, 0, 12, 13, 72];
    assert_eq!(printed(&builtin("numeric"), &numeric).as_deref(), Ok("-12.34"));
    let query = [&[0, 0, 0, 3, 2, 2, 1, 0, 0][..], b"a\0", &[1, 8, 1], b"b\0"].concat();
    assert_eq!(printed(&builtin("tsquery"), &query).as_deref(), Ok("'b':*A & 'a'"));
    for (name, value) in [("numeric", &numeric[..]), ("tsquery", &query), ("int4", &[0, 0, 0, 1]), ("date", &[0; 4])] {
        for length in 0..value.len() {
            assert!(printed(&builtin(name), &value[..length]).is_err(), "{name} {length}");
        }
        assert!(printed(&builtin(name), &[value, &[0]].concat()).is_err(), "{name}");
    }
    // A digit of numeric beyond 9999, a date beyond PostgreSQL's, an operator without its operand.
    assert!(printed(&builtin("numeric"), &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]).is_err());
    assert!(printed(&builtin("date"), &[0x7f, 0xff, 0xff, 0xfe]).is_err());
    assert!(printed(&builtin("tsquery"), &[0, 0, 0, 1, 2, 2]).is_err());
}

#[test]
fn the_column_of_a_broken_value_is_told_and_the_writer_goes_on() {
    let plan = Plan::new(vec![builtin("int4"), builtin("int4")], forms());
    let row = |second: &[u8]| [Cell::Binary(&[0, 0, 0, 1]), Cell::Binary(second)].into_iter().collect::<Row>();
    let (mut scratch, mut writer) = (Vec::new(), RowWriter::new());
    assert_eq!(plan.row(&row(&[1]), &mut scratch, &mut writer).unwrap_err(), (1, SendError::Broken));
    let read = plan.row(&row(&[0, 0, 0, 2]), &mut scratch, &mut writer).unwrap();
    assert_eq!(read.cells().collect::<Vec<_>>(), [Cell::Text(b"1"), Cell::Text(b"2")]);
    let mixed: Row = [Cell::Text(b"as it came"), Cell::Unchanged].into_iter().collect();
    assert_eq!(plan.row(&mixed, &mut scratch, &mut writer).unwrap(), mixed);
}

/// What `copy::binary` makes of a text, printed again.
fn around(name: &str, text: &str) -> String {
    let formal = match name {
        "bool" => "boolean",
        "int8" => "bigint",
        "float8" => "double precision",
        "float4" => "real",
        "timestamp" => "timestamp without time zone",
        other => other,
    };
    let mut field = Vec::new();
    BinaryType::of(&PgType::named(formal).unwrap()).unwrap().field(Some(text.as_bytes()), &mut field).unwrap();
    printed(&builtin(name), &field[4..]).unwrap()
}

proptest! {
    #[test]
    fn what_is_written_in_binary_is_printed_as_it_was(
        int: i64,
        whole in "0|-?[1-9][0-9]{0,40}",
        fraction in "[0-9]{1,30}",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        seconds in -211_813_488_000_i64..9_000_000_000_000,
    ) {
        prop_assert_eq!(around("int8", &int.to_string()), int.to_string());
        for text in [whole.clone(), format!("{whole}.{fraction}"), format!("1.{fraction}")] {
            prop_assert_eq!(around("numeric", &text), text);
        }
        let mut text = Vec::new();
        tailwater::model::value::print::bytea(&bytes, &mut text);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(around("bytea", &text), text);
        let moment = printed(&builtin("timestamp"), &(seconds * 1_000_000 + 5).to_be_bytes()).unwrap();
        prop_assert_eq!(around("timestamp", &moment), moment);
    }

    #[test]
    fn no_bytes_make_a_printer_panic_or_take_much_memory(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for (name, form) in all() {
            let mut out = Vec::new();
            // Most are broken; what is printed is in proportion to what came, but for numerics with large weights.
            let _ = form.print(&bytes, &forms(), &mut out);
            prop_assert!(out.len() < 400_000, "{name}: {}", out.len());
        }
    }

    #[test]
    fn no_small_numbers_make_a_printer_panic(bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 1, 2, 3, 4, 23, 25, 255]), 0..200)) {
        for (_, form) in all() {
            let _ = form.print(&bytes, &forms(), &mut Vec::new());
        }
    }
}
