//! A column's default in the form that its values have in events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::json;
use super::kind::Kind;
use super::modes::Modes;
use super::schema::Shape;
use crate::model::{Column, ColumnDefault, PgType};

/// What a schema's values are where none is given: each variant belongs to the shapes of its name.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Preset {
    Boolean(bool),
    /// Of all widths; days, milliseconds and the like of dates and times.
    Int(i64),
    /// Never NaN or infinite.
    Float32(f32),
    /// Never NaN or infinite.
    Float64(f64),
    Text(String),
    /// Of decimals the unscaled value.
    Bytes(Vec<u8>),
}

impl Preset {
    /// As Kafka Connect's JSON converter writes it.
    pub(super) fn json(&self) -> Value {
        match self {
            Preset::Boolean(value) => Value::from(*value),
            Preset::Int(value) => Value::from(*value),
            // By its own digits, not those of the double next to it.
            Preset::Float32(value) => Value::from(value.to_string().parse::<f64>().unwrap_or(f64::from(*value))),
            Preset::Float64(value) => Value::from(*value),
            Preset::Text(value) => Value::from(value.as_str()),
            Preset::Bytes(value) => Value::from(STANDARD.encode(value)),
        }
    }
}

/// The OIDs of types without a variant of their own that have defaults: `bit`, `bit varying`, `xml`, `interval`.
const OTHERS: [u32; 4] = [1560, 1562, 142, 1186];

/// Whether Debezium tells defaults of the column's type: none of domains, arrays, bytes, and of what is rare.
fn told(column: &Column) -> bool {
    match &column.pg_type {
        PgType::Enum { .. } => true,
        PgType::Array(_) | PgType::Bytea | PgType::Oid => false,
        PgType::Other { .. } => OTHERS.contains(&column.oid.0),
        own => PgType::builtin(column.oid.0).as_ref() == Some(own),
    }
}

/// The default of a column whose values have this shape.
pub(super) fn preset(column: &Column, shape: &Shape, modes: &Modes) -> Option<Preset> {
    let default = column.default.as_ref().filter(|_| told(column))?;
    let text = match (default, &column.pg_type) {
        (ColumnDefault::Literal(text) | ColumnDefault::Always(text), _) => text.as_str(),
        (ColumnDefault::Sequence, _) => "0",
        (ColumnDefault::Now, PgType::Date) => "1970-01-01",
        (ColumnDefault::Now, PgType::Timestamptz) => "1970-01-01 00:00:00+00",
        (ColumnDefault::Now, _) => "1970-01-01 00:00:00",
    };
    let kind = Kind::of(&column.pg_type, column.modifier, modes)?;
    let mut written = Vec::new();
    json::value(&kind, text.as_bytes(), &mut written, &mut Vec::new()).ok()?;
    let value: Value = serde_json::from_slice(&written).ok()?;
    match shape {
        Shape::Boolean => value.as_bool().map(Preset::Boolean),
        Shape::Int16 | Shape::Int32 | Shape::Int64 => value.as_i64().map(Preset::Int),
        Shape::Float32 => text.parse().ok().filter(|float: &f32| float.is_finite()).map(Preset::Float32),
        Shape::Float64 => text.parse().ok().filter(|float: &f64| float.is_finite()).map(Preset::Float64),
        Shape::String => value.as_str().map(|text| Preset::Text(text.to_owned())),
        Shape::Bytes => STANDARD.decode(value.as_str()?).ok().map(Preset::Bytes),
        Shape::Array(_) | Shape::Map(..) | Shape::Struct(_) => None,
    }
}
