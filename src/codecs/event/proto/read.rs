//! Values: from `Value` back to PostgreSQL's text.

use super::kind::case;
use super::value::EPOCH;
use super::wire::{Fields, Wire, signed};
use crate::model::value::special::{Pair, print_hstore};
use crate::model::value::{Finite, Interval, Shape, ShapedWriter, ValueError, print};

const FORM: ValueError = ValueError::new("a value in its case's form");

/// What a value is, its text apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Null,
    Unchanged,
    Unsent,
    Text,
}

/// Reads a `Value` and appends its text. `delimiter` separates the elements of an array.
pub(super) fn value(bytes: &[u8], delimiter: u8, out: &mut Vec<u8>) -> Result<Found, ValueError> {
    let (mut fields, mut kind) = (Fields::new(bytes), None);
    while let Some((field, wire)) = fields.next()? {
        // Fields that a later version added are skipped.
        if (case::NULL..=case::OTHER).contains(&field) {
            kind = Some((field, wire));
        }
    }
    let (case, wire) = kind.ok_or(ValueError::new("a value of a case that this version knows"))?;
    match case {
        case::NULL => return Ok(Found::Null),
        case::UNCHANGED => return Ok(Found::Unchanged),
        case::UNSENT => return Ok(Found::Unsent),
        case::ARRAY => array(wire.bytes()?, delimiter, out)?,
        case => scalar(case, wire, out)?,
    }
    Ok(Found::Text)
}

fn scalar(case: u32, wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match case {
        case::DECIMAL | case::TEXT | case::JSON | case::LABEL | case::RANGE | case::OTHER => {
            out.extend_from_slice(wire.bytes()?);
        }
        case::BOOLEAN => print::boolean(wire.number()? != 0, out),
        case::INT32 | case::INT64 => print::int(wire.signed()?, out),
        case::FLOAT64 => print::float8(f64::from_le_bytes(wire.eight()?), out),
        case::FLOAT32 => print::float4(f32::from_le_bytes(wire.four()?), out),
        case::BYTEA => print::bytea(wire.bytes()?, out),
        case::UUID => print::uuid(wire.bytes()?.try_into().map_err(|_| FORM)?, out),
        case::DATE => print::date(Finite::Value(i32::try_from(wire.signed()?).map_err(|_| FORM)?), out),
        case::TIME => print::time(clock(wire.number()?)?, out),
        case::TIMESTAMP => print::pg_timestamp(moment(wire)?, out),
        case::TIMESTAMPTZ => print::pg_timestamptz(moment(wire)?, out),
        case::INFINITY => out.extend_from_slice(match wire.number()? {
            1 => b"infinity",
            2 => b"-infinity",
            _ => return Err(FORM),
        }),
        case::TIMETZ => timetz(wire.bytes()?, out)?,
        case::INTERVAL => interval(wire.bytes()?, out)?,
        case::HSTORE => hstore(wire.bytes()?, out)?,
        case::POINT => point(wire.bytes()?, out)?,
        case::BITS => bits(wire.bytes()?, out)?,
        case::EWKB => {
            let start = out.len();
            print::bytea(wire.bytes()?, out);
            out.drain(start..start + 2);
            out.get_mut(start..).unwrap_or_default().make_ascii_uppercase();
        }
        case::VECTOR => vector(wire.bytes()?, out)?,
        _ => return Err(FORM),
    }
    Ok(())
}

/// Microseconds since midnight.
fn clock(micros: u64) -> Result<i64, ValueError> {
    i64::try_from(micros).ok().filter(|micros| *micros <= 86_400_000_000).ok_or(FORM)
}

/// Microseconds since 2000. Everything before 4714 BC is no moment of PostgreSQL's.
fn moment(wire: Wire<'_>) -> Result<Finite<i64>, ValueError> {
    const FIRST: i64 = -211_813_488_000_000_000;
    let micros = i64::from_le_bytes(wire.eight()?).checked_sub(EPOCH);
    micros.filter(|micros| *micros >= FIRST).map(Finite::Value).ok_or(FORM)
}

fn timetz(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut micros, mut offset) = (Fields::new(bytes), 0, 0);
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => micros = clock(wire.number()?)?,
            2 => offset = wire.signed()?,
            _ => {}
        }
    }
    if offset.unsigned_abs() >= 16 * 3600 {
        return Err(FORM);
    }
    print::time(micros, out);
    let seconds = offset.unsigned_abs();
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    out.extend_from_slice(
        match (minutes, rest) {
            (0, 0) => format!("{sign}{hours:02}"),
            (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
            _ => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
        }
        .as_bytes(),
    );
    Ok(())
}

