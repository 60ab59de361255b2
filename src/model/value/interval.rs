//! Intervals under `IntervalStyle postgres`: `1 year 2 mons -3 days +04:05:06.78`.
//!
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-INTERVAL-OUTPUT>

use super::moment::SECOND;
use super::{Finite, ValueError, print};

const ERROR: ValueError = ValueError::new("an interval");

/// An interval in the three units that PostgreSQL keeps apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Interval {
    /// Months, of which twelve are a year.
    pub months: i64,
    /// Days of any length.
    pub days: i64,
    /// Microseconds; may be more than a day's.
    pub micros: i64,
}

impl Interval {
    /// Reads one; PostgreSQL 17 and later have endless ones.
    pub fn parse(text: &[u8]) -> Result<Finite<Interval>, ValueError> {
        match text {
            b"infinity" => return Ok(Finite::Infinity),
            b"-infinity" => return Ok(Finite::NegInfinity),
            _ => {}
        }
        let mut interval = Interval::default();
        let mut words = text.split(|byte| *byte == b' ');
        while let Some(word) = words.next() {
            if word.contains(&b':') {
                interval.micros = clock(word).ok_or(ERROR)?;
                continue;
            }
            let number = super::int(word.strip_prefix(b"+").unwrap_or(word)).map_err(|_| ERROR)?;
            let months = |number: i64| number.checked_mul(12).ok_or(ERROR);
            match words.next().ok_or(ERROR)? {
                b"year" | b"years" => interval.months = interval.months.checked_add(months(number)?).ok_or(ERROR)?,
                b"mon" | b"mons" => interval.months = interval.months.checked_add(number).ok_or(ERROR)?,
                b"day" | b"days" => interval.days = number,
                _ => return Err(ERROR),
            }
        }
        Ok(Finite::Value(interval))
    }

    /// Appends what PostgreSQL prints.
    pub fn print(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut before = false;
        for (number, unit) in [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")] {
            if number == 0 {
                continue;
            }
            if out.len() > start {
                out.push(b' ');
            }
            if before && number > 0 {
                out.push(b'+');
            }
            print::int(number, out);
            out.push(b' ');
            out.extend_from_slice(unit.as_bytes());
            if number != 1 {
                out.push(b's');
            }
            before = number < 0;
        }
        if self.micros == 0 && out.len() > start {
            return;
        }
        if out.len() > start {
            out.push(b' ');
        }
        match self.micros {
            ..0 => out.push(b'-'),
            _ if before => out.push(b'+'),
            _ => {}
        }
        print::span(self.micros.unsigned_abs(), out);
    }

    /// All in microseconds, a month as 30.4375 days; `None` beyond 64 bits.
    pub fn average_micros(&self) -> Option<i64> {
        const MONTH: i64 = 2_629_800 * SECOND;
        let days = self.days.checked_mul(86_400 * SECOND)?;
        self.months.checked_mul(MONTH)?.checked_add(days)?.checked_add(self.micros)
    }
}

/// `[+-]hh:mm:ss[.ffffff]` with any number of hours.
fn clock(word: &[u8]) -> Option<i64> {
    let (sign, word) = match word.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, word),
    };
    let mut parts = word.splitn(3, |byte| *byte == b':');
    let (hours, minutes) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let seconds = parts.next()?;
    let (whole, fraction) = match memchr::memchr(b'.', seconds) {
        Some(at) => (seconds.get(..at)?, seconds.get(at + 1..)?),
        None => (seconds, &b""[..]),
    };
    let (whole, missing) = (digits(whole)?, u32::try_from(6_usize.checked_sub(fraction.len())?).ok()?);
    if minutes >= 60 || whole >= 60 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { digits(fraction)? * 10_i64.pow(missing) };
    // With its sign from the beginning: there is one more below zero than above.
    let micros = (sign * hours).checked_mul(3600 * SECOND)?;
    micros.checked_add(sign * ((minutes * 60 + whole) * SECOND + fraction))
}

/// A number without a sign.
fn digits(text: &[u8]) -> Option<i64> {
    text.first().is_some_and(u8::is_ascii_digit).then(|| super::int(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(interval: Interval) -> String {
        let mut out = Vec::new();
        interval.print(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn intervals_are_read_and_printed_as_postgresql_prints_them() {
        for (text, months, days, micros) in [
            ("00:00:00", 0, 0, 0),
            ("1 year 2 mons 3 days 04:05:06.78", 14, 3, 14_706_780_000),
            ("-1 years -2 mons +3 days -04:05:06.78", -14, 3, -14_706_780_000),
            ("1 mon", 1, 0, 0),
            ("-1 mons", -1, 0, 0),
            ("-1 days +00:00:00.000001", 0, -1, 1),
            ("2562047788:00:54.775807", 0, 0, i64::MAX),
            ("-2562047788:00:54.775808", 0, 0, i64::MIN),
            ("178000000 years", 2_136_000_000, 0, 0),
            ("1 day", 0, 1, 0),
            ("-00:00:01", 0, 0, -1_000_000),
        ] {
            let interval = Interval { months, days, micros };
            assert_eq!(Interval::parse(text.as_bytes()), Ok(Finite::Value(interval)), "{text}");
            assert_eq!(printed(interval), text);
        }
        assert_eq!(Interval::parse(b"infinity"), Ok(Finite::Infinity));
        let sums = ["9223372036854775807 mons 9223372036854775807 mons", "768614336404564650 years 9 mons"];
        let clocks =
            ["1:9223372036854775807:00", "9223372036854775807:00:00", "1:60:00", "1:00:60", "1:-1:00", "--1:00:00"];
        for text in ["", "1", "1 week", "x days", "1:2", "01:02:03.1234567"].into_iter().chain(sums).chain(clocks) {
            assert_eq!(Interval::parse(text.as_bytes()), Err(ERROR), "{text}");
        }
    }

    #[test]
    fn a_month_counts_as_the_twelfth_of_a_julian_year() {
        let interval = Interval { months: 14, days: 3, micros: 14_706_780_000 };
        assert_eq!(interval.average_micros(), Some(37_091_106_780_000));
        assert_eq!(Interval { months: i64::MAX, ..interval }.average_micros(), None);
    }
}
