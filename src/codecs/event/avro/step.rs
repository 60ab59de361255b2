//! What is compiled once for a column: how its values are written, and what stands in for those that are not there.

use super::super::encode::EncodeError;
use super::super::json;
use super::super::kind::{Kind, Named};
use super::super::modes::Binaries;
use super::super::modes::Modes;
use super::super::schema::Schema;
use super::quick::Quick;
use super::schema::null_first;
use super::wire;
use super::write::{Cast, Fit, value};
use crate::model::value::ValueError;
use crate::model::{Column, Table};

/// How one column is written.
#[derive(Debug)]
pub(super) struct Step {
    name: String,
    pub(super) cast: Cast,
    pub(super) quick: Quick,
    /// The branches of null and of a value, where the column may be null.
    pub(super) union: Option<(u8, u8)>,
    /// What stands in for a value that is not known: null where that is allowed.
    pub(super) absent: Vec<u8>,
    /// What stands in for a large value that an update did not touch.
    pub(super) placeholder: Vec<u8>,
}

/// The steps of a table's columns; `schemas` are those of the row's fields, one for each column that is told.
pub(super) fn steps(table: &Table, fields: &[(String, Schema)], modes: &Modes, placeholder: &str) -> Vec<Option<Step>> {
    let mut fields = fields.iter();
    let step = |(at, column): (usize, &Column)| {
        let kind = Kind::of(&column.pg_type, column.modifier, modes);
        let kind = kind.or_else(|| table.key.contains(&at).then_some(Kind::Text(Named::Plain)))?;
        let (_, schema) = fields.next()?;
        Some(Step::new(column, &kind, schema, placeholder))
    };
    table.columns.iter().enumerate().map(step).collect()
}

impl Step {
    fn new(column: &Column, kind: &Kind, schema: &Schema, text: &str) -> Step {
        let cast = Cast::new(kind, schema);
        let union = schema.optional.then(|| if null_first(schema) { (0, 2) } else { (2, 0) });
        let branch = union.map_or(vec![], |(_, some)| vec![some]);
        let absent = match union {
            Some((null, _)) => vec![null],
            None => match kind.zero(column) {
                Some(zero) => {
                    let mut text = Vec::new();
                    wire::bytes(zero.as_bytes(), &mut text);
                    text
                }
                None => fallback(&cast),
            },
        };
        let placeholder = match placeholder(&cast, text) {
            Some(bytes) => [branch, bytes].concat(),
            None => absent.clone(),
        };
        Step { name: column.name.clone(), quick: Quick::of(&cast), cast, union, absent, placeholder }
    }

    pub(super) fn error(&self, error: ValueError) -> EncodeError {
        EncodeError { column: self.name.clone(), expected: error.expected }
    }
}

/// A value of the kind that says nothing, written.
fn fallback(cast: &Cast) -> Vec<u8> {
    if matches!(cast.kind, Kind::Timestamptz { .. }) {
        // Without a fraction, whatever the column's values have.
        let mut out = Vec::new();
        wire::bytes(b"1970-01-01T00:00:00Z", &mut out);
        return out;
    }
    let text: &[u8] = match &cast.kind {
        Kind::Int | Kind::Float | Kind::Decimal { .. } | Kind::VariableDecimal | Kind::DecimalDouble => b"0",
        Kind::DecimalText | Kind::Money(_) | Kind::Bit => b"0",
        Kind::Bool => b"f",
        Kind::Date | Kind::IsoDate => b"1970-01-01",
        Kind::Time(_) | Kind::IsoTime => b"00:00:00",
        Kind::TimeTz => b"00:00:00+00",
        Kind::Timestamp(_) | Kind::IsoTimestamp => b"1970-01-01 00:00:00",
        Kind::Timestamptz { .. } => b"1970-01-01 00:00:00+00",
        Kind::Duration | Kind::IsoDuration => b"00:00:00",
        Kind::Bytes(_) => b"\\x",
        Kind::Point => b"(0,0)",
        // An empty collection.
        Kind::Geometry => b"010700000000000000",
        Kind::SparseVector => b"{}/0",
        Kind::Vector => b"[]",
        Kind::List(_) => b"{}",
        Kind::Text(_) | Kind::Bits(_) | Kind::HstoreText | Kind::HstoreMap => b"",
    };
    let (mut out, mut scratch) = (Vec::new(), Vec::new());
    let fit = value(cast, text, &mut out, &mut scratch).expect("a fallback has its kind's form");
    assert_eq!(fit, Fit::Fits, "a fallback fits its form");
    out
}

