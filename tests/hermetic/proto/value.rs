//! Values: which case each type takes, as the schema's own types read it, and that its text comes back.

use std::sync::Arc;

use proptest::strategy::{Strategy as _, ValueTree as _};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tailwater::codecs::event::proto::SCHEMA;
use tailwater::codecs::event::{Decoder, Encoder, Modes, Notice, Notices, Orders, Records, Stamp, describe};
use tailwater::model::*;

use super::generated::value::Kind;
use super::generated::{self, Nothing};
use super::tables::{Found, events, named, read, settings};

fn table(name: &str, modifier: i32) -> Arc<Table> {
    let column = Column {
        name: "v".into(),
        pg_type: named(name),
        oid: Oid(1),
        modifier,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    let id = Column {
        name: "id".into(),
        pg_type: PgType::Int8,
        oid: Oid(20),
        modifier: -1,
        optional: false,
        default: None,
        birth: Default::default(),
    };
    let (name, identity) = (TableName::new("public", "t"), ReplicaIdentity::Default);
    Arc::new(Table { oid: Oid(2), name, version: 1, columns: vec![id, column], identity, key: vec![0] })
}

fn change(table: &Arc<Table>, op: Op) -> Change {
    let origin = Origin { at: PgTimestamp(5), xid: Some(Xid(6)), lsn: Lsn::new(7), last_commit: None, snapshot: None };
    let id = ChangeId { commit: Lsn::new(8), seq: 9 };
    Change { id, origin, table: Arc::clone(table), op }
}

fn insert(table: &Arc<Table>, cell: Cell<'_>) -> Change {
    change(table, Op::Insert { new: [Cell::Text(b"1"), cell].into_iter().collect() })
}

/// The value that a text becomes, once it has come back as it was.
fn told(name: &str, text: &str) -> Kind {
    let change = insert(&table(name, -1), Cell::Text(text.as_bytes()));
    let events = events(&change, Modes::default());
    assert_eq!(read(&change, Modes::default(), &events), [change], "{name} {text}");
    let event = generated::Event::decode(events[0].value.as_slice()).unwrap();
    event.after.unwrap().values[1].clone().kind.unwrap()
}

fn list(lengths: &[u32], lower_bounds: &[i32], elements: Vec<Kind>) -> Kind {
    let elements = elements.into_iter().map(|kind| generated::Value { kind: Some(kind) }).collect();
    Kind::Array(generated::Array { lengths: lengths.into(), lower_bounds: lower_bounds.into(), elements })
}

#[test]
fn each_type_takes_its_case() {
    use Kind::*;
    let text = |text: &str| text.to_owned();
    let timetz = |time, offset| Timetz(generated::TimeTz { time, offset });
    let interval = |months, days, micros| Interval(generated::Interval { months, days, micros });
    let bits = |length, bytes: &[u8]| Bits(generated::Bits { length, bytes: bytes.into() });
    let pair = |key: &str, value: Option<&str>| generated::hstore::Pair { key: key.into(), value: value.map(text) };
    for (name, printed, kind) in [
        ("smallint", "-32768", Int32(-32_768)),
        ("integer", "2147483647", Int32(i32::MAX)),
        ("bigint", "-9223372036854775808", Int64(i64::MIN)),
        ("oid", "4294967295", Int64(4_294_967_295)),
        ("real", "1e+06", Float32(1e6)),
        ("real", "-Infinity", Float32(f32::NEG_INFINITY)),
        ("double precision", "0.1", Float64(0.1)),
        ("double precision", "-0", Float64(-0.0)),
        ("numeric", "-12.300", Decimal(text("-12.300"))),
        ("numeric", "NaN", Decimal(text("NaN"))),
        ("numeric", "-Infinity", Decimal(text("-Infinity"))),
        ("boolean", "t", Boolean(true)),
        ("boolean", "f", Boolean(false)),
        ("text", "", Text(text(""))),
        ("text", "NULL", Text(text("NULL"))),
        ("character", "ab  ", Text(text("ab  "))),
        ("citext", "ü😀", Text(text("ü😀"))),
        ("bytea", "\\x00ff", Bytea(vec![0, 255])),
        ("bytea", "\\x", Bytea(vec![])),
        ("date", "1969-12-31", Date(-1)),
        ("date", "0044-03-15 BC", Date(-735_160)),
        ("date", "infinity", Infinity(1)),
        ("date", "-infinity", Infinity(2)),
        ("time without time zone", "24:00:00", Time(86_400_000_000)),
        ("time without time zone", "00:00:00", Time(0)),
        ("timestamp without time zone", "2016-11-04 13:51:30.123456", Timestamp(1_478_267_490_123_456)),
        ("timestamp without time zone", "4714-11-24 00:00:00 BC", Timestamp(-210_866_803_200_000_000)),
        ("timestamp without time zone", "294276-12-31 23:59:59.999999", Other(text("294276-12-31 23:59:59.999999"))),
        ("timestamp with time zone", "1970-01-01 00:00:00+00", Timestamptz(0)),
        ("timestamp with time zone", "-infinity", Infinity(2)),
        (
            "uuid",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            Uuid((*b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11").into()),
        ),
        ("json", "{\"a\" :  1}", Json(text("{\"a\" :  1}"))),
        ("jsonb", "null", Json(text("null"))),
        ("mood", "sad", Label(text("sad"))),
        ("time with time zone", "13:51:30.5-07:30", timetz(49_890_500_000, -27_000)),
        ("time with time zone", "00:00:00+00", timetz(0, 0)),
        ("interval", "1 year 2 mons 3 days -04:05:06.78", interval(14, 3, -14_706_780_000)),
        ("interval", "00:00:00", interval(0, 0, 0)),
        ("interval", "infinity", Infinity(1)),
        ("bit varying", "0000000011", bits(10, &[0, 0xC0])),
        ("bit varying", "", bits(0, &[])),
        ("bit", "101", bits(3, &[0xA0])),
        ("point", "(1.5,-0)", Point(generated::Point { x: 1.5, y: -0.0 })),
        ("point", "(0,NaN)", Point(generated::Point { x: 0.0, y: f64::NAN })),
        (
            "hstore",
            r#""a"=>"1", "b"=>NULL, ""=>"""#,
            Hstore(generated::Hstore { pairs: vec![pair("a", Some("1")), pair("b", None), pair("", Some(""))] }),
        ),
        ("hstore", "", Hstore(generated::Hstore { pairs: vec![] })),
        ("geometry", "0101000000", Ewkb(vec![1, 1, 0, 0, 0])),
        ("geometry", "0x", Other(text("0x"))),
        ("vector", "[1,-2.5]", Vector(generated::Vector { elements: vec![1.0, -2.5] })),
        ("int4range", "[1,10)", Range(text("[1,10)"))),
        ("datemultirange", "{}", Range(text("{}"))),
        ("money", "$1,234.56", Other(text("$1,234.56"))),
        ("inet", "::1", Other(text("::1"))),
        ("integer[]", "{}", list(&[], &[], vec![])),
        ("integer[]", "{1,NULL}", list(&[2], &[], vec![Int32(1), Null(Nothing {})])),
        ("integer[]", "[0:1][2:2]={{1},{2}}", list(&[2, 1], &[0, 2], vec![Int32(1), Int32(2)])),
        ("text[]", r#"{"","NULL",NULL}"#, list(&[3], &[], vec![Text(text("")), Text(text("NULL")), Null(Nothing {})])),
        (
            "box[]",
            "{(1,1),(0,0);(2,2),(1,1)}",
            list(&[2], &[], vec![Other(text("(1,1),(0,0)")), Other(text("(2,2),(1,1)"))]),
        ),
    ] {
        // NaN is not equal to itself; its text has come back.
        assert_eq!(format!("{:?}", told(name, printed)), format!("{kind:?}"), "{name} {printed}");
    }
}

#[test]
fn the_description_of_a_column_names_the_case_that_its_values_take() {
    let value = super::descriptors().get_message_by_name("tailwater.v1.Value").unwrap();
    for name in super::tables::SCALARS {
        let runner = &mut proptest::test_runner::TestRunner::deterministic();
        let ordinary = super::tables::texts(name).prop_filter("an ordinary one", |text| !text.ends_with(b"infinity"));
        let text = ordinary.new_tree(runner).unwrap().current();
        let change = insert(&table(name, -1), Cell::Text(&text));
        let described = describe(&change.table, &settings(Modes::default()));
        let event = DynamicMessage::decode(
            super::descriptors().get_message_by_name("tailwater.v1.Event").unwrap(),
            events(&change, Modes::default())[0].value.as_slice(),
        );
        let event = event.unwrap();
        let after = event.get_field_by_name("after").unwrap();
        let values = after.as_message().unwrap().get_field_by_name("values").unwrap().into_owned();
        let told = values.as_list().unwrap()[1].as_message().unwrap().clone();
        let case = value.fields().find(|field| told.has_field(field)).unwrap();
        assert_eq!(described.columns[1].form.as_deref(), Some(case.name()), "{name}");
        assert_eq!(described.columns[1].loss, None);
        let arrays = describe(&table(&format!("{name}[]"), -1), &settings(Modes::default()));
        assert_eq!(arrays.columns[1].form, Some(format!("array of {}", case.name())));
    }
}

#[test]
fn null_unchanged_and_unsent_are_cases_of_their_own() {
    let table = table("text", -1);
    let kinds = |change: &Change| {
        let events = events(change, Modes::default());
        let event = generated::Event::decode(events[0].value.as_slice()).unwrap();
        let row = event.before.or(event.after).unwrap();
        row.values.into_iter().map(|value| value.kind.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&insert(&table, Cell::Null))[1], Kind::Null(Nothing {}));
    let new: Row = [Cell::Text(b"1"), Cell::Unchanged].into_iter().collect();
    assert_eq!(kinds(&change(&table, Op::Update { old: None, new }))[1], Kind::Unchanged(Nothing {}));
    let old = OldRow::Key([Cell::Text(b"1"), Cell::Null].into_iter().collect());
    assert_eq!(kinds(&change(&table, Op::Delete { old })), [Kind::Int64(1), Kind::Unsent(Nothing {})]);
}

#[test]
fn under_full_identity_unchanged_values_are_taken_from_the_old_row() {
    let mut table = Table::clone(&table("text", -1));
    table.identity = ReplicaIdentity::Full;
    let table = Arc::new(table);
    let row = |cell| -> Row { [Cell::Text(b"1"), cell].into_iter().collect() };
    let old = OldRow::Full(row(Cell::Text(b"large")));
    let change = change(&table, Op::Update { old: Some(old.clone()), new: row(Cell::Unchanged) });
    let back = read(&change, Modes::default(), &events(&change, Modes::default()));
    assert_eq!(back[0].op, Op::Update { old: Some(old), new: row(Cell::Text(b"large")) });
}

#[test]
fn a_column_says_its_type_and_place() {
    let change = insert(&table("numeric[]", (10 << 16) + 2 + 4), Cell::Null);
    let event = generated::Event::decode(events(&change, Modes::default())[0].value.as_slice()).unwrap();
    let column = |name: &str, r#type: i32, array, modifier, key| generated::Column {
        name: name.into(),
        r#type,
        type_name: String::new(),
        array,
        modifier,
        key,
    };
    assert_eq!(event.columns, [column("id", 3, false, None, 1), column("v", 7, true, Some(655_366), 0)]);
    let named = |name: &str| {
        let change = insert(&table(name, -1), Cell::Null);
        let event = generated::Event::decode(events(&change, Modes::default())[0].value.as_slice()).unwrap();
        (event.columns[1].r#type().as_str_name(), event.columns[1].type_name.clone())
    };
    assert_eq!(named("mood"), ("TYPE_ENUM", "public.mood".to_owned()));
    assert_eq!(named("inet"), ("TYPE_OTHER", "inet".to_owned()));
    for name in [
        "smallint",
        "integer",
        "bigint",
        "oid",
        "real",
        "double precision",
        "numeric",
        "boolean",
        "text",
        "character varying",
        "character",
        "bytea",
        "date",
        "time without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "uuid",
        "json",
        "jsonb",
    ] {
        let (told, type_name) = named(name);
        // `TYPE_TIMESTAMPTZ` begins as `timestamp with time zone` does once both are brought to letters alone.
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
        let (told, name) = (letters(told.strip_prefix("TYPE_").unwrap()), letters(name));
        let short = name.replace("withtimezone", "tz").replace("withouttimezone", "").replace("precision", "");
        let short = short.replace("charactervarying", "varchar").replace("character", "char");
        assert_eq!((told, type_name.as_str()), (short, ""));
    }
}

#[test]
fn a_type_outside_the_table_is_left_out_where_that_is_asked_for() {
    let mut modes = Modes::default();
    assert!(modes.set("unknown", "omit"));
    let change = insert(&table("pg_lsn", -1), Cell::Text(b"0/1"));
    let events = events(&change, modes);
    let event = generated::Event::decode(events[0].value.as_slice()).unwrap();
    assert_eq!((event.columns.len(), event.after.unwrap().values.len()), (1, 1));
    assert_eq!(read(&change, modes, &events), [insert(&change.table, Cell::Null)]);
}

#[test]
fn a_value_that_is_not_what_its_type_prints_is_refused_with_its_column() {
    for (name, text) in [
        ("integer", "2147483648"),
        ("numeric", "1e5"),
        ("text", "secret"),
        ("boolean", "true"),
        ("interval", "1 week"),
        ("point", "1,2"),
        ("hstore", "a=>b"),
        ("bit", "012"),
        ("time with time zone", "12:00"),
        ("vector", "[1,x]"),
        ("integer[]", "{1,x}"),
        ("integer[]", "{{{{{{{1}}}}}}}"),
        ("uuid", "zz"),
        ("bytea", "\\xz0"),
    ] {
        let bytes = if name == "text" { [text.as_bytes(), b"\xff"].concat() } else { text.into() };
        let change = insert(&table(name, -1), Cell::Text(&bytes));
        let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(Modes::default())).unwrap();
        let mut records = Records::new();
        let error = encoder.encode(&change, PgTimestamp(0), &mut records).unwrap_err();
        assert!(records.is_empty() && records.size() == 0, "{name}");
        assert_eq!(error.column, "v", "{name}");
        assert!(!error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_key_is_names_and_values_in_the_keys_order() {
    let mut table = Table::clone(&table("text", -1));
    table.key = vec![1, 0];
    let change = insert(&Arc::new(table), Cell::Text(b"a"));
    let bytes = events(&change, Modes::default())[0].key.clone().unwrap();
    let key = generated::Key::decode(bytes.as_slice()).unwrap();
    let column = |name: &str, kind| generated::KeyColumn {
        name: name.into(),
        value: Some(generated::Value { kind: Some(kind) }),
    };
    assert_eq!(key.columns, [column("v", Kind::Text("a".into())), column("id", Kind::Int64(1))]);
}

#[test]
fn a_key_keeps_its_bytes_when_its_column_is_widened() {
    let key = |name: &str| {
        let mut table = Table::clone(&table(name, -1));
        table.key = vec![1];
        events(&insert(&Arc::new(table), Cell::Text(b"-7")), Modes::default())[0].key.clone()
    };
    assert_eq!(key("smallint"), key("integer"));
    assert_eq!(key("integer"), key("bigint"));
    assert_eq!(key("character varying"), key("text"));
}

#[test]
fn with_the_numbers_of_a_registry_each_key_and_value_is_framed_and_read() {
    let change = insert(&table("text", -1), Cell::Text(b"a"));
    let bare = &events(&change, Modes::default())[0];
    let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(Modes::default())).unwrap();
    let (key, value) = encoder.schemas().unwrap();
    let key = key.unwrap();
    assert_eq!((key.name.as_str(), value.name.as_str()), ("tailwater.v1.Key", "tailwater.v1.Event"));
    assert_eq!((key.language, &key.text, &value.text), ("PROTOBUF", &SCHEMA.to_owned(), &SCHEMA.to_owned()));
    encoder.number(1, 0x0203_0405);
    let mut records = Records::new();
    encoder.encode(&change, PgTimestamp::from_unix_micros(1_500_000_000_000_001), &mut records).unwrap();
    let record = records.iter().next().unwrap();
    assert_eq!(record.key.unwrap(), [&[0, 0, 0, 0, 1, 2, 2][..], bare.key.as_ref().unwrap()].concat());
    assert_eq!(record.value.unwrap(), [&[0, 2, 3, 4, 5, 0][..], &bare.value].concat());
    for framed in [record.value.unwrap().to_vec(), [&[0, 2, 3, 4, 5, 2, 0][..], &bare.value].concat()] {
        assert_eq!(
            read(&change, Modes::default(), &[Found { value: framed, ..bare.clone() }]),
            std::slice::from_ref(&change)
        );
    }
    let mut decoder = Decoder::new(Arc::clone(&change.table), &settings(Modes::default()).modes);
    let headers = bare.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    assert!(decoder.decode(&Stamp::read(headers).unwrap(), Some(&[0, 1, 2])).is_err());
}

#[test]
fn an_event_tells_its_place_in_the_transaction_where_that_is_asked_for() {
    let change = insert(&table("text", -1), Cell::Null);
    let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(Modes::default())).unwrap();
    let (mut records, mut orders) = (Records::new(), Orders { total: 6, table: 2 });
    encoder.encode_placed(&change, PgTimestamp(0), Some(&mut orders), &mut records).unwrap();
    let event = generated::Event::decode(records.iter().next().unwrap().value.unwrap()).unwrap();
    assert_eq!(event.transaction, Some(generated::Transaction { total_order: 7, table_order: 3 }));
}

#[test]
fn a_logical_message_is_told_in_a_message_of_its_own() {
    let emitted = Emitted { transactional: true, prefix: "audit".into(), content: vec![0, 255].into() };
    let change = change(&Arc::new(Table::of_messages()), Op::Message(emitted));
    let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(Modes::default())).unwrap();
    let (mut records, mut orders) = (Records::new(), Orders { total: 2, table: 0 });
    encoder.encode_placed(&change, PgTimestamp::from_unix_micros(11), Some(&mut orders), &mut records).unwrap();
    let record = records.iter().next().unwrap();
    assert_eq!(generated::NoticeKey::decode(record.key.unwrap()).unwrap().name, "audit");
    let message = generated::LogicalMessage::decode(record.value.unwrap()).unwrap();
    let source = message.source.clone().unwrap();
    assert_eq!((source.commit_lsn, source.seq, source.lsn, source.xid), (8, 9, 7, Some(6)));
    assert_eq!((source.database.as_str(), source.table.as_str()), ("shop", ""));
    assert_eq!((message.prefix.as_str(), message.content.as_slice(), message.written_us), ("audit", &[0, 255][..], 11));
    assert_eq!(message.transaction.map(|place| place.total_order), Some(3));
    assert_eq!(message.encode_to_vec(), record.value.unwrap());
    let (key, value) = encoder.schemas().unwrap();
    assert_eq!(
        (key.unwrap().name.as_str(), value.name.as_str()),
        ("tailwater.v1.NoticeKey", "tailwater.v1.LogicalMessage")
    );
}

#[test]
fn transactions_and_heartbeats_are_told_in_messages_of_their_own() {
    let now = PgTimestamp::from_unix_micros(11);
    let named = |bytes: &[u8]| generated::NoticeKey::decode(bytes).unwrap().name;
    let transactions = Notices::new(Notice::Transaction, &settings(Modes::default()));
    let boundary = |(key, value): (Vec<u8>, Vec<u8>)| {
        assert_eq!(named(&key), "6");
        let boundary = generated::TransactionBoundary::decode(value.as_slice()).unwrap();
        assert_eq!(boundary.encode_to_vec(), value);
        assert_eq!((boundary.xid, boundary.lsn, boundary.commit_us), (6, 8, 11));
        (boundary.status().as_str_name(), boundary.event_count, boundary.tables)
    };
    let begin = boundary(transactions.begin(Xid(6), Lsn::new(8), now));
    assert_eq!(begin, ("BOUNDARY_STATUS_BEGIN", None, vec![]));
    let empty = boundary(transactions.end(Xid(6), Lsn::new(8), now, &[]));
    assert_eq!(empty, ("BOUNDARY_STATUS_END", Some(0), vec![]));
    let counts = [("public.t".to_owned(), 2), ("public.u".to_owned(), 3)];
    let count = |table: &str, event_count| generated::TableCount { table: table.into(), event_count };
    let end = boundary(transactions.end(Xid(6), Lsn::new(8), now, &counts));
    assert_eq!(end, ("BOUNDARY_STATUS_END", Some(5), vec![count("public.t", 2), count("public.u", 3)]));

    let mut beats = Notices::new(Notice::Heartbeat, &settings(Modes::default()));
    let (key, value) = beats.schemas().unwrap();
    assert_eq!((key.name.as_str(), value.name.as_str()), ("tailwater.v1.NoticeKey", "tailwater.v1.Heartbeat"));
    let (key, value) = beats.heartbeat("srv", now);
    assert_eq!((named(&key).as_str(), generated::Heartbeat::decode(value.as_slice()).unwrap().written_us), ("srv", 11));
    beats.number(1, 2);
    let framed = beats.heartbeat("srv", now);
    assert_eq!(framed, ([&[0, 0, 0, 0, 1, 2, 10][..], &key].concat(), [&[0, 0, 0, 0, 2, 2, 8][..], &value].concat()));
}
