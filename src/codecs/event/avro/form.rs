//! Keys and values as Avro, behind the number of their schema.

use super::super::encode::{EncodeError, NamedSchema, Settings};
use super::super::flat::{Fact, Flat};
use super::super::form::{Event, Misfit, Out, Written};
use super::super::modes::{Binaries, Shapes};
use super::super::schema::{Schema, Schemas};
use super::message;
use super::names::illegal;
use super::schema::text;
use super::source::Source;
use super::step::{Step, steps};
use super::wire;
use super::write::{Fit, value};
use crate::model::value::ValueError;
use crate::model::{Cell, Emitted, OldRow, Op, Row, Table};

/// How a table version's keys and values are written as Avro.
#[derive(Debug)]
pub(in super::super) struct Form {
    steps: Vec<Option<Step>>,
    key: Vec<usize>,
    /// What keys have beside columns, written.
    constants: Vec<u8>,
    source: Source,
    binary: Binaries,
    /// With the database's name, where rows have no envelope.
    flat: Option<(Flat, String)>,
    /// The magic byte and the schema's number, of keys and of values.
    heads: [[u8; 5]; 2],
    /// The schemas' texts: of keys, where there are some, and of values.
    pub(in super::super) schemas: (Option<NamedSchema>, NamedSchema),
}

impl Form {
    /// `Err` holds the name that Avro does not allow.
    pub(in super::super) fn new(table: &Table, settings: &Settings) -> Result<Form, String> {
        let schemas = Schemas::of(table, settings);
        let flat = settings.modes.kind == Shapes::Flat;
        let (key, value) = match flat {
            _ if table.is_of_messages() => {
                let (key, value) = super::super::message::schemas(&settings.modes);
                (Some(key), value)
            }
            true => (schemas.key.clone(), schemas.flat(&settings.flat)),
            false => (schemas.key.clone(), schemas.envelope.clone()),
        };
        for schema in key.iter().chain([&value]) {
            if let Some(name) = illegal(schema) {
                return Err(name.to_owned());
            }
        }
        Ok(Form {
            steps: steps(table, schemas.row_fields(), &settings.modes, &settings.placeholder),
            key: table.key.clone(),
            constants: settings.key_fields.iter().fold(Vec::new(), |mut out, (_, text)| {
                wire::bytes(text.as_bytes(), &mut out);
                out
            }),
            source: Source::new(&settings.prefix, &settings.database, table),
            flat: flat.then(|| (settings.flat.clone(), settings.database.clone())),
            heads: [[0; 5]; 2],
            binary: settings.modes.binary,
            schemas: (key.as_ref().map(named), named(&value)),
        })
    }

