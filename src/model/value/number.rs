//! Integers, floats and booleans.

use super::{ValueError, digits};

/// An integer of up to 64 bits: `smallint`, `integer`, `bigint`, `oid`.
#[inline]
pub fn int(text: &[u8]) -> Result<i64, ValueError> {
    match short_int(text) {
        Some(number) => Ok(number),
        None => any_int(text),
    }
}

/// One of up to sixteen digits, as nearly all are.
#[inline]
fn short_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = signed(text);
    let number = digits::number(digits)?.cast_signed();
    Some(if negative { -number } else { number })
}

/// Whether there is a minus, and what is behind it.
#[inline]
fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    }
}

fn any_int(text: &[u8]) -> Result<i64, ValueError> {
    const ERROR: ValueError = ValueError::new("an integer");
    let (negative, digits) = signed(text);
    if digits.is_empty() {
        return Err(ERROR);
    }
    let step = |total: i64, digit: &u8| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let total = total.checked_mul(10)?;
        if negative { total.checked_sub(digit) } else { total.checked_add(digit) }
    };
    digits.iter().try_fold(0, step).ok_or(ERROR)
}

/// A `real`.
pub fn float4(text: &[u8]) -> Result<f32, ValueError> {
    float(text, |value: &f32| value.is_finite())
}

/// A `double precision`.
#[inline]
pub fn float8(text: &[u8]) -> Result<f64, ValueError> {
    match short_float(text) {
        Some(number) => Ok(number),
        None => float(text, |value: &f64| value.is_finite()),
    }
}

/// One of few digits and no exponent. Digits and power of ten are exact as they are, so that their quotient is the
/// nearest there is: Clinger, "How to Read Floating Point Numbers Accurately", 1990.
#[inline]
fn short_float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = signed(text);
    let number = match digits.iter().position(|byte| *byte == b'.') {
        None => digits::number(digits).filter(|number| *number <= EXACT)? as f64,
        Some(at) => {
            let (whole, fraction) = (digits.get(..at)?, digits.get(at + 1..)?);
            let power = digits::ten(fraction.len())?;
            let number = digits::number(whole)?.checked_mul(power)?.checked_add(digits::number(fraction)?)?;
            // The powers up to 10^18 are exact too.
            (number <= EXACT).then_some(number as f64 / power as f64)?
        }
    };
    Some(if negative { -number } else { number })
}

/// Up to here each integer is a `f64`.
const EXACT: u64 = 1 << 53;

/// What is no number is spelled in one way only, and what is too large for the type is none.
fn float<T: std::str::FromStr>(text: &[u8], finite: fn(&T) -> bool) -> Result<T, ValueError> {
    const ERROR: ValueError = ValueError::new("a floating-point number");
    let special = matches!(text, b"NaN" | b"Infinity" | b"-Infinity");
    let (_, digits) = signed(text);
    if !special && !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(ERROR);
    }
    let text = std::str::from_utf8(text).map_err(|_| ERROR)?;
    let value = text.parse().map_err(|_| ERROR)?;
    if special || finite(&value) { Ok(value) } else { Err(ERROR) }
}

/// A `boolean`.
pub fn boolean(text: &[u8]) -> Result<bool, ValueError> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(ValueError::new("t or f")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers as texts, and texts that are nearly numbers.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?[0-9]{0,20}",
            "-?[0-9]{1,17}\\.[0-9]{0,17}",
            "-?[0-9]{0,9}[.eE+:/ -][0-9]{0,9}",
            any::<i64>().prop_map(|number| number.to_string()),
            // Around what is exact.
            ((1_u64 << 50)..(1 << 57), 1_usize..16).prop_map(|(number, places)| {
                let mut text = number.to_string();
                text.insert(text.len() - places, '.');
                text
            }),
            any::<f64>().prop_map(|number| number.to_string()),
            (any::<i32>(), 0_i32..12)
                .prop_map(|(number, places)| (f64::from(number) / 10_f64.powi(places)).to_string()),
        ]
    }

    #[test]
    fn what_postgresql_does_not_print_is_no_float() {
        for text in ["nan", "-NaN", "+1", "inf", "-inf", "infinity", ".5", "1e999", "-", "", "1e39x"] {
            assert!(float8(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(float4(b"1e39").is_err() && float8(b"1e39").is_ok());
        assert!(float8(b"NaN").unwrap().is_nan());
        assert_eq!((float4(b"-Infinity"), float8(b"-1e-7")), (Ok(f32::NEG_INFINITY), Ok(-1e-7)));
    }

    proptest! {
        #[test]
        fn the_short_ways_of_numbers_end_where_the_long_ones_do(text in texts()) {
            let bytes = text.as_bytes();
            if let Some(number) = short_int(bytes) {
                prop_assert_eq!(Ok(number), any_int(bytes), "{}", text);
            }
            if let Some(number) = short_float(bytes) {
                prop_assert_eq!(Ok(number.to_bits()), float(bytes, |value: &f64| value.is_finite()).map(f64::to_bits), "{}", text);
            }
        }
    }

    #[test]
    fn common_numbers_go_the_short_ways() {
        for text in ["0", "-1", "2147483647", "-9999999999999999"] {
            assert!(short_int(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["0", "-0", "70.123", "-0.000001", "9007199254740992", "123456.78", "0.1"] {
            assert!(short_float(text.as_bytes()).is_some(), "{text}");
        }
    }
}
