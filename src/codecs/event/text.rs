//! Forms that are texts without a character that any form would have to escape.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::kind::Kind;
use super::modes::Binaries;
use crate::model::value::{self, Finite, Interval, Numeric, ValueError, print};

const DAY: i64 = 86_400_000_000;

/// Whether a value of this kind is such a text.
pub(super) fn tells(kind: &Kind) -> bool {
    match kind {
        Kind::IsoDate | Kind::IsoTime | Kind::IsoTimestamp | Kind::IsoDuration | Kind::DecimalText => true,
        Kind::TimeTz | Kind::Timestamptz { .. } => true,
        Kind::Bytes(form) => *form != Binaries::Bytes,
        _ => false,
    }
}

/// Appends the text of a value. What has no ISO form, an infinity, is PostgreSQL's word for it.
pub(super) fn write(kind: &Kind, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<(), ValueError> {
    match kind {
        Kind::IsoDate => match value::date(text)? {
            Finite::Value(days) => {
                print::iso_date(days, out);
                out.push(b'Z');
            }
            _ => out.extend_from_slice(text),
        },
        Kind::IsoTime => {
            print::iso_time(value::time(text)?, out);
            out.push(b'Z');
        }
        Kind::IsoTimestamp => match value::pg_timestamp(text)? {
            Finite::Value(micros) => {
                print::iso_pg_moment(micros, out);
                out.push(b'Z');
            }
            _ => out.extend_from_slice(text),
        },
        Kind::Timestamptz { digits } => match instant(text, *digits) {
            Some((short, length)) => out.extend_from_slice(short.get(..length).unwrap_or_default()),
            None => match value::pg_timestamptz(text)? {
                Finite::Value(micros) => print::iso_pg_instant(micros, *digits, out),
                _ => out.extend_from_slice(text),
            },
        },
        Kind::TimeTz => {
            let (micros, offset) = value::timetz(text)?;
            print::iso_time((micros - offset).rem_euclid(DAY), out);
            out.push(b'Z');
        }
        Kind::IsoDuration => match Interval::parse(text)? {
            Finite::Value(interval) => iso_duration(interval, out),
            _ => out.extend_from_slice(text),
        },
        Kind::DecimalText => out.extend_from_slice(number(text)?),
        Kind::Bytes(form) => {
            scratch.clear();
            value::bytea(text, scratch)?;
            bytes(*form, scratch, out);
        }
        _ => return Err(ValueError::new("a kind of text")),
    }
    Ok(())
}

/// The ISO form, and its length, of an instant that is printed in UTC with a year of four digits, as nearly all are:
/// its digits stay what they are. `None` for any other.
#[inline]
pub(super) fn instant(text: &[u8], digits: u8) -> Option<([u8; 27], usize)> {
    let (seconds, fraction) = value::of_utc(text)?;
    let mut out = [b'0'; 27];
    let (head, tail) = out.split_first_chunk_mut::<19>()?;
    *head = *seconds;
    *head.get_mut(10)? = b'T';
    let digits = usize::from(digits.min(6));
    if digits == 0 {
        *tail.first_mut()? = b'Z';
        return Some((out, 20));
    }
    let (point, places) = tail.split_first_mut()?;
    *point = b'.';
    match fraction.first_chunk::<6>() {
        Some(all) => *places.first_chunk_mut()? = *all,
        None => places.iter_mut().zip(fraction).for_each(|(place, digit)| *place = *digit),
    }
    *places.get_mut(digits)? = b'Z';
    Some((out, 21 + digits))
}

/// Appends the text of bytes.
pub(super) fn bytes(form: Binaries, bytes: &[u8], out: &mut Vec<u8>) {
    match form {
        Binaries::Hex => {
            let start = out.len();
            print::bytea(bytes, out);
            out.drain(start..start + 2);
        }
        Binaries::Base64Url => out.extend_from_slice(URL_SAFE.encode(bytes).as_bytes()),
        Binaries::Bytes | Binaries::Base64 => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
    }
}

/// The text of a numeric.
fn number(text: &[u8]) -> Result<&[u8], ValueError> {
    Ok(match Numeric::parse(text)? {
        Numeric::Finite { .. } => text,
        Numeric::NaN => b"NAN",
        Numeric::Infinity => b"POSITIVE_INFINITY",
        Numeric::NegInfinity => b"NEGATIVE_INFINITY",
    })
}

fn iso_duration(interval: Interval, out: &mut Vec<u8>) {
    let Interval { months, days, micros } = interval;
    let seconds = micros / 1_000_000;
    let text = format!("P{}Y{}M{days}DT{}H{}M", months / 12, months % 12, seconds / 3600, seconds / 60 % 60);
    out.extend_from_slice(text.as_bytes());
    let (whole, rest) = (seconds % 60, micros % 1_000_000);
    if whole == 0 && rest < 0 {
        out.push(b'-');
    }
    print::int(whole, out);
    if rest != 0 {
        let digits = format!("{:06}", rest.abs());
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
    out.push(b'S');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_has_one_form_whichever_way_it_is_made(
            micros in prop_oneof![any::<i64>().prop_map(|n| n % 400_000_000_000_000_000), -1_000_000_000_000_000_i64..1_000_000_000_000_000],
            digits in 0_u8..=6,
        ) {
            // A column of few digits holds none that are finer.
            let unit = 10_i64.pow(6 - u32::from(digits));
            let micros = micros.div_euclid(unit) * unit;
            let (mut text, mut slow, mut found) = (Vec::new(), Vec::new(), Vec::new());
            print::pg_timestamptz(Finite::Value(micros), &mut text);
            print::iso_pg_instant(micros, digits, &mut slow);
            write(&Kind::Timestamptz { digits }, &text, &mut found, &mut Vec::new()).unwrap();
            prop_assert_eq!(String::from_utf8(found), String::from_utf8(slow), "{:?}", String::from_utf8(text));
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in ["2016-11-04T11:51:30+00", "2016-11-04 11:51:30.1234567+00", "2016-11-04 11:51:30.+0", "", "+00"] {
            let mut out = Vec::new();
            let outcome = write(&Kind::Timestamptz { digits: 6 }, text.as_bytes(), &mut out, &mut Vec::new());
            assert!(outcome.is_err() && out.is_empty(), "{text}");
        }
    }
}
