//! Records back to changes.

use std::sync::Arc;

use super::super::decode::{DecodeError, Said, old_row};
use super::super::kind::{Kind, Named};
use super::super::modes::Modes;
use super::super::records::KEEP;
use super::super::stamp::Stamp;
use super::read::{self, Found};
use super::source;
use super::token::{self, Reader};
use crate::model::{Cell, Origin, Row, RowWriter, Table};

/// Reads the events of one table version.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    table: Arc<Table>,
    columns: Vec<Column>,
    /// What source blocks have in common.
    source: source::Memory,
    rows: RowWriter,
    scratch: Vec<u8>,
}

/// A column as events have it.
#[derive(Debug)]
struct Column {
    /// The JSON of its name, without its quotes.
    name: Vec<u8>,
    /// All that comes before its value, as it is nearly always written: `"name":`.
    head: Vec<u8>,
    kind: Option<Kind>,
}

/// The parts of an envelope.
#[derive(Default)]
struct Envelope {
    before: Option<Row>,
    after: Option<Row>,
    origin: Option<Origin>,
    op: u8,
}

impl Decoder {
    /// A reader of `table`'s events, which were written in these modes. A column that they leave out is NULL.
    pub(in super::super) fn new(table: Arc<Table>, modes: &Modes) -> Decoder {
        let column = |(at, column): (usize, &crate::model::Column)| {
            let mut name = Vec::new();
            token::string(modes.name_adjustment.field(&column.name).as_bytes(), &mut name).expect("a str is UTF-8");
            let head = [&name[..], b":"].concat();
            let name = name.get(1..name.len() - 1).unwrap_or_default().to_vec();
            let kind = Kind::of(&column.pg_type, column.modifier, modes);
            Column { name, head, kind: kind.or_else(|| table.key.contains(&at).then_some(Kind::Text(Named::Plain))) }
        };
        let columns = table.columns.iter().enumerate().map(column).collect();
        Decoder { table, columns, source: source::Memory::default(), rows: RowWriter::new(), scratch: Vec::new() }
    }

    /// What an event says, and where it comes from.
    pub(in super::super) fn decode(&mut self, stamp: &Stamp<'_>, value: &[u8]) -> Result<(Origin, Said), DecodeError> {
        let Envelope { before, after, origin, op } = self.envelope(payload(value)?, stamp)?;
        let origin = origin.ok_or(DecodeError::new("a source block"))?;
        let before = before.map(|row| old_row(&self.table, row, &mut self.rows));
        let old_key = stamp.old_key.map(|json| self.key(json)).transpose()?;
        Ok((origin, Said { op, before, after, old_key }))
    }

    fn envelope(&mut self, value: &[u8], stamp: &Stamp<'_>) -> Result<Envelope, DecodeError> {
        let mut json = Reader::new(value);
        let mut envelope = Envelope::default();
        json.expect(b'{')?;
        let mut first = true;
        while json.item(std::mem::take(&mut first), b'}')? {
            let name = json.raw_string()?;
            json.expect(b':')?;
            match name {
                b"before" if !json.null()? => envelope.before = Some(self.row(&mut json, None)?),
                b"after" if !json.null()? => envelope.after = Some(self.row(&mut json, stamp.unchanged)?),
                b"source" => envelope.origin = Some(self.source.read(&mut json)?),
                b"op" => envelope.op = json.raw_string()?.first().copied().unwrap_or(0),
                // Null: taken by the guard.
                b"before" | b"after" => {}
                _ => drop(json.value()?),
            }
        }
        Ok(envelope)
    }

    /// A whole row, its columns in the table's order.
    fn row(&mut self, json: &mut Reader<'_>, unchanged: Option<&[u8]>) -> Result<Row, DecodeError> {
        let read = self.fill(json, unchanged);
        // Finished in any case, so that a refused row leaves nothing behind in the writer.
        let row = self.rows.finish();
        self.scratch.clear();
        self.scratch.shrink_to(KEEP);
        read.map(|()| row)
    }

    fn fill(&mut self, json: &mut Reader<'_>, unchanged: Option<&[u8]>) -> Result<(), DecodeError> {
        json.expect(b'{')?;
        let mut first = true;
        for column in &self.columns {
            let Some(kind) = &column.kind else {
                self.rows.push(Cell::Null);
                continue;
            };
            field(json, std::mem::take(&mut first), column)?;
            if unchanged.is_some_and(|names| contains(names, &column.name)) {
                json.value()?;
                self.rows.push(Cell::Unchanged);
                continue;
            }
            self.scratch.clear();
            self.rows.push(match read::value(kind, json, &mut self.scratch)? {
                Found::Null => Cell::Null,
                Found::Text => Cell::Text(&self.scratch),
            });
        }
        Ok(json.expect(b'}')?)
    }

    /// The key of a header as a row that is NULL everywhere else.
    pub(in super::super) fn key(&mut self, json: &[u8]) -> Result<Row, DecodeError> {
        let mut json = Reader::new(json);
        let mut texts = vec![None; self.columns.len()];
        json.expect(b'{')?;
        for (nth, &at) in self.table.key.iter().enumerate() {
            let column = self.columns.get(at).ok_or(DecodeError::new("a key of the table's columns"))?;
            let kind = column.kind.as_ref().ok_or(DecodeError::new("a key of columns that are told"))?;
            field(&mut json, nth == 0, column)?;
            let mut text = Vec::new();
            let found = read::value(kind, &mut json, &mut text)?;
            if let Some(place) = texts.get_mut(at) {
                *place = (found == Found::Text).then_some(text);
            }
        }
        // Constants that tell this table's keys from those of others.
        while json.take(b',') {
            json.raw_string()?;
            json.expect(b':')?;
            json.raw_string()?;
        }
        json.expect(b'}')?;
        texts.iter().for_each(|text| self.rows.push(text.as_deref().map_or(Cell::Null, Cell::Text)));
        Ok(self.rows.finish())
    }
}

/// Takes what comes before the value of the column.
fn field(json: &mut Reader<'_>, first: bool, column: &Column) -> Result<(), DecodeError> {
    if !first {
        json.expect(b',')?;
    }
    if json.skip(&column.head) {
        return Ok(());
    }
    if json.raw_string()? != column.name {
        return Err(DecodeError::new("the table's columns in their order"));
    }
    Ok(json.expect(b':')?)
}

/// Whether a JSON array of names holds `name`.
pub(in super::super) fn contains(names: &[u8], name: &[u8]) -> bool {
    let mut json = Reader::new(names);
    let mut first = true;
    if !json.take(b'[') {
        return false;
    }
    while json.item(std::mem::take(&mut first), b']') == Ok(true) {
        match json.raw_string() {
            Ok(found) if found == name => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// What a value says, without the schema that may be beside it.
fn payload(value: &[u8]) -> Result<&[u8], DecodeError> {
    let mut json = Reader::new(value);
    json.expect(b'{')?;
    if json.raw_string()? != b"schema" {
        return Ok(value);
    }
    json.expect(b':')?;
    json.value()?;
    json.expect(b',')?;
    if json.raw_string()? != b"payload" {
        return Err(DecodeError::new("a payload beside the schema"));
    }
    json.expect(b':')?;
    Ok(json.value()?)
}
