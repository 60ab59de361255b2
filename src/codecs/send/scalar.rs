//! Numbers, moments, byte strings.

use super::SendError;
use super::reader::Reader;
use crate::model::value::{Finite, Interval, print};

type Result<T = ()> = std::result::Result<T, SendError>;

/// Days from 1970 to 2000, where binary dates count from.
const EPOCH: i32 = 10_957;
/// 4714-11-24 BC and the day after 5874897-12-31, from 2000.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// The same day, and the year 294277, in microseconds from 2000.
const MOMENTS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DAY: i64 = 86_400_000_000;

pub(super) fn boolean(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    match from.u8()? {
        value @ (0 | 1) => print::boolean(value == 1, out),
        _ => return Err(SendError::Broken),
    }
    Ok(())
}

pub(super) fn int2(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::int(i64::from(from.i16()?), out);
    Ok(())
}

pub(super) fn int4(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::int(i64::from(from.i32()?), out);
    Ok(())
}

pub(super) fn int8(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::int(from.i64()?, out);
    Ok(())
}

/// `oid`, `xid`, `cid`
pub(super) fn uint4(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::int(i64::from(from.u32()?), out);
    Ok(())
}

/// `xid8`
pub(super) fn uint8(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    out.extend_from_slice(itoa::Buffer::new().format(from.u64()?).as_bytes());
    Ok(())
}

pub(super) fn float4(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::float4(from.f32()?, out);
    Ok(())
}

pub(super) fn float8(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::float8(from.f64()?, out);
    Ok(())
}

/// Groups of four decimal digits, the first one's weight in groups, the sign, and how many digits the fraction shows.
pub(super) fn numeric(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (count, weight) = (usize::from(from.u16()?), from.i16()?);
    let (sign, scale) = (from.u16()?, usize::from(from.u16()?));
    match sign {
        0 | 0x4000 => {}
        0xC000 => return special(b"NaN", count, out),
        0xD000 => return special(b"Infinity", count, out),
        0xF000 => return special(b"-Infinity", count, out),
        _ => return Err(SendError::Broken),
    }
    let bytes = from.take(count * 2)?;
    let (groups, _) = bytes.as_chunks::<2>();
    if groups.iter().any(|group| u16::from_be_bytes(*group) > 9999) || scale > 0x3FFF {
        return Err(SendError::Broken);
    }
    if sign == 0x4000 {
        out.push(b'-');
    }
    let group = |weighs: i32| {
        let at = usize::try_from(i32::from(weight) - weighs).ok();
        at.and_then(|at| groups.get(at)).map_or(0, |group| u16::from_be_bytes(*group))
    };
    print::int(i64::from(group(i32::from(weight.max(0)))), out);
    (0..i32::from(weight)).rev().for_each(|weighs| four(group(weighs), out));
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        let mut weighs = -1;
        while out.len() < end {
            four(group(weighs), out);
            weighs -= 1;
        }
        out.truncate(end);
    }
    Ok(())
}

fn special(name: &[u8], count: usize, out: &mut Vec<u8>) -> Result {
    out.extend_from_slice(name);
    if count == 0 { Ok(()) } else { Err(SendError::Broken) }
}

fn four(group: u16, out: &mut Vec<u8>) {
    let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(group / 1000), digit(group / 100), digit(group / 10), digit(group)]);
}

/// One byte, none for zero, of PostgreSQL before 15.
pub(super) fn raw_char(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let byte = from.u8()?;
    out.extend(Some(byte).filter(|byte| *byte != 0));
    Ok(())
}

/// One byte, none for zero; those beyond ASCII as PostgreSQL 15 and later print them.
pub(super) fn char(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    match from.u8()? {
        0 => {}
        plain @ 1..128 => out.push(plain),
        byte => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
    }
    Ok(())
}

pub(super) fn bytea(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::bytea(from.rest(), out);
    Ok(())
}

/// PostGIS: its bytes in capital hexadecimal digits.
pub(super) fn hex(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let start = out.len();
    print::bytea(from.rest(), out);
    out.drain(start..start + 2);
    out.get_mut(start..).unwrap_or_default().make_ascii_uppercase();
    Ok(())
}

pub(super) fn uuid(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::uuid(&from.array()?, out);
    Ok(())
}

/// A version, which is 1, and the text.
pub(super) fn versioned(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    if from.u8()? != 1 {
        return Err(SendError::Broken);
    }
    out.extend_from_slice(from.rest());
    Ok(())
}

pub(super) fn date(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let date = match from.i32()? {
        i32::MIN => Finite::NegInfinity,
        i32::MAX => Finite::Infinity,
        days if DATES.contains(&days) => Finite::Value(days + EPOCH),
        _ => return Err(SendError::Broken),
    };
    print::date(date, out);
    Ok(())
}

fn clock(from: &mut Reader<'_>) -> Result<i64> {
    let micros = from.i64()?;
    if (0..=DAY).contains(&micros) { Ok(micros) } else { Err(SendError::Broken) }
}

pub(super) fn time(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::time(clock(from)?, out);
    Ok(())
}

