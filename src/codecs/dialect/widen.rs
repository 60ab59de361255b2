//! Which types hold all values of another one, as the same text.
//!
//! Where a column's type in the warehouse holds what the source's type has by now, rows land in it as its own; where the
//! new type holds all that the old one had, the column is altered in place.

use super::Room;
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

/// The modifier of a `numeric` of 38 digits, the most that columnar warehouses have; `None` where these are more.
pub(super) fn widest(whole: usize, scale: usize) -> Option<i32> {
    let scale = i32::try_from(scale).ok().filter(|_| whole.saturating_add(scale) <= 38)?;
    Some((38 << 16) + scale + 4)
}

/// The type that holds integers or decimals of `found` digits before and behind the point, and those of `room`.
pub(super) fn number(found: (u8, u8), room: Room) -> Option<(PgType, i32)> {
    let (whole, scale) = (room.whole.max(found.0.into()), room.scale.max(found.1.into()));
    // Numbers of 19 digits may be too large for an integer.
    if found.1 == 0 && scale == 0 && whole <= 18 {
        return Some((PgType::Int8, -1));
    }
    widest(whole, scale).map(|modifier| (PgType::Numeric, modifier))
}

/// The same for a column of PostgreSQL, whose `numeric` has no end.
pub(super) fn wider(found: &PgType, room: Room) -> Option<PgType> {
    let short = room.scale == 0 && room.whole <= 18 && !room.float;
    match found {
        PgType::Int2 | PgType::Int4 if short => Some(PgType::Int8),
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Numeric if !room.float => Some(PgType::Numeric),
        PgType::Float4 => Some(PgType::Float8),
        _ => None,
    }
}

/// Precision and scale of `DECIMAL(p,s)`, or of `numeric(p,s)` as PostgreSQL prints it.
pub(super) fn decimal(name: &str) -> Option<(u8, u8)> {
    let inner = name.strip_prefix("DECIMAL(").or_else(|| name.strip_prefix("numeric("))?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}
