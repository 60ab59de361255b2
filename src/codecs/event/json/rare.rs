//! The rarer types, from PostgreSQL's text to JSON and back: bit strings, money, zoned times, intervals, points,
//! geometries, hstore, vectors.

use super::super::kind::Kind;
use super::token::{self, Reader};
use super::{read, write};
use crate::model::value::special::{self, print_bits, print_hstore};
use crate::model::value::{self, Finite, Interval, ValueError, print};

const FORM: ValueError = ValueError::new("the column's form");

/// Appends the JSON of a value.
pub(super) fn write(kind: &Kind, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    match kind {
        Kind::Bit => match text {
            b"1" => out.extend_from_slice(b"true"),
            b"0" => out.extend_from_slice(b"false"),
            // A varbit(1) may be empty.
            _ => return token::string(text, out),
        },
        Kind::Bits(_) => {
            scratch.clear();
            special::bits(text, scratch)?;
            let length = scratch.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            token::base64(scratch.get(..length).unwrap_or_default(), out);
        }
        Kind::Money(decimal) => {
            let mut number = Vec::new();
            special::money(text, &mut number)?;
            return write::value(decimal, &number, out, scratch);
        }
        Kind::Duration => match Interval::parse(text)? {
            Finite::Value(interval) if interval.average_micros().is_some() => {
                token::number(interval.average_micros().unwrap_or_default(), out);
            }
            _ => return token::string(text, out),
        },
        Kind::Point => return point(text, out, scratch),
        Kind::Geometry => return geometry(text, out, scratch),
        Kind::HstoreText => {
            let mut object = Vec::new();
            hstore(text, &mut object)?;
            return token::string(&object, out);
        }
        Kind::HstoreMap => return hstore(text, out),
        Kind::Vector => {
            let list = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(FORM)?;
            numbers(list, out)?;
        }
        Kind::SparseVector => return sparse(text, out),
        _ => return Err(FORM),
    }
    Ok(())
}

/// What PostgreSQL prints of a finite float is a JSON number.
fn float(text: &[u8]) -> Result<f64, ValueError> {
    let number = value::float8(text)?;
    if number.is_finite() { Ok(number) } else { Err(FORM) }
}

fn point(text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    let (x, y) = special::point(text)?;
    let (Ok(fx), Ok(fy)) = (float(x), float(y)) else { return token::string(text, out) };
    scratch.clear();
    scratch.extend_from_slice(&[1, 1, 0, 0, 0]);
    scratch.extend_from_slice(&fx.to_le_bytes());
    scratch.extend_from_slice(&fy.to_le_bytes());
    out.extend_from_slice(b"{\"x\":");
    write::real(x, out);
    out.extend_from_slice(b",\"y\":");
    write::real(y, out);
    out.extend_from_slice(b",\"wkb\":");
    token::base64(scratch, out);
    out.extend_from_slice(b",\"srid\":null}");
    Ok(())
}