/// The time of day, and how many seconds west of Greenwich.
pub(super) fn timetz(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (micros, west) = (clock(from)?, from.i32()?);
    let zone = i64::from(west.unsigned_abs());
    if zone >= 16 * 3600 {
        return Err(SendError::Broken);
    }
    print::time(micros, out);
    out.push(if west <= 0 { b'+' } else { b'-' });
    // `hh`, `hh:mm` or `hh:mm:ss`, as short as it can be said.
    let start = out.len();
    print::time(zone * 1_000_000, out);
    let length = match (zone % 3600, zone % 60) {
        (0, _) => 2,
        (_, 0) => 5,
        _ => 8,
    };
    out.truncate(start + length);
    Ok(())
}

fn moment(from: &mut Reader<'_>) -> Result<Finite<i64>> {
    match from.i64()? {
        i64::MIN => Ok(Finite::NegInfinity),
        i64::MAX => Ok(Finite::Infinity),
        micros if MOMENTS.contains(&micros) => Ok(Finite::Value(micros)),
        _ => Err(SendError::Broken),
    }
}

pub(super) fn timestamp(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::pg_timestamp(moment(from)?, out);
    Ok(())
}

pub(super) fn timestamptz(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    print::pg_timestamptz(moment(from)?, out);
    Ok(())
}

fn span(from: &mut Reader<'_>) -> Result<Interval> {
    let (micros, days, months) = (from.i64()?, from.i32()?, from.i32()?);
    Ok(Interval { months: i64::from(months), days: i64::from(days), micros })
}

/// Of PostgreSQL before 17: all are ordinary.
pub(super) fn finite_interval(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    span(from)?.print(out);
    Ok(())
}

/// Of PostgreSQL 17 and later: the outermost are endless.
pub(super) fn interval(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let end = |months: i32, days: i32, micros| Interval { months: i64::from(months), days: i64::from(days), micros };
    match span(from)? {
        last if last == end(i32::MAX, i32::MAX, i64::MAX) => out.extend_from_slice(b"infinity"),
        first if first == end(i32::MIN, i32::MIN, i64::MIN) => out.extend_from_slice(b"-infinity"),
        plain => plain.print(out),
    }
    Ok(())
}

/// A number of bits, and bytes that begin with the first.
pub(super) fn bits(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let count = usize::try_from(from.i32()?).map_err(|_| SendError::Broken)?;
    let bytes = from.take(count.div_ceil(8))?;
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| b'0' + (byte >> bit & 1)));
    out.extend(bits.take(count));
    Ok(())
}

/// Hundredths, as locales print them that are like `C` and `en_US`.
pub(super) fn money(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let value = from.i64()?;
    out.extend_from_slice(if value < 0 { b"-$" } else { b"$" });
    let mut buffer = itoa::Buffer::new();
    let whole = buffer.format(value.unsigned_abs() / 100).as_bytes();
    for (at, digit) in whole.iter().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(b',');
        }
        out.push(*digit);
    }
    let cents = u8::try_from(value.unsigned_abs() % 100).unwrap_or(0);
    out.extend_from_slice(&[b'.', b'0' + cents / 10, b'0' + cents % 10]);
    Ok(())
}

/// `pg_lsn`
pub(super) fn lsn(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    use std::io::Write;
    let (high, low) = (from.u32()?, from.u32()?);
    write!(out, "{high:X}/{low:X}").map_err(|_| SendError::Broken)
}

/// A block and a row's number in it.
pub(super) fn tid(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'(');
    uint4(from, out)?;
    out.push(b',');
    print::int(i64::from(from.u16()?), out);
    out.push(b')');
    Ok(())
}

/// The transactions that a snapshot sees: how many are open, the first, the end, the open ones.
pub(super) fn snapshot(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let count = from.count(8)?;
    uint8(from, out)?;
    out.push(b':');
    uint8(from, out)?;
    out.push(b':');
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        uint8(from, out)?;
    }
    Ok(())
}

/// The numbers of a pgvector `vector`.
pub(super) fn vector(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    floats(from, out, float4)
}

/// The numbers, of 16 bits, of a pgvector `halfvec`.
pub(super) fn half_vector(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    floats(from, out, |from, out| {
        print::float4(half(from.u16()?), out);
        Ok(())
    })
}

fn floats(
    from: &mut Reader<'_>,
    out: &mut Vec<u8>,
    mut print: impl FnMut(&mut Reader<'_>, &mut Vec<u8>) -> Result,
) -> Result {
    let (count, 0) = (from.u16()?, from.u16()?) else { return Err(SendError::Broken) };
    out.push(b'[');
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        print(from, out)?;
    }
    out.push(b']');
    Ok(())
}

/// A float of 16 bits.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if bits & 1023 == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Dimensions, indexes and numbers of a pgvector `sparsevec`.
pub(super) fn sparse_vector(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (dimensions, count) = (from.i32()?, usize::try_from(from.i32()?).map_err(|_| SendError::Broken)?);
    if from.i32()? != 0 {
        return Err(SendError::Broken);
    }
    let mut indexes = Reader::new(from.take(count.checked_mul(4).ok_or(SendError::Broken)?)?);
    out.push(b'{');
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        print::int(i64::from(indexes.i32()?) + 1, out);
        out.push(b':');
        float4(from, out)?;
    }
    out.extend_from_slice(b"}/");
    print::int(i64::from(dimensions), out);
    Ok(())
}
