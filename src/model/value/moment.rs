//! Dates and times, in the proleptic Gregorian calendar as PostgreSQL counts it.

use super::{Finite, ValueError, digits};

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
#[inline]
pub fn pg_timestamp(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    match short(text) {
        Some(micros) => Ok(Finite::Value(micros)),
        None => moment(text, Zone::None),
    }
}

/// Microseconds since 2000 UTC of a `timestamptz`: its whole range fits.
#[inline]
pub fn pg_timestamptz(text: &[u8]) -> Result<Finite<i64>, ValueError> {
    match text.strip_suffix(b"+00").and_then(short) {
        Some(micros) => Ok(Finite::Value(micros)),
        None => moment(text, Zone::Offset),
    }
}

/// `YYYY-MM-DD hh:mm:ss` with up to six digits of fraction, as nearly all are, eight characters at a time.
#[inline]
fn short(text: &[u8]) -> Option<i64> {
    let (day_and_clock, fraction) = text.split_first_chunk::<19>()?;
    let [a @ .., _, _, _] = day_and_clock;
    let (first, second) = (a.first_chunk::<8>()?, a.last_chunk::<8>()?);
    let [.., colon, tens, units] = *day_and_clock;
    let [century, _, year, _, _, month, _, _] = two_by_two(*first, *b"0000-00-")?;
    let [day, _, _, hour, _, _, minute, _] = two_by_two(*second, *b"00 00:00")?;
    let [second, ..] = two_by_two([tens, units, colon, 0, 0, 0, 0, 0], *b"00:\0\0\0\0\0")?;
    let year = u32::from(century) * 100 + u32::from(year);
    let (month, day) = (u32::from(month), u32::from(day));
    let (leap, length) = (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0), month_days(month)?);
    let length = length + u32::from(leap && month == 2);
    if year == 0 || day == 0 || day > length || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (u32::from(hour) * 60 + u32::from(minute)) * 60 + u32::from(second);
    let micros = match fraction {
        [] => 0,
        [b'.', digits @ ..] => digits::number(digits)? * digits::ten(6_usize.checked_sub(digits.len())?)?,
        _ => return None,
    };
    let days = i64::from(day_number(year, month, day)) - (719_468 + EPOCH_DAYS);
    Some(days * DAY + i64::from(seconds) * SECOND + micros.cast_signed())
}

/// Seconds and fraction of an instant that is printed in UTC with a year of four digits, both as they are; `None` for
/// any other. That the day is one of the calendar is not looked at.
#[inline]
pub fn of_utc(text: &[u8]) -> Option<(&[u8; 19], &[u8])> {
    let (seconds, fraction) = text.strip_suffix(b"+00")?.split_first_chunk::<19>()?;
    two_by_two(*seconds.first_chunk::<8>()?, *b"0000-00-")?;
    let [rest @ .., a, b, c] = seconds;
    two_by_two(*rest.last_chunk::<8>()?, *b"00 00:00")?;
    two_by_two([*a, *b, *c, 0, 0, 0, 0, 0], *b":00\0\0\0\0\0")?;
    let fraction = match fraction {
        [] => fraction,
        [b'.', digits @ ..] if digits.len() <= 6 => {
            digits::number(digits)?;
            digits
        }
        _ => return None,
    };
    Some((seconds, fraction))
}

/// The numbers that pairs of digits make, each where its first digit is, where `text` has the form of `form`.
#[inline]
fn two_by_two(text: [u8; 8], form: [u8; 8]) -> Option<[u8; 8]> {
    let form_word = u64::from_le_bytes(form);
    let values = digits::values(u64::from_le_bytes(text) ^ form_word)?;
    // A zero has bits that no separator has, and what is no digit's place may have no other bits.
    let places = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0 } else { 0xFF }));
    (values & places == 0).then(|| digits::pairs(values))
}

/// Days of a month in a year that is no leap year.
#[inline]
fn month_days(month: u32) -> Option<u32> {
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    DAYS.get(month as usize).filter(|days| **days > 0).map(|days| u32::from(*days))
}

/// Days since the first of March of the year 0: [`days`] for years from 1 on.
#[inline]
fn day_number(year: u32, month: u32, day: u32) -> u32 {
    let year = year - u32::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::print;
    use super::*;

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let moment = -63_082_281_600_000_000_i64..252_455_616_000_000_000;
        let printed = moment.prop_map(|micros| {
            let mut out = Vec::new();
            print::pg_timestamp(Finite::Value(micros), &mut out);
            out
        });
        let made = "[0-9]{4}-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,7})?";
        prop_oneof![printed, made.prop_map(String::into_bytes)]
    }

    proptest! {
        #[test]
        fn the_short_way_of_moments_ends_where_the_long_one_does(
            mut text in texts(),
            change in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            if let Some((at, byte)) = change {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let (found, long) = (short(&text), finite(&text, Zone::None));
            let shown = String::from_utf8_lossy(&text).into_owned();
            // 24:00:00 is left to the long way.
            prop_assert!(found == long || (found.is_none() && text[11..13] == *b"24"), "{shown}: {found:?} {long:?}");
            text.extend(b"+00");
            prop_assert_eq!(pg_timestamptz(&text).ok(), moment(&text, Zone::Offset).ok(), "{}", shown);
        }
    }
}
