//! The types of values that no schema speaks of.
//!
//! ```text
//!  true false            boolean
//!  a whole number        bigint; numeric beyond 64 bits
//!  another number        double precision where that is exactly it, else numeric
//!  "RFC 3339 with zone"  timestamp with time zone, to the microsecond
//!  another string        text
//!  an object, a list     json
//! ```

use crate::codecs::event::json::unescape;
use crate::model::PgType;
use crate::model::value::{self, ValueError, print};

/// Numbers of more digits than this are no numbers that somebody meant.
const DIGITS: i64 = 2000;

/// The type of a value; `None` for null, which any has.
pub(super) fn guess(json: &[u8]) -> Option<PgType> {
    Some(match json.first()? {
        b'n' => return None,
        b't' | b'f' => PgType::Bool,
        b'"' if instant(json).is_some() => PgType::Timestamptz,
        b'"' => PgType::Text,
        b'{' | b'[' => PgType::Json,
        _ if whole(json).is_some() => PgType::Int8,
        _ if is_double(json) => PgType::Float8,
        _ => PgType::Numeric,
    })
}

/// The narrowest type that holds every value of both; `None` where there is none.
pub(super) fn join(a: &PgType, b: &PgType) -> Option<PgType> {
    use PgType::{Bpchar, Enum, Float4, Float8, Int2, Int4, Int8, Json, Numeric, Text, Uuid, Varchar};
    let ints = [Int2, Int4, Int8];
    let rank = |t: &PgType| ints.iter().position(|int| int == t);
    let number = |t: &PgType| rank(t).is_some() || matches!(t, Float4 | Float8 | Numeric);
    let texts = |t: &PgType| matches!(t, Text | Varchar | Bpchar | Enum { .. } | Uuid);
    Some(match (a, b) {
        _ if a == b => a.clone(),
        _ if rank(a).is_some() && rank(b).is_some() => {
            if rank(a) > rank(b) {
                a.clone()
            } else {
                b.clone()
            }
        }
        (Float4, Float8) | (Float8, Float4) => Float8,
        (Int2, Float4 | Float8) | (Float4 | Float8, Int2) => Float8,
        _ if number(a) && number(b) => Numeric,
        _ if texts(a) && texts(b) => Text,
        // A column of JSON holds any JSON.
        (Json, _) => Json,
        _ => return None,
    })
}

/// Appends PostgreSQL's text of a value in a column of this type.
pub(super) fn print(pg_type: &PgType, json: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match (pg_type, json.first().copied().unwrap_or_default()) {
        (PgType::Json | PgType::Jsonb, _) => out.extend_from_slice(json),
        (PgType::Bool, b't') => out.push(b't'),
        (PgType::Bool, b'f') => out.push(b'f'),
        (PgType::Timestamptz, b'"') => print::pg_timestamptz(
            value::Finite::Value(instant(json).ok_or(ValueError::new("a moment with its zone"))?),
            out,
        ),
        (PgType::Int2 | PgType::Int4 | PgType::Int8, b'-' | b'0'..=b'9') => {
            print::int(whole(json).ok_or(ValueError::new("a whole number"))?, out);
        }
        (PgType::Float4 | PgType::Float8 | PgType::Numeric, b'-' | b'0'..=b'9') => plain(json, out)?,
        // Declared: what it means is said, its text is kept.
        (PgType::Text | PgType::Varchar, b'-' | b'0'..=b'9' | b't' | b'f') => out.extend_from_slice(json),
        (PgType::Bool | PgType::Int2 | PgType::Int4 | PgType::Int8, _) => return Err(ValueError::new("another type")),
        (_, b'"') => {
            let raw = json.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            unescape(raw.ok_or(ValueError::new("a string"))?, out)?;
        }
        _ => return Err(ValueError::new("another type")),
    }
    Ok(())
}

fn whole(json: &[u8]) -> Option<i64> {
    std::str::from_utf8(json).ok()?.parse().ok()
}

/// Whether a double is exactly this number, as it is printed: its digits come back.
fn is_double(json: &[u8]) -> bool {
    let back = || {
        let number = value::float8(json).ok().filter(|number| number.is_finite())?;
        let (mut printed, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
        print::float8(number, &mut printed);
        plain(&printed, &mut a).ok()?;
        plain(json, &mut b).ok()?;
        Some(trimmed(&a) == trimmed(&b))
    };
    json.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) && back() == Some(true)
}

/// Without what makes no difference.
fn trimmed(number: &[u8]) -> &[u8] {
    if !number.contains(&b'.') {
        return if number == b"-0" { b"0" } else { number };
    }
    let end = number.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    let cut = number.get(..end).unwrap_or(number);
    let cut = cut.strip_suffix(b".").unwrap_or(cut);
    if cut == b"-0" { b"0" } else { cut }
}

