//! Which case of `Value` a column's values take, and how its type is named. Numbers are those of `event.proto`.

use crate::model::{Column, PgType};

/// The cases of `Value`.
pub(super) mod case {
    pub(in super::super) const NULL: u32 = 1;
    pub(in super::super) const UNCHANGED: u32 = 2;
    pub(in super::super) const BOOLEAN: u32 = 3;
    pub(in super::super) const INT32: u32 = 4;
    pub(in super::super) const INT64: u32 = 5;
    pub(in super::super) const FLOAT64: u32 = 6;
    pub(in super::super) const DECIMAL: u32 = 7;
    pub(in super::super) const TEXT: u32 = 8;
    pub(in super::super) const BYTEA: u32 = 9;
    pub(in super::super) const DATE: u32 = 10;
    pub(in super::super) const TIMESTAMP: u32 = 11;
    pub(in super::super) const TIMESTAMPTZ: u32 = 12;
    pub(in super::super) const UUID: u32 = 13;
    pub(in super::super) const JSON: u32 = 14;
    pub(in super::super) const ARRAY: u32 = 15;
    pub(in super::super) const UNSENT: u32 = 16;
    pub(in super::super) const FLOAT32: u32 = 17;
    pub(in super::super) const TIME: u32 = 18;
    pub(in super::super) const INFINITY: u32 = 19;
    pub(in super::super) const TIMETZ: u32 = 20;
    pub(in super::super) const INTERVAL: u32 = 21;
    pub(in super::super) const LABEL: u32 = 22;
    pub(in super::super) const HSTORE: u32 = 23;
    pub(in super::super) const POINT: u32 = 24;
    pub(in super::super) const BITS: u32 = 25;
    pub(in super::super) const RANGE: u32 = 26;
    pub(in super::super) const EWKB: u32 = 27;
    pub(in super::super) const VECTOR: u32 = 28;
    pub(in super::super) const OTHER: u32 = 29;
}

/// How a column's text becomes a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Boolean,
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal,
    /// A text in the case of this number.
    Text(u32),
    Bytea,
    Date,
    Time,
    TimeTz,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Hstore,
    Point,
    Bits,
    Ewkb,
    Vector,
    Array {
        element: Box<Kind>,
        delimiter: u8,
    },
}

const RANGES: [&str; 12] = [
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
];

impl Kind {
    pub(super) fn of(pg_type: &PgType) -> Kind {
        match pg_type {
            PgType::Int2 | PgType::Int4 => Kind::Int32,
            PgType::Int8 | PgType::Oid => Kind::Int64,
            PgType::Float4 => Kind::Float32,
            PgType::Float8 => Kind::Float64,
            PgType::Numeric => Kind::Decimal,
            PgType::Bool => Kind::Boolean,
            PgType::Text | PgType::Varchar | PgType::Bpchar => Kind::Text(case::TEXT),
            PgType::Bytea => Kind::Bytea,
            PgType::Date => Kind::Date,
            PgType::Time => Kind::Time,
            PgType::Timestamp => Kind::Timestamp,
            PgType::Timestamptz => Kind::Timestamptz,
            PgType::Uuid => Kind::Uuid,
            PgType::Json | PgType::Jsonb => Kind::Text(case::JSON),
            PgType::Enum { .. } => Kind::Text(case::LABEL),
            PgType::Array(element) => {
                Kind::Array { element: Box::new(Kind::of(element)), delimiter: delimiter(element) }
            }
            PgType::Other { name } => match name.as_str() {
                "name" | "\"char\"" | "citext" => Kind::Text(case::TEXT),
                "time with time zone" => Kind::TimeTz,
                "interval" => Kind::Interval,
                "bit" | "bit varying" => Kind::Bits,
                "point" => Kind::Point,
                "hstore" => Kind::Hstore,
                "geometry" | "geography" => Kind::Ewkb,
                "vector" | "halfvec" => Kind::Vector,
                name if RANGES.contains(&name) => Kind::Text(case::RANGE),
                _ => Kind::Text(case::OTHER),
            },
        }
    }
}

/// The name of the case that a type's values take, `array of int32`.
pub(in super::super) fn form_name(pg_type: &PgType) -> String {
    fn name(kind: &Kind) -> &'static str {
        match kind {
            Kind::Boolean => "boolean",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Float32 => "float32",
            Kind::Float64 => "float64",
            Kind::Decimal => "decimal",
            Kind::Text(case::TEXT) => "text",
            Kind::Text(case::JSON) => "json",
            Kind::Text(case::LABEL) => "label",
            Kind::Text(case::RANGE) => "range",
            Kind::Text(_) => "other",
            Kind::Bytea => "bytea",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::TimeTz => "timetz",
            Kind::Timestamp => "timestamp",
            Kind::Timestamptz => "timestamptz",
            Kind::Interval => "interval",
            Kind::Uuid => "uuid",
            Kind::Hstore => "hstore",
            Kind::Point => "point",
            Kind::Bits => "bits",
            Kind::Ewkb => "ewkb",
            Kind::Vector => "vector",
            Kind::Array { .. } => "array",
        }
    }
    match Kind::of(pg_type) {
        Kind::Array { element, .. } => format!("array of {}", name(&element)),
        kind => name(&kind).to_owned(),
    }
}

/// What separates the elements of an array of this type.
fn delimiter(element: &PgType) -> u8 {
    match element {
        PgType::Other { name } if name == "box" => b';',
        _ => b',',
    }
}

/// What separates the elements of a column's arrays.
pub(super) fn column_delimiter(column: &Column) -> u8 {
    match &column.pg_type {
        PgType::Array(element) => delimiter(element),
        _ => b',',
    }
}

/// A type's number in `Type`, and its name where the number does not say it.
pub(super) fn type_of(pg_type: &PgType) -> (u64, &str) {
    match pg_type {
        PgType::Int2 => (1, ""),
        PgType::Int4 => (2, ""),
        PgType::Int8 => (3, ""),
        PgType::Oid => (4, ""),
        PgType::Float4 => (5, ""),
        PgType::Float8 => (6, ""),
        PgType::Numeric => (7, ""),
        PgType::Bool => (8, ""),
        PgType::Text => (9, ""),
        PgType::Varchar => (10, ""),
        PgType::Bpchar => (11, ""),
        PgType::Bytea => (12, ""),
        PgType::Date => (13, ""),
        PgType::Time => (14, ""),
        PgType::Timestamp => (15, ""),
        PgType::Timestamptz => (16, ""),
        PgType::Uuid => (17, ""),
        PgType::Json => (18, ""),
        PgType::Jsonb => (19, ""),
        PgType::Enum { name, .. } => (20, name),
        PgType::Other { name } => (21, name),
        PgType::Array(element) => type_of(element),
    }
}
