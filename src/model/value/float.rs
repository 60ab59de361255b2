//! The shortest decimal digits of a floating-point number, as PostgreSQL chooses them.
//!
//! The standard library's are the fewest digits that lead back to the number. PostgreSQL's differ in two rare cases. It
//! takes no text that lies in the very middle between two numbers, though a reader who rounds to even would find back.
//! And of two texts that are equally near it takes the one whose last digit is even.
//!
//! <https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT>

use std::fmt::{LowerExp, Write};
use std::str::FromStr;

/// A positive, finite number in decimal: 0.`digits` times a power of ten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortest {
    text: Text,
    /// The power of ten that the first digit stands for.
    pub(super) exponent: i32,
}

impl Shortest {
    /// The digits, without zeros at the end.
    pub(super) fn digits(&self) -> &[u8] {
        self.text.bytes()
    }

    /// Of a `real` that is finite and above zero.
    pub(super) fn single(value: f32) -> Shortest {
        let bits = value.to_bits();
        shortest(value, parts(u64::from(bits), 23, -149))
    }

    /// Of a `double precision` that is finite and above zero.
    pub(super) fn double(value: f64) -> Shortest {
        shortest(value, parts(value.to_bits(), 52, -1074))
    }
}

/// A binary number: `mantissa` times two to the power of `exponent`.
#[derive(Clone, Copy)]
struct Parts {
    mantissa: u64,
    exponent: i32,
    /// Whether the next smaller number is but half as far as the next larger one.
    edge: bool,
}

/// Takes the bits of a positive number apart.
fn parts(bits: u64, fraction: u32, least: i32) -> Parts {
    let mantissa = bits & ((1 << fraction) - 1);
    match i32::try_from(bits >> fraction).unwrap_or(0) {
        0 => Parts { mantissa, exponent: least, edge: false },
        raised => Parts {
            mantissa: mantissa | 1 << fraction,
            exponent: least + raised - 1,
            edge: mantissa == 0 && raised > 1,
        },
    }
}

/// `number` times ten to the power of `exponent`.
#[derive(Clone, Copy, PartialEq)]
struct Decimal {
    number: u64,
    exponent: i32,
}

fn shortest<T: LowerExp + FromStr + PartialEq + Copy>(value: T, parts: Parts) -> Shortest {
    let mut text = Text::default();
    let found = write!(text, "{value:e}").ok().and_then(|()| text.decimal());
    let Some(found) = found else { return Shortest { text, exponent: 0 } };
    let chosen = if parts.mantissa.is_multiple_of(2) && between(found, parts) {
        inside(value, found, parts)
    } else {
        even(value, found, parts)
    };
    let mut digits = Text::default();
    // Twenty digits fit.
    let _ = write!(digits, "{}", chosen.number);
    let exponent = chosen.exponent + i32::try_from(digits.length).unwrap_or(0) - 1;
    digits.trim();
    Shortest { text: digits, exponent }
}

/// Whether the decimal lies in the very middle between the number and one of its neighbours.
fn between(decimal: Decimal, parts: Parts) -> bool {
    let Parts { mantissa, exponent, edge } = parts;
    let lower = if edge { (4 * mantissa - 1, exponent - 2) } else { (2 * mantissa - 1, exponent - 1) };
    let binary = odd(decimal);
    binary == Some((2 * mantissa + 1, exponent - 1)) || binary == Some(lower)
}

/// The decimal as an odd number times a power of two, where it is one that small.
fn odd(decimal: Decimal) -> Option<(u64, i32)> {
    let power = 5_u128.checked_pow(decimal.exponent.unsigned_abs()).filter(|power| *power < 1 << 64)?;
    let number = u128::from(decimal.number);
    let whole = match decimal.exponent {
        0.. => number.checked_mul(power)?,
        _ => (number % power == 0).then(|| number / power)?,
    };
    let zeros = whole.trailing_zeros();
    Some((u64::try_from(whole.checked_shr(zeros)?).ok()?, decimal.exponent + i32::try_from(zeros).ok()?))
}

/// The nearest decimal in as few digits as keep clear of the middles, where `found` is one.
fn inside<T: LowerExp + FromStr + PartialEq + Copy>(value: T, found: Decimal, parts: Parts) -> Decimal {
    let fits = |decimal: Decimal| decimal.parsed() == Some(value) && !between(decimal, parts);
    let beside = [found.number.wrapping_add(1), found.number.wrapping_sub(1)];
    let beside = beside.map(|number| Decimal { number, ..found }).into_iter().find(|decimal| fits(*decimal));
    let mut longer = (1..17).filter_map(|places| {
        let mut text = Text::default();
        write!(text, "{value:.places$e}").ok()?;
        text.decimal()
    });
    beside.or_else(|| longer.find(|decimal| fits(*decimal))).unwrap_or(found)
}

/// Of two decimals that are equally near the even one.
fn even<T: FromStr + PartialEq + Copy>(value: T, found: Decimal, parts: Parts) -> Decimal {
    let zeros = parts.mantissa.trailing_zeros();
    let tie = found.exponent < 0 && i64::from(parts.exponent) + i64::from(zeros) == i64::from(found.exponent) - 1;
    if !tie || found.number.is_multiple_of(2) {
        return found;
    }
    let power = 5_u128.checked_pow(found.exponent.unsigned_abs());
    let doubled = power.and_then(|power| power.checked_mul(u128::from(parts.mantissa >> zeros)));
    let Some(lower) = doubled.and_then(|doubled| u64::try_from(doubled / 2).ok()) else { return found };
    let other = Decimal { number: lower + lower % 2, ..found };
    if other.parsed() == Some(value) { other } else { found }
}

impl Decimal {
    fn parsed<T: FromStr>(self) -> Option<T> {
        let mut text = Text::default();
        write!(text, "{}e{}", self.number, self.exponent).ok()?;
        std::str::from_utf8(text.bytes()).ok()?.parse().ok()
    }
}

/// A short text on the stack.
#[derive(Clone, Copy, Default, Debug)]
struct Text {
    bytes: [u8; 32],
    length: usize,
}

impl Text {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn trim(&mut self) {
        while self.length > 1 && self.bytes().last() == Some(&b'0') {
            self.length -= 1;
        }
    }

    /// Reads `d.ddde-x`.
    fn decimal(&self) -> Option<Decimal> {
        let text = std::str::from_utf8(self.bytes()).ok()?;
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.len().saturating_sub(2);
        let digits = mantissa.bytes().filter(u8::is_ascii_digit);
        let number = digits.fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
        Some(Decimal { number, exponent: exponent.parse::<i32>().ok()? - i32::try_from(fraction).ok()? })
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
