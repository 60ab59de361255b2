//! What a column loses on its way into each warehouse. Where nothing is said, its values are those of the source, and read
//! the same. No value is changed silently: one that has no place stops its table, or follows `on_misfit`.

use super::redshift_types::{Staging, Types};
use crate::model::{Column, PgType};

const AS_TEXT: &str = "the type: it is PostgreSQL's text";
const ORDER: &str = "the order of the labels: it is text";

/// In PostgreSQL.
pub(super) fn postgres(column: &Column) -> Option<&'static str> {
    match &column.pg_type {
        PgType::Varchar | PgType::Bpchar => Some("the length that the source holds to"),
        PgType::Enum { .. } => Some(ORDER),
        PgType::Other { .. } => Some(AS_TEXT),
        PgType::Array(element) if matches!(**element, PgType::Other { .. }) => Some(AS_TEXT),
        _ => None,
    }
}

/// In DuckDB, given the column's type there.
pub(super) fn duckdb(column: &Column, target: &str) -> Option<&'static str> {
    match &column.pg_type {
        PgType::Numeric if target == "VARCHAR" => Some("order and arithmetic: it is text"),
        PgType::Numeric => Some("NaN stops the table"),
        PgType::Float4 | PgType::Float8 => Some("the sign of zero, sometimes"),
        PgType::Date | PgType::Timestamp | PgType::Timestamptz => Some("times beyond DuckDB's range stop the table"),
        PgType::Varchar | PgType::Bpchar => Some("the length that the source holds to"),
        PgType::Enum { .. } => Some(ORDER),
        PgType::Other { .. } | PgType::Array(_) => Some(AS_TEXT),
        _ => None,
    }
}

/// In Redshift.
pub(super) fn redshift(types: &Types, column: &Column) -> Option<&'static str> {
    match (types.staging(column), &column.pg_type) {
        (Staging::Decimal(..), PgType::Numeric) => {
            Some("NaN and infinities stop the table, and so does a digit too many")
        }
        (Staging::Date | Staging::Timestamp, _) => Some("infinities, BC and years after 294246 stop the table"),
        (Staging::Time, _) => Some("24:00 stops the table"),
        (Staging::Bytes, _) => Some("values of more than 1,024,000 bytes stop the table"),
        (Staging::Super, _) => {
            Some("blanks, order and repetition of names; numbers that would be rounded and long texts stop the table")
        }
        (Staging::Text, PgType::Numeric) => Some("order and arithmetic: it is text; in a key 1.0 is 1"),
        (Staging::Text, PgType::Text | PgType::Varchar) => Some("values of more than 65,535 bytes stop the table"),
        (Staging::Text, PgType::Bpchar) => Some("blanks at the end do not count"),
        (Staging::Text, _) => Some("the type: it is PostgreSQL's text, of up to 65,535 bytes"),
        _ => None,
    }
}
