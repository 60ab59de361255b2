//! The decoder against its own encoder, against damage, and against what real servers sent.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use tailwater::codecs::pgoutput::*;
use tailwater::model::{Cell, Lsn, Oid, OldRow, PgTimestamp, ReplicaIdentity, Row, RowWriter, Xid};

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn::new)
}

fn at() -> impl Strategy<Value = PgTimestamp> {
    any::<i64>().prop_map(PgTimestamp)
}

fn xid() -> impl Strategy<Value = Xid> {
    any::<u32>().prop_map(Xid)
}

fn oid() -> impl Strategy<Value = Oid> {
    any::<u32>().prop_map(Oid)
}

fn name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn row() -> impl Strategy<Value = Row> {
    let cell = (0..4u8, vec(any::<u8>(), 0..20));
    vec(cell, 0..12).prop_map(|cells| {
        let mut writer = RowWriter::new();
        for (kind, value) in &cells {
            writer.push(match kind {
                0 => Cell::Null,
                1 => Cell::Unchanged,
                2 => Cell::Text(value),
                _ => Cell::Binary(value),
            });
        }
        writer.finish()
    })
}

fn old_row() -> impl Strategy<Value = OldRow> {
    (any::<bool>(), row()).prop_map(|(full, row)| if full { OldRow::Full(row) } else { OldRow::Key(row) })
}

fn commit() -> impl Strategy<Value = Commit> {
    (lsn(), lsn(), at()).prop_map(|(commit_lsn, end_lsn, at)| Commit { commit_lsn, end_lsn, at })
}

fn prepare() -> impl Strategy<Value = Prepare> {
    (lsn(), lsn(), at(), xid(), name()).prop_map(|(prepare_lsn, end_lsn, at, xid, gid)| Prepare {
        prepare_lsn,
        end_lsn,
        at,
        xid,
        gid,
    })
}

fn relation(xid: Option<Xid>) -> impl Strategy<Value = Message> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Index),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Nothing)
    ];
    let column = (any::<bool>(), name(), oid(), any::<i32>())
        .prop_map(|(key, name, type_oid, modifier)| RelationColumn { key, name, type_oid, modifier });
    (oid(), name(), name(), identity, vec(column, 0..8)).prop_map(move |(oid, schema, name, identity, columns)| {
        Message::Relation(Relation { xid, oid, schema, name, identity, columns })
    })
}

/// Messages that may come inside a transaction or a streamed block.
fn inner(xid: Option<Xid>) -> impl Strategy<Value = Message> {
    prop_oneof![
        relation(xid),
        (lsn(), name()).prop_map(|(lsn, name)| Message::Origin(Origin { lsn, name })),
        (oid(), name(), name()).prop_map(move |(oid, schema, name)| Message::Type(Type { xid, oid, schema, name })),
        (oid(), row()).prop_map(move |(relation, new)| Message::Insert(Insert { xid, relation, new })),
        (oid(), option::of(old_row()), row()).prop_map(move |(relation, old, new)| Message::Update(Update {
            xid,
            relation,
            old,
            new
        })),
        (oid(), old_row()).prop_map(move |(relation, old)| Message::Delete(Delete { xid, relation, old })),
        (any::<bool>(), any::<bool>(), vec(oid(), 0..5)).prop_map(move |(cascade, restart_identity, relations)| {
            Message::Truncate(Truncate { xid, cascade, restart_identity, relations })
        }),
        (any::<bool>(), lsn(), name(), vec(any::<u8>(), 0..30)).prop_map(
            move |(transactional, lsn, prefix, content)| Message::Logical(Logical {
                xid,
                transactional,
                lsn,
                prefix,
                content: content.into()
            })
        ),
    ]
}

