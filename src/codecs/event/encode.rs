//! Changes to records.

use std::sync::Arc;

use super::draft::Draft;
use super::flat::{Deletes, Flat};
use super::form::{Form, Misfit, Out};
use super::modes::{Format, Modes, Shapes};
use super::notice::transaction_id;
use super::records::{KEEP, Records};
use super::{PLACEHOLDER, avro, json, proto, version_name};
use crate::model::value::ValueError;
use crate::model::{Change, PgTimestamp, Row, Table};

/// What is the same for all tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The prefix of topics, which is also the source's name.
    pub prefix: String,
    /// The source's database.
    pub database: String,
    /// Whether a delete is followed by a record without a value.
    pub tombstones: bool,
    /// Whether truncates are told.
    pub truncates: bool,
    /// What stands in for a large value that an update did not touch.
    pub placeholder: String,
    /// How types are told.
    pub modes: Modes,
    /// Whether each key and value carries its schema.
    pub inline_schema: bool,
    /// How rows are told where they have no envelope.
    pub flat: Flat,
    /// Names and texts of what the table's keys have beside its columns.
    pub key_fields: Vec<(String, String)>,
}

impl Settings {
    /// What a configuration without any key of the envelope says.
    pub fn new(prefix: impl Into<String>, database: impl Into<String>) -> Settings {
        Settings {
            prefix: prefix.into(),
            database: database.into(),
            tombstones: true,
            truncates: true,
            placeholder: PLACEHOLDER.to_owned(),
            modes: Modes::default(),
            inline_schema: false,
            flat: Flat::default(),
            key_fields: Vec::new(),
        }
    }
}

/// A value that no record can hold. It names the column, never the value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("column {column}: expected {expected}")]
pub struct EncodeError {
    /// The column.
    pub column: String,
    /// What was expected.
    pub expected: &'static str,
}

impl EncodeError {
    /// What is expected where a NULL is, but the column is said to be NOT NULL.
    pub(super) const NOT_NULL: &str = "a value: the column is NOT NULL";

    /// Whether it is a NULL in a column that was thought to have none: it may have had some before it was made NOT NULL.
    pub fn of_null(&self) -> bool {
        self.expected == EncodeError::NOT_NULL
    }
}

/// How many events have been told of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Orders {
    /// In all.
    pub total: u64,
    /// Of the table.
    pub table: u64,
}

/// A schema for a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedSchema {
    /// The language it is written in, as registries name it.
    pub language: &'static str,
    /// Its full name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A table version whose names its form does not allow.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// A name that is none in Avro.
    #[error("`{0}` is no name in Avro: letters, digits and `_`, the first no digit")]
    Name(String),
    /// A constant that would be named as a column of the key is.
    #[error("the key has a column `{0}`, and a field of that name is to be added to it")]
    KeyField(String),
}

impl PlanError {
    /// What a person can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            PlanError::Name(_) => {
                "set envelope.name_adjustment = \"avro\" or \"avro_unicode\", or leave the table or column out"
            }
            PlanError::KeyField(_) => "give the field another name in key_fields",
        }
    }
}

/// Writes the events of one table version.
#[derive(Debug)]
pub struct Encoder {
    pub(super) table: Arc<Table>,
    pub(super) version: String,
    /// Keys in headers and the names of columns are JSON in every form.
    pub(super) json: json::Form,
    pub(super) form: Form,
    pub(super) tombstones: bool,
    pub(super) truncates: bool,
    /// What becomes of deletes, where rows have no envelope.
    pub(super) deletes: Option<Deletes>,
    /// The values of [`header::CONTEXT`], where they are told.
    pub(super) context: Option<[String; 4]>,
    scratch: Vec<u8>,
    misfits: Vec<Misfit>,
}

