//! What is compiled once for a table version, and the messages written with it: `Event` and `Key`.

use super::super::encode::{EncodeError, NamedSchema, Settings};
use super::super::form::{Event, Out, Written};
use super::super::kind::Kind as Told;
use super::super::modes::Modes;
use super::super::stamp::Part;
use super::frame::{Message, frame};
use super::kind::{Kind, case, type_of};
use super::messages::{always, logical_message, transaction};
use super::value::{self, NULL, UNCHANGED, UNSENT};
use super::wire::{self, BYTES, message, number, some_number, tag, varint_length};
use crate::model::value::ValueError;
use crate::model::{self, Cell, ChangeId, Column, OldRow, Origin, Row, SnapshotMark, Table};

/// How the events of one table version are written.
#[derive(Debug)]
pub(in super::super) struct Form {
    /// `Event.columns`, with its tags.
    columns: Vec<u8>,
    /// What of `Source` is the same for all events.
    source: Vec<u8>,
    /// By column; `None` for one that is left out.
    steps: Vec<Option<Step>>,
    /// The key's columns in the key's order.
    key: Vec<KeyStep>,
    /// What keys have beside columns, written.
    constants: Vec<u8>,
    database: String,
    /// For a registry: of keys, where the table has one, and of values.
    pub(in super::super) schemas: (Option<NamedSchema>, NamedSchema),
    /// What keys and values are.
    messages: (Message, Message),
    /// What stands before each key and value; nothing without a registry.
    frames: (Vec<u8>, Vec<u8>),
}

#[derive(Debug)]
struct Step {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
struct KeyStep {
    at: usize,
    /// `KeyColumn.name`, with its tag.
    name: Vec<u8>,
    step: Step,
}

impl Form {
    /// Compiles the plan. A key column is never left out.
    pub(in super::super) fn new(table: &Table, settings: &Settings) -> Form {
        let step = |column: &Column| Step { name: column.name.clone(), kind: Kind::of(&column.pg_type) };
        let columns = table.columns.iter().enumerate();
        Form {
            columns: header(table, &settings.modes),
            source: constant_source(table, &settings.database),
            steps: columns.map(|(at, column)| told(table, at, &settings.modes).then(|| step(column))).collect(),
            key: table.key.iter().filter_map(|&at| Some(KeyStep::new(at, table.columns.get(at)?))).collect(),
            constants: constants(settings),
            database: settings.database.clone(),
            schemas: match messages(table) {
                (Message::Key, value) => (table.has_key().then(|| schema(Message::Key)), schema(value)),
                (key, value) => (Some(schema(key)), schema(value)),
            },
            messages: messages(table),
            frames: Default::default(),
        }
    }

    /// Sets the numbers that the registry gave the schemas.
    pub(in super::super) fn number(&mut self, key: u32, value: u32) {
        let framed = |number, message| {
            let mut out = Vec::new();
            frame(number, message, &mut out);
            out
        };
        self.frames = (framed(key, self.messages.0), framed(value, self.messages.1));
    }

    /// The key of a message's record.
    pub(in super::super) fn message_key(&self, emitted: &model::Emitted, out: &mut Out<'_>) {
        out.put(&self.frames.0);
        wire::bytes(1, emitted.prefix.as_bytes(), out.bytes);
    }

    /// A record's key.
    pub(in super::super) fn key(&self, row: &Row, out: &mut Out<'_>) -> Written {
        out.put(&self.frames.0);
        self.key_columns(row, out.bytes)
    }

    fn key_columns(&self, row: &Row, out: &mut Vec<u8>) -> Written {
        for KeyStep { at, name, step } in &self.key {
            message(1, name.len() + 12, out, |out| {
                out.extend_from_slice(name);
                tag(2, BYTES, out);
                step.cell(row.cell(*at), out)
            })?;
        }
        out.extend_from_slice(&self.constants);
        Ok(())
    }

    /// A record's value.
    pub(in super::super) fn value(&self, event: &Event<'_>, out: &mut Out<'_>) -> Written {
        out.put(&self.frames.1);
        let out = &mut *out.bytes;
        if let model::Op::Message(emitted) = &event.change.op {
            logical_message(emitted, &self.database, event, out);
            return Ok(());
        }
        number(1, op_number(event.op), out);
        self.source(event.change.id, &event.change.origin, out);
        if event.before.is_some() || event.after.is_some() {
            out.extend_from_slice(&self.columns);
        }
        match event.before {
            Some(OldRow::Full(row)) => message(4, row.size(), out, |out| self.row(row, None, out))?,
            Some(OldRow::Key(row)) => message(4, row.size(), out, |out| self.key_row(row, out))?,
            None => {}
        }
        if let Some(row) = event.after {
            message(5, row.size(), out, |out| self.row(row, event.known, out))?;
        }
        if let Some((part, other)) = event.half {
            message(6, 64, out, |out| {
                number(1, if part == Part::Delete { 1 } else { 2 }, out);
                message(2, 60, out, |out| self.key_columns(other, out))
            })?;
        }
        if let Some(place) = &event.place {
            transaction(7, place, out);
        }
        number(8, event.now.unix_micros().cast_unsigned(), out);
        Ok(())
    }

    fn source(&self, id: ChangeId, origin: &Origin, out: &mut Vec<u8>) {
        let constant = &self.source;
        always(2, constant.len() + 40, out, |out| {
            source(id, origin, out);
            out.extend_from_slice(constant);
        });
    }

