//! Byte strings and UUIDs.

use super::ValueError;

const NONE: u8 = 255;

/// The value of each hexadecimal digit, [`NONE`] for all else.
const NIBBLES: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::indexing_slicing)] // Bounded by the loop, evaluated by the compiler.
        {
            table[byte] = match byte as u8 {
                digit @ b'0'..=b'9' => digit - b'0',
                letter @ b'a'..=b'f' => letter - b'a' + 10,
                letter @ b'A'..=b'F' => letter - b'A' + 10,
                _ => NONE,
            };
        }
        byte += 1;
    }
    table
};

fn nibble(digit: u8) -> u8 {
    NIBBLES.get(usize::from(digit)).copied().unwrap_or(NONE)
}

/// Appends a `bytea` that was printed in hex.
pub fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    const ERROR: ValueError = ValueError::new("bytea in hex");
    let digits = text.strip_prefix(b"\\x").ok_or(ERROR)?;
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(ERROR) };
    let start = out.len();
    let mut seen = 0;
    out.extend(pairs.iter().map(|&[high, low]| {
        let (high, low) = (nibble(high), nibble(low));
        seen |= high | low;
        high << 4 | (low & 15)
    }));
    if seen > 15 {
        out.truncate(start);
        return Err(ERROR);
    }
    Ok(())
}

/// A `uuid`.
pub fn uuid(text: &[u8]) -> Result<[u8; 16], ValueError> {
    const ERROR: ValueError = ValueError::new("a UUID");
    if text.len() != 36 || ![8, 13, 18, 23].iter().all(|&i| text.get(i) == Some(&b'-')) {
        return Err(ERROR);
    }
    let mut digits = text.iter().filter(|&&byte| byte != b'-').map(|&byte| nibble(byte));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        let (high, low) = (digits.next().ok_or(ERROR)?, digits.next().ok_or(ERROR)?);
        if high | low > 15 {
            return Err(ERROR);
        }
        *byte = high << 4 | low;
    }
    Ok(uuid)
}
