//! Decimal digits, eight at a time: the short ways of numbers and moments.

/// `'0'` in each byte.
const ZEROS: u64 = 0x3030_3030_3030_3030;
/// What takes a byte above 9, and no other, into its highest bit.
const ABOVE_NINE: u64 = 0x7676_7676_7676_7676;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Powers of ten up to 10^18.
const TENS: [u64; 19] = {
    let mut tens = [1; 19];
    let mut at = 1;
    while at < tens.len() {
        #[allow(clippy::indexing_slicing)] // Bounded by the loop, evaluated by the compiler.
        {
            tens[at] = tens[at - 1] * 10;
        }
        at += 1;
    }
    tens
};

/// 10^`power`, up to 18.
#[inline]
pub(super) fn ten(power: usize) -> Option<u64> {
    TENS.get(power).copied()
}

/// The number that eight characters make, the first in the lowest byte; `None` where one is no digit.
#[inline]
fn eight(characters: u64) -> Option<u64> {
    let digits = values(characters ^ ZEROS)?;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0xFF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = (pairs >> 16 & 0xFF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

/// `bytes` itself, where each is 9 at most.
#[inline]
pub(super) fn values(bytes: u64) -> Option<u64> {
    let above = (bytes.wrapping_add(ABOVE_NINE) | bytes) & HIGH;
    (above == 0).then_some(bytes)
}

/// Each digit's value times ten and the next one's, in the first one's byte.
#[inline]
pub(super) fn pairs(values: u64) -> [u8; 8] {
    values.wrapping_mul(10).wrapping_add(values >> 8).to_le_bytes()
}

/// The number that one to eight digits make.
#[inline]
fn up_to_eight(digits: &[u8]) -> Option<u64> {
    let length = digits.len();
    let characters = match (digits.first_chunk::<4>(), digits.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let missing = 8_usize.checked_sub(length)?;
            // What both have falls on itself.
            u64::from(u32::from_le_bytes(*last)) << 32 | u64::from(u32::from_le_bytes(*first)) << (8 * missing)
        }
        _ => match *digits {
            [a] => u64::from(a) << 56,
            [a, b] => u64::from(u16::from_le_bytes([a, b])) << 48,
            [a, b, c] => u64::from(u32::from_le_bytes([0, a, b, c])) << 32,
            _ => return None,
        },
    };
    // Zeros stand before what is shorter.
    eight(characters | ZEROS.checked_shr(8 * length as u32).unwrap_or(0))
}

/// The number that one to sixteen digits make; `None` where there is anything else, or more of them.
#[inline]
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    match digits.split_last_chunk::<8>() {
        None | Some(([], _)) => up_to_eight(digits),
        Some((head, tail)) => {
            let tail = eight(u64::from_le_bytes(*tail))?;
            Some(up_to_eight(head)? * 100_000_000 + tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_make_the_number_that_they_say(number: u64, length in 1_usize..=16) {
            let text = format!("{number:020}");
            let text = &text.as_bytes()[20 - length..];
            let said = std::str::from_utf8(text).unwrap().parse().unwrap();
            prop_assert_eq!(super::number(text), Some(said));
        }

        #[test]
        fn what_is_not_all_digits_makes_no_number(length in 1_usize..=16, at: prop::sample::Index, byte: u8) {
            prop_assume!(!byte.is_ascii_digit());
            let mut text = vec![b'7'; length];
            let at = at.index(length);
            text[at] = byte;
            prop_assert_eq!(super::number(&text), None);
        }
    }

    #[test]
    fn none_and_more_than_sixteen_make_no_number() {
        assert_eq!(number(b""), None);
        assert_eq!(number(&[b'1'; 17]), None);
        assert_eq!((ten(0), ten(18), ten(19)), (Some(1), Some(1_000_000_000_000_000_000), None));
    }
}
