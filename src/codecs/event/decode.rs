//! Records back to changes.

use std::sync::Arc;

use super::modes::{Format, Modes};
use super::stamp::Stamp;
use super::{avro, json, proto};
use crate::model::value::ValueError;
use crate::model::{Change, Table};

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
        match &mut self.form {
            Form::Json(form) => form.decode(stamp, value),
            Form::Avro(form) => form.decode(stamp, value),
            Form::Protobuf(form) => form.decode(stamp, value),
        }
    }
}
