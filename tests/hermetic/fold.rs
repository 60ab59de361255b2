//! The fold: applying what it gives comes to the same as applying every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tailwater::codecs::dialect::Target;
use tailwater::logic::merge::{Fold, Folded, NetOp};
use tailwater::model::{
    Cell, Change, ChangeId, Column, Lsn, Oid, OldRow, Op, Origin, PgTimestamp, PgType, ReplicaIdentity, Row, Table,
    TableName,
};

/// `id` numeric (so that 1 and 1.0 are one key), `v` text, `big` text that updates may leave out.
fn table(key: bool) -> Arc<Table> {
    let column = |name: &str, pg_type: PgType| Column {
        name: name.into(),
        pg_type,
        oid: Oid(0),
        modifier: -1,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: vec![column("id", PgType::Numeric), column("v", PgType::Text), column("big", PgType::Text)],
        identity: ReplicaIdentity::Default,
        key: if key { vec![0] } else { Vec::new() },
    })
}

/// A step of a history over a handful of keys; what does not apply to the present rows is left out.
#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u8),
    Update { key: u8, value: u8, big: Option<u8>, to: Option<u8> },
    Delete(u8),
    Truncate,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u8..6;
    prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        6 => (key.clone(), any::<u8>(), proptest::option::of(any::<u8>()), proptest::option::weighted(0.3, 0u8..6))
            .prop_map(|(key, value, big, to)| Step::Update { key, value, big, to }),
        2 => key.prop_map(Step::Delete),
        1 => Just(Step::Truncate),
    ]
}

type Rows = BTreeMap<u8, (String, String)>;

/// PostgreSQL sends one key in several spellings.
fn spelling(key: u8, turn: usize) -> String {
    if turn.is_multiple_of(2) { key.to_string() } else { format!("{key}.0") }
}

fn row(cells: [Option<&str>; 3], big_missing: bool) -> Row {
    let [id, v, big] = cells.map(|cell| cell.map_or(Cell::Null, |text| Cell::Text(text.as_bytes())));
    [id, v, if big_missing { Cell::Unchanged } else { big }].into_iter().collect()
}

/// Plays the steps on `rows`, and says them as the stream would.
fn play(steps: &[Step], rows: &mut Rows, table: &Arc<Table>, first: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    for (turn, step) in steps.iter().enumerate() {
        let op = match *step {
            Step::Insert(key, value) if !rows.contains_key(&key) => {
                let (v, big) = (format!("v{value}"), format!("b{value}"));
                rows.insert(key, (v.clone(), big.clone()));
                Op::Insert { new: row([Some(&spelling(key, turn)), Some(&v), Some(&big)], false) }
            }
            Step::Update { key, value, big, to } if rows.contains_key(&key) => {
                let target = to.filter(|to| !rows.contains_key(to)).unwrap_or(key);
                let (_, old_big) = rows.remove(&key).unwrap();
                let v = format!("u{value}");
                let new_big = big.map_or(old_big, |big| format!("B{big}"));
                rows.insert(target, (v.clone(), new_big.clone()));
                let old = (target != key).then(|| OldRow::Key(row([Some(&spelling(key, turn)), None, None], false)));
                Op::Update { old, new: row([Some(&spelling(target, turn)), Some(&v), Some(&new_big)], big.is_none()) }
            }
            Step::Delete(key) if rows.remove(&key).is_some() => {
                Op::Delete { old: OldRow::Key(row([Some(&spelling(key, turn)), None, None], false)) }
            }
            Step::Truncate => {
                rows.clear();
                Op::Truncate
            }
            _ => continue,
        };
        let id = ChangeId { commit: Lsn::new(first + turn as u64 * 8), seq: 0 };
        let origin = Origin { at: PgTimestamp(0), xid: None, lsn: id.commit, last_commit: None, snapshot: None };
        changes.push(Change { id, origin, table: Arc::clone(table), op });
    }
    changes
}

fn text(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    }
}

fn number(cell: Cell<'_>) -> u8 {
    text(cell).unwrap().trim_end_matches(".0").parse().unwrap()
}

