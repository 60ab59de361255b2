//! Changes of tables that get a row for each: logs, appended tables, and copies of rows without a key.

use super::key::with_key;
use super::{NetOp, NetRow};
use crate::codecs::dialect::Layout;
use crate::model::{Cell, ChangeId, Error, OldRow, Op, PgTimestamp, Result, Row, Table};

/// The rows that a change comes to. A truncate has one only where it is not a horizon.
pub(super) fn append(table: &Table, layout: Layout, id: ChangeId, at: PgTimestamp, op: Op) -> Result<Vec<NetRow>> {
    let row = |letter, row| NetRow::new(id, at, NetOp::Append(letter), row);
    if layout == Layout::Multiset {
        return copies(table, id, at, op);
    }
    Ok(match op {
        Op::Read { new } => vec![row('r', new)],
        Op::Insert { new } => vec![row('c', new)],
        Op::Update { old, new } => {
            let old = old.map(|old| old.row().clone());
            let new = with_key(table, new, old.as_ref())?;
            let base = old.filter(|old| moved(table, old, &new));
            vec![NetRow { base, ..row('u', new) }]
        }
        Op::Delete { old } => vec![row('d', old.row().clone())],
        Op::Truncate => vec![row('t', table.columns.iter().map(|_| Cell::Null).collect())],
        Op::Message(_) | Op::Commit { .. } => Vec::new(),
    })
}

/// Whether the change told the row apart by something else before.
fn moved(table: &Table, old: &Row, new: &Row) -> bool {
    let differs = |(old, new)| new != Cell::Unchanged && old != new;
    match table.key.as_slice() {
        [] => old.cells().zip(new.cells()).any(differs),
        key => key.iter().any(|&index| differs((old.cell(index), new.cell(index)))),
    }
}

/// One copy more, or one copy less.
fn copies(table: &Table, id: ChangeId, at: PgTimestamp, op: Op) -> Result<Vec<NetRow>> {
    let more = |letter, row| NetRow::new(id, at, NetOp::Append(letter), row);
    let less = |old: OldRow| match old {
        OldRow::Full(row) if !row.has_unchanged() => Ok(NetRow::new(id, at, NetOp::Delete, row)),
        _ => Err(without_old(table)),
    };
    Ok(match op {
        Op::Read { new } => vec![more('r', new)],
        Op::Insert { new } => vec![more('c', new)],
        Op::Update { old, new } => {
            let old = less(old.ok_or_else(|| without_old(table))?)?;
            let filled =
                new.cells().zip(old.row.cells()).map(|(new, old)| if new == Cell::Unchanged { old } else { new });
            let new = filled.collect();
            vec![old, more('u', new)]
        }
        Op::Delete { old } => vec![less(old)?],
        Op::Truncate | Op::Message(_) | Op::Commit { .. } => Vec::new(),
    })
}

fn without_old(table: &Table) -> Error {
    Error::blocked(format!("a change of {}, which has no key, does not say which row it was", table.name))
        .remedy("its REPLICA IDENTITY is not FULL any more: set it again and run once with --resnapshot, or give the table a primary key")
}
