//! Records back to changes.

use std::sync::Arc;

use super::modes::{Format, Modes};
use super::stamp::{Part, Stamp};
use super::{avro, json, proto};
use crate::model::value::ValueError;
use crate::model::{Cell, Change, OldRow, Op, ReplicaIdentity, Row, RowWriter, Table};

/// A record that its table version does not explain. It says what was expected, never what was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct DecodeError {
    /// What was expected.
    pub expected: &'static str,
}

impl DecodeError {
    pub(super) const fn new(expected: &'static str) -> DecodeError {
        DecodeError { expected }
    }
}

impl From<ValueError> for DecodeError {
    fn from(error: ValueError) -> DecodeError {
        DecodeError::new(error.expected)
    }
}

/// Reads the events of one table version.
#[derive(Debug)]
pub struct Decoder {
    table: Arc<Table>,
    format: Format,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Json(json::Decoder),
    Avro(Box<avro::Decoder>),
    Protobuf(Box<proto::Decoder>),
}

impl Decoder {
    /// A reader of `table`'s events, which were written in these modes. A column that they leave out is NULL.
    pub fn new(table: Arc<Table>, modes: &Modes) -> Decoder {
        let form = match modes.format {
            Format::Json => Form::Json(json::Decoder::new(Arc::clone(&table), modes)),
            Format::Avro => Form::Avro(Box::new(avro::Decoder::new(Arc::clone(&table), modes))),
            Format::Protobuf => Form::Protobuf(Box::new(proto::Decoder::new(Arc::clone(&table), modes))),
        };
        Decoder { form, format: modes.format, table }
    }

    /// The table version it reads.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The format of the events.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The change of a record; `None` for a tombstone and for the delete half of a key change.
    pub fn decode(&mut self, stamp: &Stamp<'_>, value: Option<&[u8]>) -> Result<Option<Change>, DecodeError> {
        let Some(value) = value else { return Ok(None) };
        if stamp.part == Some(Part::Delete) {
            return Ok(None);
        }
        let (origin, said) = match &mut self.form {
            Form::Json(form) => form.decode(stamp, value)?,
            Form::Avro(form) => form.decode(stamp, value)?,
            Form::Protobuf(form) => form.decode(stamp, value)?,
        };
        let op = said.op(stamp.part)?;
        Ok(Some(Change { id: stamp.id, origin, table: Arc::clone(&self.table), op }))
    }
}

/// What an event says of rows, whatever its form.
pub(super) struct Said {
    /// Debezium's letter.
    pub(super) op: u8,
    pub(super) before: Option<OldRow>,
    pub(super) after: Option<Row>,
    /// The key that was, on the second half of a key change.
    pub(super) old_key: Option<Row>,
}

impl Said {
    fn op(self, part: Option<Part>) -> Result<Op, DecodeError> {
        let new = self.after.ok_or(DecodeError::new("a row after the change"));
        match (self.op, part) {
            (b'r', None) => Ok(Op::Read { new: new? }),
            (b'c', None) => Ok(Op::Insert { new: new? }),
            (b'c', Some(Part::Create)) => {
                let old = self.old_key.ok_or(DecodeError::new("the old key"))?;
                Ok(Op::Update { old: Some(OldRow::Key(old)), new: new? })
            }
            (b'u', None) => Ok(Op::Update { old: self.before, new: new? }),
            (b'd', None) => Ok(Op::Delete { old: self.before.ok_or(DecodeError::new("a row before the change"))? }),
            (b't', None) => Ok(Op::Truncate),
            _ => Err(DecodeError::new("an operation")),
        }
    }
}

/// What a row before a change says where only FULL sends all of it: what stands in for unknown values is left out.
pub(super) fn old_row(table: &Table, row: Row, rows: &mut RowWriter) -> OldRow {
    if table.identity == ReplicaIdentity::Full {
        return OldRow::Full(row);
    }
    for (at, cell) in row.cells().enumerate() {
        rows.push(if table.key.contains(&at) { cell } else { Cell::Null });
    }
    OldRow::Key(rows.finish())
}
