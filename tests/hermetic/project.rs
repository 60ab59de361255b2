//! What leaves the process of a table: columns left out or masked, another key, another name.

use std::sync::Arc;

use tailwater::logic::project::{Cast, Mask, Origins, Projection, Rule};
use tailwater::model::*;

fn table(identity: ReplicaIdentity) -> Arc<Table> {
    let column = |name: &str, pg_type, optional| Column {
        name: name.into(),
        pg_type,
        oid: Oid(1),
        modifier: 7,
        optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(9),
        name: TableName::new("public", "people"),
        version: 3,
        columns: vec![
            column("id", PgType::Int4, false),
            column("card", PgType::Text, true),
            column("email", PgType::Varchar, false),
            column("phone", PgType::Int8, true),
            column("note", PgType::Text, true),
        ],
        identity,
        key: vec![0],
    })
}

fn rule() -> Rule {
    Rule {
        tables: Pattern::new("public.p*"),
        exclude: vec!["card".into()],
        unpublished: false,
        masks: vec![("email".into(), Mask::Sha256 { salt: "s".into() }), ("phone".into(), Mask::Redact)],
        renames: Vec::new(),
        casts: Vec::new(),
        key: None,
        rename: Some("persons".into()),
        source: None,
    }
}

fn row(cells: [Option<&str>; 5]) -> Row {
    cells.iter().map(|cell| cell.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
}

fn change(table: &Arc<Table>, op: Op) -> Change {
    let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    Change { id: ChangeId::ZERO, origin, table: Arc::clone(table), op }
}

fn texts(row: &Row) -> Vec<Option<String>> {
    let text = |cell| match cell {
        Cell::Null => None,
        Cell::Unchanged => Some("unchanged".to_owned()),
        Cell::Text(text) | Cell::Binary(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
    };
    row.cells().map(text).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

const SECRET: [Option<&str>; 5] = [Some("1"), Some("CARD"), Some("a@b"), Some("555"), Some("hello")];

#[test]
fn columns_are_left_out_and_masked_in_every_image_and_the_shape_says_so() {
    let table = table(ReplicaIdentity::Full);
    let mut projection = Projection::new(vec![rule()], Origins::default());
    let full = || Some(OldRow::Full(row(SECRET)));
    let mut changes = [
        change(&table, Op::Read { new: row(SECRET) }),
        change(&table, Op::Insert { new: row([Some("1"), None, Some("a@b"), None, None]) }),
        change(&table, Op::Update { old: full(), new: row(SECRET) }),
        change(&table, Op::Delete { old: OldRow::Full(row(SECRET)) }),
        change(&table, Op::Truncate),
    ];
    projection.apply(&mut changes).unwrap();
    let told = &changes[0].table;
    assert_eq!(told.name, TableName::new("public", "persons"));
    let names: Vec<_> = told.columns.iter().map(|column| (column.name.as_str(), column.pg_type.clone())).collect();
    let text = PgType::Text;
    assert_eq!(names, [("id", PgType::Int4), ("email", text.clone()), ("phone", text.clone()), ("note", text)]);
    assert_eq!((told.key.as_slice(), told.columns[1].modifier), (&[0][..], -1));
    for change in &changes {
        assert!(Arc::ptr_eq(&change.table, told));
        let rows: Vec<&Row> = match &change.op {
            Op::Read { new } | Op::Insert { new } => vec![new],
            Op::Update { old, new } => vec![new, old.as_ref().unwrap().row()],
            Op::Delete { old } => vec![old.row()],
            Op::Truncate | Op::Message(_) | Op::Commit { .. } => vec![],
        };
        for row in rows {
            let texts = texts(row);
            assert_eq!(texts.len(), 4);
            let masked = texts[1].clone().unwrap();
            assert!(masked.len() == 64 && masked.bytes().all(|byte| byte.is_ascii_hexdigit()), "{masked}");
            assert!(texts[2].is_none() || texts[2].as_deref() == Some("***"), "NULL stays NULL: {texts:?}");
        }
    }
}

#[test]
fn what_did_not_change_stays_unchanged_and_tables_without_a_rule_are_left_alone() {
    let table = table(ReplicaIdentity::Default);
    let mut projection = Projection::new(vec![rule()], Origins::default());
    let new: Row =
        [Cell::Text(b"1"), Cell::Unchanged, Cell::Unchanged, Cell::Null, Cell::Text(b"n")].into_iter().collect();
    let mut changes = [change(&table, Op::Update { old: None, new })];
    projection.apply(&mut changes).unwrap();
    let Op::Update { new, .. } = &changes[0].op else { panic!("an update") };
    assert_eq!(texts(new), [some(&["1", "unchanged"]), vec![None], some(&["n"])].concat());

    let other = Arc::new(Table { name: TableName::new("public", "orders"), ..Table::clone(&table) });
    let mut changes = [change(&other, Op::Insert { new: row(SECRET) })];
    projection.apply(&mut changes).unwrap();
    assert!(Arc::ptr_eq(&changes[0].table, &other));
    let Op::Insert { new } = &changes[0].op else { panic!("an insert") };
    assert_eq!(texts(new), some(&["1", "CARD", "a@b", "555", "hello"]));
}

#[test]
fn a_rule_that_would_mix_rows_up_is_refused_with_the_column() {
    let refused = |identity, change: &dyn Fn(&mut Rule), says: &[&str]| {
        let mut rule = rule();
        change(&mut rule);
        let error = Projection::new(vec![rule], Origins::default()).table(&table(identity)).unwrap_err();
        assert_eq!(error.class(), Class::Blocked);
        for part in says {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(error.advice().is_some());
    };
    let default = ReplicaIdentity::Default;
    refused(default, &|rule| rule.exclude.push("id".into()), &["public.people", "id", "key"]);
    refused(default, &|rule| rule.masks.push(("id".into(), Mask::Redact)), &["id", "redacted"]);
    refused(default, &|rule| rule.masks.push(("id".into(), Mask::Truncate(3))), &["id"]);
    refused(default, &|rule| rule.key = Some(vec!["nothing".into()]), &["nothing", "does not have"]);
    refused(default, &|rule| rule.key = Some(vec!["note".into()]), &["note", "NULL"]);
    refused(default, &|rule| rule.key = Some(vec!["email".into()]), &["do not carry"]);

    let mut rule = rule();
    rule.key = Some(vec!["email".into(), "id".into()]);
    let told = Projection::new(vec![rule], Origins::default()).table(&table(ReplicaIdentity::Full)).unwrap();
    let key: Vec<_> = told.key_columns().map(|column| column.name.as_str()).collect();
    assert_eq!(key, ["email", "id"], "a key may be masked by what tells values apart");
}

#[test]
fn two_tables_that_would_have_one_name_are_refused_and_both_named() {
    let rename = |pattern: &str, name: &str| Rule {
        tables: Pattern::new(pattern),
        exclude: Vec::new(),
        unpublished: false,
        masks: Vec::new(),
        renames: Vec::new(),
        casts: Vec::new(),
        key: None,
        rename: Some(name.into()),
        source: None,
    };
    let table = |name: &str| {
        let table = table(ReplicaIdentity::Default);
        Arc::new(Table { name: TableName::new("public", name), ..Table::clone(&table) })
    };
    let origins = Origins::default();
    let projection = Projection::new(vec![rename("public.people", "persons")], origins.clone());
    projection.table(&table("people")).unwrap();
    projection.table(&table("people")).unwrap();
    projection.table(&table("other")).unwrap();
    let error = projection.table(&table("persons")).unwrap_err();
    assert_eq!(error.class(), Class::Blocked);
    for part in ["public.people", "public.persons"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(origins.of(&TableName::new("public", "persons")), TableName::new("public", "people"));
    assert_eq!(origins.of(&TableName::new("public", "other")), TableName::new("public", "other"));
}

#[test]
fn whose_a_row_is_stands_last_in_it_and_in_its_key() {
    let mut eu = rule();
    (eu.source, eu.rename) = (Some(("region".into(), "eu".into())), None);
    let source = table(ReplicaIdentity::Default);
    let told = Projection::new(vec![eu.clone()], Origins::default()).table(&source).unwrap();
    assert_eq!(told.source(), Some(("region", "eu")));
    assert_eq!(told.key.last(), Some(&(told.columns.len() - 1)));
    // What waited of it has the column already.
    let again = eu.again(&told, &eu.done(&told));
    let twice = Projection::new(vec![again], Origins::default()).table(&told).unwrap();
    assert_eq!((twice.columns.len(), &twice.key), (told.columns.len(), &told.key));
    eu.source = Some((source.columns[0].name.clone(), "eu".into()));
    let error = Projection::new(vec![eu], Origins::default()).table(&source).unwrap_err();
    assert!(error.to_string().contains("a column that it has"), "{error}");
}

fn named(table: &Table) -> Vec<(&str, String)> {
    table.columns.iter().map(|column| (column.name.as_str(), column.pg_type.name())).collect()
}

fn contract() -> Rule {
    let (oid, pg_type, modifier) = PgType::declared("numeric(12,2)").unwrap();
    Rule {
        exclude: vec!["card".into()],
        masks: vec![("phone".into(), Mask::Redact)],
        // Two names change places.
        renames: vec![("email".into(), "note".into()), ("note".into(), "email".into()), ("id".into(), "number".into())],
        casts: vec![("note".into(), Cast { oid: Oid(oid), pg_type, modifier })],
        ..Rule::of_tables(Pattern::new("public.people"))
    }
}

#[test]
fn columns_have_the_names_and_types_of_the_contract_and_values_keep_their_texts() {
    let mut projection = Projection::new(vec![contract()], Origins::default());
    let table = table(ReplicaIdentity::Default);
    let row = row([Some("1"), Some("4000"), Some("a@b"), Some("123"), Some("12.50")]);
    let mut changes = vec![change(&table, Op::Insert { new: row })];
    projection.apply(&mut changes).unwrap();
    let told = &changes[0].table;
    let text = |name: &str| name.to_owned();
    let expected = [
        ("number", text("integer")),
        ("note", text("character varying")),
        ("phone", text("text")),
        ("email", text("numeric")),
    ];
    assert_eq!((named(told), told.columns[3].modifier), (expected.to_vec(), (12 << 16) + 2 + 4));
    let Op::Insert { new } = &changes[0].op else { panic!("an insert") };
    assert_eq!(texts(new), [Some(text("1")), Some(text("a@b")), Some(text("***")), Some(text("12.50"))]);
    assert_eq!(told.key_columns().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["number"]);
}

#[test]
fn what_waited_under_the_names_of_the_contract_is_told_under_them_again_or_under_those_of_now() {
    let table = table(ReplicaIdentity::Default);
    let rule = contract();
    let told = Projection::new(vec![rule.clone()], Origins::default()).table(&table).unwrap();
    let done = rule.done(&told);
    let again = |rule: &Rule| Projection::new(vec![rule.again(&told, &done)], Origins::default()).table(&told).unwrap();
    assert_eq!(named(&again(&rule)), named(&told), "nothing is done twice");
    // One that is hidden or has another name since then.
    let hidden = Rule { exclude: vec!["email".into()], renames: Vec::new(), casts: Vec::new(), ..rule.clone() };
    let names: Vec<String> = again(&hidden).columns.iter().map(|column| column.name.clone()).collect();
    assert_eq!(names, ["id", "phone", "note"]);
    let masked = Rule { masks: vec![("email".into(), Mask::Redact)], ..rule.clone() };
    assert_eq!(named(&again(&masked))[1], ("note", "text".to_owned()));
}

#[test]
fn a_contract_that_would_make_rows_or_columns_one_is_refused() {
    let table = table(ReplicaIdentity::Default);
    let refused = |rule: Rule| Projection::new(vec![rule], Origins::default()).table(&table).unwrap_err().to_string();
    let twice = Rule { renames: vec![("email".into(), "note".into())], casts: Vec::new(), ..contract() };
    assert!(refused(twice).contains("two columns of public.people would be named note"));
    let (oid, pg_type, modifier) = PgType::declared("double precision").unwrap();
    let key = vec![("id".to_owned(), Cast { oid: Oid(oid), pg_type, modifier })];
    assert!(refused(Rule { casts: key, ..contract() }).contains("column id of public.people is part of the key"));
}