fn interval(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut interval) = (Fields::new(bytes), Interval::default());
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => interval.months = wire.signed()?,
            2 => interval.days = wire.signed()?,
            3 => interval.micros = wire.signed()?,
            _ => {}
        }
    }
    interval.print(out);
    Ok(())
}

fn point(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut x, mut y) = (Fields::new(bytes), 0.0, 0.0);
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => x = f64::from_le_bytes(wire.eight()?),
            2 => y = f64::from_le_bytes(wire.eight()?),
            _ => {}
        }
    }
    out.push(b'(');
    print::float8(x, out);
    out.push(b',');
    print::float8(y, out);
    out.push(b')');
    Ok(())
}

fn bits(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut length, mut bits) = (Fields::new(bytes), 0, &b""[..]);
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => length = usize::try_from(wire.number()?).map_err(|_| FORM)?,
            2 => bits = wire.bytes()?,
            _ => {}
        }
    }
    if bits.len() != length.div_ceil(8) {
        return Err(FORM);
    }
    let digits = bits.iter().flat_map(|byte| (0..8).map(move |at| b'0' + (byte >> (7 - at) & 1)));
    out.extend(digits.take(length));
    Ok(())
}

fn hstore(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut first) = (Fields::new(bytes), true);
    while let Some((field, wire)) = fields.next()? {
        if field != 1 {
            continue;
        }
        let (key, value) = pair(wire.bytes()?)?;
        print_hstore(&key, value.as_deref(), std::mem::take(&mut first), out);
    }
    Ok(())
}

fn pair(bytes: &[u8]) -> Result<Pair, ValueError> {
    let (mut fields, mut key, mut value) = (Fields::new(bytes), Vec::new(), None);
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => key = wire.bytes()?.to_vec(),
            2 => value = Some(wire.bytes()?.to_vec()),
            _ => {}
        }
    }
    Ok((key, value))
}

fn vector(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (mut fields, mut first) = (Fields::new(bytes), true);
    let mut push = |number: [u8; 4], out: &mut Vec<u8>| {
        out.push(if std::mem::take(&mut first) { b'[' } else { b',' });
        print::float4(f32::from_le_bytes(number), out);
    };
    let start = out.len();
    while let Some((field, wire)) = fields.next()? {
        match (field, wire.packed()) {
            (1, Some(mut packed)) => {
                while !packed.is_empty() {
                    push(packed.array()?, out);
                }
            }
            (1, None) => push(wire.four()?, out),
            _ => {}
        }
    }
    if out.len() == start {
        out.push(b'[');
    }
    out.push(b']');
    Ok(())
}

fn array(bytes: &[u8], delimiter: u8, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut writer = ShapedWriter::new(out, delimiter, shape(bytes)?);
    let (mut fields, mut text) = (Fields::new(bytes), Vec::new());
    while let Some((field, wire)) = fields.next()? {
        if field != 3 {
            continue;
        }
        text.clear();
        match element(wire.bytes()?, &mut text)? {
            Found::Null => writer.push(None),
            Found::Text => writer.push(Some(&text)),
            Found::Unchanged | Found::Unsent => return Err(FORM),
        }
    }
    writer.finish()
}

/// An element: any value but an array.
fn element(bytes: &[u8], out: &mut Vec<u8>) -> Result<Found, ValueError> {
    let mut fields = Fields::new(bytes);
    while let Some((field, _)) = fields.next()? {
        if field == case::ARRAY {
            return Err(FORM);
        }
    }
    value(bytes, b',', out)
}

fn shape(bytes: &[u8]) -> Result<Shape, ValueError> {
    let (mut lengths, mut lower_bounds) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(bytes);
    while let Some((field, wire)) = fields.next()? {
        match field {
            1 => numbers(wire, &mut lengths)?,
            2 => numbers(wire, &mut lower_bounds)?,
            _ => {}
        }
    }
    if !lower_bounds.is_empty() && lower_bounds.len() != lengths.len() {
        return Err(FORM);
    }
    let mut shape = Shape::default();
    let lower_bounds = lower_bounds.into_iter().map(signed).chain(std::iter::repeat(1));
    for (length, lower) in lengths.into_iter().zip(lower_bounds) {
        shape.push(u32::try_from(length).map_err(|_| FORM)?, i32::try_from(lower).map_err(|_| FORM)?)?;
    }
    Ok(shape)
}

/// The numbers of a repeated field, packed or not.
fn numbers(wire: Wire<'_>, out: &mut Vec<u64>) -> Result<(), ValueError> {
    let Some(mut packed) = wire.packed() else {
        out.push(wire.number()?);
        return Ok(());
    };
    while !packed.is_empty() {
        out.push(packed.varint()?);
    }
    Ok(())
}
