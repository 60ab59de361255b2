//! The rarer types, from PostgreSQL's text to `Value`: zoned times, intervals, points, bit strings, hstore, geometries,
//! vectors.

use super::kind::{Kind, case};
use super::value::{infinity, string};
use super::wire::{self, FIXED64, message, number, sized, tag, zigzag};
use crate::model::value::{self, Finite, Interval, ValueError, special};

const FORM: ValueError = ValueError::new("the column's form");

type Written = Result<(), ValueError>;

pub(super) fn write(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Written {
    match kind {
        Kind::TimeTz => {
            let (micros, offset) = value::timetz(text)?;
            nested(case::TIMETZ, 12, out, |out| {
                number(1, micros.cast_unsigned(), out);
                number(2, zigzag(offset / 1_000_000), out);
                Ok(())
            })
        }
        Kind::Interval => match Interval::parse(text)? {
            Finite::Value(interval) => nested(case::INTERVAL, 20, out, |out| {
                number(1, zigzag(interval.months), out);
                number(2, zigzag(interval.days), out);
                number(3, zigzag(interval.micros), out);
                Ok(())
            }),
            end => {
                infinity(end, out);
                Ok(())
            }
        },
        Kind::Point => {
            let (x, y) = special::point(text)?;
            let coordinates = [value::float8(x)?, value::float8(y)?];
            nested(case::POINT, 18, out, |out| {
                for (field, coordinate) in (1..).zip(coordinates) {
                    // Minus zero is no default.
                    if coordinate.to_bits() != 0 {
                        tag(field, FIXED64, out);
                        out.extend_from_slice(&coordinate.to_le_bytes());
                    }
                }
                Ok(())
            })
        }
        Kind::Bits => nested(case::BITS, text.len() / 8 + 4, out, |out| {
            number(1, text.len() as u64, out);
            if text.is_empty() {
                return Ok(());
            }
            message(2, text.len() / 8, out, |out| bits(text, out))
        }),
        Kind::Hstore => nested(case::HSTORE, text.len(), out, |out| {
            special::hstore(text)?.iter().try_for_each(|(key, value)| pair(key, value.as_deref(), out))
        }),
        Kind::Ewkb => ewkb(text, out),
        Kind::Vector => vector(text, out),
        _ => Err(FORM),
    }
}

/// A value of a message that takes about `guess` bytes.
fn nested(case: u32, guess: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    sized(guess + 4, out, |out| message(case, guess, out, write))
}

/// The first bit highest in the first byte.
fn bits(text: &[u8], out: &mut Vec<u8>) -> Written {
    for chunk in text.chunks(8) {
        let mut byte = 0;
        for (at, bit) in chunk.iter().enumerate() {
            match bit {
                b'0' => {}
                b'1' => byte |= 0x80 >> at,
                _ => return Err(ValueError::new("a bit string")),
            }
        }
        out.push(byte);
    }
    Ok(())
}

fn pair(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) -> Written {
    let text = |text: &[u8]| std::str::from_utf8(text).map(drop).map_err(|_| ValueError::new("UTF-8"));
    text(key)?;
    value.map_or(Ok(()), text)?;
    message(1, key.len() + value.map_or(0, <[u8]>::len) + 4, out, |out| {
        wire::bytes(1, key, out);
        if let Some(value) = value {
            wire::some_bytes(2, value, out);
        }
        Ok(())
    })
}

/// PostGIS prints its bytes in upper-case digits; what is printed otherwise stays a text.
fn ewkb(text: &[u8], out: &mut Vec<u8>) -> Written {
    let plain = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')) && text.len().is_multiple_of(2);
    if !plain {
        return string(case::OTHER, text, out);
    }
    let mut bytes = Vec::with_capacity(text.len() / 2);
    value::bytea(&[b"\\x", text].concat(), &mut bytes)?;
    super::value::bytes(case::EWKB, &bytes, out);
    Ok(())
}

/// `[1,2.5,-3]`
fn vector(text: &[u8], out: &mut Vec<u8>) -> Written {
    let list = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(FORM)?;
    let numbers = || list.split(|byte| *byte == b',').filter(|_| !list.is_empty());
    let length = numbers().count() * 4;
    nested(case::VECTOR, length, out, |out| {
        if length == 0 {
            return Ok(());
        }
        message(1, length, out, |out| {
            for number in numbers() {
                out.extend_from_slice(&value::float4(number)?.to_le_bytes());
            }
            Ok(())
        })
    })
}
