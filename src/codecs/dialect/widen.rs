//! Which types hold all values of another one, as the same text.
//!
//! Where a column's type in the warehouse holds what the source's type has by now, rows land in it as its own; where the
//! new type holds all that the old one had, the column is altered in place.

use crate::model::PgType;

/// Whether every value of a type is one of `wider`, and reads the same there. Both are types of PostgreSQL.
pub(super) fn holds(narrow: &PgType, wider: &PgType) -> bool {
    use PgType::{Float4, Float8, Int2, Int4, Int8, Numeric, Text};
    matches!(
        (narrow, wider),
        (_, Text)
            | (Int2, Int4 | Int8 | Numeric | Float8)
            | (Int4, Int8 | Numeric | Float8)
            | (Int8, Numeric)
            | (Float4, Float8)
    )
}

/// Whether rows that are there can be cast to `to` as `ALTER TABLE` at the source casts them, whatever its session's
/// settings are.
pub(super) fn casts(from: &PgType, to: &PgType) -> bool {
    use PgType::{Bool, Bytea, Date, Int2, Int4, Int8, Json, Jsonb, Numeric, Text, Time, Timestamp, Uuid, Varchar};
    let plain = matches!(
        from,
        Int2 | Int4 | Int8 | Numeric | Bool | Bytea | Date | Time | Timestamp | Uuid | Json | Jsonb | Varchar
    );
    match (from, to) {
        (_, Text) => plain,
        (Date, Timestamp) => true,
        _ => holds(from, to),
    }
}

/// DuckDB's types, as far as one holds another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duck {
    /// An integer of so many decimal digits at most.
    Integer(u8),
    /// Digits before and behind the point.
    Decimal(u8, u8),
    Float,
    Double,
    Date,
    Timestamp,
    Text,
    /// With a text form that is PostgreSQL's.
    Plain,
    Other,
}

impl Duck {
    /// The type that DuckDB prints so.
    pub(super) fn named(name: &str) -> Duck {
        match name.to_ascii_uppercase().as_str() {
            "SMALLINT" => Duck::Integer(5),
            "INTEGER" => Duck::Integer(10),
            "BIGINT" => Duck::Integer(19),
            "FLOAT" => Duck::Float,
            "DOUBLE" => Duck::Double,
            "DATE" => Duck::Date,
            "TIMESTAMP" => Duck::Timestamp,
            "VARCHAR" => Duck::Text,
            "BOOLEAN" | "UUID" | "TIME" | "JSON" => Duck::Plain,
            other => decimal(other)
                .map_or(Duck::Other, |(precision, scale)| Duck::Decimal(precision.saturating_sub(scale), scale)),
        }
    }

    /// Whether every value is one of `wider`.
    pub(super) fn fits(self, wider: Duck) -> bool {
        match (self, wider) {
            (Duck::Integer(a), Duck::Integer(b)) => a <= b,
            (Duck::Integer(a), Duck::Decimal(b, _)) => a <= b,
            (Duck::Integer(a), Duck::Double) => a <= 10,
            (Duck::Decimal(a, s), Duck::Decimal(b, t)) => a <= b && s <= t,
            (Duck::Float, Duck::Double) => true,
            _ => false,
        }
    }

    /// Whether rows that are there can be cast.
    pub(super) fn casts(self, to: Duck) -> bool {
        match (self, to) {
            (Duck::Integer(_) | Duck::Decimal(..) | Duck::Date | Duck::Timestamp | Duck::Plain, Duck::Text) => true,
            (Duck::Date, Duck::Timestamp) => true,
            _ => self.fits(to),
        }
    }
}

/// Precision and scale of `DECIMAL(p,s)`.
pub(super) fn decimal(name: &str) -> Option<(u8, u8)> {
    let inner = name.strip_prefix("DECIMAL(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}