    /// Sets the numbers that the registry gave the schemas.
    pub(in super::super) fn number(&mut self, key: u32, value: u32) {
        let head = |id: u32| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, a, b, c, d]
        };
        self.heads = [head(key), head(value)];
    }

    /// The key of a message's record.
    pub(in super::super) fn message_key(&self, emitted: &Emitted, out: &mut Out<'_>) {
        let [head, _] = self.heads;
        out.put(&head);
        message::key(emitted, out);
    }

    /// A record's key.
    pub(in super::super) fn key(&self, row: &Row, out: &mut Out<'_>) -> Written {
        let [head, _] = self.heads;
        out.put(&head);
        for &at in &self.key {
            let Some(step) = self.steps.get(at).and_then(Option::as_ref) else { continue };
            if self.field(step, row.cell(at), out)? == Fit::Misfit {
                return Err(step.error(ValueError::new("a value that Avro can say, since it is part of the key")));
            }
        }
        out.put(&self.constants);
        Ok(())
    }

    /// A record's value.
    pub(in super::super) fn value(&self, event: &Event<'_>, out: &mut Out<'_>) -> Written {
        let [_, head] = self.heads;
        out.put(&head);
        match (&event.change.op, &self.flat) {
            (Op::Message(emitted), _) => {
                message::value(emitted, event, (&self.source, self.binary), out, |out| transaction(event, out));
                Ok(())
            }
            (_, Some((flat, database))) => self.row_alone(event, flat, database, out),
            (_, None) => self.envelope(event, out),
        }
    }

    fn envelope(&self, event: &Event<'_>, out: &mut Out<'_>) -> Written {
        match event.before {
            Some(old) => {
                out.put(&[2]);
                self.old_row(old, out)?;
            }
            None => out.put(&[0]),
        }
        match event.after {
            Some(row) => {
                out.put(&[2]);
                self.row(row, Some(event), out)?;
            }
            None => out.put(&[0]),
        }
        self.source.write(&event.change.origin, out.bytes);
        transaction(event, out);
        wire::bytes(event.op.as_bytes(), out.bytes);
        let micros = event.now.unix_micros();
        for number in [micros.div_euclid(1000), micros, micros.saturating_mul(1000)] {
            out.put(&[2]);
            wire::long(number, out.bytes);
        }
        Ok(())
    }

    /// The row, and what is added to it.
    fn row_alone(&self, event: &Event<'_>, flat: &Flat, database: &str, out: &mut Out<'_>) -> Written {
        match (event.after, event.before) {
            (Some(row), _) => self.row(row, Some(event), out)?,
            (None, Some(old)) => self.old_row(old, out)?,
            (None, None) => {}
        }
        for (_, fact) in flat.facts(&event.told(database)) {
            match fact {
                Fact::Number(None) => out.put(&[0]),
                Fact::Number(Some(number)) => {
                    out.put(&[2]);
                    wire::long(number, out.bytes);
                }
                Fact::Text(text) => {
                    out.put(&[2]);
                    wire::bytes(text.as_bytes(), out.bytes);
                }
            }
        }
        Ok(())
    }

    /// Appends a row as it stands in an event's `after`.
    pub(in super::super) fn row<'a>(&self, row: &'a Row, event: Option<&Event<'a>>, out: &mut Out<'_>) -> Written {
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            let cell = event.map_or(cell, |event| event.cell(at, cell));
            if let Cell::Text(text) = cell
                && step.quick.write(step.union.map(|(_, some)| some), text, out.bytes)
            {
                continue;
            }
            if self.field(step, cell, out)? == Fit::Misfit {
                out.misfits.push(Misfit { before: event.is_none(), column: at });
            }
        }
        Ok(())
    }

    /// A row as it was. Where only its key is known, the rest is null, or the type's fallback where null is not allowed.
    fn old_row(&self, old: &OldRow, out: &mut Out<'_>) -> Written {
        let row = match old {
            OldRow::Full(row) => return self.row(row, None, out),
            OldRow::Key(row) => row,
        };
        let mut cells = row.cells();
        for (at, step) in self.steps.iter().enumerate() {
            let cell = cells.next().unwrap_or(Cell::Null);
            let Some(step) = step else { continue };
            if cell == Cell::Null || !self.key.contains(&at) {
                out.put(&step.absent);
            } else {
                self.field(step, cell, out)?;
            }
        }
        Ok(())
    }

    fn field(&self, step: &Step, cell: Cell<'_>, out: &mut Out<'_>) -> Written<Fit> {
        let text = match cell {
            Cell::Null => match step.union {
                Some((null, _)) => {
                    out.put(&[null]);
                    return Ok(Fit::Fits);
                }
                None => return Err(step.error(ValueError::new(EncodeError::NOT_NULL))),
            },
            Cell::Unchanged => {
                out.put(&step.placeholder);
                return Ok(Fit::Fits);
            }
            Cell::Text(text) => text,
            Cell::Binary(_) => return Err(step.error(ValueError::new("a value in text form"))),
        };
        let start = out.bytes.len();
        if let Some((_, some)) = step.union {
            out.put(&[some]);
        }
        let fit = value(&step.cast, text, out.bytes, out.scratch).map_err(|error| step.error(error))?;
        if fit == Fit::Misfit {
            out.bytes.truncate(start);
            out.put(&step.absent);
        }
        Ok(fit)
    }
}

/// An event's place in its transaction.
fn transaction(event: &Event<'_>, out: &mut Out<'_>) {
    match event.place {
        None => out.put(&[0]),
        Some(place) => {
            out.put(&[2]);
            wire::bytes(place.id.as_bytes(), out.bytes);
            for order in [place.total, place.table] {
                wire::long(i64::try_from(order).unwrap_or(i64::MAX), out.bytes);
            }
        }
    }
}

fn named(schema: &Schema) -> NamedSchema {
    NamedSchema { language: "AVRO", name: schema.name.clone().unwrap_or_default(), text: text(schema) }
}
