//! Events: the envelope's exact form, and that every change comes back as it was.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tailwater::codecs::event::{
    Decoder, Encoder, Modes, Records, Stamp, TableRecord, decode_table, encode_followed, encode_table,
};
use tailwater::model::*;

use rows::{array, change, changes, column, decode, encode, is_large, key_of, numeric, settings, table, usual, with};

mod rows;

#[test]
fn every_kind_of_change_comes_back_as_it_was() {
    let keys = [vec![0], vec![1, 0, 6, 8, 13, 22], vec![]];
    for identity in [ReplicaIdentity::Default, ReplicaIdentity::Index, ReplicaIdentity::Full] {
        for key in &keys {
            for (name, change) in changes(identity, key.clone()) {
                if key.is_empty() && name == "delete" && identity != ReplicaIdentity::Full {
                    continue;
                }
                let back = decode(&change.table, &encode(&change));
                assert_eq!(back.len(), 1, "{name} {identity:?} {key:?}");
                for (at, cells) in cells_of(&back[0]).into_iter().zip(cells_of(&change)).enumerate() {
                    assert_eq!(cells.0, cells.1, "{name} {identity:?} {key:?}: cell {at}");
                }
                assert_eq!(back[0], change, "{name} {identity:?} {key:?}");
            }
        }
    }
}

