//! Changes that wait come back as they were, and so does what is noted of a stopped table.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tailwater::codecs::event::{
    Cause, Hold, Piece, TableRecord, Waiting, decode_held, decode_piece, decode_table, encode_followed, encode_held,
    encode_hold,
};
use tailwater::model::*;

#[derive(Clone, Debug)]
enum Held {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

fn row() -> impl Strategy<Value = Row> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let cell = prop_oneof![
        Just(Held::Null),
        Just(Held::Unchanged),
        bytes().prop_map(Held::Text),
        bytes().prop_map(Held::Binary)
    ];
    proptest::collection::vec(cell, 0..6).prop_map(|cells| {
        let cells = cells.iter().map(|cell| match cell {
            Held::Null => Cell::Null,
            Held::Unchanged => Cell::Unchanged,
            Held::Text(value) => Cell::Text(value),
            Held::Binary(value) => Cell::Binary(value),
        });
        cells.collect()
    })
}

fn old() -> impl Strategy<Value = OldRow> {
    prop_oneof![row().prop_map(OldRow::Full), row().prop_map(OldRow::Key)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        row().prop_map(|new| Op::Read { new }),
        row().prop_map(|new| Op::Insert { new }),
        (proptest::option::of(old()), row()).prop_map(|(old, new)| Op::Update { old, new }),
        old().prop_map(|old| Op::Delete { old }),
        Just(Op::Truncate),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    use SnapshotMark::{First, FirstInTable, Last, LastInTable, Middle};
    let marks = [None, Some(First), Some(FirstInTable), Some(Middle), Some(LastInTable), Some(Last)];
    let parts = (
        any::<i64>(),
        any::<Option<u32>>(),
        any::<u64>(),
        any::<Option<u64>>(),
        proptest::sample::select(marks.to_vec()),
    );
    parts.prop_map(|(at, xid, lsn, last_commit, snapshot)| Origin {
        at: PgTimestamp(at),
        xid: xid.map(Xid),
        lsn: Lsn::new(lsn),
        last_commit: last_commit.map(Lsn::new),
        snapshot,
    })
}

fn change(origin: Origin, op: Op) -> Change {
    Change { id: ChangeId { commit: Lsn::new(8), seq: 1 }, origin, table: Arc::new(Table::of_messages()), op }
}

proptest! {
    #[test]
    fn every_change_comes_back_as_it_was_and_none_of_its_pieces_is_taken_for_one(
        origin in origin(),
        op in op(),
        masked in proptest::collection::vec("[a-zä]{1,5}", 0..3),
        flipped in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        prop_assert!(encode_held(&change(origin, op.clone()), &masked, &mut bytes));
        let waiting = decode_held(&Bytes::from(bytes.clone())).unwrap();
        prop_assert_eq!((waiting.origin, waiting.op, waiting.masked), (origin, op, masked));
        for end in 0..bytes.len() {
            prop_assert!(decode_held(&Bytes::from(bytes[..end].to_vec())).is_err(), "{} of {}", end, bytes.len());
        }
        bytes.push(0);
        prop_assert!(decode_held(&Bytes::from(bytes.clone())).is_err());
        // Whatever it says, it is read or refused.
        let at = flipped.index(bytes.len());
        bytes[at] ^= 0xFF;
        let _ = decode_held(&Bytes::from(bytes));
    }

    #[test]
    fn changes_that_wait_together_come_back_with_their_ids_and_their_shape(
        all in proptest::collection::vec((any::<[u64; 2]>(), origin(), op(), proptest::collection::vec("[a-z]{1,3}", 0..2)), 1..8),
        flipped in any::<proptest::sample::Index>(),
    ) {
        let table = Arc::new(Table { oid: Oid(7), name: TableName::new("s", "t\"'"), ..Table::of_messages() });
        let mut piece = Piece::new(&table);
        let mut expected = Vec::new();
        for ([commit, seq], origin, op, masked) in all {
            let id = ChangeId { commit: Lsn::new(commit), seq };
            let change = Change { id, origin, table: Arc::clone(&table), op: op.clone() };
            prop_assert!(piece.push(&change, &masked));
            expected.push((id, Waiting { origin, op, masked }));
        }
        prop_assert_eq!((piece.first(), piece.changes()), (expected[0].0, expected.len() as u64));
        let text = piece.encode();
        let (shape, changes) = decode_piece(&text).unwrap();
        prop_assert!(shape.same_shape(&table));
        prop_assert_eq!(changes, expected);
        // Whatever it says, it is read or refused.
        let mut bytes = text.into_bytes();
        let at = flipped.index(bytes.len());
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let _ = decode_piece(std::str::from_utf8(&bytes).unwrap());
    }

    #[test]
    fn what_is_noted_of_a_stopped_table_is_read_and_not_taken_for_another_note(
        ids in any::<[u64; 4]>(),
        from in any::<i64>(),
        what in ".*",
        remedy in ".*",
    ) {
        let (source, told) = (TableName::new("public", "a\"b"), TableName::new("public", "c"));
        let id = |at: usize| ChangeId { commit: Lsn::new(ids[at]), seq: ids[at + 1] };
        for cause in [Cause::Registry, Cause::Topic, Cause::Names, Cause::Value, Cause::Rule] {
            let (at, told, what, remedy) = (PgTimestamp(5), told.clone(), what.clone(), remedy.clone());
            let hold = Hold { told, since: id(0), at, from, released: id(2), cause, what, remedy };
            let (key, value) = encode_hold(&source, Some(&hold));
            prop_assert_eq!(&key, b"public.a\"b@held");
            prop_assert_eq!(decode_table(&value).unwrap(), TableRecord::Held(source.clone(), Some(Box::new(hold))));
        }
        let (key, value) = encode_hold(&source, None);
        prop_assert_eq!(key, b"public.a\"b@held");
        prop_assert_eq!(decode_table(&value).unwrap(), TableRecord::Held(source.clone(), None));
        let (_, value) = encode_followed(&source, None);
        prop_assert_eq!(decode_table(&value).unwrap(), TableRecord::Followed(source, None));
    }
}

#[test]
fn what_is_of_no_table_does_not_wait() {
    let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    let mut bytes = Vec::new();
    assert!(!encode_held(&change(origin, Op::Commit { end: Lsn::ZERO }), &[], &mut bytes));
    let message = Emitted { transactional: true, prefix: "p".into(), content: Bytes::new() };
    assert!(!encode_held(&change(origin, Op::Message(message)), &[], &mut bytes));
    assert!(bytes.is_empty());
}