/// What a warehouse does: truncate, fill from the rows as they were, delete, insert.
fn apply(folded: &Folded, rows: &mut Rows) {
    if folded.horizon.is_some() {
        rows.clear();
    }
    let before = rows.clone();
    for net in &folded.rows {
        rows.remove(&number(net.row.cell(0)));
    }
    for net in folded.rows.iter().filter(|net| net.op == NetOp::Upsert) {
        let key = number(net.row.cell(0));
        let big = text(net.row.cell(2)).unwrap_or_else(|| {
            let base = net.base.as_ref().map_or(key, |base| number(base.cell(0)));
            before.get(&base).expect("the base row is in the target").1.clone()
        });
        rows.insert(key, (text(net.row.cell(1)).unwrap(), big));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn net_rows_come_to_the_same_as_all_changes(
        flushes in proptest::collection::vec(proptest::collection::vec(step(), 0..12), 1..6)
    ) {
        let table = table(true);
        let (mut source, mut target) = (Rows::new(), Rows::new());
        for (n, steps) in flushes.iter().enumerate() {
            let changes = play(steps, &mut source, &table, 8 + n as u64 * 1000);
            let mut fold = Fold::new(&Target::new(table.name.clone(), Arc::clone(&table)), Vec::new());
            for change in changes {
                fold.push(change).unwrap();
            }
            let folded = fold.finish();
            for net in folded.rows.iter().filter(|net| net.new && folded.horizon.is_none()) {
                prop_assert!(!target.contains_key(&number(net.row.cell(0))), "a new row is in the target: {net:?}");
                prop_assert!(net.op == NetOp::Upsert && !net.lacks(), "a new row is whole: {net:?}");
            }
            let mut keys: Vec<u8> = folded.rows.iter().map(|net| number(net.row.cell(0))).collect();
            keys.sort_unstable();
            prop_assert!(keys.is_sorted_by(|a, b| a < b), "a key twice: {keys:?}");
            apply(&folded, &mut target);
            prop_assert_eq!(&source, &target, "after flush {}", n);
        }
    }
}

#[test]
fn a_table_without_a_key_keeps_every_change_with_its_letter() {
    let table = table(false);
    let mut rows = Rows::new();
    let steps = [Step::Insert(1, 1), Step::Insert(2, 2), Step::Truncate, Step::Insert(1, 3)];
    let mut fold = Fold::new(&Target::new(table.name.clone(), Arc::clone(&table)), Vec::new());
    for change in play(&steps, &mut rows, &table, 8) {
        fold.push(change).unwrap();
    }
    let folded = fold.finish();
    assert!(folded.horizon.is_some(), "a truncate empties it");
    assert_eq!(folded.rows.iter().map(|net| net.op).collect::<Vec<_>>(), [NetOp::Append('c')]);
}

#[test]
fn rows_come_in_the_order_of_their_keys_and_new_ones_last() {
    let table = table(true);
    let mut rows: Rows = (0..100).step_by(2).map(|key| (key, ("old".to_owned(), "old".to_owned()))).collect();
    let mut steps: Vec<Step> = (0..100).rev().filter(|key| key % 2 == 1).map(|key| Step::Insert(key, 1)).collect();
    steps.extend([42, 8, 99, 7].map(|key| Step::Update { key, value: 2, big: None, to: None }));
    // What is gone before it was seen, and what comes again, is looked for.
    steps.extend([Step::Delete(5), Step::Delete(3), Step::Insert(3, 4), Step::Delete(10), Step::Insert(10, 4)]);
    let mut fold = Fold::new(&Target::new(table.name.clone(), Arc::clone(&table)), Vec::new());
    for change in play(&steps, &mut rows, &table, 8) {
        fold.push(change).unwrap();
    }
    let mut folded = fold.finish();
    assert!(folded.clone().take_new(49).is_none(), "so many are not new");
    let new = folded.take_new(48).expect("the others are");
    let keys = |folded: &Folded| folded.rows.iter().map(|net| number(net.row.cell(0))).collect::<Vec<_>>();
    assert_eq!(keys(&folded), [3, 5, 8, 10, 42]);
    assert_eq!(keys(&new), (0..100).filter(|key| key % 2 == 1 && ![3, 5].contains(key)).collect::<Vec<_>>());
}