/// Messages that come outside of a streamed block.
fn outer(parallel: bool) -> impl Strategy<Value = Message> {
    let detail = (lsn(), at()).prop_map(move |(lsn, at)| parallel.then_some(AbortDetail { lsn, at }));
    prop_oneof![
        3 => inner(None),
        1 => (lsn(), at(), xid()).prop_map(|(final_lsn, at, xid)| Message::Begin(Begin { final_lsn, at, xid })),
        1 => commit().prop_map(Message::Commit),
        1 => (xid(), commit()).prop_map(|(xid, commit)| Message::StreamCommit(StreamCommit { xid, commit })),
        1 => (xid(), xid(), detail).prop_map(|(xid, subxid, detail)| {
            Message::StreamAbort(StreamAbort { xid, subxid, detail })
        }),
        1 => prepare().prop_map(|p| Message::BeginPrepare(BeginPrepare {
            prepare_lsn: p.prepare_lsn, end_lsn: p.end_lsn, at: p.at, xid: p.xid, gid: p.gid
        })),
        1 => prepare().prop_map(Message::Prepare),
        1 => prepare().prop_map(Message::StreamPrepare),
        1 => (commit(), xid(), name()).prop_map(|(commit, xid, gid)| {
            Message::CommitPrepared(CommitPrepared { commit, xid, gid })
        }),
        1 => (lsn(), lsn(), at(), at(), xid(), name()).prop_map(
            |(prepare_end_lsn, rollback_end_lsn, prepared_at, rolled_back_at, xid, gid)| {
                Message::RollbackPrepared(RollbackPrepared {
                    prepare_end_lsn, rollback_end_lsn, prepared_at, rolled_back_at, xid, gid
                })
            }
        ),
    ]
}

/// A message or a whole streamed block, in an order that a server may send.
fn stretch(parallel: bool) -> impl Strategy<Value = Vec<Message>> {
    let block = (xid(), any::<bool>(), any::<u32>()).prop_flat_map(|(xid, first, sub)| {
        vec(inner(Some(Xid(sub))), 0..6).prop_map(move |mut messages| {
            messages.insert(0, Message::StreamStart(StreamStart { xid, first }));
            messages.push(Message::StreamStop);
            messages
        })
    });
    prop_oneof![3 => outer(parallel).prop_map(|message| vec![message]), 1 => block]
}

