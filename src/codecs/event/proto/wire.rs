//! Protobuf's wire format: tags, varints, lengths.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use crate::model::value::ValueError;

/// A number of seven bits a byte.
pub(super) const VARINT: u8 = 0;
/// Eight bytes.
pub(super) const FIXED64: u8 = 1;
/// A length and so many bytes.
pub(super) const BYTES: u8 = 2;
/// Four bytes.
pub(super) const FIXED32: u8 = 5;

const ERROR: ValueError = ValueError::new("Protobuf");

/// Appends a varint.
#[inline]
pub(super) fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes a varint takes.
#[inline]
pub(super) const fn varint_length(number: u64) -> usize {
    // One byte for every seven bits, without a division by seven.
    (((u64::BITS - (number | 1).leading_zeros()) * 9 + 64) / 64) as usize
}

/// A signed number as one whose varint is short when it is near zero.
#[inline]
pub(super) const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The inverse of [`zigzag`].
#[inline]
const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Appends a field's number and what follows it.
#[inline]
pub(super) fn tag(field: u32, wire: u8, out: &mut Vec<u8>) {
    varint(u64::from(field << 3 | u32::from(wire)), out);
}

/// How many bytes a field's tag takes.
#[inline]
pub(super) const fn tag_length(field: u32) -> usize {
    if field < 16 { 1 } else { 2 }
}

/// Appends a number, unless it is the default.
#[inline]
pub(super) fn number(field: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        some_number(field, number, out);
    }
}

/// Appends a number, 0 too.
#[inline]
pub(super) fn some_number(field: u32, number: u64, out: &mut Vec<u8>) {
    tag(field, VARINT, out);
    varint(number, out);
}

/// Appends bytes, unless there are none.
pub(super) fn bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        some_bytes(field, bytes, out);
    }
}

/// Appends bytes, none too.
#[inline]
pub(super) fn some_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tag(field, BYTES, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a message that takes about `guess` bytes: when its length is as long as that of the guess, nothing is moved.
pub(super) fn message<E>(
    field: u32,
    guess: usize,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    tag(field, BYTES, out);
    sized(guess, out, write)
}

/// Appends what [`message`] does, after the tag.
pub(super) fn sized<E>(
    guess: usize,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    let reserved = varint_length(guess as u64);
    out.extend_from_slice([0; 10].get(..reserved).unwrap_or_default());
    write(out)?;
    let length = out.len() - start - reserved;
    let needed = varint_length(length as u64);
    if needed > reserved {
        out.resize(out.len() + needed - reserved, 0);
    }
    if needed != reserved {
        out.copy_within(start + reserved..start + reserved + length, start + needed);
        out.truncate(start + needed + length);
    }
    let mut rest = length as u64;
    for byte in out.iter_mut().skip(start).take(needed) {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    if let Some(last) = out.get_mut(start + needed - 1) {
        *last &= 0x7F;
    }
    Ok(())
}

/// A field's value as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Reads the fields of a message.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, ValueError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| ERROR)?;
        let value = match (tag & 7) as u8 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => Wire::Fixed64(self.array()?),
            FIXED32 => Wire::Fixed32(self.array()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| ERROR)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ERROR)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            _ => return Err(ERROR),
        };
        match tag >> 3 {
            0 => Err(ERROR),
            field => Ok(Some((field, value))),
        }
    }

    /// Skips these bytes, where they are what comes next.
    pub(super) fn skip(&mut self, bytes: Option<&[u8]>) -> bool {
        match bytes.and_then(|bytes| self.rest.strip_prefix(bytes)) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Whether there is nothing more.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes a varint.
    pub(super) fn varint(&mut self) -> Result<u64, ValueError> {
        let mut number = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7F).checked_shl(at as u32 * 7).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(ERROR)
    }

    /// Takes so many bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(ERROR)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Wire<'a> {
    /// A varint.
    pub(super) fn number(self) -> Result<u64, ValueError> {
        match self {
            Wire::Varint(number) => Ok(number),
            _ => Err(ERROR),
        }
    }

    /// A varint of a signed number.
    pub(super) fn signed(self) -> Result<i64, ValueError> {
        self.number().map(unzigzag)
    }

    /// A text, bytes or a message.
    pub(super) fn bytes(self) -> Result<&'a [u8], ValueError> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(ERROR),
        }
    }

    /// Eight bytes.
    pub(super) fn eight(self) -> Result<[u8; 8], ValueError> {
        match self {
            Wire::Fixed64(bytes) => Ok(bytes),
            _ => Err(ERROR),
        }
    }

    /// Four bytes.
    pub(super) fn four(self) -> Result<[u8; 4], ValueError> {
        match self {
            Wire::Fixed32(bytes) => Ok(bytes),
            _ => Err(ERROR),
        }
    }

    /// Whether it holds many values of a repeated field at once.
    pub(super) fn packed(self) -> Option<Fields<'a>> {
        match self {
            Wire::Bytes(bytes) => Some(Fields::new(bytes)),
            _ => None,
        }
    }
}

/// The signed number of a varint.
pub(super) fn signed(number: u64) -> i64 {
    unzigzag(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back_and_are_as_long_as_told() {
        for bits in 0..64 {
            for number in [1_u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                varint(number, &mut out);
                assert_eq!(out.len(), varint_length(number), "{number}");
                assert_eq!(Fields::new(&out).varint(), Ok(number));
                let signed = number as i64;
                assert_eq!(unzigzag(zigzag(signed)), signed);
            }
        }
        assert_eq!((zigzag(0), zigzag(-1), zigzag(1)), (0, 1, 2));
    }

    #[test]
    fn a_message_has_its_length_whatever_was_guessed() {
        for length in [0_usize, 1, 127, 128, 300, 16_383, 16_384] {
            for guess in [0, 127, 128, 20_000, 3_000_000] {
                let mut out = vec![9];
                let written: Result<(), ()> = message(1, guess, &mut out, |out| {
                    out.extend(std::iter::repeat_n(7, length));
                    Ok(())
                });
                written.unwrap();
                let mut expected = vec![9];
                some_bytes(1, &vec![7; length], &mut expected);
                assert_eq!(out, expected, "{length} {guess}");
            }
        }
    }

    #[test]
    fn bytes_that_are_cut_off_or_malformed_are_refused() {
        let cut: [&[u8]; 6] = [&[0x80], &[0x0A, 2, 1], &[0x09, 1, 2], &[0x0D, 1], &[0x0B], &[0x02, 0]];
        for bytes in cut {
            assert!(Fields::new(bytes).next().is_err(), "{bytes:?}");
        }
        assert!(Fields::new(&[0xFF; 11]).varint().is_err());
        assert_eq!(Fields::new(&[]).next(), Ok(None));
    }
}
