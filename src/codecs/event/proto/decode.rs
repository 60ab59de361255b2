//! Events back to changes.

use std::sync::Arc;

use super::super::decode::{DecodeError, Said};
use super::super::modes::Modes;
use super::super::records::KEEP;
use super::super::stamp::{Part, Stamp};
use super::form::{header, told};
use super::frame::unframe;
use super::kind::column_delimiter;
use super::read::{self, Found};
use super::wire::{Fields, Wire};
use crate::model::{Cell, Lsn, OldRow, Origin, PgTimestamp, ReplicaIdentity, Row, RowWriter, SnapshotMark, Table, Xid};

/// Reads the events of one table version.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    table: Arc<Table>,
    columns: Vec<Column>,
    /// `Event.columns`, as the writer has them today: what is the same needs no reading.
    header: Vec<u8>,
    rows: RowWriter,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Column {
    name: String,
    told: bool,
    delimiter: u8,
}

/// The parts of an event.
#[derive(Default)]
struct Parts<'a> {
    op: u64,
    source: Option<&'a [u8]>,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    other_key: Option<&'a [u8]>,
}

impl Decoder {
    /// A reader of `table`'s events, which were written in these modes. A column that they leave out is NULL.
    pub(in super::super) fn new(table: Arc<Table>, modes: &Modes) -> Decoder {
        let columns = table.columns.iter().enumerate().map(|(at, column)| Column {
            name: column.name.clone(),
            told: told(&table, at, modes),
            delimiter: column_delimiter(column),
        });
        let header = header(&table, modes);
        Decoder { columns: columns.collect(), header, table, rows: RowWriter::new(), scratch: Vec::new() }
    }

    /// What an event says, and where it comes from.
    pub(in super::super) fn decode(&mut self, stamp: &Stamp<'_>, value: &[u8]) -> Result<(Origin, Said), DecodeError> {
        let parts = self.parts(unframe(value)?)?;
        let origin = origin(parts.source.ok_or(DecodeError::new("a source"))?)?;
        // The letter of the number, in the order of the schema.
        let op = usize::try_from(parts.op).ok().and_then(|number| b" rcudt".get(number)).copied().unwrap_or(0);
        let before = parts.before.map(|row| self.old(row)).transpose()?;
        let after = parts.after.map(|row| self.row(row)).transpose()?.map(|(row, _)| row);
        // Of a changed key each half has the other's.
        let other = parts.other_key.filter(|_| stamp.part == Some(Part::Create));
        let old_key = other.map(|key| self.key(key)).transpose()?;
        Ok((origin, Said { op, before, after, old_key }))
    }

