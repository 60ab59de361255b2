//! Bytes to messages.

use bytes::Bytes;

use super::error::{DecodeError, ErrorKind};
use super::message::{
    AbortDetail, Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, Logical, Message, Origin, Prepare,
    Relation, RelationColumn, RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Truncate, Type, Update,
};
use super::reader::Reader;
use crate::model::{Oid, OldRow, ReplicaIdentity, Xid};

/// The `streaming` option that the stream was started with.
///
/// With the block below it is all that shapes messages; the protocol's version only limits which of them come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Streaming {
    /// Transactions are sent when they have committed (protocol 1 and up).
    #[default]
    Off,
    /// Large ones are sent in blocks while they run (protocol 2 and up).
    On,
    /// The same; aborts also say where and when (protocol 4).
    Parallel,
}

/// A message of a streamed block, as far as is needed to keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glance {
    /// Of this (sub)transaction.
    Of(Xid),
    /// The same, naming a relation.
    Relation {
        /// The (sub)transaction.
        xid: Xid,
        /// The relation.
        relation: Oid,
    },
    /// A logical message, which names the transaction and not its subtransaction.
    Logical,
    /// Where the transaction came from; it names none.
    Origin,
}

/// Decodes one stream's messages, in their order.
///
/// ```text
///           S                  c A and all else that is not below
///  outside ───▶ inside a block ✗
///          ◀───  O R Y I U D T M, with an xid each (O has none)
///           E
/// ```
///
/// Two-phase messages are read whatever was asked for: a slot made with `two_phase` sends them to everyone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decoder {
    streaming: Streaming,
    in_block: bool,
}

impl Decoder {
    /// A decoder for a stream that has just been started.
    pub fn new(streaming: Streaming) -> Decoder {
        Decoder { streaming, in_block: false }
    }

    /// The same, for what was kept of streamed blocks.
    pub fn within_block(self) -> Decoder {
        Decoder { in_block: true, ..self }
    }

    /// Whether the next message belongs to an open transaction, or ends its block.
    pub fn in_block(&self) -> bool {
        self.in_block
    }

    /// What `body` is, read no further than that: for a message of a streamed block that is kept for later.
    #[inline]
    pub fn glance(&self, body: &Bytes) -> Result<Glance, DecodeError> {
        let mut reader = Reader::new(body);
        let tag = reader.u8("tag")?;
        self.admit(tag).map_err(|kind| reader.refuse(kind))?;
        Ok(match tag {
            b'O' => Glance::Origin,
            b'M' => Glance::Logical,
            b'R' => Glance::Relation { xid: reader.xid("xid")?, relation: reader.oid("relation")? },
            _ => Glance::Of(reader.xid("xid")?),
        })
    }

    /// Reads the message that `body` holds, all of it; rows and contents stay slices of it.
    pub fn decode(&mut self, body: &Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(body);
        let tag = reader.u8("tag")?;
        self.admit(tag).map_err(|kind| reader.refuse(kind))?;
        let message = self.fields(tag, &mut reader)?;
        reader.finish()?;
        match message {
            Message::StreamStart(_) => self.in_block = true,
            Message::StreamStop => self.in_block = false,
            _ => {}
        }
        Ok(message)
    }

    /// Whether a message may come here.
    #[inline]
    fn admit(&self, tag: u8) -> Result<(), ErrorKind> {
        let allowed = match tag {
            b'I' | b'U' | b'D' | b'T' | b'R' | b'Y' | b'O' | b'M' => true,
            b'B' | b'C' | b'b' | b'P' | b'K' | b'r' => !self.in_block,
            b'S' | b'c' | b'A' | b'p' => self.streaming != Streaming::Off && !self.in_block,
            b'E' => self.in_block,
            _ => return Err(ErrorKind::Tag(tag)),
        };
        if allowed { Ok(()) } else { Err(ErrorKind::Place(tag)) }
    }

