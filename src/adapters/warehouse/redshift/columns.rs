//! Staged rows turned into columns, as Parquet has them.

use crate::codecs::dialect::{LONGEST_BYTES, LONGEST_TEXT, Staging};
use crate::model::Cell;
use crate::model::value::{self, Finite, Numeric};

/// Days from 1970 back to the first day of our era, and on to the last one that Redshift knows.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 106_751_990;
const DAY: i64 = 86_400_000_000;

/// Why a value has no place in Redshift.
pub(super) type Misfit = &'static str;

/// The values of one column of one row group.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) staging: Staging,
    /// Whether text that ends in blanks, and NULL, are refused; numbers as text are cut to what tells them apart.
    key: Option<Key>,
    /// 1 for a value, 0 for NULL.
    pub(super) levels: Vec<i16>,
    pub(super) values: Values,
    /// The longest text so far, of all row groups.
    pub(super) longest: usize,
}

/// What a key's column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Text in which every blank counts at the source.
    Text,
    /// Text in which blanks at the end don't.
    Padded,
    /// A number as text.
    Number,
    /// What compares alike on both sides.
    Other,
}

/// Values without NULLs.
pub(super) enum Values {
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Bools(Vec<bool>),
    /// One after another, with the end of each.
    Bytes(Vec<u8>, Vec<usize>),
}

impl Column {
    pub(super) fn new(name: String, staging: Staging, key: Option<Key>) -> Column {
        let values = match staging {
            Staging::Int2 | Staging::Int4 | Staging::Date | Staging::Decimal(..=9, _) => Values::Ints(Vec::new()),
            Staging::Int8 | Staging::Timestamp | Staging::Decimal(..=18, _) => Values::Longs(Vec::new()),
            Staging::Float4 => Values::Floats(Vec::new()),
            Staging::Float8 => Values::Doubles(Vec::new()),
            Staging::Bool => Values::Bools(Vec::new()),
            Staging::Decimal(..) | Staging::Bytes | Staging::Time | Staging::Super | Staging::Text => {
                Values::Bytes(Vec::new(), Vec::new())
            }
        };
        Column { name, staging, key, levels: Vec::new(), values, longest: 0 }
    }

    pub(super) fn null(&mut self) {
        self.levels.push(0);
    }

    pub(super) fn long(&mut self, number: i64) {
        if let Values::Longs(values) = &mut self.values {
            values.push(number);
            self.levels.push(1);
        }
    }