    /// Takes an event apart; its columns have to be the table's.
    fn parts<'a>(&self, event: &'a [u8]) -> Result<Parts<'a>, DecodeError> {
        const COLUMNS: DecodeError = DecodeError::new("the table's columns in their order");
        let mut parts = Parts::default();
        let mut told = self.columns.iter().filter(|column| column.told);
        let (mut fields, mut met) = (Fields::new(event), 0);
        while let Some((field, wire)) = fields.next()? {
            match field {
                // Over the rest of the columns at once.
                3 if met == 0 && fields.skip(self.rest_of_header(wire)) => {
                    met = told.by_ref().count();
                }
                1 => parts.op = wire.number()?,
                2 => parts.source = Some(wire.bytes()?),
                3 => {
                    let column = told.next().ok_or(COLUMNS)?;
                    if name(wire.bytes()?)? != column.name.as_bytes() {
                        return Err(COLUMNS);
                    }
                    met += 1;
                }
                4 => parts.before = Some(wire.bytes()?),
                5 => parts.after = Some(wire.bytes()?),
                6 => parts.other_key = other_key(wire.bytes()?)?,
                _ => {}
            }
        }
        // A truncated table's event has none.
        if told.next().is_some() && (met > 0 || parts.before.is_some() || parts.after.is_some()) {
            return Err(COLUMNS);
        }
        Ok(parts)
    }

    /// What follows the first column, where that is as the writer has it today.
    fn rest_of_header(&self, first: Wire<'_>) -> Option<&[u8]> {
        let mut header = Fields::new(&self.header);
        (header.next().ok()? == Some((3, first))).then(|| header.rest())
    }

    /// A row as it was: whole only under FULL.
    fn old(&mut self, row: &[u8]) -> Result<OldRow, DecodeError> {
        let (row, whole) = self.row(row)?;
        let full = whole && self.table.identity == ReplicaIdentity::Full;
        Ok(if full { OldRow::Full(row) } else { OldRow::Key(row) })
    }

    /// A row, and whether all of it was sent.
    fn row(&mut self, row: &[u8]) -> Result<(Row, bool), DecodeError> {
        let filled = self.fill(row);
        // Finished in any case, so that a refused row leaves nothing behind in the writer.
        let row = self.rows.finish();
        self.scratch.clear();
        self.scratch.shrink_to(KEEP);
        filled.map(|whole| (row, whole))
    }

    fn fill(&mut self, row: &[u8]) -> Result<bool, DecodeError> {
        const VALUES: DecodeError = DecodeError::new("as many values as there are columns");
        let (mut fields, mut whole) = (Fields::new(row), true);
        for column in &self.columns {
            if !column.told {
                self.rows.push(Cell::Null);
                continue;
            }
            let value = next_value(&mut fields)?.ok_or(VALUES)?;
            self.scratch.clear();
            self.rows.push(match read::value(value, column.delimiter, &mut self.scratch)? {
                Found::Null => Cell::Null,
                Found::Unchanged => Cell::Unchanged,
                Found::Unsent => {
                    whole = false;
                    Cell::Null
                }
                Found::Text => Cell::Text(&self.scratch),
            });
        }
        if next_value(&mut fields)?.is_some() {
            return Err(VALUES);
        }
        Ok(whole)
    }

    /// A key as a row that is NULL everywhere else.
    fn key(&mut self, key: &[u8]) -> Result<Row, DecodeError> {
        const KEY: DecodeError = DecodeError::new("the table's key");
        let mut texts = vec![None; self.columns.len()];
        let (mut fields, mut places) = (Fields::new(key), self.table.key.iter());
        while let Some(key_column) = next_value(&mut fields)? {
            // Constants that tell this table's keys from those of others.
            let Some(&at) = places.next() else { break };
            let column = self.columns.get(at).ok_or(KEY)?;
            let (mut parts, mut value) = (Fields::new(key_column), None);
            while let Some((field, wire)) = parts.next()? {
                match field {
                    1 if wire.bytes()? != column.name.as_bytes() => return Err(KEY),
                    2 => value = Some(wire.bytes()?),
                    _ => {}
                }
            }
            let mut text = Vec::new();
            let found = read::value(value.ok_or(KEY)?, column.delimiter, &mut text)?;
            if let Some(place) = texts.get_mut(at) {
                *place = (found == Found::Text).then_some(text);
            }
        }
        if places.next().is_some() {
            return Err(KEY);
        }
        texts.iter().for_each(|text| self.rows.push(text.as_deref().map_or(Cell::Null, Cell::Text)));
        Ok(self.rows.finish())
    }
}

/// The next message of field 1.
fn next_value<'a>(fields: &mut Fields<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    while let Some((field, wire)) = fields.next()? {
        if field == 1 {
            return Ok(Some(wire.bytes()?));
        }
    }
    Ok(None)
}

/// A column's name.
fn name(column: &[u8]) -> Result<&[u8], DecodeError> {
    Ok(next_value(&mut Fields::new(column))?.unwrap_or_default())
}

fn other_key(key_change: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let (mut fields, mut key) = (Fields::new(key_change), None);
    while let Some((field, wire)) = fields.next()? {
        if field == 2 {
            key = Some(wire.bytes()?);
        }
    }
    Ok(key)
}

fn origin(source: &[u8]) -> Result<Origin, DecodeError> {
    let at = PgTimestamp::from_unix_micros(0);
    let mut origin = Origin { at, xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    let mut fields = Fields::new(source);
    while let Some((field, wire)) = fields.next()? {
        match field {
            3 => origin.lsn = Lsn::new(wire.number()?),
            4 => {
                let xid = u32::try_from(wire.number()?).map_err(|_| DecodeError::new("a transaction's number"))?;
                origin.xid = Some(Xid(xid));
            }
            5 => origin.at = PgTimestamp::from_unix_micros(wire.number()?.cast_signed()),
            6 => origin.snapshot = mark(wire.number()?)?,
            7 => origin.last_commit = Some(Lsn::new(wire.number()?)),
            _ => {}
        }
    }
    Ok(origin)
}

fn mark(number: u64) -> Result<Option<SnapshotMark>, DecodeError> {
    Ok(match number {
        0 => None,
        1 => Some(SnapshotMark::First),
        2 => Some(SnapshotMark::FirstInTable),
        3 => Some(SnapshotMark::Middle),
        4 => Some(SnapshotMark::LastInTable),
        5 => Some(SnapshotMark::Last),
        _ => return Err(DecodeError::new("a snapshot's mark")),
    })
}
