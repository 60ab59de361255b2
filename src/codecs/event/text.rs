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
        Kind::Timestamptz { digits } => match value::pg_timestamptz(text)? {
            Finite::Value(micros) => print::iso_pg_instant(micros, *digits, out),
            _ => out.extend_from_slice(text),
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