    pub(super) fn cell(&mut self, cell: Cell<'_>) -> Result<(), Misfit> {
        match cell {
            Cell::Null | Cell::Unchanged if self.key.is_some() => Err("is NULL, which no key's column can be"),
            Cell::Null | Cell::Unchanged => {
                self.levels.push(0);
                Ok(())
            }
            Cell::Text(text) => {
                self.text(text)?;
                self.levels.push(1);
                Ok(())
            }
            Cell::Binary(_) => Err("came in binary form"),
        }
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Misfit> {
        let unread = |_| "is not what its type prints";
        match (&mut self.values, self.staging) {
            (Values::Ints(values), Staging::Decimal(_, scale)) => {
                values.push(i32::try_from(decimal(text, scale)?).map_err(|_| TOO_MANY_DIGITS)?);
            }
            (Values::Ints(values), Staging::Date) => values.push(day(text)?),
            (Values::Ints(values), _) => {
                values.push(i32::try_from(value::int(text).map_err(unread)?).map_err(|_| "is too large")?);
            }
            (Values::Longs(values), Staging::Decimal(_, scale)) => {
                values.push(i64::try_from(decimal(text, scale)?).map_err(|_| TOO_MANY_DIGITS)?);
            }
            (Values::Longs(values), Staging::Timestamp) => values.push(moment(text)?),
            (Values::Longs(values), _) => values.push(value::int(text).map_err(unread)?),
            (Values::Floats(values), _) => values.push(value::float4(text).map_err(unread)?),
            (Values::Doubles(values), _) => values.push(value::float8(text).map_err(unread)?),
            (Values::Bools(values), _) => values.push(value::boolean(text).map_err(unread)?),
            (Values::Bytes(buffer, ends), staging) => {
                let start = buffer.len();
                match staging {
                    Staging::Decimal(precision, scale) => {
                        let number = decimal(text, scale)?;
                        if number.unsigned_abs() >= 10_u128.pow(u32::from(precision)) {
                            return Err(TOO_MANY_DIGITS);
                        }
                        buffer.extend_from_slice(&number.to_be_bytes());
                    }
                    Staging::Bytes => {
                        value::bytea(text, buffer).map_err(unread)?;
                        if buffer.len() - start > LONGEST_BYTES {
                            buffer.truncate(start);
                            return Err("has more than 1,024,000 bytes, the most that VARBYTE holds");
                        }
                    }
                    _ => buffer.extend_from_slice(readable(text, staging, self.key)?),
                }
                self.longest = self.longest.max(buffer.len() - start);
                ends.push(buffer.len());
            }
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(super) fn size(&self) -> usize {
        self.levels.len() * 8 + if let Values::Bytes(buffer, _) = &self.values { buffer.len() } else { 0 }
    }

    /// Forgets the values, once they are written.
    pub(super) fn clear(&mut self) {
        self.levels.clear();
        match &mut self.values {
            Values::Ints(values) => values.clear(),
            Values::Longs(values) => values.clear(),
            Values::Floats(values) => values.clear(),
            Values::Doubles(values) => values.clear(),
            Values::Bools(values) => values.clear(),
            Values::Bytes(buffer, ends) => {
                buffer.clear();
                ends.clear();
            }
        }
    }
}

const TOO_MANY_DIGITS: Misfit = "has more digits than the column's type";

/// Text as it goes into Redshift.
pub(super) fn readable(text: &[u8], staging: Staging, key: Option<Key>) -> Result<&[u8], Misfit> {
    let text = match key {
        Some(Key::Number) => shortest(text),
        _ => text,
    };
    if text.len() > LONGEST_TEXT {
        return Err("has more than 65,535 bytes, the most that a text of Redshift holds");
    }
    if std::str::from_utf8(text).is_err() {
        return Err("is not UTF-8");
    }
    if key == Some(Key::Text) && text.last() == Some(&b' ') {
        return Err("ends in a blank, which Redshift would take for the same key without it");
    }
    match staging {
        Staging::Time if value::time(text).map_err(|_| "is not a time of day")? >= DAY => {
            Err("is 24:00, which Redshift does not know")
        }
        Staging::Super => json(text).map(|()| text),
        _ => Ok(text),
    }
}

/// A number without the zeros that make no difference.
fn shortest(text: &[u8]) -> &[u8] {
    if !text.contains(&b'.') {
        return text;
    }
    let end = text.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
    let cut = text.get(..end).unwrap_or(text);
    let cut = cut.strip_suffix(b".").unwrap_or(cut);
    if cut == b"-0" { b"0" } else { cut }
}

pub(super) fn decimal(text: &[u8], scale: u8) -> Result<i128, Misfit> {
    if let Some(number) = Numeric::short(text, usize::from(scale)) {
        return Ok(i128::from(number));
    }
    match Numeric::parse(text).map_err(|_| "is not a numeric")? {
        Numeric::NaN => Err("is NaN, which Redshift's DECIMAL does not know"),
        Numeric::Infinity | Numeric::NegInfinity => Err("is infinite, which Redshift's DECIMAL does not know"),
        finite => finite.unscaled_i128(i32::from(scale)).ok_or(TOO_MANY_DIGITS),
    }
}

pub(super) fn day(text: &[u8]) -> Result<i32, Misfit> {
    match value::date(text).map_err(|_| "is not a date")? {
        Finite::Value(day) if day < FIRST_DAY => Err("lies before Christ"),
        Finite::Value(day) if day > LAST_DAY => Err("lies beyond the year 294246"),
        Finite::Value(day) => Ok(day),
        _ => Err("is infinite, which Redshift's DATE does not know"),
    }
}

/// Microseconds since 1970, in UTC.
pub(super) fn moment(text: &[u8]) -> Result<i64, Misfit> {
    let zoned = text.iter().skip(19).any(|b| matches!(b, b'+' | b'-'));
    let read = if zoned { value::timestamptz(text) } else { value::timestamp(text) };
    match read.map_err(|_| "is not a time that Redshift knows")? {
        Finite::Value(micros) if micros < i64::from(FIRST_DAY) * DAY => Err("lies before Christ"),
        Finite::Value(micros) => Ok(micros),
        _ => Err("is infinite, which Redshift's TIMESTAMP does not know"),
    }
}

/// Whether SUPER keeps what it says: numbers of up to 38 digits without an exponent, up to 1,000 levels deep.
fn json(text: &[u8]) -> Result<(), Misfit> {
    let (mut depth, mut digits) = (0_u32, 0_u32);
    let mut bytes = text.iter();
    let mut number = false;
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(&inner) = bytes.next() {
                    match inner {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match byte {
            b'0'..=b'9' => {
                digits = if number { digits + 1 } else { 1 };
                number = true;
            }
            b'.' if number => {}
            b'e' | b'E' if number => return Err("holds a number with an exponent, which SUPER keeps as a float"),
            _ => number = false,
        }
        if digits > 38 {
            return Err("holds a number of more than 38 digits, which SUPER does not keep");
        }
        if depth > 1000 {
            return Err("is nested deeper than SUPER allows");
        }
    }
    Ok(())
}
