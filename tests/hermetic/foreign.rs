//! Records of others, read.

use tailwater::codecs::event::foreign::{Debezium, Declared, ForeignError, Raw, Shapes, rows};
use tailwater::model::{Cell, Op, Pattern, PgType, Row};

fn text(row: &Row) -> Vec<String> {
    let cell = |cell: Cell<'_>| match cell {
        Cell::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Cell::Null => "NULL".to_owned(),
        Cell::Unchanged => "UNCHANGED".to_owned(),
        Cell::Binary(_) => panic!("binary"),
    };
    row.cells().map(cell).collect()
}

fn raw<'a>(key: Option<&'a str>, value: Option<&'a str>, headers: &'a [(&'a str, &'a [u8])]) -> Raw<'a> {
    Raw {
        topic: "app.shop.orders",
        partition: 0,
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        headers,
    }
}

/// All records as one batch: the final columns with their types, and what each record comes to.
fn batch(shapes: &mut Shapes, records: &[Raw<'_>]) -> Result<(Vec<String>, Vec<Op>), ForeignError> {
    let filed: Vec<_> = records.iter().map(rows).collect::<Result<_, _>>()?;
    let mut told = Vec::new();
    for filed in filed {
        if shapes.meet(&filed)? {
            told.push(filed);
        }
    }
    let mut ops = Vec::new();
    let mut columns = Vec::new();
    for filed in &told {
        let (table, op) = shapes.op(filed)?;
        columns = table.columns.iter().map(|c| format!("{} {}", c.name, c.pg_type.name())).collect();
        ops.push(op);
    }
    Ok((columns, ops))
}

#[test]
fn rows_make_a_table_that_holds_all_of_a_batch() {
    let mut shapes = Shapes::new(Vec::new(), String::new());
    let (columns, ops) = batch(
        &mut shapes,
        &[
            raw(Some(r#"{"id":1}"#), Some(r#"{"name":"a","paid":null,"price":5}"#), &[]),
            raw(
                Some(r#"{"id":2}"#),
                Some(r#"{"id":2,"price":9.95,"more":{"a": [1]},"at":"2024-01-01T00:00:00Z"}"#),
                &[],
            ),
            raw(Some(r#"{"id":1}"#), None, &[]),
        ],
    )
    .unwrap();
    let expected = ["id bigint", "name text", "price numeric", "more json", "at timestamp with time zone"];
    assert_eq!(columns, expected, "a column of nulls waits for its first value");
    let [Op::Insert { new: first }, Op::Insert { new: second }, Op::Delete { old }] = ops.as_slice() else {
        panic!("{ops:?}");
    };
    assert_eq!(text(first), ["1", "a", "5", "NULL", "NULL"]);
    assert_eq!(text(second), ["2", "NULL", "9.95", "{\"a\": [1]}", "2024-01-01 00:00:00+00"]);
    assert_eq!(text(old.row()), ["1", "NULL", "NULL", "NULL", "NULL"]);
    let told = shapes.grown();
    assert_eq!(told.len(), 1);
    let mut again = Shapes::new(Vec::new(), String::new());
    assert!(again.recall(&told[0].1));
    let (columns, _) = batch(&mut again, &[raw(Some(r#"{"id":3}"#), Some(r#"{"price":1}"#), &[])]).unwrap();
    assert_eq!(columns, expected, "what was told is remembered");
    assert!(again.grown().is_empty());
}

#[test]
fn what_a_column_does_not_hold_is_refused_by_its_name_and_never_shown() {
    let keyed = |value| raw(Some(r#"{"id":1}"#), Some(value), &[]);
    for (records, says) in [
        ([keyed(r#"{"a":"secret"}"#), keyed(r#"{"a":7351}"#)], "column a of shop.orders is text so far"),
        ([keyed(r#"{"a":true}"#), keyed(r#"{"a":"secret"}"#)], "is boolean so far, and this record has text"),
        (
            [keyed(r#"{"a":1}"#), raw(None, Some(r#"{"a":1}"#), &[])],
            "the key of shop.orders is id so far, and this record's is none",
        ),
        ([keyed(r#"{"a":1}"#), keyed(r#"{"id":7351}"#)], "column id is one thing in the key and another in the row"),
        ([keyed(r#"{"a":"x"}"#), keyed(r#"{"a":"\u0000"}"#)], "no character U+0000"),
    ] {
        let error = batch(&mut Shapes::new(Vec::new(), String::new()), &records).unwrap_err();
        let ForeignError::Refused { what, .. } = &error else { panic!("{error:?}") };
        assert!(what.contains(says) && !what.contains("secret") && !what.contains("7351"), "{what}");
    }
}

#[test]
fn what_is_no_row_is_unreadable() {
    for (record, expected) in [
        (raw(None, Some("{"), &[]), "JSON"),
        (raw(None, Some("[1]"), &[]), "a value that is a JSON object"),
        (raw(Some("7"), Some("{}"), &[]), "a key that is a JSON object"),
        (raw(None, None, &[]), "a key, to tell which row is to go"),
        (raw(None, Some(r#"{"a":1,"a":2}"#), &[]), "each name once in an object"),
        (raw(None, Some("{}"), &[("_op", b"mend")]), "upsert, delete or truncate in the header _op"),
        (raw(None, Some("{}"), &[("_table", b"orders")]), "schema.table in the header _table"),
    ] {
        assert_eq!(rows(&record).unwrap_err(), ForeignError::Unreadable(expected));
    }
}

#[test]
fn a_declared_type_wins_over_what_a_value_looks_like() {
    let declared = |column: &str, pg_type| Declared {
        tables: Pattern::new("shop.*"),
        column: column.to_owned(),
        pg_type,
        modifier: -1,
    };
    let declared = vec![declared("code", PgType::Text), declared("day", PgType::Date), declared("any", PgType::Json)];
    let mut shapes = Shapes::new(declared, String::new());
    let value = |value| raw(None, Some(value), &[]);
    let records = [value(r#"{"code":1.50,"day":"2024-02-29","any":"x"}"#), value(r#"{"code":"b","day":null,"any":7}"#)];
    let (columns, ops) = batch(&mut shapes, &records).unwrap();
    assert_eq!(columns, ["code text", "day date", "any json"]);
    let rows: Vec<_> = ops
        .iter()
        .map(|op| match op {
            Op::Insert { new } => text(new),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rows, [["1.50", "2024-02-29", "\"x\""], ["b", "NULL", "7"]]);
}

/// Topic, key, value and headers.
type Captured = (String, Option<String>, Option<String>, Vec<(String, String)>);

/// Debezium's own records, as they were captured: lines of topic, schemas, key, value and headers.
fn captured(text: &str, with_schema: bool) -> Vec<Captured> {
    let mut records: Vec<Captured> = Vec::new();
    let mut schemas: std::collections::HashMap<String, (String, String)> = std::collections::HashMap::new();
    for line in text.lines() {
        // Numbers that differ from run to run are told as N.
        let line = line.replace(":N,", ":1,").replace(":N}", ":1}").replace(r#"\"N\""#, r#"\"1\""#);
        match line.split_at_checked(2) {
            Some(("==", topic)) => records.push((topic.trim().to_owned(), None, None, Vec::new())),
            Some((kind @ ("K " | "V "), schema)) => {
                let entry = schemas.entry(records.last().unwrap().0.clone()).or_default();
                *(if kind == "K " { &mut entry.0 } else { &mut entry.1 }) = schema.to_owned();
            }
            Some((kind @ ("k " | "v "), payload)) => {
                let record = records.last_mut().unwrap();
                let (key, value) = schemas.get(&record.0).cloned().unwrap_or_default();
                let schema = if kind == "k " { key } else { value };
                if payload == "(none)" {
                    continue;
                }
                let text = match with_schema && payload != "null" {
                    true => format!(r#"{{"schema":{schema},"payload":{payload}}}"#),
                    false => payload.to_owned(),
                };
                *(if kind == "k " { &mut record.1 } else { &mut record.2 }) = Some(text);
            }
            Some(("h ", header)) => {
                let (name, value) = header.split_once(": ").unwrap();
                records.last_mut().unwrap().3.push((name.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
    records
}

#[test]
fn every_record_that_debezium_wrote_is_read_with_its_schema_and_without() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let mut counts = [0; 2];
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for with_schema in [true, false] {
            let (mut debezium, mut shapes) = (Debezium::default(), shapes());
            let mut filed = Vec::new();
            for (topic, key, value, headers) in captured(&text, with_schema) {
                // Long values were shortened when they were captured.
                if value.as_deref().is_some_and(|value| value.contains(" bytes, ")) {
                    continue;
                }
                let headers: Vec<(&str, &[u8])> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
                let topic = format!("srv.{topic}");
                let record = Raw {
                    topic: &topic,
                    partition: 0,
                    key: key.as_deref().filter(|key| *key != "null").map(str::as_bytes),
                    value: value.as_deref().filter(|value| *value != "null").map(str::as_bytes),
                    headers: &headers,
                };
                let shown =
                    value.as_deref().and_then(|value| value.get(value.find("\"payload\":")?..).map(str::to_owned));
                let place = || format!("{} {with_schema}: {topic} {shown:?}", file.display());
                if let Some(found) = debezium.read(&record).unwrap_or_else(|error| panic!("{error} in {}", place())) {
                    if let Err(error) = shapes.meet(&found) {
                        // Without their schemas some of these columns change what they look like.
                        assert!(!with_schema, "{error} in {}", place());
                        continue;
                    }
                    filed.push((found, place()));
                }
            }
            for (found, place) in &filed {
                shapes.op(found).unwrap_or_else(|error| panic!("{error} in {place}"));
            }
            counts[usize::from(with_schema)] += filed.len();
        }
    }
    assert!(counts[1] > 300 && counts[0] > 250, "{counts:?}");
}

fn shapes() -> Shapes {
    Shapes::new(Vec::new(), tailwater::codecs::event::PLACEHOLDER.to_owned())
}

/// What a run of Debezium's records comes to.
fn played(records: &[Raw<'_>]) -> Vec<Op> {
    let (mut debezium, mut shapes) = (Debezium::default(), shapes());
    let mut filed: Vec<_> = records.iter().filter_map(|raw| debezium.read(raw).unwrap()).collect();
    filed.retain(|filed| !filed.parts() && shapes.meet(filed).unwrap());
    filed.iter().map(|filed| shapes.op(filed).unwrap().1).collect()
}

#[test]
fn a_table_may_have_the_columns_of_an_event_and_of_a_transactions_mark() {
    let ops = played(&[
        raw(None, Some(r#"{"id":7,"status":"BEGIN","amount":1}"#), &[]),
        raw(None, Some(r#"{"op":"c","source":"web","id":8}"#), &[]),
        raw(None, Some(r#"{"status":"END","id":"5:9","event_count":0,"data_collections":null,"ts_ms":1}"#), &[]),
    ]);
    assert_eq!(ops.len(), 2, "{ops:?}");
}

#[test]
fn what_empties_a_table_of_which_nothing_came_says_nothing_and_decides_no_key() {
    let truncate: &[(&str, &[u8])] = &[("_op", b"truncate")];
    let row = raw(Some(r#"{"id":1}"#), Some(r#"{"a":1}"#), &[]);
    let (columns, ops) = batch(
        &mut Shapes::new(Vec::new(), String::new()),
        &[raw(None, None, truncate), row, raw(None, None, truncate)],
    )
    .unwrap();
    assert_eq!(columns, ["id bigint", "a bigint"]);
    assert!(matches!(ops.as_slice(), [Op::Insert { .. }, Op::Truncate]), "{ops:?}");
}

#[test]
fn names_that_no_warehouse_takes_are_refused() {
    for (topic, value) in
        [("app.", r#"{"a":1}"#), (".t", r#"{"a":1}"#), ("app.t", r#"{"":1}"#), ("app.t", r#"{"a\u0000":1}"#)]
    {
        let record = Raw { topic, ..raw(None, Some(value), &[]) };
        let error = batch(&mut shapes(), &[record]).unwrap_err();
        assert!(matches!(error, ForeignError::Refused { .. }), "{topic} {value}: {error:?}");
    }
}

#[test]
fn the_halves_of_a_key_change_are_told_apart_where_several_partitions_have_them() {
    let event = |op: &str, before: &str, after: &str| {
        format!(
            r#"{{"before":{before},"after":{after},"source":{{"schema":"s","table":"t","ts_ms":1,"sequence":"[\"8\",\"9\"]"}},"op":"{op}"}}"#
        )
    };
    let (small, large) = (r#"{"id":2,"big":"b"}"#, r#"{"id":2,"big":"__debezium_unavailable_value"}"#);
    for (row, late, expected) in [(small, false, "insert"), (large, false, "moved"), (large, true, "kept")] {
        let (mut debezium, mut shapes) = (Debezium::default(), shapes());
        let come = event("c", "null", row);
        let first = event("c", "null", r#"{"id":1,"big":"b"}"#);
        let old: &[(&str, &[u8])] = &[("__debezium.oldkey", br#"{"id":1}"#)];
        let mut told = Vec::new();
        for record in [raw(Some(r#"{"id":1}"#), Some(&first), &[]), raw(Some(r#"{"id":2}"#), Some(&come), old)] {
            let mut filed = debezium.read(&record).unwrap().unwrap();
            shapes.part(&mut filed, late);
            shapes.meet(&filed).unwrap();
            told.push(shapes.op(&filed).unwrap().1);
        }
        let found = match &told[1] {
            Op::Insert { .. } => "insert",
            Op::Update { old: Some(_), .. } => "moved",
            Op::Update { old: None, .. } => "kept",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn a_key_change_is_one_update_and_keeps_what_was_not_sent() {
    let event = |op: &str, before: &str, after: &str| {
        format!(
            r#"{{"before":{before},"after":{after},"source":{{"schema":"s","table":"t","lsn":9,"ts_ms":1,"sequence":"[\"8\",\"9\"]"}},"op":"{op}"}}"#
        )
    };
    let gone = event("d", r#"{"id":1,"big":null}"#, "null");
    let come = event("c", "null", r#"{"id":2,"big":"__debezium_unavailable_value"}"#);
    let ops = played(&[
        raw(Some(r#"{"id":1}"#), Some(&gone), &[("__debezium.newkey", br#"{"id":2}"#)]),
        raw(Some(r#"{"id":1}"#), None, &[("__debezium.newkey", br#"{"id":2}"#)]),
        raw(Some(r#"{"id":2}"#), Some(&come), &[("__debezium.oldkey", br#"{"id":1}"#)]),
        raw(Some(r#"{"id":2}"#), Some(&event("u", "null", r#"{"id":2,"big":"b"}"#)), &[]),
    ]);
    let [Op::Update { old: Some(old), new }, Op::Update { old: None, new: later }] = ops.as_slice() else {
        panic!("{ops:?}");
    };
    assert_eq!((text(old.row()), text(new)), (vec!["1".into(), "NULL".into()], vec!["2".into(), "UNCHANGED".into()]));
    assert_eq!(text(later), ["2", "b"]);
}

#[test]
fn unwrapped_rows_are_deleted_in_each_of_their_ways() {
    let ops = played(&[
        raw(Some(r#"{"id":1}"#), Some(r#"{"id":1,"a":"x","__deleted":"false","__op":"c","__lsn":5}"#), &[]),
        raw(Some(r#"{"id":1}"#), Some(r#"{"id":1,"a":null,"__deleted":"true","__op":"d","__lsn":6}"#), &[]),
        // The tombstone behind it says nothing new.
        raw(Some(r#"{"id":1}"#), None, &[]),
        raw(Some(r#"{"id":2}"#), Some(r#"{"id":2,"a":"y"}"#), &[]),
        raw(Some(r#"{"id":2}"#), None, &[]),
    ]);
    let kinds: Vec<char> = ops
        .iter()
        .map(|op| match op {
            Op::Insert { .. } => 'c',
            Op::Update { .. } => 'u',
            Op::Delete { .. } => 'd',
            _ => '?',
        })
        .collect();
    assert_eq!(kinds, ['c', 'd', 'u', 'd'], "{ops:?}");
    let Op::Insert { new } = &ops[0] else { panic!() };
    assert_eq!(text(new), ["1", "x"], "what was added to the row is no column");
}