fn cells_of(change: &Change) -> Vec<String> {
    let show = |row: &Row| {
        row.cells()
            .map(|cell| match cell {
                Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    match &change.op {
        Op::Read { new } | Op::Insert { new } => show(new),
        Op::Update { old, new } => old.iter().flat_map(|old| show(old.row())).chain(show(new)).collect(),
        Op::Delete { old } => show(old.row()),
        Op::Truncate | Op::Message(_) | Op::Commit { .. } => vec![],
    }
}

#[test]
fn under_full_identity_unchanged_values_are_taken_from_the_old_row() {
    let table = table(ReplicaIdentity::Full, vec![0]);
    let (old, new) = (usual(0), with(&usual(0), |at| is_large(at).then_some(Cell::Unchanged)));
    let change = change(&table, Op::Update { old: Some(OldRow::Full(old.clone())), new });
    let records = encode(&change);
    assert!(records.iter().all(|record| record.headers().all(|(name, _)| name != "tw.unchanged")));
    assert_eq!(decode(&table, &records)[0].op, Op::Update { old: Some(OldRow::Full(old.clone())), new: old });
}

#[test]
fn a_key_change_is_a_delete_a_tombstone_and_a_create() {
    let (_, change) = changes(ReplicaIdentity::Default, vec![0]).pop().unwrap();
    let records = encode(&change);
    let shown: Vec<_> = records.iter().map(|r| (r.key.map(text), r.value.is_some(), headers(&r)[0].clone())).collect();
    let old = "{\"id\":-9223372036854775808}".to_owned();
    let new = "{\"id\":7}".to_owned();
    let next = ("__debezium.newkey".to_owned(), new.clone());
    let expected = [
        (Some(old.clone()), true, next.clone()),
        (Some(old.clone()), false, next),
        (Some(new), true, ("__debezium.oldkey".to_owned(), old)),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn text_that_is_not_utf_8_names_its_column_and_leaves_nothing_behind() {
    let table = table(ReplicaIdentity::Default, vec![0]);
    let new = with(&usual(0), |at| (at == 11).then_some(Cell::Text(b"secret\xff")));
    let change = change(&table, Op::Insert { new });
    let mut records = Records::new();
    let error = Encoder::new(table, &settings()).unwrap().encode(&change, PgTimestamp(0), &mut records).unwrap_err();
    assert_eq!(error.to_string(), "column note: expected UTF-8");
    assert!(records.is_empty() && records.size() == 0);
}

#[test]
fn a_table_version_comes_back_as_it_was() {
    let table = table(ReplicaIdentity::Full, vec![6, 0]);
    let (key, value) = encode_table(&table, &Modes::default());
    assert_eq!(text(&key), "inv.Odd.Name tbl@3");
    assert_eq!(decode_table(&value).unwrap(), TableRecord::Version(Table::clone(&table), Modes::default()));
    for bytes in [&b"{}"[..], b"", b"null", b"{\"schema\":1}"] {
        assert!(decode_table(bytes).is_err());
    }
}

#[test]
fn that_a_table_is_followed_comes_back_under_a_key_that_no_version_has() {
    let name = TableName::new("inv", "Odd@followed");
    let membership = Membership { table: Oid(u32::MAX), publication: Oid(2), entry: Oid(0) };
    for membership in [Some(membership), None] {
        let (key, value) = encode_followed(&name, membership);
        assert_eq!(text(&key), "inv.Odd@followed@followed");
        assert_eq!(decode_table(&value).unwrap(), TableRecord::Followed(name.clone(), membership));
    }
}

#[test]
fn a_table_without_columns_has_events_too() {
    let mut table = Table::clone(&table(ReplicaIdentity::Default, vec![]));
    table.columns.clear();
    let table = Arc::new(table);
    let change = change(&table, Op::Insert { new: [].into_iter().collect() });
    assert_eq!(decode(&table, &encode(&change)), [change]);
}

#[test]
fn the_envelope_has_debeziums_form() {
    for (name, change) in changes(ReplicaIdentity::Default, vec![0, 6]) {
        golden(name, &encode(&change));
    }
    for (name, change) in changes(ReplicaIdentity::Full, vec![0]) {
        if matches!(name, "update" | "delete") {
            golden(&format!("{name}_full"), &encode(&change));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn headers(record: &tailwater::codecs::event::Record<'_>) -> Vec<(String, String)> {
    record.headers().map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// Compares with `tests/golden/event/<name>.json`, one line for each field; `BLESS=1` writes it.
fn golden(name: &str, records: &Records) {
    let mut shown = String::from("[\n");
    for (at, record) in records.iter().enumerate() {
        let comma = if at + 1 < records.len() { "," } else { "" };
        let key = record.key.map_or("null".into(), text);
        let value = record.value.map_or("null".into(), text);
        let value = value.replace(",\"", ",\n    \"").replace("{\"", "{\n    \"");
        let headers = serde_json::to_string(&headers(&record)).unwrap();
        writeln!(shown, "  {{\"key\": {key},\n   \"headers\": {headers},\n   \"value\": {value}}}{comma}").unwrap();
    }
    shown.push_str("]\n");
    serde_json::from_str::<serde_json::Value>(&shown).unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/event/{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(shown.contains(&version));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        shown,
        "{} differs; BLESS=1 rewrites",
        path.display()
    );
}

/// A column with values that its type prints.
fn any_column() -> impl Strategy<Value = (PgType, i32, Vec<Option<String>>)> {
    let text = || any::<String>().prop_map(|text| text.replace('\0', ""));
    let values = |pg_type: PgType, modifier, one: BoxedStrategy<String>| {
        let several = proptest::collection::vec(proptest::option::weighted(0.8, one), 4);
        several.prop_map(move |values| (pg_type.clone(), modifier, values)).boxed()
    };
    let micros = -211_813_488_000_000_000_i64..9_223_371_331_200_000_000;
    let stamp = micros.prop_map(|micros| {
        let mut out = Vec::new();
        value::print::pg_timestamp(value::Finite::Value(micros), &mut out);
        String::from_utf8(out).unwrap()
    });
    let texts = proptest::collection::vec(proptest::option::of(text()), 0..4).prop_map(|elements| {
        let mut out = Vec::new();
        let mut writer = value::ArrayWriter::new(&mut out, b',');
        elements.iter().for_each(|element| writer.push(element.as_ref().map(String::as_bytes)));
        writer.finish();
        String::from_utf8(out).unwrap()
    });
    let hex = any::<Vec<u8>>().prop_map(|bytes| {
        let mut out = Vec::new();
        value::print::bytea(&bytes, &mut out);
        String::from_utf8(out).unwrap()
    });
    let decimal = "(0|-?[1-9][0-9]{0,50})\\.[0-9]{4}";
    prop_oneof![
        values(PgType::Int8, -1, any::<i64>().prop_map(|n| n.to_string()).boxed()),
        values(PgType::Text, -1, text().boxed()),
        values(PgType::Other { name: "xml".into() }, -1, text().boxed()),
        values(PgType::Numeric, -1, "(0|-?[1-9][0-9]{0,50})(\\.[0-9]{0,49}[1-9])?".boxed()),
        values(PgType::Numeric, numeric(100, 4), decimal.boxed()),
        values(PgType::Timestamp, -1, stamp.boxed()),
        values(PgType::Bytea, -1, hex.boxed()),
        values(array(PgType::Text), -1, texts.boxed()),
    ]
}

proptest! {
    #[test]
    fn any_row_of_any_table_comes_back(
        columns in proptest::collection::vec((any_column(), any::<String>()), 1..6),
        kinds in proptest::collection::vec(0_usize..6, 4),
        unchanged: u8,
        full: bool,
    ) {
        let named = |(at, ((pg_type, modifier, _), name)): (usize, &((PgType, i32, Vec<_>), String))| {
            column(&format!("{name}{at}"), pg_type.clone(), *modifier, true)
        };
        let table = Arc::new(Table {
            oid: Oid(1),
            name: TableName::new("inv", "Odd.Name tbl"),
            version: 3,
            columns: columns.iter().enumerate().map(named).collect(),
            identity: if full { ReplicaIdentity::Full } else { ReplicaIdentity::Default },
            key: vec![0],
        });
        let row = |i: usize| -> Row {
            let cell = |((_, _, values), _): &((PgType, i32, Vec<Option<String>>), String)| {
                values[i].clone()
            };
            let values: Vec<_> = columns.iter().map(cell).collect();
            values.iter().map(|v| v.as_ref().map_or(Cell::Null, |v| Cell::Text(v.as_bytes()))).collect()
        };
        for (i, kind) in kinds.into_iter().enumerate() {
            let new = row(i);
            let toasted = with(&new, |at| (at > 0 && unchanged >> at & 1 == 1).then_some(Cell::Unchanged));
            let before = row((i + 1) % 4);
            let op = match kind {
                0 => Op::Insert { new },
                1 => Op::Read { new },
                2 if full => Op::Delete { old: OldRow::Full(new) },
                2 => Op::Delete { old: OldRow::Key(key_of(&new, &[0])) },
                3 => Op::Truncate,
                4 if before.cell(0) != new.cell(0) => {
                    Op::Update { old: Some(OldRow::Key(key_of(&before, &[0]))), new: toasted }
                }
                _ => Op::Update { old: None, new: toasted },
            };
            let change = change(&table, op);
            let records = encode(&change);
            for record in records.iter() {
                for json in [record.key, record.value].into_iter().flatten() {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(json).is_ok());
                }
            }
            prop_assert_eq!(decode(&table, &records), vec![change]);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, cut in 0_usize..2000, flip in 0_usize..2000) {
        let (_, change) = &changes(ReplicaIdentity::Default, vec![0])[1];
        let records = encode(change);
        let record = records.iter().next().unwrap();
        let stamp = Stamp::read(record.headers()).unwrap();
        let mut decoder = Decoder::new(Arc::clone(&change.table), &Modes::default());
        let mut value = record.value.unwrap().to_vec();
        let _ = decoder.decode(&stamp, Some(&bytes));
        let _ = decoder.decode(&stamp, value.get(..cut));
        let at = flip % value.len();
        value[at] ^= 4;
        let _ = decoder.decode(&stamp, Some(&value));
    }
}
