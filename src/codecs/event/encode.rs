//! Changes to records.

use std::ops::Range;
use std::sync::Arc;

use super::flat::{Deletes, Flat, Told};
use super::kind::Kind;
use super::modes::{Modes, Shapes};
use super::records::{KEEP, Records};
use super::source::Source;
use super::step::{Step, heads, steps};
use super::{header, json, topic, version_name, write};
use crate::model::value::{Numeric, ValueError};
use crate::model::{Cell, Change, OldRow, Op, PgTimestamp, Row, Table};

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

/// A value that no record can hold. It names the column, never the value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("column {column}: expected {expected}")]
pub struct EncodeError {
    /// The column.
    pub column: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Writes the events of one table version.
#[derive(Debug)]
pub struct Encoder {
    table: Arc<Table>,
    topic: String,
    version: String,
    source: Source,
    /// By column; `None` for one that is left out.
    steps: Vec<Option<Step>>,
    /// What comes before each key and value, where they carry their schemas.
    heads: Option<(Vec<u8>, Vec<u8>)>,
    tombstones: bool,
    truncates: bool,
    /// With the database's name, where rows have no envelope.
    flat: Option<(Flat, String)>,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Compiles the plan of a table version.
    pub fn new(table: Arc<Table>, settings: &Settings) -> Encoder {
        let flat = settings.modes.kind == Shapes::Flat;
        Encoder {
            topic: topic(&settings.prefix, &table.name),
            version: version_name(&table),
            source: Source::new(&settings.prefix, &settings.database, &table),
            steps: steps(&table, settings),
            heads: settings.inline_schema.then(|| heads(&table, settings)),
            tombstones: settings.tombstones,
            // A truncate is no row.
            truncates: settings.truncates && !flat,
            flat: flat.then(|| (settings.flat.clone(), settings.database.clone())),
            scratch: Vec::new(),
            table,
        }
    }

    /// The topic of the events.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The table version it writes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Appends the records of a change; nothing when it fails. `now` is when it is processed.
    pub fn encode(&mut self, change: &Change, now: PgTimestamp, out: &mut Records) -> Result<(), EncodeError> {
        let mark = out.mark();
        // Taken for the time of the call, so that the plan can be read while it is written to.
        let mut scratch = std::mem::take(&mut self.scratch);
        let written = Draft { plan: self, change, now, out, scratch: &mut scratch }.write();
        scratch.clear();
        scratch.shrink_to(KEEP);
        self.scratch = scratch;
        written.inspect_err(|_| out.truncate(mark))
    }
}

/// One change on its way into records.
struct Draft<'a> {
    plan: &'a Encoder,
    change: &'a Change,
    now: PgTimestamp,
    out: &'a mut Records,
    scratch: &'a mut Vec<u8>,
}

/// The rows of one envelope.
#[derive(Clone, Copy)]
struct Rows<'a> {
    op: u8,
    before: Option<&'a OldRow>,
    after: Option<&'a Row>,
}

type Written<T = ()> = Result<T, EncodeError>;

impl<'a> Draft<'a> {
    fn write(&mut self) -> Written {
        match &self.change.op {
            Op::Read { new } => self.plain(b'r', None, new),
            Op::Insert { new } => self.plain(b'c', None, new),
            Op::Update { old: Some(old), new } if self.key_changes(old.row(), new) => self.key_change(old, new),
            Op::Update { old, new } => self.plain(b'u', old.as_ref(), new),
            Op::Delete { old } => self.delete(old),
            Op::Truncate if self.plan.truncates => self.truncate(),
            Op::Truncate => Ok(()),
        }
    }

    fn plain(&mut self, op: u8, old: Option<&'a OldRow>, new: &'a Row) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.unchanged_header(old, new);
        let key = self.key(new)?;
        let before = old.filter(|old| matches!(old, OldRow::Full(_)));
        let value = self.envelope(Rows { op, before, after: Some(new) }, old)?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn delete(&mut self, old: &'a OldRow) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        self.end(old, headers)
    }

