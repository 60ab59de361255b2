//! Transactions that the server sends while they are open (protocol 2 and up).
//!
//! ```text
//!  Stream Start(xid) ─▶ messages ─▶ Stream Stop     ... kept in the spool, block by block
//!  Stream Abort(xid, subxid)                         what came since the subtransaction's first message is cut off
//!  Stream Abort(xid, xid)                            all of it is forgotten
//!  Stream Commit(xid)                                it is taken as if Begin, these messages and Commit came now
//! ```
//!
//! Why a cut takes away exactly what was rolled back: blocks carry the log in its order, and from a subtransaction's
//! first change to its end nothing is written but by it and those inside of it. A logical message does not say of which
//! subtransaction it is: where one stands before the first row of what is rolled back, only PostgreSQL knows whether it
//! is part of that, and the transaction is asked for again, whole.
//!
//! Why a transaction has names of its own for relations: the server repeats each name in each transaction that it
//! streams, and again after an abort, so none depends on another's. At its end the server counts them as sent to all
//! unless the table has changed since, which it then has told in another name: so the one that came later counts.

use std::collections::HashMap;

use bytes::Bytes;

use super::prepared::{Kept, Prepared};
use super::slot::RESNAPSHOT;
use super::spool::{Replay, Spool};
use crate::codecs::pgoutput::{Commit, Decoder, Glance, Message, Relation, StreamAbort};
use crate::model::{Error, Lsn, Oid, Result, Xid};

/// What a payload stands for.
#[derive(Debug)]
pub enum Taken {
    /// Something of an open transaction: it is kept, or forgotten.
    Kept,
    /// What does not belong to an open transaction.
    Message(Message),
    /// A relation's name that comes first: the payload is to be taken again.
    Before(Relation),
    /// A transaction that was open has committed.
    Committed(Box<Committed>),
}

/// A transaction that was sent before it had committed, and has now.
#[derive(Debug)]
pub struct Committed {
    /// Its number.
    pub xid: Xid,
    /// Its end.
    pub commit: Commit,
    /// Its messages.
    pub replay: Replay,
    /// Whether nothing is left of it.
    pub empty: bool,
    /// Whether its messages came in streamed blocks.
    in_blocks: bool,
    names: HashMap<Oid, u64>,
}

impl Committed {
    /// Reads one of its messages.
    ///
    /// # Errors
    ///
    /// Corrupt when it is none.
    pub fn decode(&self, decoder: Decoder, body: &Bytes) -> Result<Message> {
        let mut decoder = if self.in_blocks { decoder.within_block() } else { decoder };
        Ok(decoder.decode(body)?)
    }
}

/// The open transactions of one connection.
#[derive(Debug)]
pub struct Streamed {
    spool: Spool,
    /// The transaction whose block is being received.
    block: Option<Xid>,
    open: HashMap<Xid, Open>,
    /// How often a relation has been named so far.
    named: u64,
    /// When each relation was named to all.
    names: HashMap<Oid, u64>,
    /// Those that are prepared and not decided; `None` where the server sends none.
    prepared: Option<Prepared>,
}

/// What has to be known of an open transaction beside its messages.
#[derive(Debug, Default)]
struct Open {
    /// Where each subtransaction begins, in their order, and whether a message before it may be its own.
    begins: Vec<(Xid, u64, bool)>,
    /// The place of each in `begins`.
    places: HashMap<Xid, usize>,
    /// The (sub)transaction of the last message that named one.
    recent: Option<Xid>,
    names: Vec<Named>,
    /// Whether there was a logical message since the last message that names its subtransaction.
    message: bool,
    /// Bytes that say nothing but where it came from.
    preamble: u64,
    /// Whether something was rolled back that can't be told from the rest: it is of use only if all of it is.
    doubtful: bool,
}

/// A relation's name within a streamed transaction.
#[derive(Debug)]
pub(super) struct Named {
    at: u64,
    relation: Oid,
    /// How many had been named by then.
    order: u64,
    /// The message, where it may be needed again.
    body: Option<Bytes>,
}

impl Streamed {
    /// None is open. `two_phase`: whether transactions come when they are prepared.
    pub fn new(spool: Spool, two_phase: bool) -> Streamed {
        let prepared = two_phase.then(Prepared::default);
        Streamed { spool, block: None, open: HashMap::new(), named: 0, names: HashMap::new(), prepared }
    }

