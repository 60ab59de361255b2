//! Changes to records.

use std::ops::Range;
use std::sync::Arc;

use super::flat::{Deletes, Flat};
use super::form::{Event, Form, Misfit, Out, Place, Written, known};
use super::modes::{Format, Modes, Shapes};
use super::notice::transaction_id;
use super::records::{KEEP, Records};
use super::stamp::Part;
use super::{PLACEHOLDER, avro, header, json, proto, version_name};
use crate::model::value::ValueError;
use crate::model::{Cell, Change, Emitted, OldRow, Op, PgTimestamp, Row, Table};

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
#[error("`{0}` is no name in Avro: letters, digits and `_`, the first no digit")]
pub struct PlanError(pub String);

/// Writes the events of one table version.
#[derive(Debug)]
pub struct Encoder {
    table: Arc<Table>,
    version: String,
    /// Keys in headers and the names of columns are JSON in every form.
    json: json::Form,
    form: Form,
    tombstones: bool,
    truncates: bool,
    /// What becomes of deletes, where rows have no envelope.
    deletes: Option<Deletes>,
    /// The values of [`header::CONTEXT`], where they are told.
    context: Option<[String; 4]>,
    scratch: Vec<u8>,
    misfits: Vec<Misfit>,
}

impl Encoder {
    /// Compiles the plan of a table version.
    pub fn new(table: Arc<Table>, settings: &Settings) -> Result<Encoder, PlanError> {
        let flat = settings.modes.kind == Shapes::Flat;
        let form = match settings.modes.format {
            Format::Json => Form::Json,
            Format::Avro => Form::Avro(Box::new(avro::Form::new(&table, settings).map_err(PlanError)?)),
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

    fn error(&self, column: usize, error: ValueError) -> EncodeError {
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

/// One change on its way into records.
struct Draft<'a> {
    plan: &'a Encoder,
    change: &'a Change,
    now: PgTimestamp,
    /// The transaction's id and how many events have been told of it, where that is told.
    place: Option<(&'a str, &'a mut Orders)>,
    out: &'a mut Records,
    scratch: &'a mut Vec<u8>,
    misfits: &'a mut Vec<Misfit>,
}

impl<'a> Draft<'a> {
    fn write(&mut self) -> Written {
        match &self.change.op {
            Op::Read { new } => self.plain("r", None, new),
            Op::Insert { new } => self.plain("c", None, new),
            Op::Update { old: Some(old), new } if self.key_changes(old.row(), new) => self.key_change(old, new),
            Op::Update { old, new } => self.plain("u", old.as_ref(), new),
            Op::Delete { old } => self.delete(old),
            Op::Truncate if self.plan.truncates => self.truncate(),
            Op::Truncate => Ok(()),
            Op::Message(emitted) => self.message(emitted),
            // Told in a topic of its own.
            Op::Commit { .. } => Ok(()),
        }
    }

    fn event(&self, op: &'static str) -> Event<'a> {
        let (before, after, known, half, place) = (None, None, None, None, None);
        Event { op, before, after, known, half, change: self.change, now: self.now, place }
    }

    fn plain(&mut self, op: &'static str, old: Option<&'a OldRow>, new: &'a Row) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.unchanged_header(old, new);
        let key = self.key(new)?;
        let before = old.filter(|old| matches!(old, OldRow::Full(_)));
        let value = self.value(&Event { before, after: Some(new), known: old, ..self.event(op) })?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn delete(&mut self, old: &'a OldRow) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.end(old, None, headers)
    }

    /// The event of a row's end and its tombstone; of a changed key, with the row that has the new one.
    fn end(&mut self, old: &'a OldRow, next: Option<&'a Row>, headers: usize) -> Written {
        let key = self.key(old.row())?;
        let (event, tombstone) = match self.plan.deletes {
            None => (true, self.plan.tombstones),
            Some(deletes) => {
                (deletes.rewrites(), matches!(deletes, Deletes::Tombstone | Deletes::RewriteWithTombstone))
            }
        };
        if event {
            let half = next.map(|next| (Part::Delete, next));
            let value = self.value(&Event { before: Some(old), half, ..self.event("d") })?;
            self.out.push(key.clone(), Some(value), headers);
        }
        if tombstone {
            self.out.push(key, None, headers);
        }
        Ok(())
    }

    fn key_change(&mut self, old: &'a OldRow, new: &'a Row) -> Written {
        let headers = self.out.headers.len();
        self.key_header(header::NEW_KEY, new)?;
        self.common_headers();
        self.text_header(header::PART, b"delete");
        self.end(old, Some(new), headers)?;

        let headers = self.out.headers.len();
        self.key_header(header::OLD_KEY, old.row())?;
        self.common_headers();
        self.text_header(header::PART, b"create");
        self.unchanged_header(Some(old), new);
        let key = self.key(new)?;
        let half = Some((Part::Create, old.row()));
        let value = self.value(&Event { after: Some(new), known: Some(old), half, ..self.event("c") })?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn truncate(&mut self) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        let value = self.value(&self.event("t"))?;
        self.out.push(None, Some(value), headers);
        Ok(())
    }

    /// It is of no table and of no row.
    fn message(&mut self, emitted: &'a Emitted) -> Written {
        let headers = self.out.headers.len();
        self.id_headers();
        let (plan, start) = (self.plan, self.out.bytes.len());
        match &plan.form {
            Form::Json => plan.json.message_key(emitted, &mut self.room()),
            Form::Avro(form) => form.message_key(emitted, &mut self.room()),
            Form::Protobuf(form) => form.message_key(emitted, &mut self.room()),
        }
        let key = start..self.out.bytes.len();
        let value = self.value(&self.event("m"))?;
        self.out.push(Some(key), Some(value), headers);
        Ok(())
    }

    /// Whether the key is another. A NULL where none is allowed means that the identity does not cover the column.
    fn key_changes(&self, old: &Row, new: &Row) -> bool {
        let table = &self.plan.table;
        table.key.iter().any(|&i| match (old.cell(i), new.cell(i)) {
            (_, Cell::Unchanged) => false,
            (Cell::Null, _) if table.columns.get(i).is_some_and(|column| !column.optional) => false,
            (old, new) => old != new,
        })
    }

    fn common_headers(&mut self) {
        let plan = self.plan;
        for (name, value) in plan.context.iter().flat_map(|context| header::CONTEXT.iter().zip(context)) {
            self.text_header(name, value.as_bytes());
        }
        self.id_headers();
        self.text_header(header::TABLE, self.plan.version.as_bytes());
    }

    fn id_headers(&mut self) {
        let id = self.change.id;
        for (name, number) in [(header::COMMIT_LSN, id.commit.get()), (header::SEQ, id.seq)] {
            self.text_header(name, itoa::Buffer::new().format(number).as_bytes());
        }
    }

    fn text_header(&mut self, name: &'static str, value: &[u8]) {
        let start = self.out.bytes.len();
        self.out.bytes.extend_from_slice(value);
        self.out.header(name, start);
    }

    fn unchanged_header(&mut self, old: Option<&OldRow>, new: &Row) {
        if !new.has_unchanged() {
            return;
        }
        let start = self.out.bytes.len();
        for (at, cell) in new.cells().enumerate() {
            let Some(name) = self.plan.json.name(at) else { continue };
            if cell != Cell::Unchanged || known(old, at).is_some() {
                continue;
            }
            self.out.bytes.push(if self.out.bytes.len() == start { b'[' } else { b',' });
            self.out.bytes.extend_from_slice(name);
        }
        if self.out.bytes.len() > start {
            self.out.bytes.push(b']');
            self.out.header(header::UNCHANGED, start);
        }
    }

    /// Tells what the form of the event could not say.
    fn misfit_headers(&mut self, event: &Event<'a>) -> Written {
        for (before, name) in [(false, header::VALUES), (true, header::OLD_VALUES)] {
            let row = if before { event.before.map(OldRow::row) } else { event.after };
            let (Some(row), start) = (row, self.out.bytes.len()) else { continue };
            for &Misfit { column, .. } in self.misfits.iter().filter(|misfit| misfit.before == before) {
                let Some(name) = self.plan.json.name(column) else { continue };
                let bytes = &mut self.out.bytes;
                bytes.push(if bytes.len() == start { b'{' } else { b',' });
                bytes.extend_from_slice(name);
                bytes.push(b':');
                let cell = if before { row.cell(column) } else { event.cell(column, row.cell(column)) };
                match cell {
                    Cell::Text(text) => json::string(text, bytes).map_err(|error| self.plan.error(column, error))?,
                    _ => bytes.extend_from_slice(b"null"),
                }
            }
            if self.out.bytes.len() > start {
                self.out.bytes.push(b'}');
                self.out.header(name, start);
            }
        }
        self.misfits.clear();
        Ok(())
    }

    fn room(&mut self) -> Out<'_> {
        Out { bytes: &mut self.out.bytes, scratch: self.scratch, misfits: self.misfits }
    }

    /// The record's key, where the table has one.
    fn key(&mut self, row: &Row) -> Written<Option<Range<usize>>> {
        let plan = self.plan;
        if !plan.table.has_key() {
            return Ok(None);
        }
        let start = self.out.bytes.len();
        match &plan.form {
            Form::Json => plan.json.key(row, &mut self.room())?,
            Form::Avro(form) => form.key(row, &mut self.room())?,
            Form::Protobuf(form) => form.key(row, &mut self.room())?,
        }
        Ok(Some(start..self.out.bytes.len()))
    }

    /// The other half's key. Protobuf's events hold it themselves, as exactly as all else.
    fn key_header(&mut self, name: &'static str, row: &Row) -> Written {
        if matches!(self.plan.form, Form::Protobuf(_)) {
            return Ok(());
        }
        let (plan, start) = (self.plan, self.out.bytes.len());
        plan.json.bare_key(row, &mut self.room())?;
        self.out.header(name, start);
        Ok(())
    }

    fn value(&mut self, event: &Event<'a>) -> Written<Range<usize>> {
        let place = self.place.as_mut().map(|(id, orders)| {
            orders.total += 1;
            orders.table += 1;
            Place { id, total: orders.total, table: orders.table }
        });
        let event = &Event { place, ..*event };
        let (plan, start) = (self.plan, self.out.bytes.len());
        match &plan.form {
            Form::Json => plan.json.value(event, &mut self.room())?,
            Form::Avro(form) => form.value(event, &mut self.room())?,
            Form::Protobuf(form) => form.value(event, &mut self.room())?,
        }
        let value = start..self.out.bytes.len();
        self.misfit_headers(event)?;
        Ok(value)
    }
}
