//! Which JSON form a column's values take.

use super::PLACEHOLDER;
use super::json;
use crate::model::PgType;
use crate::model::pg_type::{fraction_modifier, numeric_modifier};

/// A JSON form. A value that its form can't say is a JSON string of its text instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A number, as PostgreSQL prints it.
    Int,
    /// A number as PostgreSQL prints it, or one of three words.
    Float,
    /// `true` or `false`.
    Bool,
    /// A string of the text.
    Text,
    /// A string of the text; only the placeholder in arrays differs.
    Uuid,
    /// Base64.
    Bytes,
    /// Base64 of the unscaled value.
    Decimal { scale: i32 },
    /// `{"scale":s,"value":base64}`.
    VariableDecimal,
    /// Days since 1970.
    Date,
    /// Since midnight.
    Time(Unit),
    /// Since 1970.
    Timestamp(Unit),
    /// ISO 8601 in UTC with this many digits of fraction.
    Timestamptz { digits: u8 },
    /// A list, for arrays of one dimension that begin at 1.
    List(Box<Kind>),
}

/// What times are counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Millis,
    Micros,
}

impl Kind {
    /// The form of a column of this type and modifier.
    pub(super) fn of(pg_type: &PgType, modifier: i32) -> Kind {
        let unit = if fraction_modifier(modifier) <= 3 { Unit::Millis } else { Unit::Micros };
        match pg_type {
            PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid => Kind::Int,
            PgType::Float4 | PgType::Float8 => Kind::Float,
            PgType::Bool => Kind::Bool,
            PgType::Bytea => Kind::Bytes,
            PgType::Numeric => match numeric_modifier(modifier) {
                Some((_, scale)) => Kind::Decimal { scale: i32::from(scale) },
                None => Kind::VariableDecimal,
            },
            PgType::Date => Kind::Date,
            PgType::Time => Kind::Time(unit),
            PgType::Timestamp => Kind::Timestamp(unit),
            PgType::Timestamptz => Kind::Timestamptz { digits: fraction_modifier(modifier) },
            PgType::Uuid => Kind::Uuid,
            PgType::Array(element) => Kind::of_array(element, modifier),
            PgType::Text | PgType::Varchar | PgType::Bpchar | PgType::Json | PgType::Jsonb => Kind::Text,
            PgType::Enum { .. } | PgType::Other { .. } => Kind::Text,
        }
    }

    fn of_array(element: &PgType, modifier: i32) -> Kind {
        match element {
            // The one type whose elements are not separated by commas.
            PgType::Other { name } if name == "box" => Kind::Text,
            PgType::Array(_) => Kind::Text,
            element => Kind::List(Box::new(Kind::of(element, modifier))),
        }
    }

    /// The JSON of a NOT NULL column that a delete says nothing about.
    pub(super) fn fallback(&self) -> &'static str {
        match self {
            Kind::Int | Kind::Float | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => "0",
            Kind::Bool => "false",
            Kind::Text | Kind::Uuid | Kind::Bytes => "\"\"",
            Kind::Decimal { .. } => "\"AA==\"",
            Kind::VariableDecimal => "{\"scale\":0,\"value\":\"AA==\"}",
            Kind::Timestamptz { .. } => "\"1970-01-01T00:00:00Z\"",
            Kind::List(_) => "[]",
        }
    }

    /// The JSON of a large value that did not change.
    pub(super) fn placeholder(&self) -> Vec<u8> {
        let bytes = PLACEHOLDER.as_bytes();
        let mut base64 = Vec::new();
        json::base64(bytes, &mut base64);
        match self {
            Kind::Text => [b"\"", bytes, b"\""].concat(),
            Kind::Uuid => UUID_PLACEHOLDER.into(),
            Kind::Bytes | Kind::Decimal { .. } => base64,
            Kind::VariableDecimal => [b"{\"scale\":0,\"value\":", base64.as_slice(), b"}"].concat(),
            Kind::List(element) => match **element {
                Kind::Int | Kind::Float | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => {
                    format!("{bytes:?}").replace(' ', "").into_bytes()
                }
                Kind::Timestamptz { .. } => [b"[\"", bytes, b"\"]"].concat(),
                ref element => [b"[", element.placeholder().as_slice(), b"]"].concat(),
            },
            // Never large: PostgreSQL always sends them.
            Kind::Int | Kind::Float | Kind::Bool | Kind::Date => b"null".into(),
            Kind::Time(_) | Kind::Timestamp(_) | Kind::Timestamptz { .. } => b"null".into(),
        }
    }
}

/// The name-based UUID (version 3) of [`PLACEHOLDER`].
const UUID_PLACEHOLDER: &str = "\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"";
