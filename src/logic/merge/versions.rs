//! Versions of rows: what each key's row was at the end of each transaction.
//!
//! ```text
//!  first change of k      the target's current version of k ends               End
//!  Insert, Update k       the fold's current version ends, another begins      Version
//!  Delete k, Truncate     the fold's current version ends
//! ```
//!
//! What a row was inside of a transaction nobody could see: a version that ends in the transaction that began it is
//! dropped, here where the fold has it, by the merge where an earlier piece of the transaction brought it into the target.

use std::collections::HashMap;

use super::fold::Filled;
use super::{NetOp, NetRow};
use crate::model::{ChangeId, PgTimestamp, Row};

/// Versions of a table's rows.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The current version of each key that was changed; `None` where its row is gone.
    current: HashMap<Vec<u8>, Option<NetRow>>,
    /// Versions that have ended, and ends of the target's versions.
    past: Vec<NetRow>,
}

impl Versions {
    /// The key's current version; `None` when the fold knows nothing of the key.
    pub(super) fn current(&self, key: &[u8]) -> Option<Option<&NetRow>> {
        self.current.get(key).map(Option::as_ref)
    }

    /// The key's row is this from now on. `open`: the target may have a current version of keys unknown here.
    pub(super) fn set(&mut self, key: Vec<u8>, id: ChangeId, at: PgTimestamp, filled: Filled, open: bool) {
        let Filled { row, base, lost } = filled;
        let version = NetRow { base, lost, ..NetRow::new(id, at, NetOp::Version, row.clone()) };
        self.replace(key, id, at, &row, Some(version), open);
    }

    /// The key's row is gone; `old` has the key.
    pub(super) fn end(&mut self, key: Vec<u8>, id: ChangeId, at: PgTimestamp, old: &Row, open: bool) {
        self.replace(key, id, at, old, None, open);
    }

    fn replace(&mut self, key: Vec<u8>, id: ChangeId, at: PgTimestamp, row: &Row, version: Option<NetRow>, open: bool) {
        match self.current.insert(key, version) {
            None if open => self.past.push(NetRow::new(id, at, NetOp::End, row.clone())),
            None | Some(None) => {}
            Some(Some(before)) => self.past.extend(ended(before, id, at)),
        }
    }

    /// All rows are gone.
    pub(super) fn end_all(&mut self, id: ChangeId, at: PgTimestamp) {
        self.past.extend(self.current.values_mut().filter_map(Option::take).filter_map(|row| ended(row, id, at)));
    }

    /// All of it.
    pub(super) fn finish(self) -> impl Iterator<Item = NetRow> {
        self.past.into_iter().chain(self.current.into_values().flatten())
    }
}

/// The version as it ends with a change; `None` where it began in the same transaction.
fn ended(version: NetRow, id: ChangeId, at: PgTimestamp) -> Option<NetRow> {
    (version.id.commit != id.commit).then_some(NetRow { end: Some(at), ..version })
}
