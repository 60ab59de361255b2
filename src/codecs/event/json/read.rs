//! Values: from JSON back to PostgreSQL's text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::super::count;
use super::super::kind::Kind;
use super::super::modes::Binaries;
use super::rare;
use super::token::{self, Reader};
use crate::model::value::{self, ArrayWriter, ValueError, print};

/// Whether a value was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Found {
    Null,
    Text,
}

/// Takes a value of this kind and appends its text.
pub(in super::super) fn value(kind: &Kind, json: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<Found, ValueError> {
    if json.null()? {
        return Ok(Found::Null);
    }
    if rare::reads(kind) {
        return rare::read(kind, json, out).map(|()| Found::Text);
    }
    match json.peek() {
        b'"' => string(kind, json.raw_string()?, out)?,
        b'[' => list(kind, json, out)?,
        b'{' => variable(json, out)?,
        _ => word(kind, json.word()?, out)?,
    }
    Ok(Found::Text)
}

fn string(kind: &Kind, raw: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match kind {
        Kind::Bytes(Binaries::Hex) => {
            out.extend_from_slice(b"\\x");
            out.extend_from_slice(raw);
            Ok(())
        }
        Kind::Bytes(form) => {
            let mut bytes = Vec::new();
            match form {
                Binaries::Base64Url => {
                    URL_SAFE.decode_vec(raw, &mut bytes).map_err(|_| ValueError::new("base64"))?;
                }
                _ => token::unbase64(raw, &mut bytes)?,
            }
            print::bytea(&bytes, out);
            Ok(())
        }
        Kind::DecimalText => {
            out.extend_from_slice(match raw {
                b"NAN" => b"NaN",
                b"POSITIVE_INFINITY" => b"Infinity",
                b"NEGATIVE_INFINITY" => b"-Infinity",
                number => number,
            });
            Ok(())
        }
        Kind::IsoDate | Kind::IsoTime | Kind::IsoTimestamp if raw.ends_with(b"Z") => iso(kind, raw, out),
        Kind::Decimal { scale } if raw != b"NaN" => {
            match token::unbase64_short(raw, &mut [0; 16]) {
                Some(bytes) => print::decimal(bytes, *scale, out),
                None => {
                    let mut bytes = Vec::new();
                    token::unbase64(raw, &mut bytes)?;
                    print::decimal(&bytes, *scale, out);
                }
            }
            Ok(())
        }
        Kind::Timestamptz { .. } if raw.ends_with(b"Z") => instant(raw, out),
        _ => token::unescape(raw, out),
    }
}

fn word(kind: &Kind, word: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match (kind, word) {
        (Kind::Bool, b"true") => out.push(b't'),
        (Kind::Bool, b"false") => out.push(b'f'),
        // Decimals are plain numbers in the headers that carry keys.
        (Kind::Int | Kind::Decimal { .. }, _) => out.extend_from_slice(word),
        (Kind::Float | Kind::DecimalDouble, _) => out.extend_from_slice(whole(word)),
        (Kind::Date | Kind::Time(_) | Kind::Timestamp(_), _) => count::print(kind, value::int(word)?, out)?,
        _ => return Err(ValueError::new("the column's form")),
    }
    Ok(())
}

/// A float as PostgreSQL prints it.
pub(super) fn whole(number: &[u8]) -> &[u8] {
    number.strip_suffix(b".0").unwrap_or(number)
}

/// A day, a time of day or a moment as ISO 8601 writes it, with a `Z` at its end.
fn iso(kind: &Kind, raw: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let text = raw.strip_suffix(b"Z").unwrap_or(raw);
    match kind {
        Kind::IsoTime => {
            out.extend_from_slice(text);
            Ok(())
        }
        Kind::IsoDate => {
            let start = out.len();
            instant(&[text, b"T00:00:00Z"].concat(), out)?;
            without(out, start, b" 00:00:00+00")
        }
        _ => {
            let start = out.len();
            instant(raw, out)?;
            without(out, start, b"+00")
        }
    }
}

/// Takes a part out of what was written since `start`.
fn without(out: &mut Vec<u8>, start: usize, part: &[u8]) -> Result<(), ValueError> {
    let written = out.get(start..).unwrap_or_default();
    let at = memchr::memmem::rfind(written, part).ok_or(ValueError::new("a date"))?;
    out.drain(start + at..start + at + part.len());
    Ok(())
}

/// `[+-]year-mm-ddThh:mm:ss[.fraction]Z` as a `timestamptz`.
fn instant(iso: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    const ERROR: ValueError = ValueError::new("an instant");
    let text = iso.strip_suffix(b"Z").ok_or(ERROR)?;
    if let Some(plain) = plain(text, &mut [0; LONGEST]) {
        print::pg_timestamptz(value::pg_timestamptz(plain)?, out);
        return Ok(());
    }
    let (before, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (day, clock) = text.split_at_checked(memchr::memchr(b'T', text).ok_or(ERROR)?).ok_or(ERROR)?;
    let (year, month) = day.split_at_checked(memchr::memchr(b'-', day).ok_or(ERROR)?).ok_or(ERROR)?;
    let year = value::int(year)?;
    let (year, era) = match (before, year) {
        (true, year) => (year + 1, &b" BC"[..]),
        (false, 0) => (1, &b" BC"[..]),
        (false, year) => (year, &b""[..]),
    };
    let mut plain = format!("{year:04}").into_bytes();
    plain.extend([month, b" ", clock.get(1..).ok_or(ERROR)?, b"+00", era].concat());
    print::pg_timestamptz(value::pg_timestamptz(&plain)?, out);
    Ok(())
}

/// Letters of `yyyy-mm-dd hh:mm:ss.ffffff+00`.
const LONGEST: usize = 29;

/// A moment of the years 1 to 9999 as PostgreSQL's text, in `place`; `None` for any other.
fn plain<'a>(text: &[u8], place: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
    let (day, clock) = text.split_first_chunk::<10>()?;
    let clock =
        clock.strip_prefix(b"T").filter(|_| !matches!(day, [b'-' | b'+', ..] | [b'0', b'0', b'0', b'0', ..]))?;
    let whole = place.get_mut(..text.len() + 3)?;
    let mut rest = &mut *whole;
    for part in [&day[..], b" ", clock, b"+00"] {
        let (here, behind) = rest.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        rest = behind;
    }
    Some(whole)
}

fn list(kind: &Kind, json: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let Kind::List(element) = kind else { return Err(ValueError::new("the column's form")) };
    json.expect(b'[')?;
    let mut array = ArrayWriter::new(out, b',');
    let mut text = Vec::new();
    let mut first = true;
    while json.item(std::mem::take(&mut first), b']')? {
        text.clear();
        let found = value(element, json, &mut text)?;
        array.push((found == Found::Text).then_some(text.as_slice()));
    }
    array.finish();
    Ok(())
}

fn variable(json: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    const ERROR: ValueError = ValueError::new("a decimal of variable scale");
    field(json, b'{', b"scale")?;
    let scale = i32::try_from(value::int(json.word()?)?).ok().filter(|scale| print::SCALES.contains(scale));
    let scale = scale.ok_or(ERROR)?;
    field(json, b',', b"value")?;
    let mut bytes = Vec::new();
    token::unbase64(json.raw_string()?, &mut bytes)?;
    json.expect(b'}')?;
    print::decimal(&bytes, scale, out);
    Ok(())
}

/// Takes what comes before the value of the field `name`.
fn field(json: &mut Reader<'_>, open: u8, name: &[u8]) -> Result<(), ValueError> {
    json.expect(open)?;
    if json.raw_string()? != name {
        return Err(ValueError::new("a decimal of variable scale"));
    }
    json.expect(b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_that_no_number_has_is_refused_before_its_digits_are_written() {
        let read = |scale: i64| {
            let (json, mut out) = (format!("{{\"scale\":{scale},\"value\":\"AQ==\"}}"), Vec::new());
            variable(&mut Reader::new(json.as_bytes()), &mut out).map(|()| out.len()).ok()
        };
        assert_eq!(read(3), Some("0.001".len()));
        for scale in [16_384, i64::from(i32::MAX), -131_073, i64::from(i32::MIN), i64::MAX] {
            assert_eq!(read(scale), None, "{scale}");
        }
    }
}
