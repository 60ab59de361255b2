//! The envelope's `source` block.

use super::super::origin::{mark, mark_name};
use super::token::{self, Reader};
use crate::model::value::ValueError;
use crate::model::{Lsn, Origin, PgTimestamp, Table, Xid};

/// How a block ends.
const TAIL: &[u8] = b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}";

/// What is the same in the source block of all events of a table version, each as between a JSON string's quotes.
#[derive(Default)]
struct Common<'a> {
    version: &'a [u8],
    name: &'a [u8],
    database: &'a [u8],
    schema: &'a [u8],
    table: &'a [u8],
}

/// The same with what is always between and before it.
#[derive(Debug)]
pub(super) struct Source {
    head: Vec<u8>,
    database: Vec<u8>,
    table: Vec<u8>,
}

impl Source {
    pub(super) fn new(prefix: &str, database: &str, table: &Table) -> Source {
        let json = |text: &str| {
            let mut json = Vec::new();
            token::string(text.as_bytes(), &mut json).expect("a str is UTF-8");
            json.get(1..json.len() - 1).unwrap_or_default().to_vec()
        };
        Source::of(&Common {
            version: env!("CARGO_PKG_VERSION").as_bytes(),
            name: &json(prefix),
            database: &json(database),
            schema: &json(&table.name.schema),
            table: &json(&table.name.name),
        })
    }

    fn of(common: &Common<'_>) -> Source {
        let Common { version, name, database, schema, table } = common;
        let head =
            [&b"{\"version\":\""[..], version, b"\",\"connector\":\"postgresql\",\"name\":\"", name, b"\",\"ts_ms\":"];
        let database = [&b"\",\"db\":\""[..], database, b"\",\"sequence\":\"["];
        let table = [&b",\"schema\":\""[..], schema, b"\",\"table\":\"", table, b"\",\"txId\":"];
        Source { head: head.concat(), database: database.concat(), table: table.concat() }
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
        out.extend_from_slice(TAIL);
    }

    /// What a block says that is written so, and what comes after it; `None` for any other.
    fn read<'a>(&self, text: &'a [u8]) -> Option<(Origin, &'a [u8])> {
        let (_, rest) = digits(text.strip_prefix(&*self.head)?)?;
        let rest = rest.strip_prefix(b",\"snapshot\":\"")?;
        let (name, rest) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
        let snapshot = mark(name)?;
        let rest = rest.strip_prefix(&*self.database)?;
        let (last_commit, rest) = match rest.strip_prefix(b"null") {
            Some(rest) => (None, rest),
            None => {
                let (lsn, rest) = digits(rest.strip_prefix(b"\\\"")?)?;
                (Some(Lsn::new(lsn)), rest.strip_prefix(b"\\\"")?)
            }
        };
        let (_, rest) = digits(rest.strip_prefix(b",\\\"")?)?;
        let (micros, rest) = digits(rest.strip_prefix(b"\\\"]\",\"ts_us\":")?)?;
        let (_, rest) = digits(rest.strip_prefix(b",\"ts_ns\":")?)?;
        let rest = rest.strip_prefix(&*self.table)?;
        let (xid, rest) = match rest.strip_prefix(b"null") {
            Some(rest) => (None, rest),
            None => {
                let (xid, rest) = digits(rest)?;
                (Some(Xid(u32::try_from(xid).ok()?)), rest)
            }
        };
        let (lsn, rest) = digits(rest.strip_prefix(b",\"lsn\":")?)?;
        let at = PgTimestamp::from_unix_micros(i64::try_from(micros).ok()?);
        Some((Origin { at, xid, lsn: Lsn::new(lsn), last_commit, snapshot }, rest.strip_prefix(TAIL)?))
    }
}

/// A number of at least one digit, and what comes after it.
#[inline]
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length).filter(|_| (1..=19).contains(&length))?;
    Some((digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit & 15)), rest))
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

/// Reads blocks back. Half of an event is its block, and most of a block is that of the event before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: Option<Source>,
    /// Blocks that are written in another way can't be read so.
    other: bool,
}

impl Memory {
    /// Takes a block.
    pub(super) fn read(&mut self, json: &mut Reader<'_>) -> Result<Origin, ValueError> {
        if let Some((origin, rest)) = self.last.as_ref().and_then(|last| last.read(json.rest())) {
            *json = Reader::new(rest);
            return Ok(origin);
        }
        let text = json.rest();
        let (origin, common) = read(json)?;
        if !self.other {
            let found = Source::of(&common);
            match found.read(text) {
                Some(_) => self.last = Some(found),
                None => self.other = self.last.is_none(),
            }
        }
        Ok(origin)
    }
}

/// Reads a block field by field, in whatever order and way they are written.
fn read<'a>(json: &mut Reader<'a>) -> Result<(Origin, Common<'a>), ValueError> {
    let mut origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
    let mut common = Common::default();
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
            b"version" => common.version = json.raw_string()?,
            b"name" => common.name = json.raw_string()?,
            b"db" => common.database = json.raw_string()?,
            b"schema" => common.schema = json.raw_string()?,
            b"table" => common.table = json.raw_string()?,
            _ => drop(json.value()?),
        }
    }
    Ok((origin, common))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SnapshotMark;

    fn block(origin: &Origin) -> Vec<u8> {
        let common = Common { version: b"1", name: b"a \\\"b", database: b"db", schema: b"s", table: b"t" };
        let mut out = Vec::new();
        Source::of(&common).write(origin, &mut out);
        out
    }

    fn origin(micros: i64, lsn: u64, xid: Option<u32>, snapshot: Option<SnapshotMark>) -> Origin {
        let last_commit = xid.map(|_| Lsn::new(lsn / 2));
        Origin {
            at: PgTimestamp::from_unix_micros(micros),
            xid: xid.map(Xid),
            lsn: Lsn::new(lsn),
            last_commit,
            snapshot,
        }
    }

    #[test]
    fn a_block_is_read_around_what_the_one_before_had_as_it_is_field_by_field() {
        let mut memory = Memory::default();
        for (turn, expected) in [
            origin(1_790_000_000_123_456, 7, Some(9), None),
            origin(1, u64::MAX / 2, None, Some(SnapshotMark::Last)),
            origin(-5, 8, Some(u32::MAX), Some(SnapshotMark::FirstInTable)),
            origin(0, 0, None, None),
        ]
        .into_iter()
        .enumerate()
        {
            let text = [&block(&expected)[..], b",\"op\""].concat();
            let mut json = Reader::new(&text);
            assert_eq!(memory.read(&mut json), Ok(expected), "{turn}");
            assert_eq!(json.rest(), b",\"op\"");
            assert_eq!(read(&mut Reader::new(&text)).map(|(origin, _)| origin), Ok(expected));
        }
        assert!(memory.last.is_some());
    }

    #[test]
    fn blocks_in_another_order_or_with_more_in_them_are_read_as_well() {
        let mut memory = Memory::default();
        let text =
            b"{ \"lsn\": 5, \"more\":[1,{}], \"ts_us\":1, \"snapshot\":\"false\", \"sequence\":\"[null,\\\"5\\\"]\" }";
        for _ in 0..2 {
            assert_eq!(memory.read(&mut Reader::new(text)), Ok(origin(1, 5, None, None)));
        }
        assert!(memory.other && memory.last.is_none());
    }
}
