//! Each type in each mode: its JSON, and its text again.

use std::sync::Arc;

use tailwater::codecs::event::{Decoder, Encoder, Modes, Records, Settings, Stamp};
use tailwater::model::*;

use crate::cases::{cases, modes, named};

fn table(pg_type: PgType, modifier: i32) -> Arc<Table> {
    let column = |name: &str, pg_type, modifier| Column {
        name: name.into(),
        pg_type,
        oid: Oid(1),
        modifier,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: vec![column("id", PgType::Int4, -1), column("v", pg_type, modifier)],
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

/// The JSON of a value after a change, and the text that it is read back as; `None` where the column is left out.
fn around(pg_type: &PgType, modifier: i32, cell: Cell<'_>, modes: Modes) -> (Option<String>, Option<String>) {
    let table = table(pg_type.clone(), modifier);
    let settings = Settings { modes, ..Settings::new("s", "d") };
    let new: Row = [Cell::Text(b"1"), cell].into_iter().collect();
    let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    let change = Change { id: ChangeId::ZERO, origin, table: Arc::clone(&table), op: Op::Update { old: None, new } };
    let mut records = Records::new();
    Encoder::new(Arc::clone(&table), &settings).unwrap().encode(&change, PgTimestamp(0), &mut records).unwrap();
    let record = records.iter().next().unwrap();
    let text = std::str::from_utf8(record.value.unwrap()).unwrap();
    let _: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let after = text.split_once("\"after\":{\"id\":1").unwrap().1.split_once("},\"source\"").unwrap().0;
    let json = after.strip_prefix(",\"v\":").map(str::to_owned);
    let stamp = Stamp::read(record.headers()).unwrap();
    let change = Decoder::new(table, &modes).decode(&stamp, record.value).unwrap().unwrap();
    let Op::Update { new, .. } = change.op else { panic!("an update") };
    let back = match new.cell(1) {
        Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    };
    (json, back)
}

#[test]
fn every_type_has_its_form_in_every_mode_and_leads_back_to_its_text() {
    let cases = cases();
    for case in &cases {
        let found = around(&case.pg_type, case.modifier, Cell::Text(case.text.as_bytes()), case.told);
        assert_eq!(found, (Some(case.json.to_owned()), Some(case.back().to_owned())), "{case:?}");
    }
    assert!(cases.len() > 80, "{}", cases.len());
}

/// The page for users is made of the same lines, so that it says what is so: `BLESS=1` writes it.
#[test]
fn the_page_of_types_says_what_the_cases_say() {
    let mut page = String::from(
        "# Types\n\nWhat PostgreSQL prints and what an event says, in JSON, in each mode of `[sink.kafka.envelope]`. This page is made of\nthe cases that `tests/hermetic/types.rs` checks. The last column is filled where a reader gets another text back.\n\n| type | modifier | mode | PostgreSQL | JSON | read back as |\n|---|---|---|---|---|---|\n",
    );
    for case in cases() {
        let code =
            |text: &str| if text.is_empty() { String::new() } else { format!("`` {} ``", text.replace('|', "\\|")) };
        let [name, modifier, told, text] = case.words;
        let modifier = match pg_type::numeric_modifier(case.modifier) {
            _ if modifier == "-1" => String::new(),
            Some((precision, scale)) if name.starts_with("numeric") => format!("{precision},{scale}"),
            _ => modifier.to_owned(),
        };
        page.push_str(&format!(
            "| {} | {modifier} | {told} | {} | {} | {} |\n",
            name.replace('[', "\\["),
            code(text),
            code(case.json),
            code(case.loss.unwrap_or_default())
        ));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/types.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/types.md differs from tests/golden/types.txt; BLESS=1 writes it anew");
}

#[test]
fn a_type_outside_the_table_is_its_text_or_left_out() {
    for name in ["pg_lsn", "tsquery", "int4multirange", "public.a_composite", "line", "xid8"] {
        let told = |told: &str| around(&named(name), -1, Cell::Text(b"x y"), modes(told));
        assert_eq!(told(""), (Some("\"x y\"".to_owned()), Some("x y".to_owned())), "{name}");
        assert_eq!(told("unknown=omit"), (None, None), "{name}");
    }
    let text = around(&named("inet"), -1, Cell::Text(b"::1"), modes("unknown=omit"));
    assert_eq!(text.0.as_deref(), Some("\"::1\""));
}

#[test]
fn a_value_that_is_not_what_its_type_prints_is_refused_with_its_column() {
    for (name, text) in [
        ("interval", "1 week"),
        ("point", "1,2"),
        ("hstore", "a=>b"),
        ("bit", "012"),
        ("money", "none"),
        ("time with time zone", "12:00"),
        ("vector", "[1,x]"),
        ("sparsevec", "{1:2}"),
        ("geometry", "zz"),
    ] {
        let modifier = if name == "bit" { 3 } else { -1 };
        let table = table(named(name), modifier);
        let settings = Settings::new("s", "d");
        let new: Row = [Cell::Text(b"1"), Cell::Text(text.as_bytes())].into_iter().collect();
        let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
        let change = Change { id: ChangeId::ZERO, origin, table: Arc::clone(&table), op: Op::Insert { new } };
        let error =
            Encoder::new(table, &settings).unwrap().encode(&change, PgTimestamp(0), &mut Records::new()).unwrap_err();
        assert_eq!(error.column, "v", "{name}");
        assert!(!error.to_string().contains(text), "{error}");
    }
}

#[test]
fn the_placeholder_has_each_types_form() {
    for (name, told, json) in [
        ("text", "", "\"__debezium_unavailable_value\""),
        ("bytea", "", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\""),
        ("bytea", "binary=hex", "\"__debezium_unavailable_value\""),
        ("uuid[]", "", "[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]"),
        ("text[]", "", "[\"__debezium_unavailable_value\"]"),
        ("hstore", "", "\"{\\\"__debezium_unavailable_value\\\":\\\"__debezium_unavailable_value\\\"}\""),
        ("hstore", "hstore=map", "{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"),
        ("numeric", "decimal=string", "\"__debezium_unavailable_value\""),
    ] {
        let (found, back) = around(&named(name), -1, Cell::Unchanged, modes(told));
        assert_eq!((found.as_deref(), back), (Some(json), None), "{name} {told}");
    }
    let (numbers, _) = around(&named("integer[]"), -1, Cell::Unchanged, Modes::default());
    assert!(numbers.unwrap().starts_with("[95,95,100,101,98,"));
}
