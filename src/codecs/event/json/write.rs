//! Values: from PostgreSQL's text to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::super::kind::{Kind, Unit};
use super::super::modes::Binaries;
use super::rare;
use super::token;
use crate::model::value::{self, Array, Finite, Numeric, ValueError, print};

/// What infinity is in microseconds since 1970, as Debezium has it.
pub(super) const INFINITY: i64 = 9_223_372_036_825_200_000;
/// What minus infinity is in microseconds since 1970.
pub(super) const NEG_INFINITY: i64 = -9_223_372_036_832_400_000;
/// Microseconds from 1970 to 2000.
pub(super) const EPOCH: i64 = 946_684_800_000_000;

/// Appends the JSON of a value.
pub(in crate::codecs::event) fn value(
    kind: &Kind,
    text: &[u8],
    out: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match kind {
        Kind::Text(_) => return token::string(text, out),
        Kind::Int => integer(text, out)?,
        Kind::Float => float(text, out)?,
        Kind::Bool => out.extend_from_slice(if value::boolean(text)? { b"true" } else { b"false" }),
        Kind::Bytes(form) => {
            scratch.clear();
            value::bytea(text, scratch)?;
            bytes(*form, scratch, out);
        }
        Kind::Decimal { scale } => match Numeric::parse(text)? {
            numeric @ Numeric::Finite { .. } => unscaled(numeric, *scale, out, scratch)?,
            _ => return token::string(text, out),
        },
        Kind::VariableDecimal => match Numeric::parse(text)? {
            numeric @ Numeric::Finite { .. } => variable(numeric, out, scratch)?,
            _ => return token::string(text, out),
        },
        Kind::DecimalText { .. } | Kind::DecimalDouble => return number(kind, text, out),
        Kind::Date => counted(date(text)?, text, out)?,
        Kind::IsoDate => match value::date(text)? {
            Finite::Value(days) => quoted(out, b"Z", |out| print::iso_date(days, out)),
            _ => return token::string(text, out),
        },
        Kind::IsoTime => {
            let micros = value::time(text)?;
            quoted(out, b"Z", |out| print::iso_time(micros, out));
        }
        Kind::IsoTimestamp => match value::pg_timestamp(text)? {
            Finite::Value(micros) => quoted(out, b"Z", |out| print::iso_pg_moment(micros, out)),
            _ => return token::string(text, out),
        },
        Kind::Time(unit) => counted(in_unit(value::time(text)?, *unit), text, out)?,
        Kind::Timestamp(unit) => counted(timestamp(text, *unit)?, text, out)?,
        Kind::Timestamptz { digits } => match value::pg_timestamptz(text)? {
            Finite::Value(micros) => quoted(out, b"", |out| print::iso_pg_instant(micros, *digits, out)),
            _ => return token::string(text, out),
        },
        Kind::List(element) => return list(element, text, out, scratch),
        rare => return rare::write(rare, text, out, scratch),
    }
    Ok(())
}

/// Appends bytes in a form, as a JSON string.
pub(super) fn bytes(form: Binaries, bytes: &[u8], out: &mut Vec<u8>) {
    match form {
        Binaries::Bytes | Binaries::Base64 => token::base64(bytes, out),
        Binaries::Base64Url => quoted(out, b"", |out| out.extend_from_slice(URL_SAFE.encode(bytes).as_bytes())),
        Binaries::Hex => quoted(out, b"", |out| {
            let start = out.len();
            print::bytea(bytes, out);
            out.drain(start..start + 2);
        }),
    }
}

/// Appends a JSON string that needs no escapes.
pub(super) fn quoted(out: &mut Vec<u8>, end: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.extend_from_slice(end);
    out.push(b'"');
}

