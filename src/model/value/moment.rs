//! Dates and times, in the proleptic Gregorian calendar as PostgreSQL counts it.

use super::{Finite, ValueError};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub(super) const EPOCH_DAYS: i64 = 10_957;
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// Days since 1970 of a `date`.
pub fn date(text: &[u8]) -> Result<Finite<i32>, ValueError> {
    const ERROR: ValueError = ValueError::new("a date");
    if let Some(end) = infinite(text) {
        return Ok(end);
    }
    let days = Scan::civil(text).and_then(|(day, scan)| scan.rest.is_empty().then_some(day));
    days.and_then(|days| i32::try_from(days).ok()).map(Finite::Value).ok_or(ERROR)
}

/// Microseconds since midnight of a `time`; 24:00:00 is one.
pub fn time(text: &[u8]) -> Result<i64, ValueError> {
    let mut scan = Scan { rest: text };
    let micros = scan.clock().filter(|micros| scan.rest.is_empty() && *micros <= DAY);
    micros.ok_or(ValueError::new("a time of day"))
}

/// Microseconds since midnight of a `timetz`, and how far east of Greenwich it is, in microseconds.
pub fn timetz(text: &[u8]) -> Result<(i64, i64), ValueError> {
    const ERROR: ValueError = ValueError::new("a time of day with a zone");
    let mut scan = Scan { rest: text };
    let micros = scan.clock().filter(|micros| *micros <= DAY).ok_or(ERROR)?;
    let offset = scan.offset().ok_or(ERROR)?;
    if scan.rest.is_empty() { Ok((micros, offset)) } else { Err(ERROR) }
}

/// Microseconds since 1970 of a `timestamp`. The last 29 years of PostgreSQL's range do not fit and are an error.
pub fn timestamp(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    since_1970(pg_timestamp(text)?)
}

/// Microseconds since 1970 UTC of a `timestamptz`. The last 29 years of PostgreSQL's range do not fit and are an error.
pub fn timestamptz(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    since_1970(pg_timestamptz(text)?)
}

/// Microseconds since 2000 of a `timestamp`: its whole range fits.
pub fn pg_timestamp(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    moment(text, Zone::None)
}

/// Microseconds since 2000 UTC of a `timestamptz`: its whole range fits.
pub fn pg_timestamptz(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    moment(text, Zone::Offset)
}

fn since_1970(moment: Finite<i64>) -> Result<Finite<i64>, ValueError> {
    const ERROR: ValueError = ValueError::new("a timestamp before 294247-01-10");
    moment.and_then(|micros| micros.checked_add(EPOCH_DAYS * DAY)).ok_or(ERROR)
}

enum Zone {
    None,
    Offset,
}

fn moment(text: &[u8], zone: Zone) -> Result<Finite<i64>, ValueError> {
    const ERROR: ValueError = ValueError::new("a timestamp");
    match infinite(text) {
        Some(end) => Ok(end),
        None => finite(text, zone).map(Finite::Value).ok_or(ERROR),
    }
}

fn finite(text: &[u8], zone: Zone) -> Option<i64> {
    let (day, mut scan) = Scan::civil(text)?;
    scan.expect(b' ')?;
    let clock = scan.clock()?;
    let offset = match zone {
        Zone::None => 0,
        Zone::Offset => scan.offset()?,
    };
    scan.rest.is_empty().then_some(())?;
    (day - EPOCH_DAYS).checked_mul(DAY)?.checked_add(clock - offset)
}

fn infinite<T>(text: &[u8]) -> Option<Finite<T>> {
    match text {
        b"infinity" => Some(Finite::Infinity),
        b"-infinity" => Some(Finite::NegInfinity),
        _ => None,
    }
}

/// Days since 1970 of a day; years before 1 count 0, -1 and so on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from 1970: the inverse of [`days`].
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What is left to read.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// The day that `text` names, the era at its end included, and what is between the two.
    fn civil(text: &'a [u8]) -> Option<(i64, Scan<'a>)> {
        let (rest, before) = match text.strip_suffix(b" BC") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut scan = Scan { rest };
        let year = scan.year()?;
        let year = if before { 1 - year } else { year };
        scan.expect(b'-')?;
        let month = scan.two(1, 12)?;
        scan.expect(b'-')?;
        let day = scan.two(1, month_length(year, month))?;
        Some((days(year, month, day), scan))
    }

    /// Four to seven digits, 1 at least.
    fn year(&mut self) -> Option<i64> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let year = (4..=7).contains(&length).then(|| decimal(digits))?;
        (year > 0).then_some(year)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// Two digits that make a number between `low` and `high`.
    fn two(&mut self, low: i64, high: i64) -> Option<i64> {
        let (&[tens, units], rest) = self.rest.split_first_chunk::<2>()?;
        (tens.is_ascii_digit() && units.is_ascii_digit()).then_some(())?;
        self.rest = rest;
        let number = i64::from(tens - b'0') * 10 + i64::from(units - b'0');
        (low..=high).contains(&number).then_some(number)
    }

    /// `hh:mm:ss` with up to six digits of fraction, in microseconds.
    fn clock(&mut self) -> Option<i64> {
        let hours = self.two(0, 24)?;
        self.expect(b':')?;
        let minutes = self.two(0, 59)?;
        self.expect(b':')?;
        let seconds = self.two(0, 59)?;
        Some((hours * 3600 + minutes * 60 + seconds) * SECOND + self.fraction()?)
    }

    fn fraction(&mut self) -> Option<i64> {
        if self.expect(b'.').is_none() {
            return Some(0);
        }
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let missing = u32::try_from(6_usize.checked_sub(length)?).ok()?;
        (length > 0).then(|| decimal(digits) * 10_i64.pow(missing))
    }

    /// `+hh`, `+hh:mm` or `+hh:mm:ss` east of Greenwich, in microseconds.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.rest.split_first()? {
            (b'+', rest) => (1, rest),
            (b'-', rest) => (-1, rest),
            _ => return None,
        };
        self.rest = sign.1;
        let mut seconds = self.two(0, 15)? * 3600;
        for unit in [60, 1] {
            if self.expect(b':').is_none() {
                break;
            }
            seconds += self.two(0, 59)? * unit;
        }
        Some(sign.0 * seconds * SECOND)
    }
}

/// The number that at most seven digits make.
fn decimal(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |total, digit| total * 10 + i64::from(digit - b'0'))
}
