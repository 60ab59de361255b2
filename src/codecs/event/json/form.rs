//! Keys and values as JSON.

use super::super::encode::Settings;
use super::super::flat::{Fact, Flat};
use super::super::form::{Event, Out, Written};
use super::super::kind::Kind;
use super::super::modes::{Binaries, Shapes};
use super::source::Source;
use super::step::{Step, heads, steps};
use super::{message, token, write};
use crate::model::value::{Numeric, ValueError};
use crate::model::{Cell, Emitted, OldRow, Op, Row, Table};

/// How a table version's keys and values are written as JSON.
#[derive(Debug)]
pub(in super::super) struct Form {
    /// By column; `None` for one that is left out.
    steps: Vec<Option<Step>>,
    key: Vec<usize>,
    /// What keys have beside columns: `,"name":"text"` of each.
    constants: Vec<u8>,
    /// What comes before each key and value, where they carry their schemas.
    heads: Option<(Vec<u8>, Vec<u8>)>,
    source: Source,
    binary: Binaries,
    /// With the database's name, where rows have no envelope.
    flat: Option<(Flat, String)>,
}

impl Form {
    pub(in super::super) fn new(table: &Table, settings: &Settings) -> Form {
        let flat = settings.modes.kind == Shapes::Flat;
        Form {
            steps: steps(table, settings),
            key: table.key.clone(),
            constants: constants(settings),
            heads: settings.inline_schema.then(|| heads(table, settings)),
            source: Source::new(&settings.prefix, &settings.database, table),
            binary: settings.modes.binary,
            flat: flat.then(|| (settings.flat.clone(), settings.database.clone())),
        }
    }

    /// The name of a column as a JSON string; `None` for one that is left out.
    pub(in super::super) fn name(&self, at: usize) -> Option<&[u8]> {
        let step = self.steps.get(at)?.as_ref()?;
        Some(step.field.strip_suffix(b":").unwrap_or(&step.field))
    }

    /// The key of a message's record.
    pub(in super::super) fn message_key(&self, emitted: &Emitted, out: &mut Out<'_>) {
        if let Some((head, _)) = &self.heads {
            out.put(head);
        }
        message::key(emitted, out);
        if self.heads.is_some() {
            out.put(b"}");
        }
    }

    /// A record's key.
    pub(in super::super) fn key(&self, row: &Row, out: &mut Out<'_>) -> Written {
        if let Some((head, _)) = &self.heads {
            out.put(head);
        }
        self.key_fields(row, write::value, out)?;
        if self.heads.is_some() {
            out.put(b"}");
        }
        Ok(())
    }

    /// A key as headers have it, whatever the form of the record.
    pub(in super::super) fn bare_key(&self, row: &Row, out: &mut Out<'_>) -> Written {
        self.key_fields(row, schemaless, out)
    }

    fn key_fields(&self, row: &Row, write: WriteValue, out: &mut Out<'_>) -> Written {
        let steps = self.key.iter().filter_map(|&i| self.steps.get(i)?.as_ref().map(|step| (step, row.cell(i))));
        let mut open = b'{';
        for (step, cell) in steps {
            out.bytes.push(std::mem::replace(&mut open, b','));
            field(step, cell, write, out)?;
        }
        out.put(&self.constants);
        out.put(b"}");
        Ok(())
    }

    /// A record's value.
    pub(in super::super) fn value(&self, event: &Event<'_>, out: &mut Out<'_>) -> Written {
        if let Some((_, head)) = &self.heads {
            out.put(head);
        }
        match (&event.change.op, &self.flat) {
            (Op::Message(emitted), _) => {
                message::value(emitted, event, (&self.source, self.binary), out, |out| transaction(event, out));
            }
            (_, Some((flat, database))) => self.row_alone(event, flat, database, out)?,
            (_, None) => self.envelope(event, out)?,
        }
        if self.heads.is_some() {
            out.put(b"}");
        }
        Ok(())
    }

    fn envelope(&self, event: &Event<'_>, out: &mut Out<'_>) -> Written {
        out.put(b"{\"before\":");
        match event.before {
            Some(OldRow::Full(row)) => self.row(row, None, out)?,
            Some(OldRow::Key(row)) => self.key_row(row, out)?,
            None => out.put(b"null"),
        }
        out.put(b",\"after\":");
        match event.after {
            Some(row) => self.row(row, Some(event), out)?,
            None => out.put(b"null"),
        }
        out.put(b",\"source\":");
        self.source.write(&event.change.origin, out.bytes);
        out.put(b",\"transaction\":");
        transaction(event, out);
        out.put(b",\"op\":\"");
        out.put(event.op.as_bytes());
        let micros = event.now.unix_micros();
        for (name, number) in [
            (&b"\",\"ts_ms\":"[..], micros.div_euclid(1000)),
            (b",\"ts_us\":", micros),
            (b",\"ts_ns\":", micros.saturating_mul(1000)),
        ] {
            out.put(name);
            token::number(number, out.bytes);
        }
        out.put(b"}");
        Ok(())
    }