    /// Takes what the server sent for `lsn`.
    ///
    /// # Errors
    ///
    /// Corrupt when it contradicts what came before; Transient when the spool can't keep it, or when a part of a
    /// transaction was rolled back that only the server can tell from the rest.
    pub fn take(&mut self, decoder: &mut Decoder, lsn: Lsn, body: &Bytes) -> Result<Taken> {
        if decoder.in_block() && body.first() != Some(&b'E') {
            self.keep(decoder.glance(body)?, lsn, body)?;
            return Ok(Taken::Kept);
        }
        if let Some(prepared) = self.prepared.as_mut().filter(|prepared| prepared.inside()) {
            if let Some(relation) = prepared.keep(&mut self.spool, decoder, lsn, body)? {
                self.named += 1;
                self.names.insert(relation, self.named);
            }
            return Ok(Taken::Kept);
        }
        match decoder.decode(body)? {
            Message::StreamStart(start) => {
                let known = self.open.contains_key(&start.xid);
                if known == start.first {
                    return Err(corrupt(lsn, "a streamed transaction goes on without its beginning, or begins again"));
                }
                self.open.entry(start.xid).or_default();
                self.block = Some(start.xid);
            }
            Message::StreamStop => self.block = None,
            Message::StreamAbort(StreamAbort { xid, subxid, .. }) if xid == subxid => {
                self.open.remove(&xid);
                self.spool.forget(xid);
            }
            Message::StreamAbort(StreamAbort { xid, subxid, .. }) => self.abort(xid, subxid)?,
            Message::StreamCommit(commit) => {
                let kept = self.complete(lsn, commit.xid)?;
                return self.committed(commit.xid, commit.commit, kept);
            }
            message => return self.other(lsn, message, body),
        }
        Ok(Taken::Kept)
    }

    /// Takes what is not of a streamed transaction that goes on.
    fn other(&mut self, lsn: Lsn, message: Message, body: &Bytes) -> Result<Taken> {
        if let Message::Relation(relation) = &message {
            self.named += 1;
            self.names.insert(relation.oid, self.named);
        }
        let Some(prepared) = &mut self.prepared else { return Ok(Taken::Message(message)) };
        match message {
            Message::BeginPrepare(begin) => prepared.begin(begin.xid, begin.prepare_lsn),
            Message::StreamPrepare(prepare) => {
                let kept = self.complete(lsn, prepare.xid)?;
                if let Some(prepared) = &mut self.prepared {
                    prepared.streamed(&prepare, kept);
                }
            }
            Message::CommitPrepared(ended) => {
                let kept = prepared.end(ended.xid, ended.commit.end_lsn).ok_or_else(|| unknown(lsn))?;
                return self.committed(ended.xid, ended.commit, kept);
            }
            Message::RollbackPrepared(ended) => {
                // One that was prepared before the stream began was not sent, and nothing is left of it.
                prepared.end(ended.xid, ended.rollback_end_lsn);
                self.spool.forget(ended.xid);
            }
            message => {
                if let Message::Relation(relation) = &message {
                    prepared.named(relation.oid, body);
                } else if let Some(name) = prepared.unsaid(&message) {
                    return match Decoder::default().decode(&name)? {
                        Message::Relation(relation) => Ok(Taken::Before(relation)),
                        _ => Err(Error::bug("the name of a relation is none")),
                    };
                }
                return Ok(Taken::Message(message));
            }
        }
        Ok(Taken::Kept)
    }

    /// A streamed transaction is complete.
    fn complete(&mut self, lsn: Lsn, xid: Xid) -> Result<Kept> {
        let open = self.open.remove(&xid);
        let open = open.ok_or_else(|| corrupt(lsn, "a streamed transaction ends that never began"))?;
        if open.doubtful {
            self.spool.give_up();
            return Err(Error::transient("a savepoint of a streamed transaction was rolled back, and whether a message before it was a part of it only PostgreSQL knows")
                .remedy("the transaction comes again, whole"));
        }
        let empty = self.spool.end(xid) <= open.preamble;
        Ok(Kept { in_blocks: true, empty, names: open.names })
    }

