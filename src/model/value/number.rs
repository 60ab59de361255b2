//! Integers, floats and booleans.

use super::ValueError;

/// An integer of up to 64 bits: `smallint`, `integer`, `bigint`, `oid`.
pub fn int(text: &[u8]) -> Result<i64, ValueError> {
    const ERROR: ValueError = ValueError::new("an integer");
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
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
    float(text)
}

/// A `double precision`.
pub fn float8(text: &[u8]) -> Result<f64, ValueError> {
    float(text)
}

fn float<T: std::str::FromStr>(text: &[u8]) -> Result<T, ValueError> {
    const ERROR: ValueError = ValueError::new("a floating-point number");
    let text = std::str::from_utf8(text).map_err(|_| ERROR)?;
    text.parse().map_err(|_| ERROR)
}

/// A `boolean`.
pub fn boolean(text: &[u8]) -> Result<bool, ValueError> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(ValueError::new("t or f")),
    }
}
