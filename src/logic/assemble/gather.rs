//! Changes gathered until there are enough of them to hand on, and the position that goes with them.
//!
//! ```text
//!  messages ──▶ changes of complete transactions │ changes of the open one
//!                 a portion at the next end        in pieces, once it is large
//! ```
//!
//! Why a position never passes what was handed on: it moves at the end of a transaction, and by a keepalive only
//! outside of one (everything committed before a keepalive's end has been sent before it); and it leaves here only with
//! a portion that holds all changes up to it, or when none are left.

use std::time::{Duration, Instant};

use super::{Assembler, Step};
use crate::codecs::pgoutput::Message;
use crate::model::{Change, ChangeId, Lsn, Result};

/// A portion is handed on at the next commit after this much.
const BATCH: usize = 1 << 20;
/// A transaction larger than this is handed on in pieces: with the last message, the most that is gathered.
pub const PIECE: usize = 4 << 20;
/// How often an idle stream's position is handed on.
const IDLE: Duration = Duration::from_secs(10);
/// Or after this much log of other databases.
const IDLE_BYTES: u64 = 16 << 20;

/// Changes to hand on.
#[derive(Debug)]
pub struct Portion {
    /// The changes; may be empty when only the position moves.
    pub changes: Vec<Change>,
    /// Bytes of memory they keep.
    pub bytes: usize,
    /// Whether they end where a transaction does; if not, they are a piece of one that goes on.
    pub whole: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Gather {
    /// The end of the last complete transaction, or of the log that has come past since.
    at: Lsn,
    /// The last change up to there.
    last: ChangeId,
    /// The last change received.
    seen: ChangeId,
    /// Whether pieces of its transaction have been handed on.
    in_pieces: bool,
    handed_on: (Lsn, Instant),
    /// A position that somebody waits for: handed on as soon as it is reached.
    goal: Option<Lsn>,
    /// Whether the position is to be handed on before anything else.
    unsaid: bool,
    changes: Vec<Change>,
    bytes: usize,
    /// How many of the changes, and of their bytes, belong to complete transactions.
    complete: (usize, usize),
    boundary: bool,
}

impl Gather {
    /// Goes on from `at`, where `last` is the last change.
    pub fn new(at: Lsn, last: ChangeId, now: Instant) -> Gather {
        Gather {
            at,
            last,
            seen: last,
            in_pieces: false,
            handed_on: (at, now),
            goal: None,
            unsaid: false,
            changes: Vec::new(),
            bytes: 0,
            complete: (0, 0),
            boundary: false,
        }
    }

    /// Hands the position on before anything else: a sink that stores part of what comes next stores it under this one,
    /// where nothing is stored yet or what is stored is of another timeline.
    pub fn say_first(&mut self) {
        self.unsaid = true;
    }

    /// The position that goes with the next portion: the end of the last complete transaction or later.
    pub fn at(&self) -> Lsn {
        self.at
    }

    /// The last change up to that position.
    pub fn last(&self) -> ChangeId {
        self.last
    }

    /// Bytes of memory that what is gathered keeps.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything before `lsn` has come, though no transaction ended at it.
    pub fn reach(&mut self, lsn: Lsn) {
        self.at = self.at.max(lsn);
    }

    /// Changes up to `last` were handed on by other means: a snapshot's rows.
    pub fn passed(&mut self, last: ChangeId) {
        (self.last, self.seen) = (last, last);
    }

    /// Somebody waits for this position.
    pub fn await_position(&mut self, goal: Lsn) {
        self.goal = Some(goal);
    }

    /// The server has read its log up to `end`, and sent everything committed before it.
    pub fn keepalive(&mut self, end: Lsn, inside: bool) {
        if !inside && end > self.at {
            self.at = end;
            self.boundary = true;
        }
    }

    /// Takes one message of `bytes`, which the server sent for `lsn`.
    ///
    /// # Errors
    ///
    /// Those of [`Assembler::feed`].
    pub fn feed(&mut self, assembler: &mut Assembler, message: Message, lsn: Lsn, bytes: usize) -> Result<Step> {
        self.take(bytes, |changes| assembler.feed(message, lsn, changes))
    }

    /// Takes what comes of something of `bytes`: the changes that are appended and the step.
    ///
    /// # Errors
    ///
    /// Those of `come`.
    #[inline]
    pub fn take(&mut self, bytes: usize, come: impl FnOnce(&mut Vec<Change>) -> Result<Step>) -> Result<Step> {
        let before = self.changes.len();
        let step = come(&mut self.changes)?;
        if self.changes.len() > before {
            self.bytes += bytes;
            self.seen = self.changes.last().map_or(self.seen, |change| change.id);
        }
        if let Step::Boundary { end, .. } = step {
            self.at = self.at.max(end);
            self.boundary = true;
            self.complete = (self.changes.len(), self.bytes);
            self.last = self.seen;
        }
        Ok(step)
    }

    /// The portion to hand on now, if one is due.
    ///
    /// `idle`: no more messages are waiting; `inside`: a transaction is open; `waiting`: tables are still to be read,
    /// so that the position alone is not what is waited for.
    pub fn due(&mut self, idle: bool, inside: bool, waiting: bool, now: Instant) -> Option<Portion> {
        if std::mem::take(&mut self.unsaid) {
            return Some(self.whole(Vec::new(), 0, inside, waiting, now));
        }
        let (count, bytes) = self.complete;
        if count > 0 && (idle || self.bytes >= BATCH) {
            let rest = self.changes.split_off(count);
            let changes = std::mem::replace(&mut self.changes, rest);
            self.bytes -= bytes;
            self.complete = (0, 0);
            return Some(self.whole(changes, bytes, inside, waiting, now));
        }
        if count == 0 && self.bytes >= PIECE {
            let changes = std::mem::take(&mut self.changes);
            let bytes = std::mem::take(&mut self.bytes);
            self.in_pieces = true;
            return Some(Portion { changes, bytes, whole: false });
        }
        let awaited = !waiting && self.goal.is_some_and(|goal| self.at >= goal);
        if !(self.boundary || awaited) || inside || !self.changes.is_empty() {
            return None;
        }
        // The end of a transaction whose last piece has gone already, or the log of others going by.
        let (lsn, since) = self.handed_on;
        let late = now.saturating_duration_since(since) >= IDLE || self.at.bytes_since(lsn) >= IDLE_BYTES;
        (self.in_pieces || awaited || late).then(|| self.whole(Vec::new(), 0, inside, waiting, now))
    }

    /// A portion that ends where a transaction does.
    fn whole(&mut self, changes: Vec<Change>, bytes: usize, inside: bool, waiting: bool, now: Instant) -> Portion {
        self.in_pieces = false;
        self.boundary = inside && self.boundary;
        self.handed_on = (self.at, now);
        self.goal = self.goal.filter(|&goal| waiting || goal > self.at);
        Portion { changes, bytes, whole: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_to_be_said_first_is_said_before_any_change_and_once() {
        let now = Instant::now();
        let last = ChangeId { commit: Lsn::new(0x4F), seq: 3 };
        let mut gather = Gather::new(Lsn::new(0x50), last, now);
        assert!(gather.due(true, false, false, now).is_none(), "nobody asked");
        gather.say_first();
        let portion = gather.due(false, false, false, now).unwrap();
        assert!(portion.whole && portion.changes.is_empty());
        assert_eq!((gather.at(), gather.last()), (Lsn::new(0x50), last));
        assert!(gather.due(true, false, false, now).is_none());
    }
}
