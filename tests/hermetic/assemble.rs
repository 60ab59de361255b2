//! Scripts of messages against the assembler: what comes out, and what is refused.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use tailwater::codecs::pgoutput::*;
use tailwater::logic::assemble::{Assembler, Description, Step, shape};
use tailwater::model::{
    Cell, Change, ChangeId, Class, Error, Lsn, Oid, OldRow, Op, PgTimestamp, PgType, ReplicaIdentity, Row, Table, Xid,
};

const ORDERS: Oid = Oid(1);
const ITEMS: Oid = Oid(2);

fn begin(lsn: u64) -> Message {
    Message::Begin(Begin { final_lsn: Lsn::new(lsn), at: PgTimestamp(7), xid: Xid(9) })
}

fn commit(lsn: u64, end: u64) -> Message {
    Message::Commit(Commit { commit_lsn: Lsn::new(lsn), end_lsn: Lsn::new(end), at: PgTimestamp(7) })
}

fn column(name: &str, type_oid: u32, key: bool) -> RelationColumn {
    RelationColumn { key, name: name.to_owned(), type_oid: Oid(type_oid), modifier: -1 }
}

fn relation(oid: Oid, identity: ReplicaIdentity, columns: Vec<RelationColumn>) -> Relation {
    Relation { xid: None, oid, schema: "shop".to_owned(), name: format!("t{oid}"), identity, columns }
}

fn orders() -> Relation {
    relation(ORDERS, ReplicaIdentity::Default, vec![column("id", 20, true), column("note", 25, false)])
}

fn items() -> Relation {
    relation(ITEMS, ReplicaIdentity::Full, vec![column("id", 20, true), column("note", 25, true)])
}

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells
        .iter()
        .map(|cell| match *cell {
            "u" => Cell::Unchanged,
            "n" => Cell::Null,
            text => Cell::Text(text.as_bytes()),
        })
        .collect()
}

fn insert(relation: Oid, new: Row) -> Message {
    Message::Insert(Insert { xid: None, relation, new })
}

fn update(relation: Oid, old: Option<OldRow>, new: Row) -> Message {
    Message::Update(Update { xid: None, relation, old, new })
}

fn delete(relation: Oid, old: OldRow) -> Message {
    Message::Delete(Delete { xid: None, relation, old })
}

fn truncate(relations: &[Oid]) -> Message {
    Message::Truncate(Truncate { xid: None, cascade: false, restart_identity: false, relations: relations.to_vec() })
}

fn logical(transactional: bool) -> Message {
    let content = Bytes::from_static(b"content");
    Message::Logical(Logical { xid: None, transactional, lsn: Lsn::new(1), prefix: "p".to_owned(), content })
}

/// The changes, and the commit and end of each transaction.
type Outcome = Result<(Vec<Change>, Vec<(u64, u64)>), Error>;

/// Feeds the messages, describing relations as a catalog that knows nothing would; message `i` comes at LSN `i`.
fn feed(assembler: &mut Assembler, script: &[Message]) -> Outcome {
    let (mut changes, mut boundaries) = (Vec::new(), Vec::new());
    for (lsn, message) in (0..).zip(script) {
        match assembler.feed(message.clone(), Lsn::new(lsn), &mut changes)? {
            Step::Going => {}
            Step::Boundary { commit, end } => boundaries.push((commit.get(), end.get())),
            Step::Describe(relation) => {
                let table = shape(&relation, &Description::default());
                assembler.define(relation, table, Lsn::ZERO);
            }
        }
    }
    Ok((changes, boundaries))
}

fn run(stored: u64, script: &[Message]) -> Outcome {
    feed(&mut Assembler::new(Lsn::new(stored)), script)
}

fn ids(changes: &[Change]) -> Vec<(u64, u64)> {
    changes.iter().map(|change| (change.id.commit.get(), change.id.seq)).collect()
}

