//! Values: from PostgreSQL's text to JSON.

use super::super::kind::Kind;
use super::super::modes::Binaries;
use super::super::{count, text};
use super::rare;
use super::token;
use crate::model::value::{self, Array, Numeric, ValueError, print};

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
        Kind::Bytes(Binaries::Bytes) => {
            scratch.clear();
            value::bytea(text, scratch)?;
            token::base64(scratch, out);
        }
        Kind::Decimal { scale } => match Numeric::parse(text)? {
            numeric @ Numeric::Finite { .. } => unscaled(numeric, *scale, out, scratch)?,
            _ => return token::string(text, out),
        },
        Kind::VariableDecimal => match Numeric::parse(text)? {
            numeric @ Numeric::Finite { .. } => variable(numeric, out, scratch)?,
            _ => return token::string(text, out),
        },
        Kind::DecimalDouble => return double(text, out),
        Kind::Date => token::number(i64::from(count::date(text)?), out),
        Kind::Time(unit) => counted(count::time(text, *unit)?, text, out)?,
        Kind::Timestamp(unit) => counted(count::timestamp(text, *unit)?, text, out)?,
        Kind::List(element) => return list(element, text, out, scratch),
        plain if text::tells(plain) => {
            out.push(b'"');
            text::write(plain, text, out, scratch)?;
            out.push(b'"');
        }
        rare => return rare::write(rare, text, out, scratch),
    }
    Ok(())
}

/// A numeric as a floating-point number; in a number's place there are only PostgreSQL's words for what is none.
fn double(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match Numeric::parse(text)? {
        Numeric::Finite { .. } => {
            let mut digits = Vec::new();
            print::float8(value::float8(text)?, &mut digits);
            real(&digits, out);
            Ok(())
        }
        _ => token::string(text, out),
    }
}

fn integer(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::new("an integer"));
    }
    out.extend_from_slice(text);
    Ok(())
}

/// PostgreSQL prints finite floats as JSON has them, whole ones without a point.
fn float(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => return token::string(text, out),
        _ if text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) && !text.is_empty() => {
            real(text, out);
        }
        _ => return Err(ValueError::new("a floating-point number")),
    }
    Ok(())
}

/// Appends a finite float so that no reader takes it for an integer.
pub(super) fn real(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    if !text.iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
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
