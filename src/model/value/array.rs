//! Arrays: `{1,NULL,"a b"}`, with dimensions and lower bounds.
//!
//! <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>

use std::borrow::Cow;

use super::{Shape, ValueError};

const ERROR: ValueError = ValueError::new("an array");

/// A parsed array: its shape is known, its elements are read on the way.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    /// Nesting depth; 0 for an empty array.
    pub dimensions: usize,
    /// Whether lower bounds other than 1 were given (`[0:1]={...}`).
    pub bounds: bool,
    /// `[0:1]`, or nothing.
    head: &'a [u8],
    body: &'a [u8],
    delimiter: u8,
}

impl<'a> Array<'a> {
    /// Reads the shape of an array whose elements are separated by `delimiter`: a comma for all types but `box`.
    pub fn parse(text: &'a [u8], delimiter: u8) -> Result<Array<'a>, ValueError> {
        let bounds = text.first() == Some(&b'[');
        let (head, body) = match memchr::memchr(b'=', text) {
            Some(at) if bounds => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
            _ => (&b""[..], text),
        };
        if body.first() != Some(&b'{') || body.last() != Some(&b'}') {
            return Err(ERROR);
        }
        let dimensions = if body == b"{}" { 0 } else { body.iter().take_while(|byte| **byte == b'{').count() };
        Ok(Array { dimensions, bounds, head, body, delimiter })
    }

    /// The length and the first index of each dimension.
    pub fn shape(&self) -> Result<Shape, ValueError> {
        if self.bounds { Shape::parse(self.head) } else { Shape::count(self.body, self.delimiter, self.dimensions) }
    }

    /// The elements in storage order, `None` for NULL.
    pub fn elements(&self) -> Elements<'a> {
        Elements { rest: self.body, delimiter: self.delimiter, ended: false }
    }
}

/// Walks an array's elements.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    delimiter: u8,
    ended: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Option<Cow<'a, [u8]>>, ValueError>;

    fn next(&mut self) -> Option<Self::Item> {
        let structure = |byte: &u8| matches!(byte, b'{' | b'}') || *byte == self.delimiter;
        let skip = self.rest.iter().take_while(|byte| structure(byte)).count();
        self.rest = self.rest.get(skip..).unwrap_or_default();
        if self.ended || self.rest.is_empty() {
            return None;
        }
        let element = match self.rest.strip_prefix(b"\"") {
            Some(quoted) => self.quoted(quoted),
            None => Ok(self.plain()),
        };
        self.ended = element.is_err();
        Some(element)
    }
}

impl<'a> Elements<'a> {
    fn plain(&mut self) -> Option<Cow<'a, [u8]>> {
        let delimiter = self.delimiter;
        let length = self.rest.iter().take_while(|byte| **byte != b'}' && **byte != delimiter).count();
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        (text != b"NULL").then_some(Cow::Borrowed(text))
    }

    fn quoted(&mut self, text: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, ValueError> {
        let at = memchr::memchr2(b'"', b'\\', text).ok_or(ERROR)?;
        if text.get(at) == Some(&b'"') {
            self.rest = text.get(at + 1..).unwrap_or_default();
            return Ok(text.get(..at).map(Cow::Borrowed));
        }
        let mut value = Vec::with_capacity(text.len().min(at * 2 + 16));
        let mut bytes = text.iter();
        loop {
            match bytes.next().ok_or(ERROR)? {
                b'"' => break,
                b'\\' => value.push(*bytes.next().ok_or(ERROR)?),
                plain => value.push(*plain),
            }
        }
        self.rest = bytes.as_slice();
        Ok(Some(Cow::Owned(value)))
    }
}

/// Prints a one-dimensional array element by element.
#[derive(Debug)]
pub struct ArrayWriter<'a> {
    out: &'a mut Vec<u8>,
    delimiter: u8,
    first: bool,
}

impl<'a> ArrayWriter<'a> {
    /// Begins an array at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, delimiter: u8) -> ArrayWriter<'a> {
        out.push(b'{');
        ArrayWriter { out, delimiter, first: true }
    }

    /// Adds an element, quoted where PostgreSQL quotes it; `None` for NULL.
    pub fn push(&mut self, element: Option<&[u8]>) {
        if !std::mem::take(&mut self.first) {
            self.out.push(self.delimiter);
        }
        push_element(self.out, self.delimiter, element);
    }

    /// Ends the array.
    pub fn finish(self) {
        self.out.push(b'}');
    }
}

/// Appends an element, quoted where PostgreSQL quotes it; `None` for NULL.
pub(super) fn push_element(out: &mut Vec<u8>, delimiter: u8, element: Option<&[u8]>) {
    let Some(text) = element else {
        out.extend(b"NULL");
        return;
    };
    if !needs_quotes(text, delimiter) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Whether an element's text is quoted inside an array.
pub fn needs_quotes(text: &[u8], delimiter: u8) -> bool {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b' ' | 9..=13) || *byte == delimiter;
    text.is_empty() || text.eq_ignore_ascii_case(b"NULL") || text.iter().any(special)
}
