//! Transactions that the server sends when they are prepared (`two_phase`).
//!
//! ```text
//!  Begin Prepare(xid) ─▶ messages ─▶ Prepare      ... kept in the spool
//!  Stream Prepare(xid)                             what was streamed of it stays there
//!  Commit Prepared(xid)                            it is taken as if Begin, these messages and Commit came now
//!  Rollback Prepared(xid)                          it is forgotten
//! ```
//!
//! Why an acknowledgement stays before the oldest of them: the server sends each once, and after a position behind its
//! PREPARE was acknowledged only that it has ended. So what is told to be durable is held back until the end of each is
//! durable itself, and a stream starts where the slot stands, not where the sink does.
//!
//! Why each keeps the names of its relations: those that it names count for all from then on, and those that others named
//! count for it. By the time that it has committed they may have been named anew, so it takes the names of its time along;
//! and what it has named first is said again to the first of the others that has a row of it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::spool::Spool;
use super::streamed::{Named, corrupt};
use crate::codecs::pgoutput::{Decoder, Message, Prepare};
use crate::model::{Error, Lsn, Oid, Result, Xid};

/// The prepared transactions of one connection.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The one that is being received.
    receiving: Option<Receiving>,
    /// Those that are complete and not decided.
    complete: HashMap<Xid, Kept>,
    /// Where each that is not durable yet was prepared, and where it has ended.
    held: Vec<Held>,
    /// How the relations were named last.
    names: HashMap<Oid, Bytes>,
    /// Those that only a prepared transaction has named.
    unsaid: HashSet<Oid>,
}

/// What has to be known of a prepared transaction beside its messages.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whether its messages came in streamed blocks.
    pub(super) in_blocks: bool,
    /// Whether nothing is left of it.
    pub(super) empty: bool,
    /// Where it named relations for itself, in streamed blocks.
    pub(super) names: Vec<Named>,
}

#[derive(Debug)]
struct Receiving {
    xid: Xid,
    /// The relations that it has named.
    named: HashSet<Oid>,
    /// Bytes that say nothing but where it came from.
    preamble: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    xid: Xid,
    prepared: Lsn,
    ended: Option<Lsn>,
}

impl Prepared {
    /// A transaction begins that is prepared at `at`.
    pub(super) fn begin(&mut self, xid: Xid, at: Lsn) {
        self.receiving = Some(Receiving { xid, named: HashSet::new(), preamble: 0 });
        self.hold(xid, at);
    }

    /// Whether one has begun and is not complete.
    pub(super) fn inside(&self) -> bool {
        self.receiving.is_some()
    }

    fn hold(&mut self, xid: Xid, prepared: Lsn) {
        self.held.push(Held { xid, prepared, ended: None });
    }

    /// Keeps a message of the transaction that has begun, or takes its end; the relation that it names.
    pub(super) fn keep(
        &mut self,
        spool: &mut Spool,
        decoder: &mut Decoder,
        lsn: Lsn,
        body: &Bytes,
    ) -> Result<Option<Oid>> {
        let message = decoder.decode(body)?;
        let Some(receiving) = &mut self.receiving else { return Err(Error::bug("no transaction is being prepared")) };
        let xid = receiving.xid;
        let mut name = None;
        let relations: &[Oid] = match &message {
            Message::Relation(relation) => {
                name = Some(relation.oid);
                self.names.insert(relation.oid, Bytes::copy_from_slice(body));
                self.unsaid.insert(relation.oid);
                receiving.named.insert(relation.oid);
                &[]
            }
            Message::Insert(insert) => &[insert.relation],
            Message::Update(update) => &[update.relation],
            Message::Delete(delete) => &[delete.relation],
            Message::Truncate(truncate) => &truncate.relations,
            Message::Type(_) | Message::Origin(_) => &[],
            Message::Logical(logical) if logical.transactional => &[],
            Message::Prepare(prepare) => return self.complete(spool, lsn, prepare).map(|()| None),
            _ => return Err(corrupt(lsn, "a prepared transaction is interrupted by another")),
        };
        for relation in relations {
            if receiving.named.insert(*relation) {
                let unnamed = || corrupt(lsn, "a row of a relation which has not been named");
                spool.append(xid, Lsn::ZERO, self.names.get(relation).ok_or_else(unnamed)?)?;
            }
        }
        let offset = spool.end(xid);
        spool.append(xid, lsn, body)?;
        if matches!(message, Message::Origin(_)) && receiving.preamble == offset {
            receiving.preamble = spool.end(xid);
        }
        Ok(name)
    }

    fn complete(&mut self, spool: &Spool, lsn: Lsn, prepare: &Prepare) -> Result<()> {
        match self.receiving.take() {
            Some(Receiving { xid, preamble, .. }) if xid == prepare.xid => {
                let empty = spool.end(xid) <= preamble;
                self.complete.insert(xid, Kept { in_blocks: false, empty, names: Vec::new() });
                Ok(())
            }
            _ => Err(corrupt(lsn, "another transaction is prepared than has begun")),
        }
    }

    /// A transaction is prepared that came in streamed blocks.
    pub(super) fn streamed(&mut self, prepare: &Prepare, kept: Kept) {
        self.complete.insert(prepare.xid, kept);
        self.hold(prepare.xid, prepare.prepare_lsn);
    }

    /// A prepared transaction has ended at `end`; `None` when it is not known.
    pub(super) fn end(&mut self, xid: Xid, end: Lsn) -> Option<Kept> {
        let held = self.held.iter_mut().filter(|held| held.xid == xid && held.ended.is_none());
        held.for_each(|held| held.ended = Some(end));
        self.complete.remove(&xid)
    }

    /// How far may be acknowledged of what is durable.
    pub(super) fn bound(&mut self, durable: Lsn) -> Lsn {
        self.held.retain(|held| held.ended.is_none_or(|ended| ended > durable));
        self.held.iter().map(|held| held.prepared).fold(durable, Lsn::min)
    }

    /// A relation is named to all, outside of a prepared transaction.
    pub(super) fn named(&mut self, relation: Oid, body: &Bytes) {
        self.names.insert(relation, Bytes::copy_from_slice(body));
        self.unsaid.remove(&relation);
    }

    /// The name that has to come before a message, because only a prepared transaction was told it.
    pub(super) fn unsaid(&mut self, message: &Message) -> Option<Bytes> {
        if self.unsaid.is_empty() {
            return None;
        }
        let relations: &[Oid] = match message {
            Message::Insert(insert) => &[insert.relation],
            Message::Update(update) => &[update.relation],
            Message::Delete(delete) => &[delete.relation],
            Message::Truncate(truncate) => &truncate.relations,
            _ => &[],
        };
        let relation = relations.iter().find(|relation| self.unsaid.contains(relation))?;
        self.unsaid.remove(relation);
        self.names.get(relation).cloned()
    }
}
