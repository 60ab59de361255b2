//! Values made of values: arrays, ranges, composite values, hstore.

use super::reader::Reader;
use super::{Form, Forms, Kind, SendError};
use crate::model::Oid;
use crate::model::value::{self, Shape, special};

type Result<T = ()> = std::result::Result<T, SendError>;

/// How deep values may lie in one another: deeper than any table's, and not deep for the stack.
const DEPTH: usize = 32;
/// The server itself prints nothing longer: quotes that are quoted at each depth could become any number.
const LONGEST: usize = 1 << 30;

/// The types that may occur, and how many values this one is inside of.
type Known<'a> = (&'a Forms, usize);

fn form<'a>((known, depth): Known<'a>, oid: u32) -> Result<&'a Kind> {
    if depth >= DEPTH {
        return Err(SendError::Broken);
    }
    known.get(&Oid(oid)).map(|Form(kind)| kind).ok_or(SendError::Unknown(Oid(oid)))
}

/// Puts what was written from `start` on in quotes, doubling or escaping what is special between them, in place.
fn quote(out: &mut Vec<u8>, start: usize, escape: impl Fn(u8) -> u8) -> Result {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\');
    let written = out.len();
    let extra = 2 + out.get(start..).unwrap_or_default().iter().filter(|byte| special(byte)).count();
    if written + extra > LONGEST {
        return Err(SendError::Broken);
    }
    out.resize(written + extra, b'"');
    let text = out.get_mut(start..).unwrap_or_default();
    let mut to = text.len() - 1;
    for from in (0..written - start).rev() {
        let byte = text.get(from).copied().unwrap_or_default();
        for put in [Some(byte), special(&byte).then(|| escape(byte))].into_iter().flatten() {
            to -= 1;
            if let Some(place) = text.get_mut(to) {
                *place = put;
            }
        }
    }
    if let Some(first) = text.first_mut() {
        *first = b'"';
    }
    Ok(())
}

/// The white space of C.
fn space(byte: &u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

/// Dimensions, whether there are NULLs, the elements' type, the length and first index of each dimension, elements.
pub(super) fn array(from: &mut Reader<'_>, delimiter: u8, known: Known<'_>, out: &mut Vec<u8>) -> Result {
    let (count, _, element) = (from.count(8)?, from.u32()?, from.u32()?);
    let form = form(known, element)?;
    let mut shape = Shape::default();
    for _ in 0..count {
        let (length, lower) = (from.u32()?, from.i32()?);
        shape.push(length, lower).map_err(|_| SendError::Broken)?;
    }
    let mut edges = Edges::begin(shape, out);
    for at in 0..shape.elements().ok_or(SendError::Broken)? {
        if at > 0 {
            out.push(delimiter);
        }
        edges.open(at, out);
        match from.nullable()? {
            None => out.extend_from_slice(b"NULL"),
            Some(value) => {
                let start = out.len();
                form.print(value, known.0, known.1 + 1, out)?;
                if value::needs_quotes(out.get(start..).unwrap_or_default(), delimiter) {
                    quote(out, start, |_| b'\\')?;
                }
            }
        }
        edges.close(at + 1, out);
    }
    Ok(())
}

/// The braces of an array.
struct Edges {
    shape: Shape,
}

impl Edges {
    /// Writes the first indexes where one of them is not 1.
    fn begin(shape: Shape, out: &mut Vec<u8>) -> Edges {
        if !shape.is_plain() {
            for (length, lower) in shape.lengths().iter().zip(shape.lower_bounds()) {
                out.push(b'[');
                value::print::int(i64::from(*lower), out);
                out.push(b':');
                value::print::int(i64::from(*lower) + i64::from(*length) - 1, out);
                out.push(b']');
            }
            out.push(b'=');
        }
        if shape.lengths().is_empty() {
            out.extend_from_slice(b"{}");
        }
        Edges { shape }
    }

    /// How many dimensions begin or end before the element `at`.
    fn count(&self, at: u64) -> usize {
        let mut span = 1_u64;
        let sizes = self.shape.lengths().iter().rev();
        let whole = sizes.take_while(|length| {
            span = span.saturating_mul(u64::from(**length));
            at.is_multiple_of(span)
        });
        whole.count()
    }

    fn open(&mut self, at: u64, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(b'{', self.count(at)));
    }

    fn close(&mut self, at: u64, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(b'}', self.count(at)));
    }
}

