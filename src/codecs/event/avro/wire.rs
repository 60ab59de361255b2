//! Avro's binary encoding, as far as events need it.
//!
//! <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>

/// Appends an `int` or a `long`: zigzag, seven bits a byte.
#[inline]
pub(super) fn long(number: i64, out: &mut Vec<u8>) {
    let rest = (number as u64) << 1 ^ (number >> 63) as u64;
    if rest < 1 << 7 {
        return out.push(rest as u8);
    }
    if rest >= 1 << 56 {
        return long_of_any_size(rest, out);
    }
    let length = (70 - rest.leading_zeros()) as usize / 7;
    // Seven bits a byte, in three steps.
    let halves = (rest & 0x00FF_FFFF_F000_0000) << 4 | rest & 0x0FFF_FFFF;
    let quarters = (halves & 0x0FFF_C000_0FFF_C000) << 2 | halves & 0x0000_3FFF_0000_3FFF;
    let eighths = (quarters & 0x3F80_3F80_3F80_3F80) << 1 | quarters & 0x007F_007F_007F_007F;
    let more = 0x0080_8080_8080_8080 >> (8 * (8 - length));
    let start = out.len();
    out.extend_from_slice(&(eighths | more).to_le_bytes());
    out.truncate(start + length);
}

fn long_of_any_size(mut rest: u64, out: &mut Vec<u8>) {
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a `long` behind the number of its branch.
#[inline]
pub(super) fn branch_long(branch: Option<u8>, number: i64, out: &mut Vec<u8>) {
    out.extend(branch);
    long(number, out);
}

/// Appends `bytes` or a `string` behind the number of its branch.
#[inline]
pub(super) fn branch_bytes(branch: Option<u8>, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(branch);
    self::bytes(bytes, out);
}

/// Appends `bytes` or the UTF-8 of a `string`.
pub(super) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends a length or a count.
pub(super) fn length(length: usize, out: &mut Vec<u8>) {
    long(i64::try_from(length).unwrap_or(i64::MAX), out);
}

/// Appends what `write` writes behind its length.
pub(super) fn sized<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    // Room for the length of what is shorter than 64 bytes.
    out.push(0);
    write(out)?;
    let written = out.len() - start - 1;
    prefix(start, written, out);
    Ok(())
}

/// Puts a length or a count in the byte that was left for it at `start`; what needs more moves the rest.
pub(super) fn prefix(start: usize, number: usize, out: &mut Vec<u8>) {
    match u8::try_from(number << 1) {
        Ok(small) if small < 0x80 => {
            if let Some(place) = out.get_mut(start) {
                *place = small;
            }
        }
        _ => {
            let mut head = Vec::with_capacity(10);
            length(number, &mut head);
            out.splice(start..start + 1, head);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn seven_bits_a_byte_are_the_same_all_at_once_and_one_by_one(number: i64, shift in 0..64) {
            let number = number >> shift;
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            long(number, &mut found);
            long_of_any_size((number as u64) << 1 ^ (number >> 63) as u64, &mut expected);
            prop_assert_eq!(found, expected, "{}", number);
        }
    }

    #[test]
    fn numbers_are_written_as_the_specification_shows_them() {
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-2, &[3]),
            (-64, &[0x7F]),
            (64, &[0x80, 1]),
            (i64::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
        ] {
            let mut out = Vec::new();
            long(number, &mut out);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn a_length_stands_before_what_was_written_whatever_its_size() {
        for size in [0, 1, 63, 64, 8191, 8192, 70_000] {
            let mut out = vec![9];
            sized(&mut out, |out| {
                out.resize(out.len() + size, 7);
                Ok::<_, ()>(())
            })
            .unwrap();
            let mut expected = vec![9];
            super::bytes(&vec![7; size], &mut expected);
            assert!(out == expected, "{size}");
        }
    }
}
