//! Days, times and moments as numbers, in the units that consumers of Debezium expect.

use super::kind::{Kind, Unit};
use crate::model::value::{self, Finite, ValueError, print};

/// What infinity is in microseconds since 1970, as Debezium has it.
const INFINITY: i64 = 9_223_372_036_825_200_000;
/// What minus infinity is in microseconds since 1970.
const NEG_INFINITY: i64 = -9_223_372_036_832_400_000;
/// Microseconds from 1970 to 2000.
const EPOCH: i64 = 946_684_800_000_000;

/// Days since 1970.
pub(super) fn date(text: &[u8]) -> Result<i32, ValueError> {
    Ok(match value::date(text)? {
        Finite::NegInfinity => i32::MIN,
        Finite::Value(days) => days,
        Finite::Infinity => i32::MAX,
    })
}

/// A time of day; `None` where the unit is too coarse.
pub(super) fn time(text: &[u8], unit: Unit) -> Result<Option<i64>, ValueError> {
    Ok(in_unit(value::time(text)?, unit))
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
fn epoch(unit: Unit) -> (i64, i64) {
    match unit {
        Unit::Micros | Unit::Nanos => (EPOCH, 1),
        Unit::Millis | Unit::MillisCut => (EPOCH / 1000, 1000),
    }
}

/// A moment since 1970; `None` for the few that would not come back: beyond 64 bits, or where infinity is.
pub(super) fn timestamp(text: &[u8], unit: Unit) -> Result<Option<i64>, ValueError> {
    let (shift, factor) = epoch(unit);
    if unit == Unit::Nanos {
        // There are no nanoseconds before 1677 and after 2262.
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

/// Appends what PostgreSQL prints of a counted value of this kind.
pub(super) fn print(kind: &Kind, number: i64, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match kind {
        Kind::Date => print::date(day(number)?, out),
        Kind::Time(unit) => print::time(micros(number, *unit)?, out),
        Kind::Timestamp(unit) => moment(number, *unit, out)?,
        _ => return Err(ValueError::new("a kind that is counted")),
    }
    Ok(())
}

fn day(number: i64) -> Result<Finite<i32>, ValueError> {
    Ok(match i32::try_from(number).map_err(|_| ValueError::new("days since 1970"))? {
        i32::MIN => Finite::NegInfinity,
        i32::MAX => Finite::Infinity,
        days => Finite::Value(days),
    })
}

fn micros(number: i64, unit: Unit) -> Result<i64, ValueError> {
    let micros = match unit {
        Unit::Millis | Unit::MillisCut => number.checked_mul(1000),
        Unit::Micros => Some(number),
        Unit::Nanos => Some(number.div_euclid(1000)),
    };
    micros.ok_or(ValueError::new("a time"))
}

/// Counted from 2000, so that milliseconds reach as far as PostgreSQL does.
fn moment(number: i64, unit: Unit, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (shift, factor) = epoch(unit);
    let moment = match number {
        _ if unit == Unit::Nanos => Finite::Value(number.div_euclid(1000) - EPOCH),
        _ if number == INFINITY / factor => Finite::Infinity,
        _ if number == NEG_INFINITY / factor => Finite::NegInfinity,
        _ => Finite::Value(micros(number.checked_sub(shift).ok_or(ValueError::new("a time"))?, unit)?),
    };
    print::pg_timestamp(moment, out);
    Ok(())
}