    /// The event of a row's end and its tombstone.
    fn end(&mut self, old: &'a OldRow, headers: usize) -> Written {
        let key = self.key(old.row())?;
        let (event, tombstone) = match &self.plan.flat {
            None => (true, self.plan.tombstones),
            Some((flat, _)) => {
                (flat.deletes.rewrites(), matches!(flat.deletes, Deletes::Tombstone | Deletes::RewriteWithTombstone))
            }
        };
        if event {
            let value = self.envelope(Rows { op: b'd', before: Some(old), after: None }, None)?;
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
        self.end(old, headers)?;

        let headers = self.out.headers.len();
        self.key_header(header::OLD_KEY, old.row())?;
        self.common_headers();
        self.text_header(header::PART, b"create");
        self.unchanged_header(Some(old), new);
        let key = self.key(new)?;
        let value = self.envelope(Rows { op: b'c', before: None, after: Some(new) }, Some(old))?;
        self.out.push(key, Some(value), headers);
        Ok(())
    }

    fn truncate(&mut self) -> Written {
        let headers = self.out.headers.len();
        self.common_headers();
        let value = self.envelope(Rows { op: b't', before: None, after: None }, None)?;
        self.out.push(None, Some(value), headers);
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
        let id = self.change.id;
        for (name, number) in [(header::COMMIT_LSN, id.commit.get()), (header::SEQ, id.seq)] {
            self.text_header(name, itoa::Buffer::new().format(number).as_bytes());
        }
        self.text_header(header::TABLE, self.plan.version.as_bytes());
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
        for ((at, step), cell) in self.plan.steps.iter().enumerate().zip(new.cells()) {
            let Some(step) = step else { continue };
            if cell != Cell::Unchanged || known(old, at).is_some() {
                continue;
            }
            self.out.bytes.push(if self.out.bytes.len() == start { b'[' } else { b',' });
            let name = step.field.strip_suffix(b":").unwrap_or(&step.field);
            self.out.bytes.extend_from_slice(name);
        }
        if self.out.bytes.len() > start {
            self.out.bytes.push(b']');
            self.out.header(header::UNCHANGED, start);
        }
    }

    /// The record's key, where the table has one.
    fn key(&mut self, row: &Row) -> Written<Option<Range<usize>>> {
        if !self.plan.table.has_key() {
            return Ok(None);
        }
        let start = self.out.bytes.len();
        if let Some((head, _)) = &self.plan.heads {
            self.put(head);
        }
        self.key_fields(row, write::value)?;
        if self.plan.heads.is_some() {
            self.put(b"}");
        }
        Ok(Some(start..self.out.bytes.len()))
    }

    fn key_header(&mut self, name: &'static str, row: &Row) -> Written {
        let start = self.out.bytes.len();
        self.key_fields(row, schemaless)?;
        self.out.header(name, start);
        Ok(())
    }

    fn key_fields(&mut self, row: &Row, write: WriteValue) -> Written {
        let plan = self.plan;
        let steps = plan.table.key.iter().filter_map(|&i| plan.steps.get(i)?.as_ref().map(|step| (step, row.cell(i))));
        let mut open = b'{';
        for (step, cell) in steps {
            self.out.bytes.push(std::mem::replace(&mut open, b','));
            self.cell(step, cell, write)?;
        }
        self.out.bytes.push(b'}');
        Ok(())
    }

    fn envelope(&mut self, rows: Rows<'a>, known: Option<&OldRow>) -> Written<Range<usize>> {
        let start = self.out.bytes.len();
        if let Some((_, head)) = &self.plan.heads {
            self.put(head);
        }
        if self.plan.flat.is_some() {
            self.flat(rows, known)?;
            if self.plan.heads.is_some() {
                self.put(b"}");
            }
            return Ok(start..self.out.bytes.len());
        }
        self.put(b"{\"before\":");
        match rows.before {
            Some(OldRow::Full(row)) => self.row(row, None)?,
            Some(OldRow::Key(row)) => self.key_row(row)?,
            None => self.put(b"null"),
        }
        self.put(b",\"after\":");
        match rows.after {
            Some(row) => self.row(row, known)?,
            None => self.put(b"null"),
        }
        self.put(b",\"source\":");
        self.plan.source.write(&self.change.origin, &mut self.out.bytes);
        self.put(b",\"transaction\":null,\"op\":\"");
        self.put(&[rows.op]);
        let micros = self.now.unix_micros();
        for (name, number) in [
            (&b"\",\"ts_ms\":"[..], micros.div_euclid(1000)),
            (b",\"ts_us\":", micros),
            (b",\"ts_ns\":", micros.saturating_mul(1000)),
        ] {
            self.put(name);
            json::number(number, &mut self.out.bytes);
        }
        self.put(if self.plan.heads.is_some() { b"}}" } else { b"}" });
        Ok(start..self.out.bytes.len())
    }

    /// The row, and what is added to it.
    fn flat(&mut self, rows: Rows<'a>, known: Option<&OldRow>) -> Written {
        match (rows.after, rows.before) {
            (Some(row), _) => self.row(row, known)?,
            (None, Some(OldRow::Full(row))) => self.row(row, None)?,
            (None, Some(OldRow::Key(row))) => self.key_row(row)?,
            (None, None) => self.put(b"{}"),
        }
        let Some((flat, database)) = &self.plan.flat else { return Ok(()) };
        // Opened again after its last column.
        self.out.bytes.pop();
        let open = if self.out.bytes.last() == Some(&b'{') { b' ' } else { b',' };
        let now_ms = self.now.unix_micros().div_euclid(1000);
        let told = Told { op: rows.op, change: self.change, now_ms, database };
        flat.write(&told, open, &mut self.out.bytes);
        self.put(b"}");
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.bytes.extend_from_slice(bytes);
    }

    /// A whole row; what did not change is taken from the old one where that is known.
    fn row(&mut self, row: &Row, old: Option<&OldRow>) -> Written {
        let plan = self.plan;
        let mut open = b'{';
        let mut cells = row.cells();
        for (at, step) in plan.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            self.out.bytes.push(std::mem::replace(&mut open, b','));
            let before = if cell == Cell::Unchanged { known(old, at) } else { None };
            self.cell(step, before.unwrap_or(cell), write::value)?;
        }
        self.close(open)
    }