impl Encoder {
    /// Compiles the plan of a table version.
    pub fn new(table: Arc<Table>, settings: &Settings) -> Result<Encoder, PlanError> {
        let flat = settings.modes.kind == Shapes::Flat;
        let twice = |name: &&String| {
            table.key_columns().any(|column| {
                settings.modes.name_adjustment.field(&column.name) == settings.modes.name_adjustment.field(name)
            })
        };
        if let Some(name) = settings.key_fields.iter().map(|(name, _)| name).find(twice) {
            return Err(PlanError::KeyField(name.clone()));
        }
        let form = match settings.modes.format {
            Format::Json => Form::Json,
            Format::Avro => Form::Avro(Box::new(avro::Form::new(&table, settings).map_err(PlanError::Name)?)),
            Format::Protobuf => Form::Protobuf(Box::new(proto::Form::new(&table, settings))),
        };
        Ok(Encoder {
            version: version_name(&table),
            json: json::Form::new(&table, settings),
            form,
            tombstones: settings.tombstones,
            // A truncate is no row.
            truncates: settings.truncates && !flat,
            deletes: flat.then_some(settings.flat.deletes),
            context: None,
            scratch: Vec::new(),
            misfits: Vec::new(),
            table,
        })
    }

    /// The schemas of keys, where there are some, and of values, for a registry; `None` for a form that has none.
    pub fn schemas(&self) -> Option<(Option<&NamedSchema>, &NamedSchema)> {
        match &self.form {
            Form::Json => None,
            Form::Avro(form) => Some((form.schemas.0.as_ref(), &form.schemas.1)),
            Form::Protobuf(form) => Some((form.schemas.0.as_ref(), &form.schemas.1)),
        }
    }

    /// Sets the numbers that the registry gave the schemas: each key and value begins with its own.
    pub fn number(&mut self, key: u32, value: u32) {
        match &mut self.form {
            Form::Json => {}
            Form::Avro(form) => form.number(key, value),
            Form::Protobuf(form) => form.number(key, value),
        }
    }

    /// Adds Debezium's headers of context to each record: which run of which pipeline wrote it.
    pub fn tell_context(&mut self, prefix: &str, run: &str) {
        self.context = Some([prefix, "0", "postgresql", run].map(str::to_owned));
    }

    pub(super) fn error(&self, column: usize, error: ValueError) -> EncodeError {
        let column = self.table.columns.get(column).map(|column| column.name.clone()).unwrap_or_default();
        EncodeError { column, expected: error.expected }
    }

    /// The table version it writes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Appends a row alone, as it stands in an event's `after`, without what the event says in headers: for those who
    /// measure what a row costs.
    pub fn encode_row(&mut self, row: &Row, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut room = Out { bytes: out, scratch: &mut self.scratch, misfits: &mut self.misfits };
        let written = match &self.form {
            Form::Json => self.json.row(row, None, &mut room),
            Form::Avro(form) => form.row(row, None, &mut room),
            Form::Protobuf(form) => form.row(row, None, room.bytes),
        };
        self.misfits.clear();
        written
    }

    /// Appends the records of a change; nothing when it fails. `now` is when it is processed.
    pub fn encode(&mut self, change: &Change, now: PgTimestamp, out: &mut Records) -> Result<(), EncodeError> {
        self.encode_placed(change, now, None, out)
    }

    /// The same, telling each event's place in its transaction: `orders` counts on.
    pub fn encode_placed(
        &mut self,
        change: &Change,
        now: PgTimestamp,
        orders: Option<&mut Orders>,
        out: &mut Records,
    ) -> Result<(), EncodeError> {
        let mark = out.mark();
        let transaction = match (&orders, change.origin.xid) {
            (Some(_), Some(xid)) => Some(transaction_id(xid, change.origin.lsn)),
            _ => None,
        };
        // Taken for the time of the call, so that the plan can be read while it is written to.
        let (mut scratch, mut misfits) = (std::mem::take(&mut self.scratch), std::mem::take(&mut self.misfits));
        let place = transaction.as_deref().zip(orders);
        let mut draft = Draft { plan: self, change, now, place, out, scratch: &mut scratch, misfits: &mut misfits };
        let written = draft.write();
        scratch.clear();
        scratch.shrink_to(KEEP);
        misfits.clear();
        (self.scratch, self.misfits) = (scratch, misfits);
        written.inspect_err(|_| out.truncate(mark))
    }
}
