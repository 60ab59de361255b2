//! Text forms of the rarer types: money, points, bit strings, hstore.

use super::ValueError;

/// A `money` value as a decimal, `-1234.56`, whatever the locale puts around and between its digits.
///
/// The last point or comma is the decimal one where one or two digits follow it; a locale whose currency has three
/// digits of fraction, or none, can't be told from one that groups thousands.
pub fn money(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    const ERROR: ValueError = ValueError::new("an amount of money");
    let digits: Vec<usize> = (0..).zip(text).filter(|(_, b)| b.is_ascii_digit()).map(|(i, _)| i).collect();
    let (Some(&first), Some(&last)) = (digits.first(), digits.last()) else { return Err(ERROR) };
    let number = text.get(first..=last).ok_or(ERROR)?;
    let point = number.iter().rposition(|b| matches!(b, b'.' | b',')).filter(|at| number.len() - at <= 3);
    if text.iter().any(|b| matches!(b, b'-' | b'(')) {
        out.push(b'-');
    }
    for (at, byte) in number.iter().enumerate() {
        match byte {
            _ if Some(at) == point => out.push(b'.'),
            digit if digit.is_ascii_digit() => out.push(*digit),
            _ => {}
        }
    }
    Ok(())
}

/// The two coordinates of a `point`, as they are printed.
pub fn point(text: &[u8]) -> Result<(&[u8], &[u8]), ValueError> {
    const ERROR: ValueError = ValueError::new("a point");
    let inner = text.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or(ERROR)?;
    let comma = memchr::memchr(b',', inner).ok_or(ERROR)?;
    let (x, y) = inner.split_at_checked(comma).ok_or(ERROR)?;
    Ok((x, y.get(1..).unwrap_or_default()))
}

/// Appends the bytes (EWKB) of a PostGIS geometry, which prints them in hexadecimal digits; the reference system that
/// is in them, where there is one.
pub fn geometry(text: &[u8], out: &mut Vec<u8>) -> Result<Option<u32>, ValueError> {
    let start = out.len();
    super::bytea(&[b"\\x", text].concat(), out)?;
    let bytes = out.get(start..).unwrap_or_default();
    let little = bytes.first() == Some(&1);
    let number = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    Ok(number(1).filter(|kind| kind & 0x2000_0000 != 0).and_then(|_| number(5)))
}

/// An index of a sparse vector and its number, as it is printed.
pub type Entry<'a> = (i64, &'a [u8]);

/// The dimensions of a sparse vector, and its indexes with their numbers as they are printed: `{1:1.5,3:2}/5`.
pub fn sparse(text: &[u8]) -> Result<(i64, Vec<Entry<'_>>), ValueError> {
    const ERROR: ValueError = ValueError::new("a sparse vector");
    let slash = memchr::memrchr(b'/', text).ok_or(ERROR)?;
    let (pairs, dimensions) = text.split_at_checked(slash).ok_or(ERROR)?;
    let dimensions = super::int(dimensions.get(1..).ok_or(ERROR)?)?;
    let pairs = pairs.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).ok_or(ERROR)?;
    let pair = |pair: &'_ [u8]| -> Result<(i64, usize), ValueError> {
        let colon = memchr::memchr(b':', pair).ok_or(ERROR)?;
        Ok((super::int(pair.get(..colon).ok_or(ERROR)?)?, colon))
    };
    let split = pairs.split(|byte| *byte == b',').filter(|_| !pairs.is_empty());
    let pairs =
        split.map(|text| pair(text).and_then(|(index, colon)| Ok((index, text.get(colon + 1..).ok_or(ERROR)?))));
    Ok((dimensions, pairs.collect::<Result<_, _>>()?))
}

/// A bit string as bytes, the last bit the lowest of the first byte.
pub fn bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    for chunk in text.rchunks(8) {
        let mut byte = 0;
        for bit in chunk {
            byte = byte << 1
                | match bit {
                    b'0' => 0,
                    b'1' => 1,
                    _ => return Err(ValueError::new("a bit string")),
                };
        }
        out.push(byte);
    }
    Ok(())
}

