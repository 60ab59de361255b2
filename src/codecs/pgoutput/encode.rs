//! Messages to bytes, as the server writes them: for test servers and for checking the decoder against itself.

use bytes::{BufMut, BytesMut};

use super::message::{
    Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, Logical, Message, Origin, Prepare, Relation,
    RollbackPrepared, StreamAbort, StreamStart, Truncate, Type, Update,
};
use crate::model::{Cell, Lsn, OldRow, PgTimestamp, ReplicaIdentity, Row, Xid};

impl Message {
    /// Appends the bytes that [`super::Decoder::decode`] reads. Names must not hold a zero byte.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Message::Begin(m) => begin(out, m),
            Message::Commit(m) => commit(out, b'C', None, m),
            Message::Origin(m) => origin(out, m),
            Message::Relation(m) => relation(out, m),
            Message::Type(m) => type_name(out, m),
            Message::Insert(m) => insert(out, m),
            Message::Update(m) => update(out, m),
            Message::Delete(m) => delete(out, m),
            Message::Truncate(m) => truncate(out, m),
            Message::Logical(m) => logical(out, m),
            Message::StreamStart(m) => stream_start(out, m),
            Message::StreamStop => out.put_u8(b'E'),
            Message::StreamCommit(m) => commit(out, b'c', Some(m.xid), &m.commit),
            Message::StreamAbort(m) => stream_abort(out, m),
            Message::BeginPrepare(m) => begin_prepare(out, m),
            Message::Prepare(m) => prepare(out, b'P', m),
            Message::CommitPrepared(m) => commit_prepared(out, m),
            Message::RollbackPrepared(m) => rollback_prepared(out, m),
            Message::StreamPrepare(m) => prepare(out, b'p', m),
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

fn begin(out: &mut BytesMut, begin: &Begin) {
    out.put_u8(b'B');
    stamp(out, begin.final_lsn, begin.at);
    out.put_u32(begin.xid.0);
}

fn commit(out: &mut BytesMut, tag: u8, xid: Option<Xid>, commit: &Commit) {
    head(out, tag, xid);
    out.put_u8(0);
    out.put_u64(commit.commit_lsn.get());
    stamp(out, commit.end_lsn, commit.at);
}

fn origin(out: &mut BytesMut, origin: &Origin) {
    out.put_u8(b'O');
    out.put_u64(origin.lsn.get());
    name(out, &origin.name);
}

fn type_name(out: &mut BytesMut, named: &Type) {
    head(out, b'Y', named.xid);
    out.put_u32(named.oid.0);
    name(out, &named.schema);
    name(out, &named.name);
}

fn insert(out: &mut BytesMut, insert: &Insert) {
    head(out, b'I', insert.xid);
    out.put_u32(insert.relation.0);
    row(out, b'N', &insert.new);
}

fn update(out: &mut BytesMut, update: &Update) {
    head(out, b'U', update.xid);
    out.put_u32(update.relation.0);
    update.old.iter().for_each(|old| old_row(out, old));
    row(out, b'N', &update.new);
}

fn delete(out: &mut BytesMut, delete: &Delete) {
    head(out, b'D', delete.xid);
    out.put_u32(delete.relation.0);
    old_row(out, &delete.old);
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

fn stream_start(out: &mut BytesMut, start: &StreamStart) {
    head(out, b'S', Some(start.xid));
    out.put_u8(u8::from(start.first));
}

fn stream_abort(out: &mut BytesMut, abort: &StreamAbort) {
    head(out, b'A', Some(abort.xid));
    out.put_u32(abort.subxid.0);
    if let Some(detail) = abort.detail {
        stamp(out, detail.lsn, detail.at);
    }
}

fn begin_prepare(out: &mut BytesMut, begin: &BeginPrepare) {
    out.put_u8(b'b');
    out.put_u64(begin.prepare_lsn.get());
    stamp(out, begin.end_lsn, begin.at);
    transaction(out, begin.xid, &begin.gid);
}

fn prepare(out: &mut BytesMut, tag: u8, prepare: &Prepare) {
    out.put_u8(tag);
    out.put_u8(0);
    out.put_u64(prepare.prepare_lsn.get());
    stamp(out, prepare.end_lsn, prepare.at);
    transaction(out, prepare.xid, &prepare.gid);
}

fn commit_prepared(out: &mut BytesMut, prepared: &CommitPrepared) {
    commit(out, b'K', None, &prepared.commit);
    transaction(out, prepared.xid, &prepared.gid);
}

fn rollback_prepared(out: &mut BytesMut, rollback: &RollbackPrepared) {
    out.put_u8(b'r');
    out.put_u8(0);
    out.put_u64(rollback.prepare_end_lsn.get());
    out.put_u64(rollback.rollback_end_lsn.get());
    out.put_i64(rollback.prepared_at.0);
    out.put_i64(rollback.rolled_back_at.0);
    transaction(out, rollback.xid, &rollback.gid);
}

fn transaction(out: &mut BytesMut, xid: Xid, gid: &str) {
    out.put_u32(xid.0);
    name(out, gid);
}
