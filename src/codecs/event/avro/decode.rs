//! Records back to changes: what [`super::Form`] wrote of the same table version.

use std::sync::Arc;

use super::super::decode::{DecodeError, Said, old_row};
use super::super::json;
use super::super::modes::Modes;
use super::super::origin;
use super::super::schema::Schemas;
use super::super::stamp::Stamp;
use super::read::{self, Reader};
use super::step::{Step, steps};
use crate::model::{Cell, Lsn, Origin, PgTimestamp, Row, RowWriter, Table, Xid};

/// Reads the events of one table version.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    table: Arc<Table>,
    /// By column, with the JSON of its name, without the quotes.
    steps: Vec<(Option<Step>, Vec<u8>)>,
    /// Keys in headers are JSON.
    keys: json::Decoder,
    rows: RowWriter,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(in super::super) fn new(table: Arc<Table>, modes: &Modes) -> Decoder {
        let schemas = Schemas::new("", &table, modes);
        let names = table.columns.iter().map(|column| {
            let mut name = Vec::new();
            json::string(modes.name_adjustment.field(&column.name).as_bytes(), &mut name).expect("a str is UTF-8");
            name.get(1..name.len() - 1).unwrap_or_default().to_vec()
        });
        Decoder {
            steps: steps(&table, schemas.row_fields(), modes, "").into_iter().zip(names).collect(),
            keys: json::Decoder::new(Arc::clone(&table), modes),
            rows: RowWriter::new(),
            scratch: Vec::new(),
            table,
        }
    }

    /// What an event says, and where it comes from.
    pub(in super::super) fn decode(&mut self, stamp: &Stamp<'_>, value: &[u8]) -> Result<(Origin, Said), DecodeError> {
        let mut avro = Reader::new(value);
        if avro.take(5)?.first() != Some(&0) {
            return Err(DecodeError::new("the number of a schema"));
        }
        let [values, old_values] = stamp.values;
        let before = if avro.is(0)? { None } else { Some(self.row(&mut avro, None, old_values)?) };
        let before = before.map(|row| old_row(&self.table, row, &mut self.rows));
        let after = if avro.is(0)? { None } else { Some(self.row(&mut avro, stamp.unchanged, values)?) };
        let origin = source(&mut avro)?;
        if !avro.is(0)? {
            // The transaction's block says nothing that the headers do not say.
            avro.bytes()?;
            avro.long()?;
            avro.long()?;
        }
        let op = avro.bytes()?.first().copied().unwrap_or(0);
        for _ in 0..3 {
            if !avro.is(0)? {
                avro.long()?;
            }
        }
        if !avro.is_empty() {
            return Err(DecodeError::new("the end of the event"));
        }
        let old_key = stamp.old_key.map(|json| self.keys.key(json)).transpose()?;
        Ok((origin, Said { op, before, after, old_key }))
    }

    fn row(
        &mut self,
        avro: &mut Reader<'_>,
        unchanged: Option<&[u8]>,
        values: Option<&[u8]>,
    ) -> Result<Row, DecodeError> {
        let read = self.fill(avro, unchanged, values);
        // Finished in any case, so that a refused row leaves nothing behind in the writer.
        let row = self.rows.finish();
        read.map(|()| row)
    }

    fn fill(
        &mut self,
        avro: &mut Reader<'_>,
        unchanged: Option<&[u8]>,
        values: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        for (step, name) in &self.steps {
            let Some(step) = step else {
                self.rows.push(Cell::Null);
                continue;
            };
            self.scratch.clear();
            let null = match step.union {
                Some((null, _)) => avro.is(null)?,
                None => false,
            };
            let unchanged = unchanged.is_some_and(|names| json::contains(names, name));
            let told = values.map(|values| said(values, name, &mut self.scratch)).transpose()?.flatten();
            if unchanged || told.is_some() {
                if !null {
                    read::skip(&step.cast, avro)?;
                }
                self.rows.push(match told {
                    _ if unchanged => Cell::Unchanged,
                    Some(true) => Cell::Text(&self.scratch),
                    _ => Cell::Null,
                });
                continue;
            }
            if null {
                self.rows.push(Cell::Null);
                continue;
            }
            read::value(&step.cast, avro, &mut self.scratch)?;
            self.rows.push(Cell::Text(&self.scratch));
        }
        Ok(())
    }
}

/// What a header says of a column: whether there is a text, which replaces what is in `out`. `None` when it is silent.
fn said(values: &[u8], name: &[u8], out: &mut Vec<u8>) -> Result<Option<bool>, DecodeError> {
    let mut json = json::Reader::new(values);
    json.expect(b'{')?;
    let mut first = true;
    while json.item(std::mem::take(&mut first), b'}')? {
        let found = json.raw_string()? == name;
        json.expect(b':')?;
        let null = json.null()?;
        let raw = if null { &b""[..] } else { json.raw_string()? };
        if found {
            out.clear();
            json::unescape(raw, out)?;
            return Ok(Some(!null));
        }
    }
    Ok(None)
}

/// Takes the source block.
fn source(avro: &mut Reader<'_>) -> Result<Origin, DecodeError> {
    const ERROR: DecodeError = DecodeError::new("a source block");
    for _ in ["version", "connector", "name"] {
        avro.bytes()?;
    }
    avro.long()?;
    let mark = if avro.is(2)? { &b"false"[..] } else { avro.bytes()? };
    let snapshot = origin::mark(mark).ok_or(ERROR)?;
    avro.bytes()?;
    let sequence = if avro.is(0)? { None } else { Some(avro.bytes()?) };
    let mut number = || -> Result<Option<i64>, DecodeError> { Ok(if avro.is(0)? { None } else { Some(avro.long()?) }) };
    let micros = number()?.ok_or(ERROR)?;
    number()?;
    for _ in ["schema", "table"] {
        avro.bytes()?;
    }
    let mut number = || -> Result<Option<i64>, DecodeError> { Ok(if avro.is(0)? { None } else { Some(avro.long()?) }) };
    let (xid, lsn) = (number()?, number()?.ok_or(ERROR)?);
    number()?;
    if !avro.is(0)? {
        avro.bytes()?;
    }
    if !avro.is(0)? {
        avro.long()?;
    }
    let last_commit = sequence.map(origin::last_commit).transpose().map_err(|()| ERROR)?.flatten();
    Ok(Origin {
        at: PgTimestamp::from_unix_micros(micros),
        xid: xid.map(u32::try_from).transpose().map_err(|_| ERROR)?.map(Xid),
        lsn: Lsn::new(u64::try_from(lsn).map_err(|_| ERROR)?),
        last_commit,
        snapshot,
    })
}
