//! Values: from PostgreSQL's text to `Value`.
//!
//! Each writer appends the length of the message and the message: almost every value's size is known before it is
//! written, so nothing is moved.

use super::kind::{Kind, case};
use super::rare;
use super::wire::{self, BYTES, FIXED32, FIXED64, VARINT, sized, tag, tag_length, varint, varint_length, zigzag};
use crate::model::value::{self, Array, Finite, Numeric, ValueError};

/// From 1970 to 2000.
pub(super) const EPOCH: i64 = 946_684_800_000_000;

/// SQL NULL.
pub(super) const NULL: &[u8] = &[2, (case::NULL << 3) as u8 | BYTES, 0];
/// A large value that was not sent.
pub(super) const UNCHANGED: &[u8] = &[2, (case::UNCHANGED << 3) as u8 | BYTES, 0];
/// A column that is not known.
pub(super) const UNSENT: &[u8] = &[3, ((case::UNSENT << 3) as u8 | BYTES) | 0x80, (case::UNSENT >> 4) as u8, 0];

type Written = Result<(), ValueError>;

/// Appends a value.
pub(super) fn value(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Written {
    match kind {
        Kind::Text(case) => return string(*case, text, out),
        Kind::Int32 => {
            let number = value::int(text)?;
            i32::try_from(number).map_err(|_| ValueError::new("an integer of 32 bits"))?;
            number_of(case::INT32, zigzag(number), out);
        }
        Kind::Int64 => number_of(case::INT64, zigzag(value::int(text)?), out),
        Kind::Boolean => number_of(case::BOOLEAN, u64::from(value::boolean(text)?), out),
        Kind::Decimal => {
            Numeric::parse(text)?;
            bytes(case::DECIMAL, text, out);
        }
        Kind::Timestamp => return timestamp(case::TIMESTAMP, value::pg_timestamp(text)?, text, out),
        Kind::Timestamptz => return timestamp(case::TIMESTAMPTZ, value::pg_timestamptz(text)?, text, out),
        Kind::Float64 => eight(case::FLOAT64, value::float8(text)?.to_le_bytes(), out),
        Kind::Float32 => {
            out.push(tag_length(case::FLOAT32) as u8 + 4);
            tag(case::FLOAT32, FIXED32, out);
            out.extend_from_slice(&value::float4(text)?.to_le_bytes());
        }
        Kind::Uuid => bytes(case::UUID, &value::uuid(text)?, out),
        Kind::Date => match value::date(text)? {
            Finite::Value(days) => number_of(case::DATE, zigzag(i64::from(days)), out),
            end => infinity(end, out),
        },
        Kind::Time => number_of(case::TIME, value::time(text)?.cast_unsigned(), out),
        Kind::Bytea => {
            let length = text.len().saturating_sub(2) / 2;
            head(case::BYTEA, length, out);
            value::bytea(text, out)?;
        }
        Kind::Array { element, delimiter } => return array(element, *delimiter, text, out),
        rare => return rare::write(rare, text, out),
    }
    Ok(())
}

/// The lengths and the tag before a value of so many bytes.
#[inline]
fn head(case: u32, length: usize, out: &mut Vec<u8>) {
    let told = varint_length(length as u64);
    varint((tag_length(case) + told + length) as u64, out);
    tag(case, BYTES, out);
    varint(length as u64, out);
}

/// A value of bytes.
#[inline]
pub(super) fn bytes(case: u32, bytes: &[u8], out: &mut Vec<u8>) {
    head(case, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A value of text, which has to be UTF-8.
#[inline]
pub(super) fn string(case: u32, text: &[u8], out: &mut Vec<u8>) -> Written {
    std::str::from_utf8(text).map_err(|_| ValueError::new("UTF-8"))?;
    bytes(case, text, out);
    Ok(())
}

/// A value of a number.
#[inline]
fn number_of(case: u32, number: u64, out: &mut Vec<u8>) {
    out.push((tag_length(case) + varint_length(number)) as u8);
    wire::some_number(case, number, out);
}

/// A value of eight bytes.
#[inline]
fn eight(case: u32, bytes: [u8; 8], out: &mut Vec<u8>) {
    let mut whole = [0; 10];
    let [length, place, rest @ ..] = &mut whole;
    *length = 9;
    *place = (case << 3) as u8 | FIXED64;
    rest.copy_from_slice(&bytes);
    out.extend_from_slice(&whole);
}

/// An end of time, where it is one.
pub(super) fn infinity<T>(end: Finite<T>, out: &mut Vec<u8>) {
    let number = match end {
        Finite::NegInfinity => 2,
        _ => 1,
    };
    out.push(tag_length(case::INFINITY) as u8 + 1);
    tag(case::INFINITY, VARINT, out);
    out.push(number);
}

fn timestamp(case: u32, moment: Finite<i64>, text: &[u8], out: &mut Vec<u8>) -> Written {
    match moment {
        Finite::Value(micros) => match micros.checked_add(EPOCH) {
            Some(micros) => eight(case, micros.to_le_bytes(), out),
            None => return string(case::OTHER, text, out),
        },
        end => infinity(end, out),
    }
    Ok(())
}

fn array(element: &Kind, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Written {
    let array = Array::parse(text, delimiter)?;
    let shape = array.shape()?;
    sized(text.len() + 4, out, |out| {
        wire::message(case::ARRAY, text.len(), out, |out| {
            if !shape.lengths().is_empty() {
                wire::message(1, 1, out, |out| {
                    shape.lengths().iter().for_each(|length| varint(u64::from(*length), out));
                    Ok::<_, ValueError>(())
                })?;
            }
            if !shape.is_plain() {
                wire::message(2, 1, out, |out| {
                    shape.lower_bounds().iter().for_each(|lower| varint(zigzag(i64::from(*lower)), out));
                    Ok::<_, ValueError>(())
                })?;
            }
            for item in array.elements() {
                tag(3, BYTES, out);
                match item? {
                    Some(item) => value(element, &item, out)?,
                    None => out.extend_from_slice(NULL),
                }
            }
            Ok(())
        })
    })
}
