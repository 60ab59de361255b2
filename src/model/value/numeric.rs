//! `numeric`, of any size.

use super::{ValueError, decimal, digits};

/// A parsed `numeric`: its digits stay where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numeric<'a> {
    /// Not a number.
    NaN,
    /// Above all numbers.
    Infinity,
    /// Below all numbers.
    NegInfinity,
    /// A number.
    Finite {
        /// Whether it is below zero.
        negative: bool,
        /// The digits before the point.
        whole: &'a [u8],
        /// The digits after it: their count is the display scale.
        fraction: &'a [u8],
    },
}

const ERROR: ValueError = ValueError::new("a numeric");
const SCALE: ValueError = ValueError::new("a numeric with no more digits than the scale");

impl<'a> Numeric<'a> {
    /// Reads what PostgreSQL prints: never in scientific notation.
    pub fn parse(text: &'a [u8]) -> Result<Numeric<'a>, ValueError> {
        match text {
            b"NaN" => return Ok(Numeric::NaN),
            b"Infinity" => return Ok(Numeric::Infinity),
            b"-Infinity" => return Ok(Numeric::NegInfinity),
            _ => {}
        }
        let (negative, digits) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match memchr::memchr(b'.', digits).and_then(|at| digits.split_at_checked(at)) {
            Some((whole, [_, fraction @ ..])) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(ERROR),
            None => (digits, &b""[..]),
        };
        let plain = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
        plain.then_some(Numeric::Finite { negative, whole, fraction }).ok_or(ERROR)
    }

    /// How many digits it shows after the point; 0 for what is no number.
    pub fn scale(&self) -> usize {
        match self {
            Numeric::Finite { fraction, .. } => fraction.len(),
            _ => 0,
        }
    }

    /// Appends its value times 10^`scale`, big-endian two's complement in as few bytes as it needs.
    ///
    /// An error for what is no number, and where digits beyond the scale are not zero.
    pub fn unscaled_be(&self, scale: i32, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let Numeric::Finite { negative, .. } = *self else { return Err(ERROR) };
        if let Some(value) = self.unscaled_i64(scale) {
            decimal::push_minimal(&value.to_be_bytes(), out);
            return Ok(());
        }
        match self.unscaled_i128(scale) {
            Some(value) => decimal::push_minimal(&value.to_be_bytes(), out),
            None => decimal::push_large(self.shifted(scale).ok_or(SCALE)?, negative, out),
        }
        Ok(())
    }

    /// Its value times 10^`scale`, where that surely fits and no digit is cut off: so are nearly all.
    fn unscaled_i64(&self, scale: i32) -> Option<i64> {
        let Numeric::Finite { negative, whole, fraction } = *self else { return None };
        let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
        if whole.len() + fraction.len() + missing > 18 {
            return None;
        }
        let total = whole.iter().chain(fraction).fold(0, |total: i64, digit| total * 10 + i64::from(digit - b'0'));
        let total = total * 10_i64.pow(u32::try_from(missing).ok()?);
        Some(if negative { -total } else { total })
    }

    /// What a column of this scale prints, times 10^`scale`: of up to 18 digits, as nearly all are; `None` for any other.
    #[inline]
    pub fn short(text: &[u8], scale: usize) -> Option<i64> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let number = match scale {
            0 => digits::number(digits)?,
            _ => {
                let (rest, fraction) = digits.split_at_checked(digits.len().checked_sub(scale)?)?;
                let (point, whole) = rest.split_last()?;
                let power = digits::ten(scale).filter(|_| *point == b'.' && whole.len() + scale <= 18)?;
                digits::number(whole)? * power + digits::number(fraction)?
            }
        };
        let number = number.cast_signed();
        Some(if negative { -number } else { number })
    }

    /// Its value times 10^`scale`, where that is an integer of at most 38 digits.
    pub fn unscaled_i128(&self, scale: i32) -> Option<i128> {
        let Numeric::Finite { negative, .. } = *self else { return None };
        let mut total: i128 = 0;
        for digit in self.shifted(scale)? {
            total = total.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        Some(if negative { -total } else { total })
    }

    /// The digits of its value times 10^`scale`; `None` where that is no integer.
    fn shifted(&self, scale: i32) -> Option<impl Iterator<Item = u8> + Clone + 'a> {
        let Numeric::Finite { whole, fraction, .. } = *self else { return None };
        let count = usize::try_from(i64::try_from(whole.len()).ok()? + i64::from(scale)).unwrap_or(0);
        let digits = whole.iter().chain(fraction).copied();
        let integer = digits.clone().skip(count).all(|digit| digit == b'0');
        integer.then(|| digits.chain(std::iter::repeat(b'0')).take(count))
    }

