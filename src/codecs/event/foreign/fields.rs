//! The fields of a JSON object, each with its own text.

use std::sync::Arc;

use super::ForeignError;
use super::typed::Typed;
use crate::codecs::event::json::{Reader, unescape};

/// A value: its JSON, and what a schema says of it.
#[derive(Clone, Debug)]
pub(in super::super) struct Field {
    pub(super) name: String,
    pub(super) json: Vec<u8>,
    pub(super) typed: Option<Arc<Typed>>,
}

/// Values by name, in the order they came.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fields(pub(super) Vec<Field>);

impl Fields {
    pub(super) fn find(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    /// The field of this name, which is at this place where rows are alike.
    pub(super) fn at(&self, place: usize, name: &str) -> Option<&Field> {
        self.0.get(place).filter(|field| field.name == name).or_else(|| self.find(name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|field| field.name.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.0.iter().map(|field| field.json.len() + 16).sum()
    }
}

/// Names with the JSON of their values.
pub(super) type Members<'a> = Vec<(String, &'a [u8])>;

/// The members of an object; `None` for what is no object. A name that comes twice is refused.
pub(super) fn members(json: &[u8]) -> Result<Option<Members<'_>>, ForeignError> {
    let mut reader = Reader::new(json);
    if !reader.take(b'{') {
        return Ok(None);
    }
    let (mut found, mut first): (Members<'_>, _) = (Vec::new(), true);
    while reader.item(std::mem::take(&mut first), b'}')? {
        let name = string_of(reader.raw_string()?)?;
        reader.expect(b':')?;
        let value = reader.value()?;
        if found.iter().any(|(known, _)| *known == name) {
            return Err(ForeignError::Unreadable("each name once in an object"));
        }
        found.push((name, value));
    }
    if reader.peek() != 0 {
        return Err(ForeignError::Unreadable("nothing behind the object"));
    }
    Ok(Some(found))
}

/// Refuses what is not JSON, to its last byte.
pub(super) fn check(json: &[u8]) -> Result<(), ForeignError> {
    let parsed: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(json);
    parsed.map(|_| ()).map_err(|_| ForeignError::Unreadable("JSON"))
}

/// The value of this name.
pub(super) fn member<'a>(members: &[(String, &'a [u8])], name: &str) -> Option<&'a [u8]> {
    members.iter().find(|(found, _)| found == name).map(|(_, value)| *value).filter(|value| *value != b"null")
}

/// The text of a JSON string; `None` for anything else.
pub(super) fn text(json: &[u8]) -> Option<String> {
    let raw = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    string_of(raw).ok()
}

/// The number of a JSON integer.
pub(super) fn integer(json: &[u8]) -> Option<i64> {
    std::str::from_utf8(json).ok()?.parse().ok()
}

fn string_of(raw: &[u8]) -> Result<String, ForeignError> {
    let mut out = Vec::new();
    unescape(raw, &mut out)?;
    String::from_utf8(out).map_err(|_| ForeignError::Unreadable("UTF-8"))
}