#[test]
fn a_transaction_becomes_changes_in_order_and_a_boundary() {
    let script = [
        begin(100),
        Message::Relation(orders()),
        insert(ORDERS, row(["1", "a"])),
        Message::Relation(items()),
        insert(ITEMS, row(["1", "a"])),
        logical(true),
        update(ORDERS, Some(OldRow::Key(row(["1", "n"]))), row(["2", "u"])),
        truncate(&[ORDERS, ITEMS]),
        delete(ORDERS, OldRow::Key(row(["2", "n"]))),
        commit(100, 148),
        logical(false),
    ];
    let (changes, boundaries) = run(0, &script).unwrap();
    assert_eq!(ids(&changes), (0..6).map(|seq| (100, seq)).collect::<Vec<_>>());
    assert_eq!(boundaries, [(100, 148)]);
    let tables: Vec<Oid> = changes.iter().map(|change| change.table.oid).collect();
    assert_eq!(tables, [ORDERS, ITEMS, ORDERS, ORDERS, ITEMS, ORDERS]);
    assert_eq!(changes[2].op, Op::Update { old: Some(OldRow::Key(row(["1", "n"]))), new: row(["2", "u"]) });
    assert_eq!((&changes[3].op, &changes[4].op), (&Op::Truncate, &Op::Truncate));
    assert_eq!(changes[5].op, Op::Delete { old: OldRow::Key(row(["2", "n"])) });
    let origin = changes[0].origin;
    assert_eq!((origin.at, origin.xid, origin.lsn), (PgTimestamp(7), Some(Xid(9)), Lsn::new(2)));
    assert_eq!((origin.last_commit, origin.snapshot), (None, None));
}

#[test]
fn changes_name_the_end_of_the_transaction_before() {
    let script = [begin(10), commit(10, 18), begin(20), Message::Relation(orders()), insert(ORDERS, row(["1", "a"]))];
    let (changes, _) = run(0, &script).unwrap();
    assert_eq!(changes[0].origin.last_commit, Some(Lsn::new(18)));
}

#[test]
fn what_the_sink_has_is_skipped_and_its_neighbour_is_not() {
    // The second commit record begins where the first one ends.
    let script = |seen: bool| {
        let row = || insert(ORDERS, row(["1", "a"]));
        let relation = Message::Relation(orders());
        let first = [begin(100), relation, row(), row(), commit(100, 148)];
        let rest = [begin(148), row(), commit(148, 200), begin(200), row(), commit(200, 240)];
        if seen { first.into_iter().chain(rest).collect() } else { first.to_vec() }
    };
    for (stored, expected) in [
        (0, vec![(100, 0), (100, 1), (148, 0), (200, 0)]),
        (100, vec![(100, 0), (100, 1), (148, 0), (200, 0)]),
        (148, vec![(148, 0), (200, 0)]),
        (200, vec![(200, 0)]),
        (240, vec![]),
    ] {
        let (changes, boundaries) = run(stored, &script(true)).unwrap();
        assert_eq!(ids(&changes), expected, "stored {stored}");
        assert_eq!(boundaries, [(100, 148), (148, 200), (200, 240)]);
    }
    // A stored position is never inside a commit record.
    assert_eq!(run(120, &script(false)).unwrap_err().class(), Class::Corrupt);
}

#[test]
fn under_full_identity_unchanged_values_come_from_the_old_row() {
    let old = row(["1", "large"]);
    let script = [
        begin(100),
        Message::Relation(items()),
        update(ITEMS, Some(OldRow::Full(old.clone())), row(["2", "u"])),
        update(ITEMS, Some(OldRow::Full(row(["2", "n"]))), row(["3", "u"])),
        update(ITEMS, Some(OldRow::Full(old.clone())), row(["4", "n"])),
    ];
    let (changes, _) = run(0, &script).unwrap();
    let new = |i: usize| match &changes[i].op {
        Op::Update { new, old: Some(OldRow::Full(_)) } => new.clone(),
        other => panic!("an update with its old row, not {other:?}"),
    };
    assert_eq!((new(0), new(1), new(2)), (row(["2", "large"]), row(["3", "n"]), row(["4", "n"])));
}

