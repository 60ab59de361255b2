//! Changes of one table, in order, folded to what they come to for each key.
//!
//! ```text
//!  Insert k          k: Upsert(row)
//!  Update k          k: Upsert(row), unchanged values taken from the row folded so far
//!  Update k -> m     k: Delete, m: Upsert(row), base k while values are missing
//!  Delete k          k: Delete
//!  Truncate          all forgotten; rows older than it leave the target
//! ```
//!
//! Where deleted rows stay, `Delete` and `Truncate` make `Mark(row)` of what is folded so far; where versions stay,
//! `versions` says what becomes of changes; `append` where changes do.
//!
//! Why unchanged values end up right: a value that is missing after the fold was not written since the last flush, so
//! the target still has it under the key that the row had then: the base. Chains of key changes keep the first base,
//! and the merge fills from the base rows before it deletes or replaces any. An update of a row that was removed before
//! (a row that comes back into a filter is told as an insert with values left out, and older servers tell updates of
//! rows that were never told) has no base: it is `lost`, and its values have to be asked for at the source.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::append::append;
use super::key::{key, with_key};
use super::versions::Versions;
use super::{NetOp, NetRow};
use crate::codecs::dialect::{Layout, Target};
use crate::model::{Cell, Change, ChangeId, Lsn, OldRow, Op, PgTimestamp, Result, Row, Table};

/// What a table's changes come to.
#[derive(Debug)]
pub struct Fold {
    table: Arc<Table>,
    layout: Layout,
    spelled: Vec<usize>,
    rows: HashMap<Vec<u8>, NetRow>,
    versions: Versions,
    appended: Vec<NetRow>,
    horizon: Option<(ChangeId, PgTimestamp)>,
    limits: Limits,
    taken: usize,
    bytes: usize,
}

/// How much of one table waits, and how long: as much as of all tables where it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Changes.
    pub rows: Option<usize>,
    /// Bytes of their rows.
    pub bytes: Option<usize>,
    /// The age of the oldest.
    pub after: Option<Duration>,
}

/// A folded table, ready to be staged.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The shape of all the rows.
    pub table: Arc<Table>,
    /// Rows of the target that are older were truncated away.
    pub horizon: Option<ChangeId>,
    /// When that committed.
    pub at: Option<PgTimestamp>,
    /// At most one for each key; where versions are kept, one end and any number of versions.
    pub rows: Vec<NetRow>,
}

/// A row as it is told, with what the target may still have of it.
pub(super) struct Filled {
    pub(super) row: Row,
    pub(super) base: Option<Row>,
    pub(super) lost: bool,
}

impl Fold {
    /// Nothing yet of a table that is kept so; `spelled` are the key's columns of which the warehouse keeps the spelling.
    pub fn new(target: &Target, spelled: Vec<usize>) -> Fold {
        Fold {
            table: Arc::clone(&target.table),
            layout: target.layout,
            spelled,
            rows: HashMap::new(),
            versions: Versions::default(),
            appended: Vec::new(),
            horizon: None,
            limits: Limits::default(),
            taken: 0,
            bytes: 0,
        }
    }

    /// The same with limits of its own.
    pub fn within(self, limits: Limits) -> Fold {
        Fold { limits, ..self }
    }

    /// One like it, with nothing in it.
    pub fn another(&self) -> Fold {
        let (table, spelled) = (Arc::clone(&self.table), self.spelled.clone());
        let (rows, versions) = (HashMap::new(), Versions::default());
        let (layout, limits) = (self.layout, self.limits);
        Fold { table, layout, spelled, rows, versions, appended: Vec::new(), horizon: None, limits, taken: 0, bytes: 0 }
    }

    /// What is asked for of this table.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether as much is in it as its limits allow.
    pub fn is_full(&self) -> bool {
        let Limits { rows, bytes, .. } = self.limits;
        rows.is_some_and(|rows| self.taken >= rows) || bytes.is_some_and(|bytes| self.bytes >= bytes)
    }

    /// The shape of the rows in it.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Takes the next change, which must have this table's shape.
    pub fn push(&mut self, change: Change) -> Result<()> {
        let (id, at) = (change.id, change.origin.at);
        self.taken += 1;
        self.bytes += change.size();
        match (self.layout, change.op) {
            (Layout::Append, op) => self.append(id, at, op),
            (_, Op::Truncate) => {
                self.truncate(id, at);
                Ok(())
            }
            (Layout::Log | Layout::Multiset, op) => self.append(id, at, op),
            (_, Op::Read { new } | Op::Insert { new }) => {
                let key = self.key(&new);
                // Whatever the target has under the key is another row, or this one as it was before it went.
                let lost = new.has_unchanged();
                let new_key = !lost && !self.rows.contains_key(&key);
                self.set(key, id, at, Filled { row: new, base: None, lost }, new_key);
                Ok(())
            }
            (_, Op::Update { old, new }) => self.update(id, at, old.as_ref().map(OldRow::row), new),
            (_, Op::Delete { old }) => {
                let key = self.key(old.row());
                self.remove(key, id, at, old.row());
                Ok(())
            }
            // A message is of no table, so of no fold.
            (_, Op::Message(_) | Op::Commit { .. }) => Ok(()),
        }
    }

    fn key(&self, row: &Row) -> Vec<u8> {
        key(&self.table, &self.spelled, row)
    }

    fn append(&mut self, id: ChangeId, at: PgTimestamp, op: Op) -> Result<()> {
        self.appended.extend(append(&self.table, self.layout, id, at, op)?);
        Ok(())
    }