fn geometry(text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    scratch.clear();
    let srid = special::geometry(text, scratch)?;
    out.extend_from_slice(b"{\"wkb\":");
    token::base64(scratch, out);
    out.extend_from_slice(b",\"srid\":");
    match srid {
        Some(srid) => token::number(i64::from(srid), out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(())
}

/// Appends the JSON of an object.
pub(in super::super) fn hstore(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'{');
    for (at, (key, value)) in special::hstore(text)?.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        token::string(key, out)?;
        out.push(b':');
        match value {
            Some(value) => token::string(value, out)?,
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(())
}

/// Appends a list of the numbers between commas.
fn numbers(list: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    out.push(b'[');
    for (at, number) in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        float(number)?;
        write::real(number, out);
    }
    out.push(b']');
    Ok(())
}

fn sparse(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (dimensions, pairs) = special::sparse(text)?;
    out.extend_from_slice(b"{\"dimensions\":");
    token::number(dimensions, out);
    out.extend_from_slice(b",\"vector\":[");
    for (at, (index, number)) in pairs.iter().enumerate() {
        float(number)?;
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        token::number(*index, out);
        out.push(b',');
        write::real(number, out);
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

/// Whether values of this kind are read here.
pub(super) fn reads(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Bit
            | Kind::Bits(_)
            | Kind::Money(_)
            | Kind::TimeTz
            | Kind::Duration
            | Kind::IsoDuration
            | Kind::Point
            | Kind::Geometry
            | Kind::HstoreText
            | Kind::HstoreMap
            | Kind::Vector
            | Kind::SparseVector
    )
}

/// Takes a value and appends its text; a string where another form is expected is the text itself.
pub(super) fn read(kind: &Kind, json: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match (kind, json.peek()) {
        (Kind::Bits(length), b'"') => {
            let mut bytes = Vec::new();
            token::unbase64(json.raw_string()?, &mut bytes)?;
            print_bits(&bytes, *length, out);
            Ok(())
        }
        (Kind::Money(decimal), _) => read::value(decimal, json, out).map(drop),
        (Kind::TimeTz, b'"') => {
            let raw = json.raw_string()?;
            let utc = raw.strip_suffix(b"Z").ok_or(FORM)?;
            out.extend_from_slice(&[utc, b"+00"].concat());
            Ok(())
        }
        (Kind::IsoDuration, b'"') => match json.raw_string()? {
            iso if iso.starts_with(b"P") => duration(iso, out),
            text => token::unescape(text, out),
        },
        (Kind::HstoreText, b'"') => {
            let mut object = Vec::new();
            token::unescape(json.raw_string()?, &mut object)?;
            pairs(&mut Reader::new(&object), out)
        }
        (_, b'"') => token::unescape(json.raw_string()?, out),
        (Kind::Bit, _) => {
            out.push(if json.word()? == b"true" { b'1' } else { b'0' });
            Ok(())
        }
        (Kind::Duration, _) => {
            Interval { months: 0, days: 0, micros: value::int(json.word()?)? }.print(out);
            Ok(())
        }
        (Kind::HstoreMap, _) => pairs(json, out),
        (Kind::Point, _) => {
            let (x, y) = (member(json, b'{', b"x")?, member(json, b',', b"y")?);
            out.extend_from_slice(&[b"(", read::whole(x), b",", read::whole(y), b")"].concat());
            skip(json)
        }
        (Kind::Geometry, _) => {
            let raw = member(json, b'{', b"wkb")?;
            let mut bytes = Vec::new();
            token::unbase64(
                raw.trim_ascii().strip_prefix(b"\"").and_then(|r| r.strip_suffix(b"\"")).ok_or(FORM)?,
                &mut bytes,
            )?;
            let start = out.len();
            print::bytea(&bytes, out);
            out.drain(start..start + 2);
            out.get_mut(start..).unwrap_or_default().make_ascii_uppercase();
            skip(json)
        }
        (Kind::Vector, _) => {
            without_points(json.value()?, out);
            Ok(())
        }
        (Kind::SparseVector, _) => {
            let (dimensions, list) = (member(json, b'{', b"dimensions")?, member(json, b',', b"vector")?);
            json.expect(b'}')?;
            let mut bare = Vec::new();
            without_points(list, &mut bare);
            let inner = bare.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(FORM)?;
            let mut between = false;
            out.push(b'{');
            for byte in inner {
                match byte {
                    b'[' => between = true,
                    b',' if std::mem::take(&mut between) => out.push(b':'),
                    b']' => {}
                    other => out.push(*other),
                }
            }
            out.extend_from_slice(&[b"}/", dimensions].concat());
            Ok(())
        }
        _ => Err(FORM),
    }
}

/// Appends lists of numbers, whole ones as PostgreSQL prints them.
fn without_points(lists: &[u8], out: &mut Vec<u8>) {
    for number in lists.split_inclusive(|byte| matches!(byte, b',' | b']')) {
        let (end, digits) = number.split_last().unwrap_or((&b']', &[]));
        out.extend_from_slice(read::whole(digits));
        out.push(*end);
    }
}

/// Takes a member of an object, which must be this one.
fn member<'a>(json: &mut Reader<'a>, open: u8, name: &[u8]) -> Result<&'a [u8], ValueError> {
    json.expect(open)?;
    if json.raw_string()? != name {
        return Err(FORM);
    }
    json.expect(b':')?;
    json.value()
}

/// Takes the rest of an object.
fn skip(json: &mut Reader<'_>) -> Result<(), ValueError> {
    while json.item(false, b'}')? {
        json.raw_string()?;
        json.expect(b':')?;
        json.value()?;
    }
    Ok(())
}

/// Takes an object of texts and appends an `hstore`.
pub(in super::super) fn pairs(json: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    json.expect(b'{')?;
    let mut first = true;
    while json.item(first, b'}')? {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        token::unescape(json.raw_string()?, &mut key)?;
        json.expect(b':')?;
        let there = !json.null()?;
        if there {
            token::unescape(json.raw_string()?, &mut value)?;
        }
        print_hstore(&key, there.then_some(value.as_slice()), first, out);
        first = false;
    }
    Ok(())
}

/// `P1Y2M3DT4H5M6.78S`, each number with its own sign.
fn duration(iso: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut interval = Interval::default();
    let mut rest = iso.strip_prefix(b"P").ok_or(FORM)?;
    let mut clock = false;
    while let Some(&first) = rest.first() {
        if first == b'T' {
            (clock, rest) = (true, rest.get(1..).unwrap_or_default());
            continue;
        }
        let end = rest.iter().position(u8::is_ascii_alphabetic).ok_or(FORM)?;
        let (number, after) = rest.split_at_checked(end).ok_or(FORM)?;
        let (unit, after) = after.split_first().ok_or(FORM)?;
        rest = after;
        let times = |factor: i64| value::int(number)?.checked_mul(factor).ok_or(FORM);
        match (unit, clock) {
            (b'Y', false) => interval.months += times(12)?,
            (b'M', false) => interval.months += times(1)?,
            (b'D', false) => interval.days = times(1)?,
            (b'H', true) => interval.micros += times(3_600_000_000)?,
            (b'M', true) => interval.micros += times(60_000_000)?,
            (b'S', true) => interval.micros += seconds(number)?,
            _ => return Err(FORM),
        }
    }
    interval.print(out);
    Ok(())
}

/// Seconds with up to six digits of fraction, in microseconds.
fn seconds(number: &[u8]) -> Result<i64, ValueError> {
    let (negative, digits) = match number.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (digits.get(..at).ok_or(FORM)?, digits.get(at + 1..).ok_or(FORM)?),
        None => (digits, &b""[..]),
    };
    let missing = u32::try_from(6_usize.checked_sub(fraction.len()).ok_or(FORM)?).map_err(|_| FORM)?;
    let fraction = if fraction.is_empty() { 0 } else { value::int(fraction)? * 10_i64.pow(missing) };
    let micros = value::int(whole)?.checked_mul(1_000_000).and_then(|whole| whole.checked_add(fraction)).ok_or(FORM)?;
    Ok(if negative { -micros } else { micros })
}
