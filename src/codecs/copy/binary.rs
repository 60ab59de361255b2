//! Rows for `COPY ... FROM STDIN (FORMAT binary)`, from values in text form.

use crate::model::PgType;
use crate::model::value::{self, Finite, Numeric, ValueError};

/// Days from 1970 to 2000, where PostgreSQL's binary dates count from.
const EPOCH_DAYS: i32 = 10_957;

/// A type whose binary form can be made of its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryType {
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `oid`
    Oid,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `boolean`
    Bool,
    /// `text`, `varchar`, `char`, `json`: the text itself
    Text,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    Timestamptz,
    /// `uuid`
    Uuid,
    /// `jsonb`
    Jsonb,
}

impl BinaryType {
    /// The binary form of `pg_type`; `None` for arrays, enums and all other types: send their text and cast it in SQL.
    pub fn of(pg_type: &PgType) -> Option<BinaryType> {
        Some(match pg_type {
            PgType::Int2 => BinaryType::Int2,
            PgType::Int4 => BinaryType::Int4,
            PgType::Int8 => BinaryType::Int8,
            PgType::Oid => BinaryType::Oid,
            PgType::Float4 => BinaryType::Float4,
            PgType::Float8 => BinaryType::Float8,
            PgType::Numeric => BinaryType::Numeric,
            PgType::Bool => BinaryType::Bool,
            PgType::Text | PgType::Varchar | PgType::Bpchar | PgType::Json => BinaryType::Text,
            PgType::Bytea => BinaryType::Bytea,
            PgType::Date => BinaryType::Date,
            PgType::Time => BinaryType::Time,
            PgType::Timestamp => BinaryType::Timestamp,
            PgType::Timestamptz => BinaryType::Timestamptz,
            PgType::Uuid => BinaryType::Uuid,
            PgType::Jsonb => BinaryType::Jsonb,
            PgType::Enum { .. } | PgType::Array(_) | PgType::Other { .. } => return None,
        })
    }

    /// Appends one field: its length and its bytes, or NULL for `None`. Nothing is appended on an error.
    pub fn field(self, text: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let Some(text) = text else {
            out.extend((-1_i32).to_be_bytes());
            return Ok(());
        };
        let start = out.len();
        out.extend([0; 4]);
        let written = self
            .value(text, out)
            .and_then(|()| i32::try_from(out.len() - start - 4).map_err(|_| ValueError::new("a value below 2 GiB")));
        match written {
            Ok(length) => {
                if let Some(place) = out.get_mut(start..start + 4) {
                    place.copy_from_slice(&length.to_be_bytes());
                }
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn value(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            BinaryType::Int2 => out.extend(narrow::<i16>(text)?.to_be_bytes()),
            BinaryType::Int4 => out.extend(narrow::<i32>(text)?.to_be_bytes()),
            BinaryType::Int8 => out.extend(value::int(text)?.to_be_bytes()),
            BinaryType::Oid => out.extend(narrow::<u32>(text)?.to_be_bytes()),
            BinaryType::Float4 => out.extend(value::float4(text)?.to_be_bytes()),
            BinaryType::Float8 => out.extend(value::float8(text)?.to_be_bytes()),
            BinaryType::Numeric => Numeric::parse(text)?.pg_binary(out)?,
            BinaryType::Bool => out.push(u8::from(value::boolean(text)?)),
            BinaryType::Text => out.extend_from_slice(text),
            BinaryType::Bytea => value::bytea(text, out)?,
            BinaryType::Date => out.extend(day(value::date(text)?)?.to_be_bytes()),
            BinaryType::Time => out.extend(value::time(text)?.to_be_bytes()),
            BinaryType::Timestamp => out.extend(moment(value::pg_timestamp(text)?).to_be_bytes()),
            BinaryType::Timestamptz => out.extend(moment(value::pg_timestamptz(text)?).to_be_bytes()),
            BinaryType::Uuid => out.extend(value::uuid(text)?),
            BinaryType::Jsonb => {
                out.push(1);
                out.extend_from_slice(text);
            }
        }
        Ok(())
    }
}

fn narrow<T: TryFrom<i64>>(text: &[u8]) -> Result<T, ValueError> {
    T::try_from(value::int(text)?).map_err(|_| ValueError::new("an integer in its type's range"))
}

fn day(date: Finite<i32>) -> Result<i32, ValueError> {
    match date {
        Finite::NegInfinity => Ok(i32::MIN),
        Finite::Infinity => Ok(i32::MAX),
        Finite::Value(days) => days.checked_sub(EPOCH_DAYS).ok_or(ValueError::new("a date in PostgreSQL's range")),
    }
}

fn moment(micros: Finite<i64>) -> i64 {
    match micros {
        Finite::NegInfinity => i64::MIN,
        Finite::Infinity => i64::MAX,
        Finite::Value(micros) => micros,
    }
}

/// Appends what begins a file: the signature, no flags, no extension.
pub fn header(out: &mut Vec<u8>) {
    out.extend(b"PGCOPY\n\xff\r\n\0");
    out.extend([0; 8]);
}

/// Appends what begins a row of `width` fields.
pub fn row(width: u16, out: &mut Vec<u8>) {
    out.extend(width.to_be_bytes());
}

/// Appends what ends a file.
pub fn trailer(out: &mut Vec<u8>) {
    out.extend((-1_i16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(pg_type: &PgType, text: &str) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        BinaryType::of(pg_type).unwrap().field(Some(text.as_bytes()), &mut out).map(|()| out)
    }

    #[test]
    fn fields_have_the_form_of_the_send_functions() {
        assert_eq!(field(&PgType::Int2, "-2").unwrap(), [0, 0, 0, 2, 255, 254]);
        assert_eq!(field(&PgType::Bool, "t").unwrap(), [0, 0, 0, 1, 1]);
        assert_eq!(field(&PgType::Bytea, "\\x0aff").unwrap(), [0, 0, 0, 2, 10, 255]);
        assert_eq!(field(&PgType::Date, "2000-01-02").unwrap(), [0, 0, 0, 4, 0, 0, 0, 1]);
        assert_eq!(field(&PgType::Timestamptz, "1999-12-31 23:59:59.999999+00").unwrap()[4..], [255; 8]);
        assert_eq!(field(&PgType::Jsonb, "{}").unwrap(), [0, 0, 0, 3, 1, b'{', b'}']);
        assert_eq!(field(&PgType::Timestamp, "infinity").unwrap()[4..], i64::MAX.to_be_bytes());
    }

    #[test]
    fn a_value_out_of_range_leaves_nothing_behind() {
        let mut out = vec![7];
        assert!(BinaryType::Int2.field(Some(b"32768"), &mut out).is_err());
        assert!(BinaryType::Bytea.field(Some(b"\\x0g"), &mut out).is_err());
        assert_eq!(out, [7]);
        BinaryType::Int2.field(None, &mut out).unwrap();
        assert_eq!(out, [7, 255, 255, 255, 255]);
    }
}
