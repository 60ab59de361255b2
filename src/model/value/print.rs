//! Printers: each appends what PostgreSQL prints, and the parser of the same name reads it back.

use super::float::Shortest;
use super::moment::{DAY, EPOCH_DAYS, SECOND, civil};
use super::{Finite, decimal as big};

/// The scales of what PostgreSQL holds as `numeric`: digits behind the point, or zeros before it.
pub const SCALES: std::ops::RangeInclusive<i32> = -131_072..=16_383;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A decimal integer.
pub fn int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `t` or `f`.
pub fn boolean(value: bool, out: &mut Vec<u8>) {
    out.push(if value { b't' } else { b'f' });
}

/// A `real`, in the fewest digits that lead back to it.
pub fn float4(value: f32, out: &mut Vec<u8>) {
    float(f64::from(value), |_| Shortest::single(value.abs()), 6, out);
}

/// A `double precision`, in the fewest digits that lead back to it.
pub fn float8(value: f64, out: &mut Vec<u8>) {
    float(value, |value| Shortest::double(value.abs()), 15, out);
}

/// Lays out a number's digits as PostgreSQL does: with an exponent below -4 and from `limit` on.
fn float(value: f64, shortest: impl Fn(f64) -> Shortest, limit: i32, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    let shortest = shortest(value);
    let (digits, exponent) = (shortest.digits(), shortest.exponent);
    if (-4..limit).contains(&exponent) {
        return point(digits, exponent + 1, out);
    }
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, &[]));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    int(i64::from(exponent.abs()), out);
}

/// Digits with the decimal point after the first `whole` of them, zeros filled in where there are none.
fn point(digits: &[u8], whole: i32, out: &mut Vec<u8>) {
    let zeros = |count: usize| std::iter::repeat_n(b'0', count);
    let Ok(whole) = usize::try_from(whole) else {
        out.extend(b"0.");
        out.extend(zeros(usize::try_from(whole.unsigned_abs()).unwrap_or(0)));
        out.extend(digits);
        return;
    };
    let (before, after) = digits.split_at_checked(whole).unwrap_or((digits, &[]));
    if before.is_empty() {
        out.push(b'0');
    }
    out.extend(before);
    out.extend(zeros(whole - before.len()));
    if !after.is_empty() {
        out.push(b'.');
        out.extend(after);
    }
}

/// A `numeric` from its value times 10^`scale` in big-endian two's complement.
pub fn decimal(unscaled: &[u8], scale: i32, out: &mut Vec<u8>) {
    let mut place = itoa::Buffer::new();
    let (negative, digits) = big::digits(unscaled, &mut place);
    if digits == "0" || digits.is_empty() {
        point(&vec![b'0'; usize::try_from(scale.max(0)).unwrap_or(0) + 1], 1, out);
        return;
    }
    if negative {
        out.push(b'-');
    }
    let whole = i32::try_from(digits.len()).unwrap_or(i32::MAX).saturating_sub(scale);
    point(digits.as_bytes(), whole, out);
}

/// `bytea` in hex.
pub fn bytea(value: &[u8], out: &mut Vec<u8>) {
    out.extend(b"\\x");
    out.reserve(value.len() * 2);
    for byte in value {
        hex(*byte, out);
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend([digit(byte >> 4), digit(byte & 15)]);
}

/// A `uuid`.
pub fn uuid(value: &[u8; 16], out: &mut Vec<u8>) {
    for (at, byte) in value.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(*byte, out);
    }
}

/// A `date` from days since 1970.
pub fn date(value: Finite<i32>, out: &mut Vec<u8>) {
    let Finite::Value(days) = value else { return ends(&value, out) };
    if day(i64::from(days), out) == Era::Before {
        out.extend(b" BC");
    }
}

/// A `time` from microseconds since midnight.
pub fn time(micros: i64, out: &mut Vec<u8>) {
    clock(micros, out);
    fraction(micros, out);
}

/// A `timestamp` from microseconds since 1970.
pub fn timestamp(value: Finite<i64>, out: &mut Vec<u8>) {
    let Finite::Value(micros) = value else { return ends(&value, out) };
    moment(micros.div_euclid(DAY), micros.rem_euclid(DAY), b"", out);
}

/// A `timestamptz` in UTC from microseconds since 1970.
pub fn timestamptz(value: Finite<i64>, out: &mut Vec<u8>) {
    let Finite::Value(micros) = value else { return ends(&value, out) };
    moment(micros.div_euclid(DAY), micros.rem_euclid(DAY), b"+00", out);
}

/// A `timestamp` from microseconds since 2000.
pub fn pg_timestamp(value: Finite<i64>, out: &mut Vec<u8>) {
    let Finite::Value(micros) = value else { return ends(&value, out) };
    moment(micros.div_euclid(DAY) + EPOCH_DAYS, micros.rem_euclid(DAY), b"", out);
}

