//! Net rows on their way into a staging table.
//!
//! A staging table has the table's columns under their own names, then `_tw_lsn bigint, _tw_seq bigint, _tw_op` (one
//! letter), `_tw_missing` (text of `0` and `1`, a digit for each column, `1` where the value did not change and is not
//! here; NULL when none is missing), and `_tw_base_1`, `_tw_base_2`, ... for each key column: the key under which the
//! target has the row now, NULL where that is the row's own key.

use crate::codecs::dialect::Target;
use crate::model::{Cell, ChangeId, Row};

/// What is to become of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetOp {
    /// The row with this key shall be this.
    Upsert,
    /// There shall be no row with this key; only the key's cells count.
    Delete,
    /// One more row of a table without a key, with the letter of its operation: `r c u d`.
    Append(char),
}

impl NetOp {
    /// The letter in `_tw_op`: `u` upsert, `d` delete; an append's own letter.
    pub fn letter(self) -> char {
        match self {
            NetOp::Upsert => 'u',
            NetOp::Delete => 'd',
            NetOp::Append(letter) => letter,
        }
    }
}

/// What a key's changes in one flush come to.
#[derive(Clone, Debug)]
pub struct NetRow {
    /// The last change of this key.
    pub id: ChangeId,
    /// What is to become of it.
    pub op: NetOp,
    /// The cells, as wide as the table; [`Cell::Unchanged`] only where no change in the flush had the value.
    pub row: Row,
    /// A row holding, in the key's columns, the key under which the target has the unchanged values; `None`: its own.
    pub base: Option<Row>,
}

impl NetRow {
    /// The text of `_tw_missing`; `false` when nothing is missing and the column is NULL.
    pub fn missing(&self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.op != NetOp::Upsert || !self.row.has_unchanged() {
            return false;
        }
        out.extend(self.row.cells().map(|cell| if cell == Cell::Unchanged { b'1' } else { b'0' }));
        true
    }
}

/// Net rows of one table, to be loaded into its staging table.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The staging table, quoted and with its schema, ready for SQL.
    pub name: String,
    /// The source table's shape, and where its rows go in the end.
    pub target: Target,
    /// The rows.
    pub rows: Vec<NetRow>,
}