/// `int2vector` and `oidvector`: arrays that print their numbers alone.
pub(super) fn plain_array(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (dimensions, 0, element) = (from.u32()?, from.u32()?, from.u32()?) else { return Err(SendError::Broken) };
    let count = match dimensions {
        0 => 0,
        1 => from.u32()?,
        _ => return Err(SendError::Broken),
    };
    if dimensions == 1 {
        from.u32()?;
    }
    for at in 0..count {
        if at > 0 {
            out.push(b' ');
        }
        let mut value = Reader::new(from.counted()?);
        match element {
            21 => super::scalar::int2(&mut value, out)?,
            26 => super::scalar::uint4(&mut value, out)?,
            _ => return Err(SendError::Broken),
        }
        if !value.is_empty() {
            return Err(SendError::Broken);
        }
    }
    Ok(())
}

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const LOWER_INFINITE: u8 = 8;
const UPPER_INFINITE: u8 = 16;

/// What kind of range it is, and the bounds that it has.
pub(super) fn range(from: &mut Reader<'_>, subtype: &Kind, known: Known<'_>, out: &mut Vec<u8>) -> Result {
    let flags = from.u8()?;
    let is = |flag: u8| flags & flag != 0;
    if flags >= 32 {
        return Err(SendError::Broken);
    }
    if is(EMPTY) {
        out.extend_from_slice(b"empty");
        return Ok(());
    }
    out.push(if is(LOWER_INCLUSIVE) { b'[' } else { b'(' });
    if !is(LOWER_INFINITE) {
        bound(from.counted()?, subtype, known, out)?;
    }
    out.push(b',');
    if !is(UPPER_INFINITE) {
        bound(from.counted()?, subtype, known, out)?;
    }
    out.push(if is(UPPER_INCLUSIVE) { b']' } else { b')' });
    Ok(())
}

fn bound(value: &[u8], subtype: &Kind, (known, depth): Known<'_>, out: &mut Vec<u8>) -> Result {
    if depth >= DEPTH {
        return Err(SendError::Broken);
    }
    let start = out.len();
    subtype.print(value, known, depth + 1, out)?;
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b'[' | b']' | b',') || space(byte);
    quote_where(special, start, out)
}

/// Quotes what was written from `start` on, where it is empty or holds something special.
fn quote_where(special: impl Fn(&u8) -> bool, start: usize, out: &mut Vec<u8>) -> Result {
    let text = out.get(start..).unwrap_or_default();
    if text.is_empty() || text.iter().any(special) {
        return quote(out, start, |byte| byte);
    }
    Ok(())
}

pub(super) fn multirange(from: &mut Reader<'_>, subtype: &Kind, known: Known<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'{');
    for at in 0..from.count(4)? {
        if at > 0 {
            out.push(b',');
        }
        let mut one = Reader::new(from.counted()?);
        range(&mut one, subtype, known, out)?;
        if !one.is_empty() {
            return Err(SendError::Broken);
        }
    }
    out.push(b'}');
    Ok(())
}

/// How many fields, and for each its type and value.
pub(super) fn record(from: &mut Reader<'_>, known: Known<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'(');
    for at in 0..from.count(8)? {
        if at > 0 {
            out.push(b',');
        }
        let oid = from.u32()?;
        let Some(value) = from.nullable()? else { continue };
        let start = out.len();
        form(known, oid)?.print(value, known.0, known.1 + 1, out)?;
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || space(byte);
        quote_where(special, start, out)?;
    }
    out.push(b')');
    Ok(())
}

/// How many pairs, and for each key and value.
pub(super) fn hstore(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    for at in 0..from.count(8)? {
        let key = from.counted()?;
        special::print_hstore(key, from.nullable()?, at == 0, out);
    }
    Ok(())
}