    /// Appends what `numeric_send` writes: base 10000, the display scale kept.
    pub fn pg_binary(&self, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let (sign, digits) = match *self {
            Numeric::NaN => (0xC000, None),
            Numeric::Infinity => (0xD000, None),
            Numeric::NegInfinity => (0xF000, None),
            Numeric::Finite { negative, whole, fraction } => (u16::from(negative) << 14, Some((whole, fraction))),
        };
        let start = out.len();
        out.extend([0; 4]);
        out.extend(u16::to_be_bytes(sign));
        out.extend(u16::try_from(self.scale()).map_err(|_| ERROR)?.to_be_bytes());
        let Some((whole, fraction)) = digits else { return Ok(()) };
        let (count, weight) = push_groups(whole, fraction, out);
        let mut head = [0; 4];
        let (counted, weighed) = head.split_at_mut(2);
        counted.copy_from_slice(&u16::try_from(count).map_err(|_| ERROR)?.to_be_bytes());
        weighed.copy_from_slice(&i16::try_from(weight).map_err(|_| ERROR)?.to_be_bytes());
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&head);
        }
        if count == 0 {
            // Zero has no sign.
            if let Some(place) = out.get_mut(start + 4..start + 6) {
                place.fill(0);
            }
        }
        Ok(())
    }
}

/// Appends groups of four digits without the zero groups at either end; returns their count and the first one's weight.
fn push_groups(whole: &[u8], fraction: &[u8], out: &mut Vec<u8>) -> (usize, i64) {
    let lead = whole.len().wrapping_neg() % 4;
    let mut weight = i64::try_from((whole.len() + lead) / 4).unwrap_or(i64::MAX) - 1;
    let pad = fraction.len().wrapping_neg() % 4;
    let zeros = |count| std::iter::repeat_n(b'0', count);
    let mut digits = zeros(lead).chain(whole.iter().copied()).chain(fraction.iter().copied()).chain(zeros(pad));
    let (mut count, mut kept) = (0, 0);
    let start = out.len();
    while let Some(first) = digits.next() {
        let group = digits.by_ref().take(3).fold(u16::from(first - b'0'), |n, d| n * 10 + u16::from(d - b'0'));
        if group == 0 && count == 0 {
            weight -= 1;
            continue;
        }
        out.extend(group.to_be_bytes());
        count += 1;
        if group != 0 {
            kept = count;
        }
    }
    out.truncate(start + 2 * kept);
    (kept, if kept == 0 { 0 } else { weight })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_short_way_of_numerics_ends_where_the_long_one_does(
            text in prop_oneof!["-?[0-9]{1,20}(\\.[0-9]{1,18})?", "-?[0-9]{0,9}[.,:e+-][0-9.]{0,9}"],
            scale in 0_usize..20,
        ) {
            let long = Numeric::parse(text.as_bytes());
            let scales = [scale, long.map_or(0, |numeric| numeric.scale())];
            for scale in scales {
                let Some(number) = Numeric::short(text.as_bytes(), scale) else { continue };
                let long = long.unwrap().unscaled_i128(i32::try_from(scale).unwrap());
                prop_assert_eq!(Some(i128::from(number)), long, "{} {}", text, scale);
            }
        }
    }

    #[test]
    fn what_a_column_of_its_scale_prints_goes_the_short_way() {
        for (text, scale, number) in [
            ("0", 0, 0),
            ("-12", 0, -12),
            ("0.00", 2, 0),
            ("977123.45", 2, 97_712_345),
            ("-1234567890.12345678", 8, -123_456_789_012_345_678),
        ] {
            assert_eq!(Numeric::short(text.as_bytes(), scale), Some(number), "{text}");
        }
        for (text, scale) in [("NaN", 2), ("1.5", 2), ("150", 2), (".50", 2), ("", 0), ("-", 0), ("1.", 0)] {
            assert_eq!(Numeric::short(text.as_bytes(), scale), None, "{text}");
        }
    }
}