/// A whole stream and how it was asked for.
fn stream() -> impl Strategy<Value = (Streaming, Vec<Message>)> {
    any::<bool>().prop_flat_map(|parallel| {
        let streaming = if parallel { Streaming::Parallel } else { Streaming::On };
        vec(stretch(parallel), 1..8).prop_map(move |stretches| (streaming, stretches.concat()))
    })
}

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded((streaming, messages) in stream()) {
        let mut decoder = Decoder::new(streaming);
        for message in &messages {
            prop_assert_eq!(decoder.decode(&encoded(message)), Ok(message.clone()));
        }
    }

    #[test]
    fn a_message_that_is_cut_off_anywhere_or_goes_on_is_refused((streaming, messages) in stream()) {
        let mut decoder = Decoder::new(streaming);
        for message in &messages {
            let whole = encoded(message);
            for length in 0..whole.len() {
                let before = decoder;
                prop_assert!(decoder.decode(&whole.slice(..length)).is_err(), "{} of {}", length, whole.len());
                prop_assert_eq!(decoder, before, "a refused message changes nothing");
            }
            let mut longer = BytesMut::from(&whole[..]);
            longer.put_u8(0);
            let error = decoder.decode(&longer.freeze()).unwrap_err();
            prop_assert_eq!(error, DecodeError { at: whole.len(), kind: ErrorKind::Trailing(1) });
            prop_assert!(decoder.decode(&whole).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(tag in any::<u8>(), rest in vec(any::<u8>(), 0..200), place in 0..3u8) {
        let mut decoder = Decoder::new(if place == 0 { Streaming::Off } else { Streaming::Parallel });
        if place == 2 {
            decoder.decode(&Bytes::from_static(b"S\0\0\0\x07\x01")).unwrap();
        }
        let bytes: Bytes = [&[tag][..], &rest].concat().into();
        if let Ok(message) = decoder.decode(&bytes) {
            prop_assert_eq!(encoded(&message), bytes.clone());
        }
        let _ = Frame::decode(&bytes);
        let _ = StandbyStatus::decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_another_message_or_an_error(
        (streaming, messages) in stream(),
        place in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut decoder = Decoder::new(streaming);
        for message in &messages {
            let mut bytes = encoded(message).to_vec();
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            let damaged = Bytes::from(bytes);
            if let Ok(found) = decoder.clone().decode(&damaged) {
                prop_assert_eq!(encoded(&found), damaged);
                prop_assert_ne!(&found, message);
            }
            decoder.decode(&encoded(message)).unwrap();
        }
    }

    #[test]
    fn frames_and_back(start in lsn(), end in lsn(), at in at(), reply in any::<bool>(), body in vec(any::<u8>(), 0..40)) {
        for frame in [
            Frame::XLogData(XLogData { start, end, at, body: body.into() }),
            Frame::Keepalive(Keepalive { end, at, reply }),
        ] {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            prop_assert_eq!(Frame::decode(&out.freeze()), Ok(frame));
        }
        let status = StandbyStatus { received: start, flushed: end, applied: start, at, reply };
        let mut out = BytesMut::new();
        status.encode(&mut out);
        let out = out.freeze();
        prop_assert_eq!(out.len(), 34);
        prop_assert!(StandbyStatus::decode(&out.slice(..33)).is_err());
        prop_assert_eq!(StandbyStatus::decode(&out), Ok(status));
    }
}

#[test]
fn what_the_protocol_does_not_define_is_refused() {
    let undefined = |field, value| ErrorKind::Undefined { field, value };
    for (bytes, at, kind) in [
        (&b""[..], 0, ErrorKind::Short("tag")),
        (b"Q", 0, ErrorKind::Tag(b'Q')),
        (b"E", 0, ErrorKind::Place(b'E')),
        (b"S\0\0\0\x01\x01", 0, ErrorKind::Place(b'S')),
        (b"A\0\0\0\x01\0\0\0\x01", 0, ErrorKind::Place(b'A')),
        (b"C\x01", 1, undefined("commit flags", 1)),
        (b"I\0\0\0\x01K", 5, undefined("kind of row", b'K')),
        (b"U\0\0\0\x01X", 5, undefined("kind of row", b'X')),
        (b"U\0\0\0\x01K\0\0O", 8, undefined("kind of row", b'O')),
        (b"D\0\0\0\x01N", 5, undefined("kind of row", b'N')),
        (b"T\0\0\0\x02\x04", 5, undefined("truncate flags", 4)),
        (b"T\xff\xff\xff\xff\0\0\0\0\x01", 10, ErrorKind::Short("relation")),
        (b"M\x02", 1, undefined("message flags", 2)),
        (b"M\0\0\0\0\0\0\0\0\0p\0\xff\xff\xff\xff", 16, ErrorKind::Short("content")),
        (b"Y\0\0\0\x01a\xffb\0c\0", 6, ErrorKind::Utf8("schema's name")),
        (b"R\0\0\0\x01s\0t\0x", 9, undefined("replica identity", b'x')),
        (b"R\0\0\0\x01s\0t\0d\0\x01\x02", 12, undefined("column flags", 2)),
        (b"O\0\0\0\0\0\0\0\0name", 9, ErrorKind::Short("origin")),
    ] {
        let found = Decoder::default().decode(&Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(found, DecodeError { at, kind }, "{bytes:?}");
    }
}

#[test]
fn a_block_holds_rows_and_ends_before_anything_else() {
    let mut decoder = Decoder::new(Streaming::On);
    decoder.decode(&Bytes::from_static(b"S\0\0\0\x07\x01")).unwrap();
    for tag in *b"BCScAbPKrp" {
        let error = decoder.decode(&Bytes::copy_from_slice(&[tag; 64])).unwrap_err();
        assert_eq!(error, DecodeError { at: 0, kind: ErrorKind::Place(tag) }, "{}", char::from(tag));
    }
    decoder.decode(&Bytes::from_static(b"E")).unwrap();
    assert!(decoder.decode(&Bytes::from_static(b"E")).is_err());
}

#[test]
fn rows_share_the_memory_they_came_in() {
    let row: Row = [Cell::Text(b"value")].into_iter().collect();
    let bytes = encoded(&Message::Insert(Insert { xid: None, relation: Oid(1), new: row }));
    let range = bytes.as_ptr_range();
    let Ok(Message::Insert(insert)) = Decoder::default().decode(&bytes) else { panic!("an insert") };
    let Some(Cell::Text(value)) = insert.new.cells().next() else { panic!("a text") };
    assert!(range.contains(&value.as_ptr()));
}