/// Appends a number's digits without an exponent.
fn plain(json: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    const ERROR: ValueError = ValueError::new("a number");
    let Some(at) = json.iter().position(|byte| matches!(byte, b'e' | b'E')) else {
        out.extend_from_slice(json);
        return Ok(());
    };
    let (mantissa, exponent) = json.split_at_checked(at).ok_or(ERROR)?;
    let exponent = exponent.get(1..).ok_or(ERROR)?;
    let exponent = exponent.strip_prefix(b"+").unwrap_or(exponent);
    let exponent = value::int(exponent).map_err(|_| ERROR)?;
    let (sign, mantissa) = match mantissa.strip_prefix(b"-") {
        Some(rest) => (&b"-"[..], rest),
        None => (&b""[..], mantissa),
    };
    let mut halves = mantissa.splitn(2, |byte| *byte == b'.');
    let (before, after) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let digits = [before, after].concat();
    let point = i64::try_from(before.len()).map_err(|_| ERROR)?.checked_add(exponent).ok_or(ERROR)?;
    if !(-DIGITS..=DIGITS).contains(&point) {
        return Err(ValueError::new("a number of fewer digits"));
    }
    out.extend_from_slice(sign);
    let length = i64::try_from(digits.len()).map_err(|_| ERROR)?;
    let zeros = |count: i64| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or_default());
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(zeros(-point));
        out.extend_from_slice(&digits);
        return Ok(());
    }
    let start = out.len();
    let (whole, rest) = digits.split_at_checked(usize::try_from(point.min(length)).map_err(|_| ERROR)?).ok_or(ERROR)?;
    out.extend_from_slice(whole);
    out.extend(zeros(point - length));
    // `0.5e1` is 5, not 05.
    let leading = out.get(start..).unwrap_or_default().iter().take_while(|digit| **digit == b'0').count();
    out.drain(start..start + leading.min(out.len() - start - 1));
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    Ok(())
}

/// Microseconds since 2000 of `"YYYY-MM-DDThh:mm:ss[.ffffff](Z|±hh:mm)"`; finer ones would be cut, and are none.
fn instant(json: &[u8]) -> Option<i64> {
    let text = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let (day, clock) = (text.get(..10)?, text.get(11..)?);
    if text.get(10) != Some(&b'T') || clock.len() < 9 || clock.starts_with(b"24") {
        return None;
    }
    let (clock, zone) = match clock.strip_suffix(b"Z") {
        Some(clock) => (clock, &b"+00"[..]),
        None => clock.split_at_checked(clock.len().checked_sub(6)?)?,
    };
    if !matches!(zone, [b'+' | b'-', _, _] | [b'+' | b'-', _, _, b':', _, _]) {
        return None;
    }
    match value::pg_timestamptz(&[day, b" ", clock, zone].concat()) {
        Ok(value::Finite::Value(micros)) => Some(micros),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_type_that_holds_exactly_it() {
        for (json, expected) in [
            ("null", None),
            ("true", Some(PgType::Bool)),
            ("-7", Some(PgType::Int8)),
            ("9223372036854775807", Some(PgType::Int8)),
            ("9223372036854775808", Some(PgType::Numeric)),
            ("0.1", Some(PgType::Float8)),
            ("1e5", Some(PgType::Float8)),
            ("12.50", Some(PgType::Float8)),
            ("-0.0", Some(PgType::Float8)),
            ("0.12345678901234567891", Some(PgType::Numeric)),
            ("1e400", Some(PgType::Numeric)),
            ("\"2024-02-29T12:00:00Z\"", Some(PgType::Timestamptz)),
            ("\"2024-02-29T12:00:00.123456+05:30\"", Some(PgType::Timestamptz)),
            ("\"2024-02-29T12:00:00.1234567Z\"", Some(PgType::Text)),
            ("\"2023-02-29T12:00:00Z\"", Some(PgType::Text)),
            ("\"2024-02-29T12:00:00\"", Some(PgType::Text)),
            ("\"2024-02-29\"", Some(PgType::Text)),
            ("{\"a\":1}", Some(PgType::Json)),
            ("[]", Some(PgType::Json)),
        ] {
            assert_eq!(guess(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn values_are_printed_as_postgresql_has_them() {
        for (json, expected) in [
            ("true", "t"),
            ("1e5", "100000"),
            ("1.5e-3", "0.0015"),
            ("-12.5E+1", "-125"),
            ("0.05e1", "0.5"),
            ("0e5", "0"),
            ("1e400", &format!("1{}", "0".repeat(400))),
            ("\"2024-02-29T12:00:00.5+02:00\"", "2024-02-29 10:00:00.5+00"),
            ("\"a\\n\\u00e4\"", "a\nä"),
            ("{\"a\": 1}", "{\"a\": 1}"),
        ] {
            let mut out = Vec::new();
            print(&guess(json.as_bytes()).unwrap(), json.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn types_widen_only_to_what_holds_both() {
        for (a, b, expected) in [
            (PgType::Int8, PgType::Numeric, Some(PgType::Numeric)),
            (PgType::Int8, PgType::Float8, Some(PgType::Numeric)),
            (PgType::Int4, PgType::Int8, Some(PgType::Int8)),
            (PgType::Json, PgType::Text, Some(PgType::Json)),
            (PgType::Text, PgType::Json, None),
            (PgType::Text, PgType::Int8, None),
            (PgType::Timestamptz, PgType::Text, None),
            (PgType::Bool, PgType::Int8, None),
        ] {
            assert_eq!(join(&a, &b), expected, "{a:?} {b:?}");
        }
    }
}
