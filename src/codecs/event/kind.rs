//! Which form a column's values take.

use super::modes::{Binaries, Decimals, Hstores, Intervals, Modes, Times, Unknowns};
use crate::model::pg_type::{fraction_modifier, numeric_modifier};
use crate::model::{Column, PgType};

/// A form. A value that its form can't say is a string of its text instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A number, as PostgreSQL prints it.
    Int,
    /// A number as PostgreSQL prints it, or one of three words.
    Float,
    /// `true` or `false`.
    Bool,
    /// A bit string of one bit, as `true` or `false`.
    Bit,
    /// Any other bit string, little-endian; of this many bits, where all have as many.
    Bits(Option<usize>),
    /// A string of the text.
    Text(Named),
    /// Bytes.
    Bytes(Binaries),
    /// The unscaled value.
    Decimal { scale: i32 },
    /// Scale and unscaled value.
    VariableDecimal,
    /// The text of a number.
    DecimalText,
    /// A floating-point number of a numeric.
    DecimalDouble,
    /// As a numeric of two digits of fraction.
    Money(Box<Kind>),
    /// Days since 1970.
    Date,
    /// `2016-11-04Z`
    IsoDate,
    /// Since midnight.
    Time(Unit),
    /// `13:51:30.123456Z`
    IsoTime,
    /// A time of day in UTC.
    TimeTz,
    /// Since 1970.
    Timestamp(Unit),
    /// `2016-11-04T13:51:30.123456Z`
    IsoTimestamp,
    /// ISO 8601 in UTC with this many digits of fraction.
    Timestamptz { digits: u8 },
    /// Microseconds.
    Duration,
    /// `P1Y2M3DT4H5M6.78S`
    IsoDuration,
    /// `{"x":1.0,"y":2.0,"wkb":..,"srid":null}`
    Point,
    /// `{"wkb":..,"srid":4326}`
    Geometry,
    /// A JSON text of an object.
    HstoreText,
    /// An object.
    HstoreMap,
    /// A list of numbers.
    Vector,
    /// `{"dimensions":5,"vector":[[1,1.5]]}`
    SparseVector,
    /// A list, for arrays of one dimension that begin at 1.
    List(Box<Kind>),
}

/// Texts that consumers tell apart by the name of their schema; in JSON they look the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named {
    Plain,
    Uuid,
    Json,
    Xml,
    Enum,
    Ltree,
    Tsvector,
}

/// What times are counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// For columns that have no finer fraction.
    Millis,
    /// The rest is cut off.
    MillisCut,
    Micros,
    Nanos,
}

/// Types whose text is all there is to say.
const TEXTS: [&str; 17] = [
    "name",
    "\"char\"",
    "citext",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "isbn",
    "isbn13",
    "ean13",
    "issn",
];

impl Kind {
    /// The form of a column of this type and modifier; `None` when the column is left out.
    pub(super) fn of(pg_type: &PgType, modifier: i32, modes: &Modes) -> Option<Kind> {
        let fine = fraction_modifier(modifier) > 3;
        Some(match pg_type {
            PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Oid => Kind::Int,
            PgType::Float4 | PgType::Float8 => Kind::Float,
            PgType::Bool => Kind::Bool,
            PgType::Bytea => Kind::Bytes(modes.binary),
            PgType::Numeric => match numeric_modifier(modifier) {
                Some((_, scale)) => Kind::decimal(Some(i32::from(scale)), modes),
                None => Kind::decimal(None, modes),
            },
            PgType::Date if modes.time == Times::Iso => Kind::IsoDate,
            PgType::Date => Kind::Date,
            PgType::Time => match modes.time {
                Times::Iso => Kind::IsoTime,
                Times::Connect => Kind::Time(Unit::MillisCut),
                Times::Nanos => Kind::Time(Unit::Nanos),
                Times::Adaptive if !fine => Kind::Time(Unit::Millis),
                Times::Adaptive | Times::AdaptiveMicros | Times::Micros => Kind::Time(Unit::Micros),
            },
            PgType::Timestamp => match modes.time {
                Times::Iso => Kind::IsoTimestamp,
                Times::Connect => Kind::Timestamp(Unit::MillisCut),
                Times::Nanos => Kind::Timestamp(Unit::Nanos),
                Times::Adaptive | Times::AdaptiveMicros if !fine => Kind::Timestamp(Unit::Millis),
                Times::Adaptive | Times::AdaptiveMicros | Times::Micros => Kind::Timestamp(Unit::Micros),
            },
            PgType::Timestamptz => Kind::Timestamptz { digits: fraction_modifier(modifier) },
            PgType::Uuid => Kind::Text(Named::Uuid),
            PgType::Json | PgType::Jsonb => Kind::Text(Named::Json),
            PgType::Text | PgType::Varchar | PgType::Bpchar => Kind::Text(Named::Plain),
            PgType::Enum { .. } => Kind::Text(Named::Enum),
            PgType::Array(element) => return Kind::of_array(element, modifier, modes),
            PgType::Other { name } => return Kind::of_name(name, modifier, modes),
        })
    }

