//! How a table joins a stream that is under way: the source's half. The other half is `newcomers`.
//!
//! ```text
//!  newcomers  ── hold ──▶ stands still   (a temporary slot is made: its snapshot's point lies ahead of us)
//!             ── point ─▶ goes on        (the table's changes before the point are not handed on, those after it are)
//!                         at the point   reads the table's rows from the snapshot, then goes on
//! ```
//!
//! Why nothing is lost and nothing comes twice: the snapshot shows what commits before its point; the source stood still
//! before the point was chosen, so no change after it can have passed unseen; and the table counts as followed, in what
//! the sink stores, only with the last of its rows. A crash before that has it read again, beginning with a truncate.
//! Until a table is followed none of its changes is handed on: no consumer sees an update of a row it never got.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::options::SnapshotMode;
use super::snapshot::Snapshot;
use super::source::{PostgresSource, Reading};
use crate::logic::assemble::Assembler;
use crate::model::{Error, Followed, Lsn, Oid, Result, TableName};

/// What the source is told.
pub(super) enum Note {
    /// Stand still at the end of a transaction.
    Hold(Hold),
    /// These tables are not in the publication any more: what comes later under their names is to be read first.
    Left(Vec<TableName>),
    /// Whether there are tables still to be read beside these, which were followed at the time of the look.
    Waiting(bool, Option<Arc<Followed>>),
}

/// Standing still.
pub(super) struct Hold {
    /// Told as soon as the source does.
    pub(super) still: Option<oneshot::Sender<()>>,
    /// How it goes on; without a join when the sender is dropped.
    pub(super) go_on: oneshot::Receiver<Join>,
}

/// Tables about to join.
pub(super) struct Join {
    /// Where their snapshot is consistent.
    pub(super) point: Lsn,
    pub(super) members: Followed,
    /// The snapshot; dropped when it could not be taken after all.
    pub(super) snapshot: oneshot::Receiver<Box<Snapshot>>,
}

impl Reading {
    /// Of all tables, before the stream begins.
    pub(super) fn initial(mut snapshot: Snapshot, assembler: &mut Assembler) -> Reading {
        snapshot.define(assembler, Lsn::ZERO);
        Reading { snapshot: Box::new(snapshot), members: None }
    }
}

impl PostgresSource {
    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Hold(hold) => self.hold = Some(hold),
            // A look that did not know of a table that has left since says nothing; another one follows.
            Note::Waiting(waiting, followed) if followed == self.followed => self.waiting = waiting,
            Note::Waiting(..) => {}
            Note::Left(tables) => tables.iter().for_each(|table| self.leave(table)),
        }
    }

    /// From which commit on a table's changes are handed on. A table that has another name now is another table.
    pub(super) fn from(&mut self, name: &TableName, oid: Oid) -> Lsn {
        let Some(followed) = &self.followed else {
            return if self.options.wants(name) { Lsn::ZERO } else { Lsn::MAX };
        };
        if followed.get(name).is_some_and(|member| member.table == oid) {
            return Lsn::ZERO;
        }
        let renamed = followed.iter().find(|(_, member)| member.table == oid).map(|(name, _)| name.clone());
        renamed.iter().for_each(|before| self.leave(before));
        match &self.join {
            Some(join) if join.members.get(name).is_some_and(|member| member.table == oid) => join.point,
            _ => Lsn::MAX,
        }
    }

    fn leave(&mut self, table: &TableName) {
        let Some(mut followed) = self.followed.clone().filter(|followed| followed.contains_key(table)) else { return };
        if let Some(member) = Arc::make_mut(&mut followed).remove(table) {
            self.assembler.follow(member.table, Lsn::MAX);
        }
        self.watch.follows(&followed);
        self.followed = Some(followed);
        // It may be wanted again under another name or as another table: the next look tells.
        self.waiting = true;
    }

    /// Whether we are at the end of a transaction and something else comes before the next.
    pub(super) fn interrupted(&self) -> bool {
        let at_point = self.join.as_ref().is_some_and(|join| self.gather.at() >= join.point);
        (self.hold.is_some() || at_point) && !self.assembler.inside()
    }

    /// What comes before the next transaction; `true` when that is a snapshot to read. Cancel-safe.
    pub(super) async fn interlude(&mut self) -> Result<bool> {
        if let Some(join) = &mut self.join {
            let snapshot = (&mut join.snapshot).await;
            let Some(join) = self.join.take() else { return Err(Error::bug("a join is gone")) };
            let Ok(mut snapshot) = snapshot else {
                join.members.values().for_each(|member| self.assembler.follow(member.table, Lsn::MAX));
                return Ok(false);
            };
            let before = self.followed.iter().flat_map(|followed| followed.iter());
            let renamed = before.filter(|(_, old)| join.members.values().any(|new| new.table == old.table));
            let renamed: Vec<TableName> = renamed.map(|(name, _)| name.clone()).collect();
            renamed.iter().for_each(|name| self.leave(name));
            snapshot.define(&mut self.assembler, join.point);
            self.reading = Some(Reading { snapshot, members: Some(join.members) });
            return Ok(true);
        }
        if let Some(hold) = &mut self.hold {
            // Nobody waits any more when the attempt was given up; then the other end is closed too.
            let _ = hold.still.take().map(|still| still.send(()));
            let join = (&mut hold.go_on).await;
            self.hold = None;
            if let Ok(join) = join {
                join.members.values().for_each(|member| self.assembler.follow(member.table, join.point));
                self.join = Some(join);
            }
        }
        Ok(false)
    }

    /// The rows of these tables have been read.
    pub(super) fn joined(&mut self, members: Followed) {
        if let Some(followed) = self.followed.as_mut().filter(|_| self.options.snapshot != SnapshotMode::Never) {
            Arc::make_mut(followed).extend(members);
            self.watch.follows(followed);
        }
    }
}
