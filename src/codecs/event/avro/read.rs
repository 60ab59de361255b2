//! Values: from Avro back to PostgreSQL's text.

use super::super::count;
use super::super::json;
use super::super::kind::Kind;
use super::super::modes::Binaries;
use super::super::text;
use super::write::Cast;
use crate::model::value::{ArrayWriter, Interval, ValueError, print, special};

const SHORT: ValueError = ValueError::new("more bytes");

/// Reads Avro's binary encoding from front to back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

type Result<T = ()> = std::result::Result<T, ValueError>;

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn long(&mut self) -> Result<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(ValueError::new("a number of 64 bits"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.long()?).map_err(|_| ValueError::new("a length"))?;
        self.take(length)
    }

    /// A value's branch: whether it is the one that was said to be null.
    pub(super) fn is(&mut self, null: u8) -> Result<bool> {
        match self.byte()? {
            branch @ (0 | 2) => Ok(branch == null),
            _ => Err(ValueError::new("a branch of null and a value")),
        }
    }

    /// The items of a list or map, block by block.
    fn blocks(&mut self, mut item: impl FnMut(&mut Reader<'a>) -> Result) -> Result {
        loop {
            let count = self.long()?;
            if count < 0 {
                // The block's size in bytes, for who wants to skip it.
                self.long()?;
            }
            match count.unsigned_abs() {
                0 => return Ok(()),
                count => (0..count).try_for_each(|_| item(self))?,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn float(&mut self, narrow: bool, out: &mut Vec<u8>) -> Result {
        match narrow {
            true => print::float4(f32::from_le_bytes(self.array()?), out),
            false => print::float8(f64::from_le_bytes(self.array()?), out),
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }
}

/// Takes a value and appends its text.
pub(super) fn value(cast: &Cast, avro: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    match &cast.kind {
        Kind::Text(_) => {
            let text = avro.bytes()?;
            std::str::from_utf8(text).map_err(|_| ValueError::new("UTF-8"))?;
            out.extend_from_slice(text);
        }
        Kind::Int => print::int(avro.long()?, out),
        Kind::Float | Kind::DecimalDouble => avro.float(cast.narrow, out)?,
        Kind::Bool => print::boolean(avro.byte()? != 0, out),
        Kind::Bit => out.push(if avro.byte()? != 0 { b'1' } else { b'0' }),
        Kind::Bits(length) => special::print_bits(avro.bytes()?, *length, out),
        Kind::Bytes(Binaries::Bytes) => print::bytea(avro.bytes()?, out),
        Kind::Decimal { scale } => print::decimal(avro.bytes()?, *scale, out),
        Kind::VariableDecimal => {
            let scale = i32::try_from(avro.long()?).ok().filter(|scale| print::SCALES.contains(scale));
            let scale = scale.ok_or(ValueError::new("a scale"))?;
            print::decimal(avro.bytes()?, scale, out);
        }
        Kind::Money(amount) => return value(&Cast { kind: (**amount).clone(), ..cast.clone() }, avro, out),
        Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => count::print(&cast.kind, avro.long()?, out)?,
        Kind::Duration => Interval { months: 0, days: 0, micros: avro.long()? }.print(out),
        plain if text::tells(plain) => {
            // Without a character that JSON would escape.
            let quoted = [b"\"", avro.bytes()?, b"\""].concat();
            json::read_value(plain, &mut json::Reader::new(&quoted), out)?;
        }
        Kind::List(_) => return list(cast, avro, out),
        _ => return rare(cast, avro, out),
    }
    Ok(())
}

fn list(cast: &Cast, avro: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let Some((items, optional)) = &cast.items else { return Err(ValueError::new("a list")) };
    let mut array = ArrayWriter::new(out, b',');
    let mut text = Vec::new();
    avro.blocks(|avro| {
        if *optional && avro.is(0)? {
            array.push(None);
            return Ok(());
        }
        text.clear();
        value(items, avro, &mut text)?;
        array.push(Some(&text));
        Ok(())
    })?;
    array.finish();
    Ok(())
}

fn rare(cast: &Cast, avro: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    match &cast.kind {
        Kind::Point => {
            out.push(b'(');
            avro.float(false, out)?;
            out.push(b',');
            avro.float(false, out)?;
            out.push(b')');
            if !avro.is(0)? {
                avro.bytes()?;
            }
            reference_system(avro)?;
        }
        Kind::Geometry => {
            let start = out.len();
            print::bytea(avro.bytes()?, out);
            out.drain(start..start + 2);
            out.get_mut(start..).unwrap_or_default().make_ascii_uppercase();
            reference_system(avro)?;
        }
        Kind::HstoreText => json::pairs(&mut json::Reader::new(avro.bytes()?), out)?,
        Kind::HstoreMap => {
            let mut first = true;
            avro.blocks(|avro| {
                let key = avro.bytes()?;
                let value = if avro.is(0)? { None } else { Some(avro.bytes()?) };
                special::print_hstore(key, value, std::mem::take(&mut first), out);
                Ok(())
            })?;
        }
        Kind::Vector => {
            let mut open = b'[';
            avro.blocks(|avro| {
                out.push(std::mem::replace(&mut open, b','));
                avro.float(cast.narrow, out)
            })?;
            out.extend_from_slice(if open == b'[' { b"[]" } else { b"]" });
        }
        Kind::SparseVector => {
            let dimensions = avro.long()?;
            let mut open = b'{';
            avro.blocks(|avro| {
                out.push(std::mem::replace(&mut open, b','));
                print::int(avro.long()?, out);
                out.push(b':');
                avro.float(false, out)
            })?;
            out.extend_from_slice(if open == b'{' { b"{}/" } else { b"}/" });
            print::int(dimensions, out);
        }
        _ => return Err(ValueError::new("the column's form")),
    }
    Ok(())
}

fn reference_system(avro: &mut Reader<'_>) -> Result {
    if !avro.is(0)? {
        avro.long()?;
    }
    Ok(())
}

/// Takes a value and leaves it unread: what stands in for another value means nothing.
pub(super) fn skip(cast: &Cast, avro: &mut Reader<'_>) -> Result {
    match &cast.kind {
        Kind::Int | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::Duration => drop(avro.long()?),
        Kind::Float | Kind::DecimalDouble => drop(avro.take(if cast.narrow { 4 } else { 8 })?),
        Kind::Bool | Kind::Bit => drop(avro.byte()?),
        Kind::VariableDecimal => {
            avro.long()?;
            avro.bytes()?;
        }
        Kind::Money(amount) => return skip(&Cast { kind: (**amount).clone(), ..cast.clone() }, avro),
        Kind::Point => {
            avro.take(16)?;
            if !avro.is(0)? {
                avro.bytes()?;
            }
            reference_system(avro)?;
        }
        Kind::Geometry => {
            avro.bytes()?;
            reference_system(avro)?;
        }
        Kind::HstoreMap => avro.blocks(|avro| {
            avro.bytes()?;
            if avro.is(0)? { Ok(()) } else { avro.bytes().map(drop) }
        })?,
        Kind::Vector => avro.blocks(|avro| avro.take(if cast.narrow { 4 } else { 8 }).map(drop))?,
        Kind::SparseVector => {
            avro.long()?;
            avro.blocks(|avro| {
                avro.long()?;
                avro.take(8).map(drop)
            })?;
        }
        Kind::List(_) => {
            let Some((items, optional)) = &cast.items else { return Err(ValueError::new("a list")) };
            avro.blocks(|avro| if *optional && avro.is(0)? { Ok(()) } else { skip(items, avro) })?;
        }
        _ => drop(avro.bytes()?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;

    #[test]
    fn a_scale_that_no_number_has_is_refused_before_its_digits_are_written() {
        let cast = Cast { kind: Kind::VariableDecimal, narrow: false, items: None };
        let read = |scale: i64| {
            let (mut avro, mut out) = (Vec::new(), Vec::new());
            wire::long(scale, &mut avro);
            wire::long(1, &mut avro);
            avro.push(1);
            value(&cast, &mut Reader::new(&avro), &mut out).map(|()| out.len()).ok()
        };
        assert_eq!(read(3), Some("0.001".len()));
        for scale in [16_384, i64::from(i32::MAX), -131_073, i64::from(i32::MIN), i64::MAX] {
            assert_eq!(read(scale), None, "{scale}");
        }
    }
}