    fn of_name(name: &str, modifier: i32, modes: &Modes) -> Option<Kind> {
        Some(match name {
            "bit" if modifier <= 1 => Kind::Bit,
            "bit varying" if modifier == 1 => Kind::Bit,
            "bit" => Kind::Bits(usize::try_from(modifier).ok()),
            "bit varying" => Kind::Bits(None),
            "money" => Kind::Money(Box::new(Kind::decimal(Some(2), modes))),
            "time with time zone" => Kind::TimeTz,
            "interval" if modes.interval == Intervals::Text => Kind::IsoDuration,
            "interval" => Kind::Duration,
            "point" => Kind::Point,
            "geometry" | "geography" => Kind::Geometry,
            "hstore" if modes.hstore == Hstores::Map => Kind::HstoreMap,
            "hstore" => Kind::HstoreText,
            "vector" | "halfvec" => Kind::Vector,
            "sparsevec" => Kind::SparseVector,
            "xml" => Kind::Text(Named::Xml),
            "ltree" => Kind::Text(Named::Ltree),
            "tsvector" => Kind::Text(Named::Tsvector),
            _ if modes.unknown == Unknowns::Omit && !TEXTS.contains(&name) => return None,
            _ => Kind::Text(Named::Plain),
        })
    }

    fn decimal(scale: Option<i32>, modes: &Modes) -> Kind {
        match (modes.decimal, scale) {
            (Decimals::Precise, Some(scale)) => Kind::Decimal { scale },
            (Decimals::Precise, None) => Kind::VariableDecimal,
            (Decimals::Text, _) => Kind::DecimalText,
            (Decimals::Double, _) => Kind::DecimalDouble,
        }
    }

    fn of_array(element: &PgType, modifier: i32, modes: &Modes) -> Option<Kind> {
        let text = Kind::Text(Named::Plain);
        Some(match element {
            // The one type whose elements are not separated by commas.
            PgType::Other { name } if name == "box" => text,
            PgType::Array(_) => text,
            element => Kind::List(Box::new(Kind::of(element, modifier, modes)?)),
        })
    }

    /// What stands in for a value of a NOT NULL column that is not known, where that is a decimal as a text.
    pub(super) fn zero(&self, column: &Column) -> Option<String> {
        let scale = match self {
            Kind::DecimalText => numeric_modifier(column.modifier).map_or(0, |(_, scale)| scale),
            Kind::Money(decimal) if **decimal == Kind::DecimalText => 2,
            _ => return None,
        };
        let zeros = usize::try_from(scale).unwrap_or_default();
        Some(if zeros > 0 { format!("0.{}", "0".repeat(zeros)) } else { "0".to_owned() })
    }

    /// The JSON of a NOT NULL column that a delete says nothing about.
    pub(super) fn fallback(&self) -> &'static str {
        match self {
            Kind::Float | Kind::DecimalDouble => "0.0",
            Kind::Int | Kind::Duration => "0",
            Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => "0",
            Kind::Bool | Kind::Bit => "false",
            Kind::Text(_) | Kind::Bytes(_) | Kind::Bits(_) => "\"\"",
            Kind::Decimal { .. } => "\"AA==\"",
            Kind::DecimalText => "\"0\"",
            Kind::Money(decimal) => decimal.fallback(),
            Kind::VariableDecimal => "{\"scale\":0,\"value\":\"AA==\"}",
            Kind::IsoDate => "\"1970-01-01Z\"",
            Kind::IsoTime => "\"00:00:00Z\"",
            Kind::TimeTz => "\"00:00:00Z\"",
            Kind::IsoTimestamp => "\"1970-01-01T00:00:00Z\"",
            Kind::IsoDuration => "\"P0Y0M0DT0H0M0S\"",
            Kind::Timestamptz { .. } => "\"1970-01-01T00:00:00Z\"",
            Kind::Point => "{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}",
            // An empty collection.
            Kind::Geometry => "{\"wkb\":\"AQcAAAAAAAAA\",\"srid\":null}",
            Kind::HstoreText => "\"{}\"",
            Kind::HstoreMap => "{}",
            Kind::SparseVector => "{\"dimensions\":0,\"vector\":[]}",
            Kind::List(_) | Kind::Vector => "[]",
        }
    }
}
