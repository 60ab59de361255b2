//! Columns of Redshift whose types at the source change: what holds their values as it is, and what has to be cast.

use super::redshift_types::{LONGEST, LONGEST_TEXT, Staging, Types, width};
use super::widen::{decimal, number};
use super::{Room, literal};
use crate::model::{Column, PgType};

/// A type of Redshift as its catalog prints it, as far as one holds another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// An integer of so many digits at most.
    Integer(u8),
    /// Digits before and behind the point.
    Decimal(u8, u8),
    Float,
    Double,
    Date,
    Timestamp,
    Text,
    Other,
}

impl Kind {
    fn named(name: &str) -> Kind {
        match name {
            "smallint" => Kind::Integer(5),
            "integer" => Kind::Integer(10),
            "bigint" => Kind::Integer(19),
            "real" => Kind::Float,
            "double precision" => Kind::Double,
            "date" => Kind::Date,
            "timestamp without time zone" => Kind::Timestamp,
            text if width(text).is_some() => Kind::Text,
            other => {
                decimal(other).map_or(Kind::Other, |(digits, scale)| Kind::Decimal(digits.saturating_sub(scale), scale))
            }
        }
    }

    /// Whether every value is one of `wider`.
    fn fits(self, wider: Kind) -> bool {
        match (self, wider) {
            (Kind::Integer(a), Kind::Integer(b) | Kind::Decimal(b, _)) => a <= b,
            (Kind::Integer(a), Kind::Double) => a <= 10,
            (Kind::Decimal(a, s), Kind::Decimal(b, t)) => a <= b && s <= t,
            (Kind::Float, Kind::Double) => true,
            _ => false,
        }
    }
}

/// The column as it lands in one of type `found`.
pub(super) fn lands(types: &Types, column: &Column, found: &str) -> Option<Column> {
    if types.same(column, found) {
        return Some(column.clone());
    }
    let (wider, narrow) = (Kind::named(found), Kind::named(&types.target(column)));
    let (pg_type, modifier) = match wider {
        Kind::Text => (PgType::Text, -1),
        _ if !narrow.fits(wider) => return None,
        Kind::Integer(..=10) => (PgType::Int4, -1),
        Kind::Integer(_) => (PgType::Int8, -1),
        Kind::Decimal(whole, scale) => (PgType::Numeric, (i32::from(whole + scale) << 16) + i32::from(scale) + 4),
        _ => (PgType::Float8, -1),
    };
    Some(Column { pg_type, modifier, ..column.clone() })
}

/// Whether the rows of a column of type `found` can be cast to `wanted`, to what the source's cast makes of them.
pub(super) fn casts(found: &str, wanted: &str) -> bool {
    let (from, to) = (Kind::named(found), Kind::named(wanted));
    match (from, to) {
        (Kind::Integer(_) | Kind::Decimal(..) | Kind::Date, Kind::Text) | (Kind::Date, Kind::Timestamp) => true,
        _ => from.fits(to),
    }
}

/// The type and modifier that a column of type `found` gets to hold numbers of this size, too.
pub(super) fn wider(found: &str, room: Room) -> Option<(PgType, i32)> {
    match Kind::named(found) {
        Kind::Integer(digits) if !room.float => number((digits, 0), room),
        Kind::Decimal(whole, scale) if !room.float => number((whole, scale), room),
        Kind::Float => Some((PgType::Float8, -1)),
        _ => None,
    }
}

/// What is in a column of type `found` as text, as PostgreSQL prints it.
pub(super) fn text(found: &str, name: &str) -> Option<String> {
    let moment = |time: String| format!("RTRIM(RTRIM(TO_CHAR({time}, 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.')");
    match (found, Kind::named(found)) {
        (_, Kind::Integer(_) | Kind::Decimal(..) | Kind::Date) | ("time without time zone", _) => {
            Some(format!("CAST({name} AS {LONGEST})"))
        }
        (_, Kind::Timestamp) => Some(moment(name.to_owned())),
        ("timestamp with time zone", _) => Some(format!("{} || '+00'", moment(format!("({name} AT TIME ZONE 'UTC')")))),
        ("super", _) => Some(format!("JSON_SERIALIZE({name})")),
        _ => None,
    }
}

/// A type of text with room for a value.
pub(super) fn room(wanted: &str, value: &str) -> String {
    match width(wanted) {
        Some(bytes) if bytes < value.len() => {
            format!("character varying({})", value.len().next_power_of_two().min(LONGEST_TEXT))
        }
        _ => wanted.to_owned(),
    }
}

/// A value as an expression.
pub(super) fn constant(staging: Staging, wanted: &str, value: &str) -> String {
    match staging {
        Staging::Super => format!("JSON_PARSE({})", literal(value)),
        Staging::Bytes => format!("FROM_HEX({})", literal(value.strip_prefix("\\x").unwrap_or(value))),
        Staging::Text => literal(value),
        _ => format!("CAST({} AS {wanted})", literal(value)),
    }
}
