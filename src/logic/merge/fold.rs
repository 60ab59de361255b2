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
//! Why unchanged values end up right: a value that is missing after the fold was not written since the last flush, so
//! the target still has it under the key that the row had then: the base. Chains of key changes keep the first base,
//! and the merge fills from the base rows before it deletes or replaces any.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::key;
use super::{NetOp, NetRow};
use crate::model::{Cell, Change, ChangeId, Error, OldRow, Op, Result, Row, Table};

/// What a table's changes come to.
#[derive(Debug)]
pub struct Fold {
    table: Arc<Table>,
    rows: HashMap<Vec<u8>, NetRow>,
    appended: Vec<NetRow>,
    horizon: Option<ChangeId>,
    changes: usize,
}

/// A folded table, ready to be staged.
#[derive(Debug)]
pub struct Folded {
    /// The shape of all the rows.
    pub table: Arc<Table>,
    /// Rows of the target that are older were truncated away.
    pub horizon: Option<ChangeId>,
    /// At most one for each key.
    pub rows: Vec<NetRow>,
}

impl Fold {
    /// Nothing yet.
    pub fn new(table: Arc<Table>) -> Fold {
        Fold { table, rows: HashMap::new(), appended: Vec::new(), horizon: None, changes: 0 }
    }

    /// The shape of the rows in it.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Takes the next change, which must have this table's shape.
    pub fn push(&mut self, change: Change) -> Result<()> {
        self.changes += 1;
        let id = change.id;
        if matches!(change.op, Op::Truncate) {
            self.rows.clear();
            self.appended.clear();
            self.horizon = Some(id);
            return Ok(());
        }
        if !self.table.has_key() {
            self.append(id, change.op);
            return Ok(());
        }
        match change.op {
            Op::Read { new } | Op::Insert { new } => {
                let key = key(&self.table, &new);
                self.rows.insert(key, NetRow { id, op: NetOp::Upsert, row: new, base: None });
            }
            Op::Update { old, new } => self.update(id, old.as_ref().map(OldRow::row), new)?,
            Op::Delete { old } => {
                let row = old.row().clone();
                self.rows.insert(key(&self.table, &row), NetRow { id, op: NetOp::Delete, row, base: None });
            }
            // A message is of no table, so of no fold.
            Op::Truncate | Op::Message(_) | Op::Commit { .. } => {}
        }
        Ok(())
    }

    fn update(&mut self, id: ChangeId, old: Option<&Row>, new: Row) -> Result<()> {
        let new = self.with_key(new, old)?;
        let new_key = key(&self.table, &new);
        let old_key = old.map(|old| key(&self.table, old)).unwrap_or_else(|| new_key.clone());
        let moved = old_key != new_key;
        let before = self.rows.get(&old_key);
        let (row, base) = match before {
            _ if !new.has_unchanged() => (new, None),
            Some(before) if before.op == NetOp::Delete => return Err(self.of_no_row()),
            None if self.horizon.is_some() => return Err(self.of_no_row()),
            Some(before) => {
                let row: Row = new
                    .cells()
                    .zip(before.row.cells())
                    .map(|(new, before)| if new == Cell::Unchanged { before } else { new })
                    .collect();
                let base = before.base.clone().or_else(|| moved.then(|| before.row.clone()));
                let base = base.filter(|_| row.has_unchanged());
                (row, base)
            }
            None => (new, old.filter(|_| moved).cloned()),
        };
        if moved && let Some(old) = old {
            self.rows.insert(old_key, NetRow { id, op: NetOp::Delete, row: old.clone(), base: None });
        }
        self.rows.insert(new_key, NetRow { id, op: NetOp::Upsert, row, base });
        Ok(())
    }

    /// The target may still have a row of this key, but not the one that the update means.
    fn of_no_row(&self) -> Error {
        Error::corrupt(format!(
            "an update of {} leaves values unchanged in a row that was removed before",
            self.table.name
        ))
    }

    /// A key can be so large that it, too, is left out as unchanged; then the old row has it.
    fn with_key(&self, new: Row, old: Option<&Row>) -> Result<Row> {
        if !self.table.key.iter().any(|&i| new.cell(i) == Cell::Unchanged) {
            return Ok(new);
        }
        let Some(old) = old else {
            return Err(Error::corrupt(format!("an update of {} has neither a key nor an old one", self.table.name)));
        };
        let pick = |(i, (new, old))| if self.table.key.contains(&i) && new == Cell::Unchanged { old } else { new };
        Ok(new.cells().zip(old.cells()).enumerate().map(pick).collect())
    }

    fn append(&mut self, id: ChangeId, op: Op) {
        let (letter, row) = match op {
            Op::Read { new } => ('r', new),
            Op::Insert { new } => ('c', new),
            Op::Update { new, .. } => ('u', new),
            Op::Delete { old } => ('d', old.row().clone()),
            Op::Truncate | Op::Message(_) | Op::Commit { .. } => return,
        };
        self.appended.push(NetRow { id, op: NetOp::Append(letter), row, base: None });
    }

    /// Ends the fold.
    pub fn finish(self) -> Folded {
        let mut rows = self.appended;
        rows.extend(self.rows.into_values());
        // In the order of the log: what was written together lies together in the target.
        rows.sort_unstable_by_key(|row| row.id);
        Folded { table: self.table, horizon: self.horizon, rows }
    }
}

impl Folded {
    /// The columns that some rows lack because the value did not change.
    pub fn missing(&self) -> Vec<usize> {
        let mut missing = vec![false; self.table.columns.len()];
        for row in self.rows.iter().filter(|row| row.op == NetOp::Upsert && row.row.has_unchanged()) {
            for (flag, cell) in missing.iter_mut().zip(row.row.cells()) {
                *flag |= cell == Cell::Unchanged;
            }
        }
        missing.iter().enumerate().filter(|(_, missing)| **missing).map(|(i, _)| i).collect()
    }
}