    /// The row, and what is added to it.
    fn row_alone(&self, event: &Event<'_>, flat: &Flat, database: &str, out: &mut Out<'_>) -> Written {
        match (event.after, event.before) {
            (Some(row), _) => self.row(row, Some(event), out)?,
            (None, Some(OldRow::Full(row))) => self.row(row, None, out)?,
            (None, Some(OldRow::Key(row))) => self.key_row(row, out)?,
            (None, None) => out.put(b"{}"),
        }
        // Opened again after its last column.
        out.bytes.pop();
        let text = |text: &str, out: &mut Vec<u8>| token::string(text.as_bytes(), out).expect("a str is UTF-8");
        for (name, fact) in flat.facts(&event.told(database)) {
            if out.bytes.last() != Some(&b'{') {
                out.put(b",");
            }
            text(&name, out.bytes);
            out.put(b":");
            match fact {
                Fact::Text(fact) => text(fact, out.bytes),
                Fact::Number(Some(number)) => token::number(number, out.bytes),
                Fact::Number(None) => out.put(b"null"),
            }
        }
        out.put(b"}");
        Ok(())
    }

    /// A whole row; in an event, what did not change is taken from the old one where that is known.
    pub(in super::super) fn row<'a>(&self, row: &'a Row, event: Option<&Event<'a>>, out: &mut Out<'_>) -> Written {
        let mut open = b'{';
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            out.bytes.push(std::mem::replace(&mut open, b','));
            let cell = event.map_or(cell, |event| event.cell(at, cell));
            field(step, cell, write::value, out)?;
        }
        close(open, out);
        Ok(())
    }

    /// A row of which only the key is known: the rest is NULL, or the type's fallback where NULL is not allowed.
    fn key_row(&self, row: &Row, out: &mut Out<'_>) -> Written {
        let mut open = b'{';
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            out.bytes.push(std::mem::replace(&mut open, b','));
            if cell == Cell::Null || !self.key.contains(&at) {
                out.put(&step.field);
                out.put(step.fallback.as_bytes());
            } else {
                field(step, cell, write::value, out)?;
            }
        }
        close(open, out);
        Ok(())
    }
}

/// An event's place in its transaction.
fn transaction(event: &Event<'_>, out: &mut Out<'_>) {
    match event.place {
        None => out.put(b"null"),
        Some(place) => {
            out.put(b"{\"id\":\"");
            out.put(place.id.as_bytes());
            for (name, order) in
                [(&b"\",\"total_order\":"[..], place.total), (b",\"data_collection_order\":", place.table)]
            {
                out.put(name);
                out.put(itoa::Buffer::new().format(order).as_bytes());
            }
            out.put(b"}");
        }
    }
}

/// A table without columns is an empty object.
fn close(open: u8, out: &mut Out<'_>) {
    out.put(if open == b'{' { b"{}" } else { b"}" });
}

fn field(step: &Step, cell: Cell<'_>, write: WriteValue, out: &mut Out<'_>) -> Written {
    out.put(&step.field);
    match cell {
        Cell::Null => out.put(b"null"),
        Cell::Unchanged => out.put(&step.placeholder),
        Cell::Text(text) => {
            write(&step.kind, text, out.bytes, out.scratch).map_err(|error| step.error(error))?;
        }
        Cell::Binary(_) => return Err(step.error(ValueError::new("a value in text form"))),
    }
    Ok(())
}

type WriteValue = fn(&Kind, &[u8], &mut Vec<u8>, &mut Vec<u8>) -> Result<(), ValueError>;

/// As in a value, but decimals are plain numbers and no character above U+FFFF is escaped: so are keys in headers.
fn schemaless(kind: &Kind, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    match (kind, Numeric::parse(text)) {
        (Kind::Decimal { .. }, Ok(Numeric::Finite { .. })) => {
            out.extend_from_slice(text);
            Ok(())
        }
        (Kind::Text(_), _) => token::bare_string(text, out),
        _ => write::value(kind, text, out, scratch),
    }
}

fn constants(settings: &Settings) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, text) in &settings.key_fields {
        let name = settings.modes.name_adjustment.field(name);
        for (sign, text) in [(b',', &*name), (b':', text)] {
            out.push(sign);
            token::string(text.as_bytes(), &mut out).expect("a str is UTF-8");
        }
    }
    out
}