/// A bit string of so many bits from such bytes; `None`: as many as are needed.
pub fn print_bits(bytes: &[u8], length: Option<usize>, out: &mut Vec<u8>) {
    let needed = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| {
        let byte = bytes.get(last).copied().unwrap_or(0);
        last * 8 + 8 - byte.leading_zeros() as usize
    });
    for bit in (0..length.unwrap_or(needed)).rev() {
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        out.push(b'0' + (byte >> (bit % 8) & 1));
    }
}

/// A key and its value, `None` for NULL.
pub type Pair = (Vec<u8>, Option<Vec<u8>>);

/// The pairs of an `hstore`, in its order.
pub fn hstore(text: &[u8]) -> Result<Vec<Pair>, ValueError> {
    const ERROR: ValueError = ValueError::new("an hstore");
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or(ERROR)?;
        let after = after.strip_prefix(b"=>").ok_or(ERROR)?;
        let (value, after) = match after.strip_prefix(b"NULL") {
            Some(after) => (None, after),
            None => quoted(after).map(|(value, after)| (Some(value), after)).ok_or(ERROR)?,
        };
        pairs.push((key, value));
        rest = match after {
            [] => after,
            _ => after.strip_prefix(b", ").filter(|rest| !rest.is_empty()).ok_or(ERROR)?,
        };
    }
    Ok(pairs)
}

/// A quoted string, and what follows it.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut bytes = text.strip_prefix(b"\"")?.iter();
    let mut value = Vec::new();
    loop {
        match bytes.next()? {
            b'"' => return Some((value, bytes.as_slice())),
            b'\\' => value.push(*bytes.next()?),
            plain => value.push(*plain),
        }
    }
}

/// Appends a pair as `hstore` prints it.
pub fn print_hstore(key: &[u8], value: Option<&[u8]>, first: bool, out: &mut Vec<u8>) {
    if !first {
        out.extend_from_slice(b", ");
    }
    quote(key, out);
    out.extend_from_slice(b"=>");
    match value {
        Some(value) => quote(value, out),
        None => out.extend_from_slice(b"NULL"),
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_in_every_dress() {
        for (text, expected) in [
            ("$1,234.56", "1234.56"),
            ("-$0.05", "-0.05"),
            ("($1.50)", "-1.50"),
            ("1.234,56 €", "1234.56"),
            ("¥1,234", "1234"),
            ("-92 233 720 368 547 758,08 €", "-92233720368547758.08"),
        ] {
            let mut out = Vec::new();
            assert_eq!(money(text.as_bytes(), &mut out), Ok(()), "{text}");
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
        assert!(money(b"", &mut Vec::new()).is_err());
    }

    #[test]
    fn bit_strings_are_little_endian_and_come_back() {
        for (text, bytes) in
            [("0000101", &[5][..]), ("000000110000001000000001", &[1, 2, 3]), ("", &[]), ("100000000", &[0, 1])]
        {
            let mut out = Vec::new();
            bits(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, bytes, "{text}");
            let mut back = Vec::new();
            print_bits(&out, Some(text.len()), &mut back);
            assert_eq!(String::from_utf8(back).unwrap(), text);
        }
        assert!(bits(b"012", &mut Vec::new()).is_err());
    }

    #[test]
    fn hstore_is_read_and_printed_as_it_was() {
        for text in [r#""a"=>"1""#, r#""k\"1"=>"v, 1", "k\\2"=>NULL, ""=>"NULL""#, ""] {
            let pairs = hstore(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            for (at, (key, value)) in pairs.iter().enumerate() {
                print_hstore(key, value.as_deref(), at == 0, &mut out);
            }
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for text in ["a", r#""a""#, r#""a"=>"#, r#""a"=>"b", "#, r#""a"=>"b"x"#] {
            assert!(hstore(text.as_bytes()).is_err(), "{text}");
        }
    }
}