#[test]
fn a_stream_that_contradicts_itself_is_refused_with_its_place() {
    let open = || vec![begin(100), Message::Relation(orders())];
    let with = |message: Message| [open(), vec![message]].concat();
    let prepare = Prepare {
        prepare_lsn: Lsn::new(1),
        end_lsn: Lsn::new(2),
        at: PgTimestamp(0),
        xid: Xid(1),
        gid: "secret-name".to_owned(),
    };
    let typed = Type { xid: None, oid: Oid(5), schema: String::new(), name: "t".to_owned() };
    let prepared = Commit { commit_lsn: Lsn::new(1), end_lsn: Lsn::new(2), at: PgTimestamp(0) };
    for (script, class, says) in [
        (vec![insert(ORDERS, row(["1", "a"]))], Class::Corrupt, "Insert outside of a transaction"),
        (vec![update(ORDERS, None, row(["1", "a"]))], Class::Corrupt, "Update outside of a transaction"),
        (vec![delete(ORDERS, OldRow::Key(row(["1", "a"])))], Class::Corrupt, "Delete outside of a transaction"),
        (vec![truncate(&[])], Class::Corrupt, "Truncate outside of a transaction"),
        (vec![Message::Relation(orders())], Class::Corrupt, "Relation outside of a transaction"),
        (vec![Message::Type(typed)], Class::Corrupt, "Type outside of a transaction"),
        (vec![logical(true)], Class::Corrupt, "Message outside of a transaction"),
        (vec![commit(100, 148)], Class::Corrupt, "Commit outside of a transaction"),
        (vec![begin(100), begin(200)], Class::Corrupt, "at 0/1: a transaction begins inside another one"),
        (vec![begin(100), commit(108, 148)], Class::Corrupt, "commits elsewhere"),
        (vec![begin(100), commit(100, 100)], Class::Corrupt, "ends before it begins"),
        (vec![begin(100), commit(100, 148), begin(140)], Class::Corrupt, "committed later"),
        (with(insert(ITEMS, row(["1", "a"]))), Class::Corrupt, "relation 2, which has not been named"),
        (with(truncate(&[ORDERS, ITEMS])), Class::Corrupt, "relation 2, which has not been named"),
        (with(insert(ORDERS, row(["canary"]))), Class::Corrupt, "shop.t1 has 1 columns, the table has 2"),
        (with(insert(ORDERS, row(["1", "2", "canary"]))), Class::Corrupt, "has 3 columns"),
        (with(delete(ORDERS, OldRow::Key(row(["canary"])))), Class::Corrupt, "has 1 columns"),
        (with(update(ORDERS, Some(OldRow::Key(row([]))), row(["1", "2"]))), Class::Corrupt, "has 0 columns"),
        (with(Message::StreamStop), Class::Bug, "Stream Stop at 0/2"),
        (vec![Message::StreamStart(StreamStart { xid: Xid(1), first: true })], Class::Bug, "Stream Start"),
        (vec![Message::StreamPrepare(prepare.clone())], Class::Bug, "Stream Prepare"),
        (vec![Message::Prepare(prepare.clone())], Class::Blocked, "two-phase"),
        (
            vec![Message::CommitPrepared(CommitPrepared { commit: prepared, xid: Xid(1), gid: prepare.gid.clone() })],
            Class::Blocked,
            "two_phase",
        ),
    ] {
        let error = run(0, &script).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.class(), class, "{text}");
        assert!(text.contains(says), "{says:?} in {text:?}");
        assert!(!text.contains("canary") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_row_before_its_tables_definition_is_our_own_mistake() {
    let mut assembler = Assembler::new(Lsn::ZERO);
    let mut changes = Vec::new();
    assembler.feed(begin(100), Lsn::ZERO, &mut changes).unwrap();
    let step = assembler.feed(Message::Relation(orders()), Lsn::ZERO, &mut changes).unwrap();
    assert_eq!(step, Step::Describe(orders()));
    let error = assembler.feed(insert(ORDERS, row(["1", "a"])), Lsn::ZERO, &mut changes).unwrap_err();
    assert_eq!(error.class(), Class::Bug);
}

#[test]
fn a_version_counts_shapes_not_messages() {
    let mut assembler = Assembler::new(Lsn::ZERO);
    let wider = Relation { columns: [orders().columns, vec![column("more", 25, false)]].concat(), ..orders() };
    let script = [
        begin(100),
        Message::Relation(orders()),
        insert(ORDERS, row(["1", "a"])),
        Message::Relation(orders()),
        insert(ORDERS, row(["2", "a"])),
        Message::Relation(wider),
        insert(ORDERS, row(["3", "a", "b"])),
        Message::Relation(orders()),
        insert(ORDERS, row(["4", "a"])),
    ];
    let (changes, _) = feed(&mut assembler, &script).unwrap();
    assert!(Arc::ptr_eq(&changes[0].table, &changes[1].table));
    assert_eq!(changes.iter().map(|change| change.table.version).collect::<Vec<_>>(), [1, 1, 2, 3]);
}

/// The relation, what the catalog says, and the key that follows.
fn key(identity: ReplicaIdentity, marks: &str, primary_key: &[&str]) -> Vec<String> {
    let columns = ["a", "b", "c"].map(|name| column(name, 25, marks.contains(name)));
    let primary_key = primary_key.iter().map(|&name| name.to_owned()).collect();
    let table =
        shape(&relation(ORDERS, identity, columns.to_vec()), &Description { primary_key, ..Default::default() });
    table.key_columns().map(|column| column.name.clone()).collect()
}

#[test]
fn an_index_gives_the_keys_order_and_a_unique_one_the_key_where_there_is_no_other() {
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (identity, marks, primary_key, expected) in [
        (Index, "ab", &["c"][..], &["b", "a"][..]),
        (Index, "ac", &["c"], &["a", "c"]),
        (Full, "abc", &["c"], &["c"]),
        (Full, "abc", &["unpublished"], &[]),
        (Full, "abc", &[], &["c", "b"]),
        (Nothing, "", &[], &["c", "b"]),
        (Default, "", &[], &["c", "b"]),
        (Default, "a", &[], &["a"]),
    ] {
        let columns = ["a", "b", "c"].map(|name| column(name, 25, marks.contains(name)));
        let catalog = Description {
            primary_key: names(primary_key),
            identity_index: names(&["b", "a"]),
            unique_index: names(&["c", "b"]),
            ..Description::default()
        };
        let table = shape(&relation(ORDERS, identity, columns.to_vec()), &catalog);
        let key: Vec<_> = table.key_columns().map(|column| column.name.as_str()).collect();
        assert_eq!(key, expected, "{identity:?} {marks} {primary_key:?}");
    }
}

#[test]
fn the_key_is_what_identifies_rows_in_the_stream() {
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    for (identity, marks, primary_key, expected) in [
        (Default, "ab", &["b", "a"][..], &["b", "a"][..]),
        (Default, "", &[], &[]),
        // The primary key was another one, or has another column's name by now.
        (Default, "ab", &["c"], &["a", "b"]),
        (Default, "a", &["renamed"], &["a"]),
        (Default, "a", &[], &["a"]),
        // A column list publishes but a part of the key.
        (Default, "a", &["a", "unpublished"], &[]),
        (Index, "c", &["a"], &["c"]),
        (Full, "abc", &["b", "a"], &["b", "a"]),
        (Full, "abc", &[], &[]),
        (Full, "abc", &["a", "unpublished"], &[]),
        (Nothing, "", &["a"], &["a"]),
        (Nothing, "", &[], &[]),
    ] {
        assert_eq!(key(identity, marks, primary_key), expected, "{identity:?} {marks} {primary_key:?}");
    }
}

#[test]
fn columns_are_the_streams_and_the_catalog_explains_them() {
    let mood = PgType::Enum { name: "shop.mood".to_owned(), labels: vec!["ok".to_owned()] };
    let columns = vec![
        column("id", 20, true),
        column("dropped", 1700, false),
        column("mood", 9001, false),
        column("x", 9002, false),
    ];
    let catalog = Description {
        types: HashMap::from([(Oid(9001), mood.clone())]),
        required: ["id".to_owned(), "mood".to_owned()].into(),
        primary_key: vec!["id".to_owned()],
        ..Description::default()
    };
    let table: Table =
        shape(&Relation { schema: String::new(), ..relation(ORDERS, ReplicaIdentity::Default, columns) }, &catalog);
    assert_eq!(table.name.to_string(), "pg_catalog.t1");
    let found: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), &c.pg_type, c.optional)).collect();
    let unknown = PgType::Other { name: "type with OID 9002".to_owned() };
    let (int8, numeric) = (PgType::Int8, PgType::Numeric);
    assert_eq!(
        found,
        [("id", &int8, false), ("dropped", &numeric, true), ("mood", &mood, false), ("x", &unknown, true)]
    );
    assert_eq!(table.key, [0]);
}

#[test]
fn ids_of_changes_rise_along_the_stream() {
    let row = || insert(ORDERS, row(["1", "a"]));
    let script =
        [begin(8), Message::Relation(orders()), row(), row(), commit(8, 16), begin(16), row(), row(), commit(16, 24)];
    let (changes, _) = run(0, &script).unwrap();
    let ids: Vec<ChangeId> = changes.iter().map(|change| change.id).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.is_sorted_by(|a, b| a < b));
}