    fn truncate(&mut self, id: ChangeId, at: PgTimestamp) {
        match self.layout {
            Layout::SoftDelete => {
                for row in self.rows.values_mut().filter(|row| row.op == NetOp::Upsert) {
                    mark(row, id, at);
                }
            }
            Layout::History => self.versions.end_all(id, at),
            _ => {
                self.rows.clear();
                self.appended.clear();
                self.horizon = None;
            }
        }
        // Where rows stay, those of the target were ended by the first.
        self.horizon.get_or_insert((id, at));
    }

    fn update(&mut self, id: ChangeId, at: PgTimestamp, old: Option<&Row>, new: Row) -> Result<()> {
        let new = with_key(&self.table, new, old)?;
        let new_key = self.key(&new);
        let old_key = old.map(|old| self.key(old)).unwrap_or_else(|| new_key.clone());
        let moved = old_key != new_key;
        let filled = self.fill(&old_key, old.filter(|_| moved), new);
        if moved && let Some(old) = old {
            self.remove(old_key, id, at, old);
        }
        let still = self.rows.get(&new_key).is_some_and(|row| row.new);
        self.set(new_key, id, at, filled, still);
        Ok(())
    }

    /// The row with the unchanged values that the fold has; `moved` is the row as it was under another key.
    fn fill(&self, old_key: &[u8], moved: Option<&Row>, new: Row) -> Filled {
        if !new.has_unchanged() {
            return Filled { row: new, base: None, lost: false };
        }
        let folded = match self.layout {
            Layout::History => self.versions.current(old_key),
            _ => self.rows.get(old_key).map(|row| Some(row).filter(|row| row.op == NetOp::Upsert)),
        };
        match folded {
            Some(Some(before)) => {
                let cells = new.cells().zip(before.row.cells());
                let row: Row = cells.map(|(new, old)| if new == Cell::Unchanged { old } else { new }).collect();
                let missing = row.has_unchanged();
                let base = before.base.clone().or_else(|| moved.map(|_| before.row.clone()));
                Filled { row, base: base.filter(|_| missing), lost: before.lost && missing }
            }
            // The target may still have a row of this key, but not the one that the update means.
            Some(None) => Filled { row: new, base: None, lost: true },
            None if self.horizon.is_some() => Filled { row: new, base: None, lost: true },
            None => Filled { row: new, base: moved.cloned(), lost: false },
        }
    }

    /// `new`: the target has no row with this key.
    fn set(&mut self, key: Vec<u8>, id: ChangeId, at: PgTimestamp, filled: Filled, new: bool) {
        if self.layout == Layout::History {
            return self.versions.set(key, id, at, filled, self.horizon.is_none());
        }
        let Filled { row, base, lost } = filled;
        self.rows.insert(key, NetRow { base, lost, new, ..NetRow::new(id, at, NetOp::Upsert, row) });
    }

    fn remove(&mut self, key: Vec<u8>, id: ChangeId, at: PgTimestamp, old: &Row) {
        match self.layout {
            Layout::History => self.versions.end(key, id, at, old, self.horizon.is_none()),
            Layout::SoftDelete => match self.rows.get_mut(&key) {
                Some(row) if row.op == NetOp::Upsert => mark(row, id, at),
                Some(_) => {}
                None => drop(self.rows.insert(key, NetRow::new(id, at, NetOp::Delete, old.clone()))),
            },
            _ => drop(self.rows.insert(key, NetRow::new(id, at, NetOp::Delete, old.clone()))),
        }
    }

    /// Ends the fold.
    pub fn finish(self) -> Folded {
        let mut rows = self.appended;
        rows.extend(self.versions.finish());
        // In the order of the log: what was written together lies together in the target.
        rows.sort_by_key(|row| row.id);
        // In the keys' order, which begins with their length, so numbers too: the target's index and the pages of a
        // large table are gone through once, not at random. New rows last.
        let mut keyed: Vec<(Vec<u8>, NetRow)> = self.rows.into_iter().collect();
        keyed.sort_unstable_by(|(a, left), (b, right)| left.new.cmp(&right.new).then_with(|| a.cmp(b)));
        rows.extend(keyed.into_iter().map(|(_, row)| row));
        let (horizon, at) = self.horizon.unzip();
        Folded { table: self.table, horizon, at, rows }
    }
}

/// The row is deleted and stays.
fn mark(row: &mut NetRow, id: ChangeId, at: PgTimestamp) {
    (row.op, row.id, row.at) = (NetOp::Mark, id, at);
}

impl Folded {
    /// Takes out the rows that the target can't have, where they are so many at least and nothing has to go before them.
    pub fn take_new(&mut self, least: usize) -> Option<Folded> {
        let first = self.rows.partition_point(|row| !row.new);
        if self.horizon.is_some() || first == self.rows.len() || self.rows.len() - first < least {
            return None;
        }
        let rows = self.rows.split_off(first);
        Some(Folded { table: Arc::clone(&self.table), horizon: None, at: None, rows })
    }

    /// Whether some rows take rows away.
    pub fn deletes(&self) -> bool {
        self.rows.iter().any(NetRow::deletes)
    }

    /// The transaction of the oldest row.
    pub fn since(&self) -> Option<Lsn> {
        self.rows.iter().map(|row| row.id.commit).min()
    }

    /// The columns that some rows lack because the value did not change.
    pub fn missing(&self) -> Vec<usize> {
        let mut missing = vec![false; self.table.columns.len()];
        for row in self.rows.iter().filter(|row| row.lacks()) {
            for (flag, cell) in missing.iter_mut().zip(row.row.cells()) {
                *flag |= cell == Cell::Unchanged;
            }
        }
        missing.iter().enumerate().filter(|(_, missing)| **missing).map(|(i, _)| i).collect()
    }
}