    /// A transaction has committed whose messages are in the spool: its names count for all, unless they came earlier.
    fn committed(&mut self, xid: Xid, commit: Commit, kept: Kept) -> Result<Taken> {
        let replay = self.spool.replay(xid);
        let Kept { in_blocks, empty, names } = kept;
        for Named { relation, order, body, .. } in &names {
            let newer = self.names.get(relation).is_none_or(|other| other < order);
            if let (true, Some(prepared), Some(body)) = (newer, &mut self.prepared, body) {
                prepared.named(*relation, &without_xid(body)?);
            }
        }
        let names = names.into_iter().map(|named| (named.relation, named.order)).collect();
        Ok(Taken::Committed(Box::new(Committed { xid, commit, replay, empty, in_blocks, names })))
    }

    /// How far may be acknowledged of what is durable: nothing at or behind a transaction that is prepared, and comes once.
    pub fn bound(&mut self, durable: Lsn) -> Lsn {
        self.prepared.as_mut().map_or(durable, |prepared| prepared.bound(durable))
    }

    /// What counts for all of the names that a committed transaction gave: those that came later than the others'.
    pub fn settle(&mut self, committed: &Committed) -> impl Fn(Oid) -> bool + use<> {
        let newer = |(oid, named): &(&Oid, &u64)| self.names.get(oid).is_none_or(|other| other < named);
        let newer: HashMap<Oid, u64> =
            committed.names.iter().filter(newer).map(|(&oid, &named)| (oid, named)).collect();
        self.names.extend(newer.iter());
        move |oid| newer.contains_key(&oid)
    }

    /// Keeps a message of the block.
    fn keep(&mut self, glance: Glance, lsn: Lsn, body: &Bytes) -> Result<()> {
        let top = self.block.ok_or_else(|| Error::bug("a block of no transaction"))?;
        let open = self.open.entry(top).or_default();
        if open.doubtful {
            return Ok(());
        }
        let offset = self.spool.end(top);
        match glance {
            Glance::Of(xid) => open.note(top, xid, offset),
            Glance::Relation { xid, relation } => {
                open.note(top, xid, offset);
                self.named += 1;
                let (order, body) = (self.named, self.prepared.as_ref().map(|_| Bytes::copy_from_slice(body)));
                open.names.push(Named { at: offset, relation, order, body });
            }
            Glance::Logical => open.message = true,
            Glance::Origin => {}
        }
        self.spool.append(top, lsn, body)?;
        if glance == Glance::Origin && open.preamble == offset {
            open.preamble = self.spool.end(top);
        }
        Ok(())
    }

    /// Forgets what a subtransaction did, and those inside of it.
    fn abort(&mut self, top: Xid, sub: Xid) -> Result<()> {
        let Some(open) = self.open.get_mut(&top) else { return Ok(()) };
        let place = open.places.get(&sub).and_then(|&place| Some((place, *open.begins.get(place)?)));
        let doubtful = place.map_or(open.message, |(_, (.., doubtful))| doubtful);
        open.doubtful |= doubtful;
        if open.doubtful {
            self.spool.forget(top);
            return Ok(());
        }
        if let Some((place, (_, offset, _))) = place {
            open.cut(place, offset);
            self.spool.cut(top, offset)?;
        }
        Ok(())
    }
}

impl Open {
    /// A message that names its (sub)transaction.
    fn note(&mut self, top: Xid, xid: Xid, offset: u64) {
        if self.recent != Some(xid) && xid != top && !self.places.contains_key(&xid) {
            self.places.insert(xid, self.begins.len());
            self.begins.push((xid, offset, self.message));
        }
        self.recent = Some(xid);
        self.message = false;
    }

    fn cut(&mut self, place: usize, offset: u64) {
        for (xid, ..) in self.begins.drain(place..) {
            self.places.remove(&xid);
        }
        while self.names.last().is_some_and(|named| named.at >= offset) {
            self.names.pop();
        }
        self.recent = None;
        // None that stands directly before the cut: there would have been a doubt.
        self.message = false;
    }
}

/// A relation's message as it is outside of streamed blocks.
fn without_xid(body: &Bytes) -> Result<Bytes> {
    match (body.get(..1), body.get(5..)) {
        (Some(tag), Some(rest)) => Ok([tag, rest].concat().into()),
        _ => Err(Error::bug("the name of a relation is none")),
    }
}

fn unknown(lsn: Lsn) -> Error {
    Error::blocked(format!("the server says at {lsn} that a prepared transaction has committed, and not what it did: its PREPARE was acknowledged by another"))
        .remedy(RESNAPSHOT)
}

pub(super) fn corrupt(lsn: Lsn, what: &str) -> Error {
    Error::corrupt(format!("the replication stream contradicts itself at {lsn}: {what}"))
}
