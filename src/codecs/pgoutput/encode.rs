//! Messages to bytes, as the server writes them: for test servers and for checking the decoder against itself.

use bytes::{BufMut, BytesMut};

use super::message::{Commit, Logical, Message, Relation, RollbackPrepared, StreamAbort, Truncate};
use crate::model::{Cell, Lsn, OldRow, PgTimestamp, ReplicaIdentity, Row, Xid};

impl Message {
    /// Appends the bytes that [`super::Decoder::decode`] reads. Names must not hold a zero byte.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Message::Begin(begin) => {
                out.put_u8(b'B');
                stamp(out, begin.final_lsn, begin.at);
                out.put_u32(begin.xid.0);
            }
            Message::Commit(c) => {
                out.put_u8(b'C');
                commit(out, c);
            }
            Message::Origin(origin) => {
                out.put_u8(b'O');
                out.put_u64(origin.lsn.get());
                name(out, &origin.name);
            }
            Message::Relation(r) => relation(out, r),
            Message::Type(t) => {
                head(out, b'Y', t.xid);
                out.put_u32(t.oid.0);
                name(out, &t.schema);
                name(out, &t.name);
            }
            Message::Insert(insert) => {
                head(out, b'I', insert.xid);
                out.put_u32(insert.relation.0);
                row(out, b'N', &insert.new);
            }
            Message::Update(update) => {
                head(out, b'U', update.xid);
                out.put_u32(update.relation.0);
                update.old.iter().for_each(|old| old_row(out, old));
                row(out, b'N', &update.new);
            }
            Message::Delete(delete) => {
                head(out, b'D', delete.xid);
                out.put_u32(delete.relation.0);
                old_row(out, &delete.old);
            }
            Message::Truncate(t) => truncate(out, t),
            Message::Logical(l) => logical(out, l),
            streamed_or_prepared => streamed_or_prepared.encode_rest(out),
        }
    }

    fn encode_rest(&self, out: &mut BytesMut) {
        match self {
            Message::StreamStart(start) => {
                head(out, b'S', Some(start.xid));
                out.put_u8(u8::from(start.first));
            }
            Message::StreamStop => out.put_u8(b'E'),
            Message::StreamCommit(c) => {
                head(out, b'c', Some(c.xid));
                commit(out, &c.commit);
            }
            Message::StreamAbort(abort) => stream_abort(out, abort),
            Message::BeginPrepare(p) => {
                out.put_u8(b'b');
                prepared(out, (p.prepare_lsn, p.end_lsn), p.at, (p.xid, &p.gid));
            }
            Message::Prepare(p) | Message::StreamPrepare(p) => {
                out.put_u8(if matches!(self, Message::Prepare(_)) { b'P' } else { b'p' });
                out.put_u8(0);
                prepared(out, (p.prepare_lsn, p.end_lsn), p.at, (p.xid, &p.gid));
            }
            Message::CommitPrepared(c) => {
                out.put_u8(b'K');
                commit(out, &c.commit);
                out.put_u32(c.xid.0);
                name(out, &c.gid);
            }
            Message::RollbackPrepared(r) => rollback_prepared(out, r),
            _ => unreachable!("all other messages are written above"),
        }
    }
}

/// The tag, and the (sub)transaction inside a streamed block.
fn head(out: &mut BytesMut, tag: u8, xid: Option<Xid>) {
    out.put_u8(tag);
    if let Some(xid) = xid {
        out.put_u32(xid.0);
    }
}

fn name(out: &mut BytesMut, name: &str) {
    out.put_slice(name.as_bytes());
    out.put_u8(0);
}

fn stamp(out: &mut BytesMut, lsn: Lsn, at: PgTimestamp) {
    out.put_u64(lsn.get());
    out.put_i64(at.0);
}

fn commit(out: &mut BytesMut, commit: &Commit) {
    out.put_u8(0);
    out.put_u64(commit.commit_lsn.get());
    stamp(out, commit.end_lsn, commit.at);
}

fn relation(out: &mut BytesMut, relation: &Relation) {
    head(out, b'R', relation.xid);
    out.put_u32(relation.oid.0);
    name(out, &relation.schema);
    name(out, &relation.name);
    out.put_u8(match relation.identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Index => b'i',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Nothing => b'n',
    });
    out.put_u16(u16::try_from(relation.columns.len()).expect("a table has at most 1,600 columns"));
    for column in &relation.columns {
        out.put_u8(u8::from(column.key));
        name(out, &column.name);
        out.put_u32(column.type_oid.0);
        out.put_i32(column.modifier);
    }
}

fn row(out: &mut BytesMut, kind: u8, row: &Row) {
    out.put_u8(kind);
    out.put_u16(u16::try_from(row.width()).expect("a row's width is 16 bits"));
    for cell in row.cells() {
        let (kind, value) = match cell {
            Cell::Null => (b'n', None),
            Cell::Unchanged => (b'u', None),
            Cell::Text(value) => (b't', Some(value)),
            Cell::Binary(value) => (b'b', Some(value)),
        };
        out.put_u8(kind);
        if let Some(value) = value {
            out.put_i32(i32::try_from(value.len()).expect("PostgreSQL values are below 1 GiB"));
            out.put_slice(value);
        }
    }
}

fn old_row(out: &mut BytesMut, old: &OldRow) {
    match old {
        OldRow::Key(key) => row(out, b'K', key),
        OldRow::Full(full) => row(out, b'O', full),
    }
}

fn truncate(out: &mut BytesMut, truncate: &Truncate) {
    head(out, b'T', truncate.xid);
    out.put_u32(u32::try_from(truncate.relations.len()).expect("OIDs are 32 bits"));
    out.put_u8(u8::from(truncate.cascade) | u8::from(truncate.restart_identity) << 1);
    truncate.relations.iter().for_each(|oid| out.put_u32(oid.0));
}

fn logical(out: &mut BytesMut, logical: &Logical) {
    head(out, b'M', logical.xid);
    out.put_u8(u8::from(logical.transactional));
    out.put_u64(logical.lsn.get());
    name(out, &logical.prefix);
    out.put_u32(u32::try_from(logical.content.len()).expect("PostgreSQL values are below 1 GiB"));
    out.put_slice(&logical.content);
}

fn stream_abort(out: &mut BytesMut, abort: &StreamAbort) {
    head(out, b'A', Some(abort.xid));
    out.put_u32(abort.subxid.0);
    if let Some(detail) = abort.detail {
        stamp(out, detail.lsn, detail.at);
    }
}

fn prepared(out: &mut BytesMut, (start, end): (Lsn, Lsn), at: PgTimestamp, (xid, gid): (Xid, &str)) {
    out.put_u64(start.get());
    stamp(out, end, at);
    out.put_u32(xid.0);
    name(out, gid);
}

fn rollback_prepared(out: &mut BytesMut, rollback: &RollbackPrepared) {
    out.put_u8(b'r');
    out.put_u8(0);
    out.put_u64(rollback.prepare_end_lsn.get());
    out.put_u64(rollback.rollback_end_lsn.get());
    out.put_i64(rollback.prepared_at.0);
    out.put_i64(rollback.rolled_back_at.0);
    out.put_u32(rollback.xid.0);
    name(out, &rollback.gid);
}