/// A numeric as its text or as a floating-point number.
fn number(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let word = match (Numeric::parse(text)?, kind) {
        (Numeric::Finite { .. }, Kind::DecimalDouble) => {
            print::float8(value::float8(text)?, out);
            return Ok(());
        }
        (Numeric::Finite { .. }, Kind::DecimalText { variable: true }) if text.contains(&b'.') => {
            let end = text.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
            let digits = text.get(..end).unwrap_or(text);
            digits.strip_suffix(b".").unwrap_or(digits)
        }
        (Numeric::Finite { .. }, _) => text,
        // In a JSON number's place there are only these words.
        (_, Kind::DecimalDouble) => text,
        (Numeric::NaN, _) => b"NAN",
        (Numeric::Infinity, _) => b"POSITIVE_INFINITY",
        (Numeric::NegInfinity, _) => b"NEGATIVE_INFINITY",
    };
    token::string(word, out)
}

fn integer(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::new("an integer"));
    }
    out.extend_from_slice(text);
    Ok(())
}

/// PostgreSQL prints finite floats as JSON has them.
fn float(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => return token::string(text, out),
        _ if text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) && !text.is_empty() => {
            out.extend_from_slice(text);
        }
        _ => return Err(ValueError::new("a floating-point number")),
    }
    Ok(())
}

fn unscaled(numeric: Numeric<'_>, scale: i32, out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    scratch.clear();
    numeric.unscaled_be(scale, scratch)?;
    token::base64(scratch, out);
    Ok(())
}

/// Zeros at the end are left out, as Debezium does.
fn variable(numeric: Numeric<'_>, out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    let Numeric::Finite { fraction, .. } = numeric else { return Err(ValueError::new("a number")) };
    let digits = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    let scale = i32::try_from(digits).map_err(|_| ValueError::new("a numeric"))?;
    out.extend_from_slice(b"{\"scale\":");
    token::number(i64::from(scale), out);
    out.extend_from_slice(b",\"value\":");
    unscaled(numeric, scale, out, scratch)?;
    out.push(b'}');
    Ok(())
}

/// A number where there is one, else the text.
fn counted(number: Option<i64>, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match number {
        Some(number) => token::number(number, out),
        None => return token::string(text, out),
    }
    Ok(())
}

fn date(text: &[u8]) -> Result<Option<i64>, ValueError> {
    Ok(Some(i64::from(match value::date(text)? {
        Finite::NegInfinity => i32::MIN,
        Finite::Value(days) => days,
        Finite::Infinity => i32::MAX,
    })))
}

fn in_unit(micros: i64, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Micros => Some(micros),
        Unit::Millis => (micros % 1000 == 0).then_some(micros / 1000),
        Unit::MillisCut => Some(micros.div_euclid(1000)),
        Unit::Nanos => micros.checked_mul(1000),
    }
}

/// From 1970 to 2000 in the unit, and how many microseconds it has.
pub(super) fn epoch(unit: Unit) -> (i64, i64) {
    match unit {
        Unit::Micros | Unit::Nanos => (EPOCH, 1),
        Unit::Millis | Unit::MillisCut => (EPOCH / 1000, 1000),
    }
}

/// `None` for the few that would not come back: beyond 64 bits, or where infinity is.
fn timestamp(text: &[u8], unit: Unit) -> Result<Option<i64>, ValueError> {
    let (shift, factor) = epoch(unit);
    if unit == Unit::Nanos {
        // Beyond 1677 and 2262 there are no nanoseconds: those are told as text.
        return Ok(match value::pg_timestamp(text)? {
            Finite::Value(micros) => micros.checked_add(EPOCH).and_then(|micros| micros.checked_mul(1000)),
            _ => None,
        });
    }
    Ok(match value::pg_timestamp(text)? {
        Finite::NegInfinity => Some(NEG_INFINITY / factor),
        Finite::Infinity => Some(INFINITY / factor),
        Finite::Value(micros) => {
            let number = in_unit(micros, unit).and_then(|number| number.checked_add(shift));
            number.filter(|number| *number != INFINITY / factor)
        }
    })
}

fn list(element: &Kind, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    let array = Array::parse(text, b',')?;
    if array.bounds || array.dimensions > 1 {
        return token::string(text, out);
    }
    out.push(b'[');
    for (at, item) in array.elements().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match item? {
            Some(item) => value(element, &item, out, scratch)?,
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
    Ok(())
}
