//! Net rows on their way into a staging table.
//!
//! A staging table has the table's columns under their own names, then `_tw_lsn bigint, _tw_seq bigint, _tw_op` (one
//! letter), `_tw_missing` (text of `0`, `1` and `2`, a digit for each column, `1` where the value did not change and is
//! not here, `2` where the target can't have it either; NULL when none is missing), the texts of [`Layout::staged`], and
//! `_tw_base_1`, `_tw_base_2`, ... for each key column: the key under which the target has the row now, NULL where that
//! is the row's own key.
//!
//! [`Layout::staged`]: crate::codecs::dialect::Layout::staged

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::codecs::dialect::{Staged, Target};
use crate::model::value::{Finite, print};
use crate::model::{Cell, ChangeId, PgTimestamp, Row, Table};

/// What is to become of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetOp {
    /// The row with this key shall be this.
    Upsert,
    /// There shall be no row with this key; only the key's cells count.
    Delete,
    /// The row with this key was this when it was deleted; it stays, marked.
    Mark,
    /// A version of the row with this key.
    Version,
    /// The current version of the row with this key ends; only the key's cells count.
    End,
    /// One more row, with the letter of its operation: `r c u d t`.
    Append(char),
}

impl NetOp {
    /// The letter in `_tw_op`: `u` upsert, `d` delete, `m` mark, `v` version, `x` end; an append's own letter.
    pub fn letter(self) -> char {
        match self {
            NetOp::Upsert => 'u',
            NetOp::Delete => 'd',
            NetOp::Mark => 'm',
            NetOp::Version => 'v',
            NetOp::End => 'x',
            NetOp::Append(letter) => letter,
        }
    }
}

/// What a key's changes in one flush come to; of a table that keeps more than that, one of the things they come to.
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
    /// Whether the target can't have the unchanged values: what it holds under the key is another row.
    pub lost: bool,
    /// Whether the target has no row with this key: the first that was told of it is that it came.
    pub new: bool,
    /// When the change committed.
    pub at: PgTimestamp,
    /// When the change committed that ended this version.
    pub end: Option<PgTimestamp>,
}

impl NetRow {
    /// What tells it apart in the staging table, as a query answers: LSN, number, operation.
    pub fn told_by(&self) -> Vec<Option<String>> {
        let (lsn, seq, op) = (self.id.commit.get(), self.id.seq, self.op.letter());
        vec![Some(lsn.to_string()), Some(seq.to_string()), Some(op.to_string())]
    }

    /// With nothing but a row.
    pub(super) fn new(id: ChangeId, at: PgTimestamp, op: NetOp, row: Row) -> NetRow {
        NetRow { id, op, row, base: None, lost: false, new: false, at, end: None }
    }

    /// Whether it takes a row away.
    pub fn deletes(&self) -> bool {
        self.op == NetOp::Delete
    }

    /// Whether values are to be filled in before it can go into the target.
    pub fn lacks(&self) -> bool {
        matches!(self.op, NetOp::Upsert | NetOp::Mark | NetOp::Version) && self.row.has_unchanged()
    }

    /// The text of `_tw_missing`; `false` when nothing is missing and the column is NULL.
    pub fn missing(&self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if !self.lacks() {
            return false;
        }
        let digit = if self.lost { b'2' } else { b'1' };
        out.extend(self.row.cells().map(|cell| if cell == Cell::Unchanged { digit } else { b'0' }));
        true
    }

    /// One of the texts that its layout asks for; `false` when the column is NULL.
    pub fn staged(&self, which: Staged, table: &Table, out: &mut Vec<u8>) -> bool {
        out.clear();
        let text = match which {
            Staged::At => return time(Some(self.at), out),
            Staged::End => return time(self.end, out),
            Staged::Unchanged => unchanged(&self.row, table),
            Staged::Old => self.base.as_ref().and_then(|old| former(old, table)),
        };
        let Some(text) = text else { return false };
        out.extend_from_slice(text.as_bytes());
        true
    }
}

fn time(at: Option<PgTimestamp>, out: &mut Vec<u8>) -> bool {
    let Some(at) = at else { return false };
    print::pg_timestamptz(Finite::Value(at.0), out);
    true
}

/// The names of the columns that are not here, as a JSON array.
fn unchanged(row: &Row, table: &Table) -> Option<String> {
    let names = row.cells().zip(&table.columns).filter(|(cell, _)| *cell == Cell::Unchanged);
    let names: Vec<Value> = names.map(|(_, column)| Value::from(column.name.as_str())).collect();
    (!names.is_empty()).then(|| Value::from(names).to_string())
}

/// What told a row apart, as a JSON object of texts: its key, or all of it in a table without one.
fn former(old: &Row, table: &Table) -> Option<String> {
    let counts = |index: usize| !table.has_key() || table.key.contains(&index);
    let mut fields = Map::new();
    for (index, (cell, column)) in old.cells().zip(&table.columns).enumerate() {
        if !counts(index) {
            continue;
        }
        let value = match cell {
            Cell::Text(text) | Cell::Binary(text) => Value::from(std::str::from_utf8(text).ok()?),
            Cell::Null | Cell::Unchanged => Value::Null,
        };
        fields.insert(column.name.clone(), value);
    }
    Some(Value::Object(fields).to_string())
}

/// Net rows of one table, to be loaded into its staging table.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The staging table, quoted and with its schema, ready for SQL.
    pub name: String,
    /// The source table's shape, and where its rows go in the end.
    pub target: Target,
    /// The rows.
    pub rows: Arc<Vec<NetRow>>,
}
