//! What has been taken of batches and is not in the warehouse yet.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::notes::Waiting;
use super::options::Flush;
use super::sink::Taken;
use crate::logic::merge::{Fold, Folded};
use crate::model::{Change, ChangeId, Checkpoint, Error, PgTimestamp, Result, SourcePosition};

/// See the module.
#[derive(Default)]
pub(super) struct Gathered {
    /// What has been folded and not merged, in the order the tables came.
    pub(super) folds: Vec<Fold>,
    /// What comes before that, in the order in which it is merged: as much as a flush takes.
    pub(super) ready: Vec<Folded>,
    /// The last change taken.
    pub(super) seen: ChangeId,
    /// When its transaction committed.
    pub(super) at: Option<PgTimestamp>,
    /// When the first batch came.
    pub(super) since: Option<Instant>,
    /// The position of the last batch, when it ends a transaction.
    pub(super) upto: Option<Checkpoint>,
    /// The last position that was told and that the ledger has not heard.
    pub(super) heard: Option<SourcePosition>,
    pub(super) offsets: BTreeMap<(String, i32), i64>,
    /// What the source wants to be remembered.
    pub(super) notes: Waiting,
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    pub(super) room: Vec<OwnedSemaphorePermit>,
    pub(super) bytes: usize,
    pub(super) rows: usize,
    /// When the first of the tables that do not wait as long as the others wants a flush.
    soonest: Option<Instant>,
    /// Whether there is as much of one table as its own limit allows.
    full: bool,
}

impl Gathered {
    /// Nothing yet after this change.
    pub(super) fn after(seen: ChangeId, at: Option<PgTimestamp>) -> Gathered {
        Gathered { seen, at, ..Gathered::default() }
    }

    /// Takes a batch's part in everything but its changes and its position, which come back.
    pub(super) fn begin(&mut self, taken: Taken) -> (Vec<Change>, Option<Checkpoint>) {
        let Taken { changes, bytes, upto, notes, room, done } = taken;
        self.since.get_or_insert_with(Instant::now);
        self.notes.take(notes);
        self.waiting.push(done);
        self.room.push(room);
        self.bytes += bytes;
        (changes, upto)
    }

    /// Whether the change is not in the tables already: those come again after every restart.
    pub(super) fn is_new(&self, change: &Change) -> bool {
        change.id > self.seen
    }

    /// Begins with a table; its place.
    pub(super) fn add(&mut self, fold: Fold) -> usize {
        let due = fold.limits().after.map(|after| Instant::now() + after);
        self.soonest = self.soonest.into_iter().chain(due).min();
        self.folds.push(fold);
        self.folds.len() - 1
    }

    /// Folds a change into the table at this place.
    pub(super) fn fold(&mut self, place: usize, change: Change) -> Result<()> {
        self.rows += 1;
        let fold = self.folds.get_mut(place).ok_or_else(|| Error::bug("a fold is gone"))?;
        fold.push(change)?;
        self.full |= fold.is_full();
        Ok(())
    }

    /// Nothing is folded any more.
    pub(super) fn merged(&mut self) {
        self.room.clear();
        (self.bytes, self.rows, self.full, self.soonest) = (0, 0, false, None);
    }

    /// A change was folded.
    pub(super) fn passed(&mut self, id: ChangeId, at: PgTimestamp) {
        (self.seen, self.at) = (id, Some(at));
    }

    /// All changes of a batch were folded.
    pub(super) fn end(&mut self, upto: Option<Checkpoint>) {
        if let Some(checkpoint) = &upto {
            self.heard = Some(checkpoint.position);
            self.seen = self.seen.max(checkpoint.change);
            for (topic, part, next) in &checkpoint.offsets {
                self.offsets.insert((topic.clone(), *part), *next);
            }
        }
        self.upto = upto;
    }

    /// The offsets of all positions that were told, to be stored.
    pub(super) fn take_offsets(&mut self) -> Vec<(String, i32, i64)> {
        let offsets = std::mem::take(&mut self.offsets).into_iter();
        offsets.map(|((topic, part), next)| (topic, part, next)).collect()
    }

    /// Whether it is as much as a flush takes.
    pub(super) fn fills(&self, limits: &Flush) -> bool {
        self.full || self.bytes >= limits.bytes || self.rows >= limits.rows
    }

    /// When it is to be flushed, where all tables but some wait so long.
    pub(super) fn due(&self, pause: Duration) -> Option<Instant> {
        self.since.map(|since| self.soonest.map_or(since + pause, |soonest| soonest.min(since + pause)))
    }

    /// Takes what was gathered after it.
    pub(super) fn append(&mut self, later: Gathered) {
        self.ready.extend(later.ready);
        self.folds.extend(later.folds);
        (self.seen, self.at) = (self.seen.max(later.seen), later.at);
        if later.since.is_some() {
            self.upto = later.upto;
        }
        self.since = self.since.or(later.since);
        self.heard = later.heard.or(self.heard);
        self.offsets.extend(later.offsets);
        self.notes.append(later.notes);
        self.waiting.extend(later.waiting);
        self.room.extend(later.room);
        self.bytes += later.bytes;
        self.rows += later.rows;
        self.soonest = self.soonest.into_iter().chain(later.soonest).min();
        self.full |= later.full;
    }
}
