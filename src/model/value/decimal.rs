//! Integers of any size between decimal digits and two's complement.

use std::borrow::Cow;

/// Appends big-endian two's complement `bytes` without the bytes that only repeat the sign.
pub(super) fn push_minimal(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((first, rest)) = bytes.split_first() {
        let repeats = rest.first().is_some_and(|second| matches!((first, second >> 7), (0, 0) | (255, 1)));
        if !repeats {
            break;
        }
        bytes = rest;
    }
    out.extend_from_slice(bytes);
}

/// Appends the number that `digits` make, in as few bytes as it needs.
pub(super) fn push_large(digits: impl Iterator<Item = u8>, negative: bool, out: &mut Vec<u8>) {
    let mut limbs: Vec<u32> = Vec::new();
    let mut digits = digits.peekable();
    while digits.peek().is_some() {
        let (mut carry, mut factor) = (0, 1);
        for digit in digits.by_ref().take(9) {
            carry = carry * 10 + u64::from(digit - b'0');
            factor *= 10;
        }
        for limb in &mut limbs {
            carry += u64::from(*limb) * factor;
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    limbs.push(0);
    if negative {
        negate(&mut limbs);
    }
    let bytes: Vec<u8> = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
    push_minimal(&bytes, out);
}

/// Whether big-endian two's complement `bytes` are negative, and the decimal digits of the absolute value; `place` holds
/// those of small numbers.
pub(super) fn digits<'a>(bytes: &[u8], place: &'a mut itoa::Buffer) -> (bool, Cow<'a, str>) {
    let negative = bytes.first().is_some_and(|byte| byte >> 7 == 1);
    if bytes.len() <= 8 {
        let start = if negative { -1 } else { 0 };
        let value = bytes.iter().fold(start, |total: i64, byte| total << 8 | i64::from(*byte));
        return (negative, Cow::Borrowed(place.format(value.unsigned_abs())));
    }
    let mut limbs: Vec<u32> = bytes.rchunks(4).map(|chunk| limb(chunk, negative)).collect();
    if negative {
        negate(&mut limbs);
    }
    (negative, Cow::Owned(large_digits(limbs)))
}

/// Up to four bytes, the sign filled in above them.
fn limb(bytes: &[u8], negative: bool) -> u32 {
    let start = if negative { u32::MAX } else { 0 };
    bytes.iter().fold(start, |total, byte| total << 8 | u32::from(*byte))
}

fn large_digits(mut limbs: Vec<u32>) -> String {
    const BILLION: u64 = 1_000_000_000;
    let mut groups = Vec::new();
    while !limbs.is_empty() {
        let mut rest = 0;
        for limb in limbs.iter_mut().rev() {
            let value = rest << 32 | u64::from(*limb);
            *limb = (value / BILLION) as u32;
            rest = value % BILLION;
        }
        groups.push(rest);
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
    }
    let text: String = groups.iter().rev().map(|group| format!("{group:09}")).collect();
    text.trim_start_matches('0').to_owned()
}

/// Two's complement of little-endian `limbs`.
fn negate(limbs: &mut [u32]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
    }
}
