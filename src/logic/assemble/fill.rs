//! Values that an update did not touch, taken from the row as it was.

use crate::model::{Cell, Row, RowWriter};

/// `new` with each unchanged value replaced by `old`'s, which has all of them under `REPLICA IDENTITY FULL`.
pub(super) fn fill(writer: &mut RowWriter, old: &Row, new: Row) -> Row {
    if !new.has_unchanged() {
        return new;
    }
    for (old, new) in old.cells().zip(new.cells()) {
        writer.push(if new == Cell::Unchanged { old } else { new });
    }
    writer.finish()
}
