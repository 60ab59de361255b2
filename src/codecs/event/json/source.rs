//! The envelope's `source` block.

use super::super::origin::{mark, mark_name};
use super::token::{self, Reader};
use crate::model::value::ValueError;
use crate::model::{Lsn, Origin, PgTimestamp, Table, Xid};

/// What is the same in the source block of all events of a table version, as JSON.
#[derive(Debug)]
pub(super) struct Source {
    head: Vec<u8>,
    database: Vec<u8>,
    table: Vec<u8>,
}

impl Source {
    pub(super) fn new(prefix: &str, database: &str, table: &Table) -> Source {
        let mut head = b"{\"version\":\"".to_vec();
        head.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
        head.extend_from_slice(b"\",\"connector\":\"postgresql\",\"name\":");
        string(prefix, &mut head);
        head.extend_from_slice(b",\"ts_ms\":");
        let mut db = b"\",\"db\":".to_vec();
        string(database, &mut db);
        db.extend_from_slice(b",\"sequence\":\"[");
        let mut name = b",\"schema\":".to_vec();
        string(&table.name.schema, &mut name);
        name.extend_from_slice(b",\"table\":");
        string(&table.name.name, &mut name);
        name.extend_from_slice(b",\"txId\":");
        Source { head, database: db, table: name }
    }

    /// Appends the block.
    pub(super) fn write(&self, origin: &Origin, out: &mut Vec<u8>) {
        let micros = origin.at.unix_micros();
        out.extend_from_slice(&self.head);
        token::number(origin.at.unix_millis(), out);
        out.extend_from_slice(b",\"snapshot\":\"");
        out.extend_from_slice(mark_name(origin.snapshot).as_bytes());
        out.extend_from_slice(&self.database);
        match origin.last_commit {
            Some(lsn) => quoted(lsn, out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        quoted(origin.lsn, out);
        out.extend_from_slice(b"]\",\"ts_us\":");
        token::number(micros, out);
        out.extend_from_slice(b",\"ts_ns\":");
        token::number(micros.saturating_mul(1000), out);
        out.extend_from_slice(&self.table);
        match origin.xid {
            Some(xid) => token::number(i64::from(xid.0), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"lsn\":");
        lsn_digits(origin.lsn, out);
        out.extend_from_slice(b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}");
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    token::string(text.as_bytes(), out).expect("a str is UTF-8");
}

fn lsn_digits(lsn: Lsn, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(lsn.get()).as_bytes());
}

/// A position as a string inside a JSON string.
fn quoted(lsn: Lsn, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\\"");
    lsn_digits(lsn, out);
    out.extend_from_slice(b"\\\"");
}

const ERROR: ValueError = ValueError::new("a source block");

/// Reads a block back.
pub(super) fn read(json: &mut Reader<'_>) -> Result<Origin, ValueError> {
    let mut origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    json.expect(b'{')?;
    let mut first = true;
    while json.item(std::mem::take(&mut first), b'}')? {
        let name = json.raw_string()?;
        json.expect(b':')?;
        match name {
            b"ts_us" => origin.at = PgTimestamp::from_unix_micros(number(json.word()?)?),
            b"lsn" => origin.lsn = Lsn::new(number(json.word()?)?),
            b"txId" if !json.null()? => origin.xid = Some(Xid(number(json.word()?)?)),
            b"snapshot" => origin.snapshot = mark(json.raw_string()?).ok_or(ERROR)?,
            b"sequence" => origin.last_commit = last_commit(json.raw_string()?)?,
            b"txId" => {}
            _ => drop(json.value()?),
        }
    }
    Ok(origin)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Result<T, ValueError> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(ERROR)
}

/// The first of `[\"1\",\"2\"]` or `[null,\"2\"]`.
fn last_commit(sequence: &[u8]) -> Result<Option<Lsn>, ValueError> {
    if sequence.starts_with(b"[null,") {
        return Ok(None);
    }
    let digits = sequence.strip_prefix(b"[\\\"").ok_or(ERROR)?;
    let end = memchr::memchr(b'\\', digits).ok_or(ERROR)?;
    number(digits.get(..end).ok_or(ERROR)?).map(|lsn| Some(Lsn::new(lsn)))
}