    /// A whole row; what did not change is taken from the old one where that is known.
    pub(in super::super) fn row(&self, row: &Row, known: Option<&OldRow>, out: &mut Vec<u8>) -> Written {
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            let before = match (cell, known) {
                (Cell::Unchanged, Some(OldRow::Full(old))) => old.cell(at),
                _ => cell,
            };
            tag(1, BYTES, out);
            step.cell(before, out)?;
        }
        Ok(())
    }

    /// A row of which only the replica identity is known.
    fn key_row(&self, row: &Row, out: &mut Vec<u8>) -> Written {
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            tag(1, BYTES, out);
            match cell {
                Cell::Null if !self.key.iter().any(|key| key.at == at) => out.extend_from_slice(UNSENT),
                cell => step.cell(cell, out)?,
            }
        }
        Ok(())
    }
}

impl KeyStep {
    fn new(at: usize, column: &Column) -> KeyStep {
        // Whoever widens a key's column wants the same key in the same partition.
        let kind = match Kind::of(&column.pg_type) {
            Kind::Int32 => Kind::Int64,
            kind => kind,
        };
        KeyStep { at, name: key_name(column), step: Step { name: column.name.clone(), kind } }
    }
}

impl Step {
    #[inline]
    fn cell(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Written {
        match cell {
            Cell::Null => out.extend_from_slice(NULL),
            Cell::Unchanged => out.extend_from_slice(UNCHANGED),
            Cell::Text(text) => value::value(&self.kind, text, out).map_err(|error| self.error(error))?,
            Cell::Binary(_) => return Err(self.error(ValueError::new("a value in text form"))),
        }
        Ok(())
    }

    fn error(&self, error: ValueError) -> EncodeError {
        EncodeError { column: self.name.clone(), expected: error.expected }
    }
}

fn constants(settings: &Settings) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, text) in &settings.key_fields {
        let mut column = Vec::new();
        wire::bytes(1, name.as_bytes(), &mut column);
        tag(2, BYTES, &mut column);
        value::bytes(case::TEXT, text.as_bytes(), &mut column);
        wire::some_bytes(1, &column, &mut out);
    }
    out
}

/// What the keys and values of a table's records are.
fn messages(table: &Table) -> (Message, Message) {
    match table.is_of_messages() {
        true => (Message::NoticeKey, Message::LogicalMessage),
        false => (Message::Key, Message::Event),
    }
}

/// The schema of a message.
pub(super) fn schema(message: Message) -> NamedSchema {
    NamedSchema { language: "PROTOBUF", name: message.name().to_owned(), text: super::SCHEMA.to_owned() }
}

/// Whether a column is told: all but those that every format leaves out, and those of the key in any case.
pub(super) fn told(table: &Table, at: usize, modes: &Modes) -> bool {
    let form = |column: &Column| Told::of(&column.pg_type, column.modifier, modes);
    table.key.contains(&at) || table.columns.get(at).and_then(form).is_some()
}

fn op_number(op: &str) -> u64 {
    match op {
        "r" => 1,
        "c" => 2,
        "u" => 3,
        "d" => 4,
        _ => 5,
    }
}

/// Appends what of `Source` is each event's own.
pub(super) fn source(id: ChangeId, origin: &Origin, out: &mut Vec<u8>) {
    number(1, id.commit.get(), out);
    number(2, id.seq, out);
    number(3, origin.lsn.get(), out);
    if let Some(xid) = origin.xid {
        some_number(4, u64::from(xid.0), out);
    }
    number(5, origin.at.unix_micros().cast_unsigned(), out);
    number(6, mark_number(origin.snapshot), out);
    if let Some(lsn) = origin.last_commit {
        some_number(7, lsn.get(), out);
    }
}

fn mark_number(mark: Option<SnapshotMark>) -> u64 {
    match mark {
        None => 0,
        Some(SnapshotMark::First) => 1,
        Some(SnapshotMark::FirstInTable) => 2,
        Some(SnapshotMark::Middle) => 3,
        Some(SnapshotMark::LastInTable) => 4,
        Some(SnapshotMark::Last) => 5,
    }
}

fn constant_source(table: &Table, database: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::bytes(8, database.as_bytes(), &mut out);
    wire::bytes(9, table.name.schema.as_bytes(), &mut out);
    wire::bytes(10, table.name.name.as_bytes(), &mut out);
    number(11, u64::from(table.version), &mut out);
    out
}

/// `Event.columns` of a table version.
pub(super) fn header(table: &Table, modes: &Modes) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let place = table.key.iter().position(|&key| key == at).map_or(0, |place| place + 1);
        if told(table, at, modes) {
            column_header(column, place, &mut out);
        }
    }
    out
}

/// Appends a `Column`.
fn column_header(column: &Column, place: usize, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let (type_number, type_name) = type_of(&column.pg_type);
    wire::bytes(1, column.name.as_bytes(), &mut body);
    number(2, type_number, &mut body);
    wire::bytes(3, type_name.as_bytes(), &mut body);
    number(4, u64::from(matches!(column.pg_type, crate::model::PgType::Array(_))), &mut body);
    if column.modifier >= 0 {
        some_number(5, i64::from(column.modifier).cast_unsigned(), &mut body);
    }
    number(6, place as u64, &mut body);
    wire::some_bytes(3, &body, out);
}

fn key_name(column: &Column) -> Vec<u8> {
    let mut out = Vec::with_capacity(column.name.len() + 1 + varint_length(column.name.len() as u64));
    wire::bytes(1, column.name.as_bytes(), &mut out);
    out
}