    /// A row of which only the key is known: the rest is NULL, or the type's fallback where NULL is not allowed.
    fn key_row(&mut self, row: &Row) -> Written {
        let plan = self.plan;
        let mut open = b'{';
        let mut cells = row.cells();
        for (at, step) in plan.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            self.out.bytes.push(std::mem::replace(&mut open, b','));
            match cell {
                Cell::Null => {
                    self.put(&step.field);
                    self.put(step.fallback.as_bytes());
                }
                _ if !plan.table.key.contains(&at) => {
                    self.put(&step.field);
                    self.put(step.fallback.as_bytes());
                }
                cell => self.cell(step, cell, write::value)?,
            }
        }
        self.close(open)
    }

    fn close(&mut self, open: u8) -> Written {
        // A table without columns is an empty object.
        self.put(if open == b'{' { b"{}" } else { b"}" });
        Ok(())
    }

    fn cell(&mut self, step: &Step, cell: Cell<'_>, write: WriteValue) -> Written {
        self.put(&step.field);
        match cell {
            Cell::Null => self.put(b"null"),
            Cell::Unchanged => self.put(&step.placeholder),
            Cell::Text(text) => {
                write(&step.kind, text, &mut self.out.bytes, self.scratch).map_err(|error| step.error(error))?;
            }
            Cell::Binary(_) => return Err(step.error(ValueError::new("a value in text form"))),
        }
        Ok(())
    }
}

type WriteValue = fn(&Kind, &[u8], &mut Vec<u8>, &mut Vec<u8>) -> Result<(), ValueError>;

/// The old value of column `at`, where all old values are known.
fn known(old: Option<&OldRow>, at: usize) -> Option<Cell<'_>> {
    match old {
        Some(OldRow::Full(row)) => Some(row.cell(at)).filter(|cell| *cell != Cell::Unchanged),
        _ => None,
    }
}

/// As in a value, but decimals are plain numbers: so are keys in headers.
fn schemaless(kind: &Kind, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    match (kind, Numeric::parse(text)) {
        (Kind::Decimal { .. }, Ok(Numeric::Finite { .. })) => {
            out.extend_from_slice(text);
            Ok(())
        }
        _ => write::value(kind, text, out, scratch),
    }
}
