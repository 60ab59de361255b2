//! JSON, written and read: only what the envelope needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::value::ValueError;

const JSON: ValueError = ValueError::new("JSON");

/// Appends `text` as a JSON string: characters above U+FFFF as two upper-case escapes, all others as they are.
pub(in super::super) fn string(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    escaped(text, out, |b| b < 0x20 || b == b'"' || b == b'\\' || b >= 0xF0)
}

/// The same with every character as it is that a string may hold.
pub(super) fn bare_string(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    escaped(text, out, |b| b < 0x20 || b == b'"' || b == b'\\')
}

#[inline]
fn escaped(text: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool) -> Result<(), ValueError> {
    let mut text = std::str::from_utf8(text).map_err(|_| ValueError::new("UTF-8"))?;
    out.reserve(text.len() + 2);
    out.push(b'"');
    while let Some(at) = text.bytes().position(&special) {
        let (plain, rest) = text.split_at_checked(at).ok_or(JSON)?;
        out.extend_from_slice(plain.as_bytes());
        let mut rest = rest.chars();
        if let Some(special) = rest.next() {
            escape(special, out);
        }
        text = rest.as_str();
    }
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

fn escape(special: char, out: &mut Vec<u8>) {
    let short = match special {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        other => {
            let mut units = [0; 2];
            for unit in other.encode_utf16(&mut units) {
                out.extend(format!("\\u{unit:04X}").into_bytes());
            }
            return;
        }
    };
    out.extend([b'\\', short]);
}

/// Appends a decimal number.
pub(in super::super) fn number(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends bytes as a JSON string of their base64.
pub(in super::super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    STANDARD.encode_slice(bytes, place).expect("the place has base64's length");
    out.push(b'"');
}

/// Appends the bytes that a base64 text means.
pub(in super::super) fn unbase64(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    STANDARD.decode_vec(text, out).map_err(|_| ValueError::new("base64"))
}

/// The bytes that a base64 text means, in `place` where that is large enough.
pub(super) fn unbase64_short<'a>(text: &[u8], place: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = STANDARD.decode_slice(text, place).ok()?;
    place.get(..length)
}

/// Reads JSON from front to back. Nesting is not limited by the stack: nothing here recurses.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in super::super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    /// The next byte that is not white space, without taking it; 0 at the end.
    #[inline]
    pub(in super::super) fn peek(&mut self) -> u8 {
        match self.rest {
            [next, ..] if *next > b' ' => *next,
            _ => {
                self.rest = self.rest.trim_ascii_start();
                self.rest.first().copied().unwrap_or(0)
            }
        }
    }

    /// Takes `text` if it is next, exactly so.
    #[inline]
    pub(super) fn skip(&mut self, text: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What has not been taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(in super::super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        if there {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        there
    }

    /// Takes `byte`, which must be next.
    pub(in super::super) fn expect(&mut self, byte: u8) -> Result<(), ValueError> {
        if self.take(byte) { Ok(()) } else { Err(JSON) }
    }

    /// Takes the separator before the next item of a list or object; `false` and the closing byte taken at its end.
    pub(in super::super) fn item(&mut self, first: bool, close: u8) -> Result<bool, ValueError> {
        if self.take(close) {
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Takes a string; what is between its quotes, escapes as they are.
    pub(in super::super) fn raw_string(&mut self) -> Result<&'a [u8], ValueError> {
        self.expect(b'"')?;
        let mut from = 0;
        loop {
            let rest = self.rest.get(from..).ok_or(JSON)?;
            let at = from + memchr::memchr2(b'"', b'\\', rest).ok_or(JSON)?;
            if self.rest.get(at) == Some(&b'"') {
                let text = self.rest.get(..at).ok_or(JSON)?;
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(text);
            }
            from = at + 2;
        }
    }

    /// Takes a number or a literal, as it is written.
    pub(in super::super) fn word(&mut self) -> Result<&'a [u8], ValueError> {
        self.peek();
        let plain = |b: &&u8| matches!(**b, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.');
        let length = self.rest.iter().take_while(plain).count();
        let (word, rest) = self.rest.split_at_checked(length).ok_or(JSON)?;
        self.rest = rest;
        if word.is_empty() { Err(JSON) } else { Ok(word) }
    }

    /// Takes `null` if it is next.
    pub(in super::super) fn null(&mut self) -> Result<bool, ValueError> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        if self.word()? == b"null" { Ok(true) } else { Err(JSON) }
    }

    /// Takes any value; its bytes.
    pub(in super::super) fn value(&mut self) -> Result<&'a [u8], ValueError> {
        self.peek();
        let all = self.rest;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                b'"' => drop(self.raw_string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = self.rest.get(1..).unwrap_or_default();
                }
                b'}' | b']' | b',' | b':' if depth > 0 => {
                    depth -= usize::from(matches!(self.peek(), b'}' | b']'));
                    self.rest = self.rest.get(1..).unwrap_or_default();
                }
                _ => drop(self.word()?),
            }
            if depth == 0 {
                return all.get(..all.len() - self.rest.len()).ok_or(JSON);
            }
        }
    }
}

/// Appends what a string's bytes mean.
pub(in super::super) fn unescape(mut raw: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    while let Some(at) = memchr::memchr(b'\\', raw) {
        let (plain, escaped) = raw.split_at_checked(at).ok_or(JSON)?;
        out.extend_from_slice(plain);
        let ([_, code], rest) = escaped.split_first_chunk::<2>().ok_or(JSON)?;
        raw = rest;
        out.push(match code {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => *code,
            b'u' => {
                raw = unicode(escaped, out)?;
                continue;
            }
            _ => return Err(JSON),
        });
    }
    out.extend_from_slice(raw);
    Ok(())
}

/// Appends the character of one `\uXXXX` or of two that belong together; what follows them.
fn unicode<'a>(escaped: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], ValueError> {
    let (first, mut rest) = unit(escaped).ok_or(JSON)?;
    let mut units = [first, 0];
    let mut count = 1;
    if (0xD800..0xDC00).contains(&first) {
        let (second, after) = unit(rest).ok_or(JSON)?;
        (units, rest, count) = ([first, second], after, 2);
    }
    for character in char::decode_utf16(units.into_iter().take(count)) {
        let character = character.map_err(|_| JSON)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(rest)
}

fn unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.strip_prefix(b"\\u")?.split_first_chunk::<4>()?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}