    #[inline]
    fn fields(&self, tag: u8, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        Ok(match tag {
            b'I' => Message::Insert(Insert {
                xid: self.xid(reader)?,
                relation: reader.oid("relation")?,
                new: {
                    expect(reader, b'N', "kind of row")?;
                    reader.row()?
                },
            }),
            b'U' => Message::Update(self.update(reader)?),
            b'D' => Message::Delete(self.delete(reader)?),
            b'B' => Message::Begin(begin(reader)?),
            b'C' => Message::Commit(commit(reader)?),
            b'R' => Message::Relation(self.relation(reader)?),
            b'T' => Message::Truncate(self.truncate(reader)?),
            b'Y' => Message::Type(Type {
                xid: self.xid(reader)?,
                oid: reader.oid("type")?,
                schema: reader.name("schema's name")?,
                name: reader.name("type's name")?,
            }),
            b'O' => Message::Origin(Origin { lsn: reader.lsn("commit at the origin")?, name: reader.name("origin")? }),
            b'M' => Message::Logical(self.logical(reader)?),
            b'S' => Message::StreamStart(StreamStart { xid: reader.xid("xid")?, first: reader.flag("first segment")? }),
            b'E' => Message::StreamStop,
            b'c' => Message::StreamCommit(StreamCommit { xid: reader.xid("xid")?, commit: commit(reader)? }),
            b'A' => Message::StreamAbort(self.stream_abort(reader)?),
            b'b' => Message::BeginPrepare(begin_prepare(reader)?),
            b'P' => Message::Prepare(prepare(reader)?),
            b'p' => Message::StreamPrepare(prepare(reader)?),
            b'K' => Message::CommitPrepared(CommitPrepared {
                commit: commit(reader)?,
                xid: reader.xid("xid")?,
                gid: reader.name("transaction's name")?,
            }),
            b'r' => Message::RollbackPrepared(rollback_prepared(reader)?),
            tag => return Err(reader.refuse(ErrorKind::Tag(tag))),
        })
    }

    /// Inside a block each message names its (sub)transaction first.
    #[inline]
    fn xid(&self, reader: &mut Reader<'_>) -> Result<Option<Xid>, DecodeError> {
        if self.in_block { reader.xid("xid").map(Some) } else { Ok(None) }
    }

    #[inline]
    fn update(&self, reader: &mut Reader<'_>) -> Result<Update, DecodeError> {
        let xid = self.xid(reader)?;
        let relation = reader.oid("relation")?;
        let old = match reader.u8("kind of row")? {
            b'N' => return Ok(Update { xid, relation, old: None, new: reader.row()? }),
            kind => old_row(reader, kind)?,
        };
        expect(reader, b'N', "kind of row")?;
        Ok(Update { xid, relation, old: Some(old), new: reader.row()? })
    }

    #[inline]
    fn delete(&self, reader: &mut Reader<'_>) -> Result<Delete, DecodeError> {
        let xid = self.xid(reader)?;
        let relation = reader.oid("relation")?;
        let kind = reader.u8("kind of row")?;
        Ok(Delete { xid, relation, old: old_row(reader, kind)? })
    }

    fn relation(&self, reader: &mut Reader<'_>) -> Result<Relation, DecodeError> {
        let xid = self.xid(reader)?;
        let oid = reader.oid("relation")?;
        let schema = reader.name("schema's name")?;
        let name = reader.name("relation's name")?;
        let identity = match reader.u8("replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'i' => ReplicaIdentity::Index,
            b'f' => ReplicaIdentity::Full,
            b'n' => ReplicaIdentity::Nothing,
            value => return Err(reader.refuse(ErrorKind::Undefined { field: "replica identity", value })),
        };
        let count = reader.u16("number of columns")?;
        let columns = (0..count).map(|_| relation_column(reader)).collect::<Result<_, _>>()?;
        Ok(Relation { xid, oid, schema, name, identity, columns })
    }

    fn truncate(&self, reader: &mut Reader<'_>) -> Result<Truncate, DecodeError> {
        let xid = self.xid(reader)?;
        let count = reader.u32("number of relations")?;
        let flags = reader.u8("truncate flags")?;
        if flags & !3 != 0 {
            return Err(reader.refuse(ErrorKind::Undefined { field: "truncate flags", value: flags }));
        }
        // The count is the server's word: memory grows with what is there, not with what is said.
        let relations: Vec<Oid> = (0..count).map(|_| reader.oid("relation")).collect::<Result<_, _>>()?;
        Ok(Truncate { xid, cascade: flags & 1 != 0, restart_identity: flags & 2 != 0, relations })
    }