/// A placeholder, written; `None` for kinds that are never large, which PostgreSQL always sends.
fn placeholder(cast: &Cast, text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let string = |text: &str, out: &mut Vec<u8>| wire::bytes(text.as_bytes(), out);
    match &cast.kind {
        Kind::Text(Named::Uuid) => string(&json::name_uuid(text.as_bytes()), &mut out),
        Kind::Text(_) | Kind::IsoDate | Kind::IsoTime | Kind::IsoTimestamp | Kind::IsoDuration => {
            string(text, &mut out);
        }
        Kind::DecimalText | Kind::Decimal { .. } | Kind::Bits(_) => string(text, &mut out),
        // As Debezium has it.
        Kind::Bytes(Binaries::Hex) => string(text, &mut out),
        Kind::Bytes(form) => {
            let mut bytes = text.as_bytes().to_vec();
            if super::super::text::tells(&cast.kind) {
                bytes.clear();
                super::super::text::bytes(*form, text.as_bytes(), &mut bytes);
            }
            wire::bytes(&bytes, &mut out);
        }
        Kind::VariableDecimal => {
            wire::long(0, &mut out);
            string(text, &mut out);
        }
        Kind::Money(amount) => return placeholder(&Cast { kind: (**amount).clone(), ..cast.clone() }, text),
        Kind::HstoreText => {
            let quoted = serde_json::Value::from(text).to_string();
            string(&format!("{{{quoted}:{quoted}}}"), &mut out);
        }
        Kind::HstoreMap => {
            wire::length(1, &mut out);
            string(text, &mut out);
            out.push(2);
            string(text, &mut out);
            out.push(0);
        }
        Kind::Geometry => {
            string(text, &mut out);
            out.push(0);
        }
        Kind::Vector | Kind::SparseVector => return Some(fallback(cast)),
        Kind::List(_) => return list_placeholder(cast, text),
        Kind::TimeTz | Kind::Timestamptz { .. } => string(text, &mut out),
        Kind::Int | Kind::Float | Kind::DecimalDouble | Kind::Bool | Kind::Bit | Kind::Date | Kind::Point => {
            return None;
        }
        Kind::Time(_) | Kind::Timestamp(_) | Kind::Duration => return None,
    }
    Some(out)
}

/// A list of one placeholder; of numbers, a list of its bytes.
fn list_placeholder(cast: &Cast, text: &str) -> Option<Vec<u8>> {
    let (items, optional) = cast.items.as_ref()?;
    let mut out = Vec::new();
    let branch: &[u8] = if *optional { &[2] } else { &[] };
    match &items.kind {
        Kind::Int | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::Duration | Kind::Float => {
            wire::length(text.len(), &mut out);
            for byte in text.bytes() {
                out.extend_from_slice(branch);
                match (&items.kind, items.narrow) {
                    (Kind::Float, true) => out.extend_from_slice(&f32::from(byte).to_le_bytes()),
                    (Kind::Float, false) => out.extend_from_slice(&f64::from(byte).to_le_bytes()),
                    _ => wire::long(i64::from(byte), &mut out),
                }
            }
        }
        _ => {
            wire::length(1, &mut out);
            out.extend_from_slice(branch);
            out.extend_from_slice(&placeholder(items, text)?);
        }
    }
    out.push(0);
    Some(out)
}