/// A `timestamptz` in UTC from microseconds since 2000.
pub fn pg_timestamptz(value: Finite<i64>, out: &mut Vec<u8>) {
    let Finite::Value(micros) = value else { return ends(&value, out) };
    moment(micros.div_euclid(DAY) + EPOCH_DAYS, micros.rem_euclid(DAY), b"+00", out);
}

fn ends<T>(value: &Finite<T>, out: &mut Vec<u8>) {
    out.extend(match value {
        Finite::NegInfinity => &b"-infinity"[..],
        _ => &b"infinity"[..],
    });
}

#[derive(PartialEq)]
enum Era {
    Common,
    Before,
}

fn moment(days: i64, micros: i64, zone: &[u8], out: &mut Vec<u8>) {
    let era = day(days, out);
    out.push(b' ');
    time(micros, out);
    out.extend(zone);
    if era == Era::Before {
        out.extend(b" BC");
    }
}

/// Year, month and day without the era, which is returned.
fn day(days: i64, out: &mut Vec<u8>) -> Era {
    let (year, month, day) = civil(days);
    let (shown, era) = if year > 0 { (year, Era::Common) } else { (1 - year, Era::Before) };
    year_digits(shown, out);
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
    era
}

/// At least four digits.
fn year_digits(year: i64, out: &mut Vec<u8>) {
    if year > 9999 {
        return int(year, out);
    }
    two(year / 100, out);
    two(year % 100, out);
}

fn two(number: i64, out: &mut Vec<u8>) {
    let digit = |n: i64| b'0' + u8::try_from(n % 10).unwrap_or(0);
    out.extend([digit(number / 10), digit(number)]);
}

fn clock(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / SECOND;
    two(seconds / 3600, out);
    out.push(b':');
    two(seconds / 60 % 60, out);
    out.push(b':');
    two(seconds % 60, out);
}

/// A span of any number of hours, `hh:mm:ss[.ffffff]`.
pub(super) fn span(micros: u64, out: &mut Vec<u8>) {
    let hours = i64::try_from(micros / 3_600_000_000).unwrap_or(i64::MAX);
    let rest = i64::try_from(micros % 3_600_000_000).unwrap_or(0);
    if hours < 100 {
        two(hours, out);
    } else {
        int(hours, out);
    }
    let start = out.len();
    clock(rest, out);
    // What `clock` has written of hours is none.
    out.drain(start..start + 2);
    fraction(rest, out);
}

/// The microseconds of the second without the zeros at their end; nothing for none.
fn fraction(micros: i64, out: &mut Vec<u8>) {
    let micros = micros % SECOND;
    if micros == 0 {
        return;
    }
    out.push(b'.');
    for pair in [micros / 10_000, micros / 100 % 100, micros % 100] {
        two(pair, out);
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// A day as ISO 8601 writes it, `2016-11-04`, from days since 1970.
pub fn iso_date(days: i32, out: &mut Vec<u8>) {
    iso_day(i64::from(days), out);
}

/// A time of day as ISO 8601 writes it, with as much fraction as it has.
pub fn iso_time(micros: i64, out: &mut Vec<u8>) {
    time(micros, out);
}

/// A moment as ISO 8601 writes it, with as much fraction as it has, from microseconds since 2000.
pub fn iso_pg_moment(micros: i64, out: &mut Vec<u8>) {
    iso_day(micros.div_euclid(DAY) + EPOCH_DAYS, out);
    out.push(b'T');
    time(micros.rem_euclid(DAY), out);
}

/// An instant of UTC from microseconds since 1970 as ISO 8601 writes it, `2016-11-04T11:51:30.123456Z`, with `digits` of
/// fraction. Not a form of PostgreSQL's: what other systems exchange.
pub fn iso_instant(micros: i64, digits: u8, out: &mut Vec<u8>) {
    iso(micros.div_euclid(DAY), micros.rem_euclid(DAY), digits, out);
}

/// As [`iso_instant`], from microseconds since 2000.
pub fn iso_pg_instant(micros: i64, digits: u8, out: &mut Vec<u8>) {
    iso(micros.div_euclid(DAY) + EPOCH_DAYS, micros.rem_euclid(DAY), digits, out);
}

fn iso_day(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    match year {
        ..0 => out.push(b'-'),
        10_000.. => out.push(b'+'),
        _ => {}
    }
    year_digits(year.abs(), out);
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
}

fn iso(days: i64, micros: i64, digits: u8, out: &mut Vec<u8>) {
    iso_day(days, out);
    out.push(b'T');
    clock(micros, out);
    if digits > 0 {
        out.push(b'.');
        let start = out.len();
        let micros = micros % SECOND;
        for pair in [micros / 10_000, micros / 100 % 100, micros % 100] {
            two(pair, out);
        }
        out.truncate(start + usize::from(digits.min(6)));
    }
    out.push(b'Z');
}