    fn logical(&self, reader: &mut Reader<'_>) -> Result<Logical, DecodeError> {
        let xid = self.xid(reader)?;
        let transactional = reader.flag("message flags")?;
        let lsn = reader.lsn("message's position")?;
        let prefix = reader.name("message's prefix")?;
        let length = reader.u32("length of the content")?;
        Ok(Logical { xid, transactional, lsn, prefix, content: reader.bytes(length, "content")? })
    }

    fn stream_abort(&self, reader: &mut Reader<'_>) -> Result<StreamAbort, DecodeError> {
        let xid = reader.xid("xid")?;
        let subxid = reader.xid("subtransaction's xid")?;
        let detail = match self.streaming {
            Streaming::Parallel => {
                Some(AbortDetail { lsn: reader.lsn("end of the abort")?, at: reader.timestamp("time of the abort")? })
            }
            Streaming::On | Streaming::Off => None,
        };
        Ok(StreamAbort { xid, subxid, detail })
    }
}

#[inline]
fn expect(reader: &mut Reader<'_>, wanted: u8, field: &'static str) -> Result<(), DecodeError> {
    match reader.u8(field)? {
        found if found == wanted => Ok(()),
        value => Err(reader.refuse(ErrorKind::Undefined { field, value })),
    }
}

#[inline]
fn old_row(reader: &mut Reader<'_>, kind: u8) -> Result<OldRow, DecodeError> {
    match kind {
        b'K' => reader.row().map(OldRow::Key),
        b'O' => reader.row().map(OldRow::Full),
        value => Err(reader.refuse(ErrorKind::Undefined { field: "kind of row", value })),
    }
}

fn relation_column(reader: &mut Reader<'_>) -> Result<RelationColumn, DecodeError> {
    Ok(RelationColumn {
        key: reader.flag("column flags")?,
        name: reader.name("column's name")?,
        type_oid: reader.oid("column's type")?,
        modifier: reader.i32("column's modifier")?,
    })
}

fn begin(reader: &mut Reader<'_>) -> Result<Begin, DecodeError> {
    Ok(Begin {
        final_lsn: reader.lsn("final position")?,
        at: reader.timestamp("commit time")?,
        xid: reader.xid("xid")?,
    })
}

fn commit(reader: &mut Reader<'_>) -> Result<Commit, DecodeError> {
    reader.reserved("commit flags")?;
    Ok(Commit {
        commit_lsn: reader.lsn("start of the commit")?,
        end_lsn: reader.lsn("end of the commit")?,
        at: reader.timestamp("commit time")?,
    })
}

fn begin_prepare(reader: &mut Reader<'_>) -> Result<BeginPrepare, DecodeError> {
    let Prepare { prepare_lsn, end_lsn, at, xid, gid } = prepared(reader)?;
    Ok(BeginPrepare { prepare_lsn, end_lsn, at, xid, gid })
}

fn prepare(reader: &mut Reader<'_>) -> Result<Prepare, DecodeError> {
    reader.reserved("prepare flags")?;
    prepared(reader)
}

fn prepared(reader: &mut Reader<'_>) -> Result<Prepare, DecodeError> {
    Ok(Prepare {
        prepare_lsn: reader.lsn("start of the prepare")?,
        end_lsn: reader.lsn("end of the prepare")?,
        at: reader.timestamp("prepare time")?,
        xid: reader.xid("xid")?,
        gid: reader.name("transaction's name")?,
    })
}

fn rollback_prepared(reader: &mut Reader<'_>) -> Result<RollbackPrepared, DecodeError> {
    reader.reserved("rollback flags")?;
    Ok(RollbackPrepared {
        prepare_end_lsn: reader.lsn("end of the prepare")?,
        rollback_end_lsn: reader.lsn("end of the rollback")?,
        prepared_at: reader.timestamp("prepare time")?,
        rolled_back_at: reader.timestamp("rollback time")?,
        xid: reader.xid("xid")?,
        gid: reader.name("transaction's name")?,
    })
}
