//! What an event says, whatever the form it takes.

use super::avro;
use super::encode::EncodeError;
use super::flat::Told;
use super::proto;
use super::stamp::Part;
use crate::model::{Cell, Change, OldRow, PgTimestamp, Row};

/// One event before it has a form.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) op: &'static str,
    pub(super) before: Option<&'a OldRow>,
    pub(super) after: Option<&'a Row>,
    /// The row as it was, where what did not change can be taken from it.
    pub(super) known: Option<&'a OldRow>,
    /// Of a changed key, which half it is, and a row with the other half's key.
    pub(super) half: Option<(Part, &'a Row)>,
    pub(super) change: &'a Change,
    pub(super) now: PgTimestamp,
    /// Its place in its transaction, where that is told.
    pub(super) place: Option<Place<'a>>,
}

/// An event's place in its transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Of the transaction, as seen from the event.
    pub(super) id: &'a str,
    /// Among all events of the transaction, from 1.
    pub(super) total: u64,
    /// Among those of the table.
    pub(super) table: u64,
}

/// Where an event goes.
pub(super) struct Out<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) scratch: &'a mut Vec<u8>,
    /// Columns whose values the form could not say: they are told in a header.
    pub(super) misfits: &'a mut Vec<Misfit>,
}

/// A value that its form can't say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Misfit {
    /// Whether it is of the row as it was.
    pub(super) before: bool,
    pub(super) column: usize,
}

pub(super) type Written<T = ()> = Result<T, EncodeError>;

/// A form that events take, compiled for a table version.
#[derive(Debug)]
pub(super) enum Form {
    Json,
    Avro(Box<avro::Form>),
    Protobuf(Box<proto::Form>),
}

impl Out<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl<'a> Event<'a> {
    /// The cell of `after` in column `at`: the old one where that did not change and is known.
    pub(super) fn cell(&self, at: usize, cell: Cell<'a>) -> Cell<'a> {
        if cell != Cell::Unchanged {
            return cell;
        }
        known(self.known, at).unwrap_or(cell)
    }

    pub(super) fn told<'b>(&self, database: &'b str) -> Told<'b>
    where
        'a: 'b,
    {
        Told { op: self.op, change: self.change, now_ms: self.now.unix_micros().div_euclid(1000), database }
    }
}

/// The old value of column `at`, where all old values are known.
pub(super) fn known(old: Option<&OldRow>, at: usize) -> Option<Cell<'_>> {
    match old {
        Some(OldRow::Full(row)) => Some(row.cell(at)).filter(|cell| *cell != Cell::Unchanged),
        _ => None,
    }
}
