//! Addresses of networks and of hardware.

use super::SendError;
use super::reader::Reader;
use crate::model::value::print;

type Result<T = ()> = std::result::Result<T, SendError>;

/// `inet` and `cidr`: the family, the bits of the network, whether it is a `cidr`, the address.
pub(super) fn address(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (family, bits, network, length) = (from.u8()?, from.u8()?, from.u8()?, from.u8()?);
    let all = match (family, length) {
        (2, 4) => {
            dotted(&from.array()?, out);
            32
        }
        (3, 16) => {
            colons(&from.array()?, out);
            128
        }
        _ => return Err(SendError::Broken),
    };
    if bits > all || network > 1 {
        return Err(SendError::Broken);
    }
    if network == 1 || bits < all {
        out.push(b'/');
        print::int(i64::from(bits), out);
    }
    Ok(())
}

fn dotted(address: &[u8; 4], out: &mut Vec<u8>) {
    for (at, byte) in address.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        print::int(i64::from(*byte), out);
    }
}

/// Words in hexadecimal digits, the first of the longest runs of zeros left out; an address of version 4 inside as such.
fn colons(address: &[u8; 16], out: &mut Vec<u8>) {
    let (pairs, _) = address.as_chunks::<2>();
    let words: [u16; 8] = std::array::from_fn(|at| pairs.get(at).map_or(0, |pair| u16::from_be_bytes(*pair)));
    let (start, length) = longest_zeros(&words);
    let embedded = start == 0 && (length == 6 || length == 5 && words.get(5) == Some(&0xFFFF));
    for (at, word) in words.iter().enumerate() {
        if (start..start + length).contains(&at) {
            if at == start {
                out.push(b':');
            }
            continue;
        }
        if at > 0 {
            out.push(b':');
        }
        if at == 6 && embedded {
            let [.., a, b, c, d] = *address;
            return dotted(&[a, b, c, d], out);
        }
        hex(*word, out);
    }
    if length > 0 && start + length == 8 {
        out.push(b':');
    }
}

/// Where the first of the longest runs of two or more zeros begins, and its length.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let run = |at: usize| words.iter().skip(at).take_while(|word| **word == 0).count();
    let runs = (0..8).map(|at| (at, run(at))).filter(|(_, length)| *length >= 2);
    runs.fold((0, 0), |best, run| if run.1 > best.1 { run } else { best })
}

fn hex(word: u16, out: &mut Vec<u8>) {
    let digit = |nibble: u16| b"0123456789abcdef".get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    let skipped = u16::try_from(word.leading_zeros() / 4).unwrap_or(0).min(3);
    out.extend((skipped..4).map(|at| digit(word >> (12 - 4 * at))));
}

/// `macaddr` and `macaddr8`
pub(super) fn hardware<const N: usize>(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let bytes: [u8; N] = from.array()?;
    let digit = |nibble: u8| b"0123456789abcdef".get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.extend_from_slice(&[digit(byte >> 4), digit(*byte)]);
    }
    Ok(())
}
