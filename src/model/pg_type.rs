//! PostgreSQL's types, as far as Tailwater tells them apart.

/// What a column's text means. Types outside this list travel as their text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PgType {
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
    /// `numeric`; precision and scale are in the column's modifier
    Numeric,
    /// `boolean`
    Bool,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`, blank-padded
    Bpchar,
    /// `bytea`, in hex
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `uuid`
    Uuid,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// An enumeration with its labels in their order.
    Enum {
        /// `schema.name`
        name: String,
        /// The labels, in sort order.
        labels: Vec<String>,
    },
    /// An array of any number of dimensions over this element.
    Array(Box<PgType>),
    /// Anything else: its text, under its `format_type` name.
    Other {
        /// As `format_type` prints it, without modifiers.
        name: String,
    },
}

/// OID, type, OID of its array type, `format_type` name.
const BUILTIN: [(u32, PgType, u32, &str); 19] = [
    (21, PgType::Int2, 1005, "smallint"),
    (23, PgType::Int4, 1007, "integer"),
    (20, PgType::Int8, 1016, "bigint"),
    (26, PgType::Oid, 1028, "oid"),
    (700, PgType::Float4, 1021, "real"),
    (701, PgType::Float8, 1022, "double precision"),
    (1700, PgType::Numeric, 1231, "numeric"),
    (16, PgType::Bool, 1000, "boolean"),
    (25, PgType::Text, 1009, "text"),
    (1043, PgType::Varchar, 1015, "character varying"),
    (1042, PgType::Bpchar, 1014, "character"),
    (17, PgType::Bytea, 1001, "bytea"),
    (1082, PgType::Date, 1182, "date"),
    (1083, PgType::Time, 1183, "time without time zone"),
    (1114, PgType::Timestamp, 1115, "timestamp without time zone"),
    (1184, PgType::Timestamptz, 1185, "timestamp with time zone"),
    (2950, PgType::Uuid, 2951, "uuid"),
    (114, PgType::Json, 199, "json"),
    (3802, PgType::Jsonb, 3807, "jsonb"),
];

impl PgType {
    /// The built-in type with this OID, arrays included; `None` for all that the catalog has to explain.
    pub fn builtin(oid: u32) -> Option<PgType> {
        BUILTIN.iter().find_map(|(scalar, pg_type, array, _)| match oid {
            o if o == *scalar => Some(pg_type.clone()),
            o if o == *array => Some(PgType::Array(Box::new(pg_type.clone()))),
            _ => None,
        })
    }

    /// The built-in type that [`PgType::name`] prints so; arrays end in `[]`.
    pub fn named(name: &str) -> Option<PgType> {
        if let Some(element) = name.strip_suffix("[]") {
            return PgType::named(element).map(|t| PgType::Array(Box::new(t)));
        }
        BUILTIN.iter().find(|(.., n)| *n == name).map(|(_, pg_type, ..)| pg_type.clone())
    }

    /// The built-in type that this text declares, and its modifier: `bigint`, `numeric(12,2)`.
    pub fn declared(text: &str) -> Option<(u32, PgType, i32)> {
        let (name, modifier) = match text.strip_prefix("numeric(").and_then(|rest| rest.strip_suffix(')')) {
            None => (text, -1),
            Some(digits) => {
                let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
                let (precision, scale) = (precision.trim().parse::<u16>().ok()?, scale.trim().parse::<u16>().ok()?);
                if precision == 0 || precision > 1000 || scale > precision {
                    return None;
                }
                ("numeric", (i32::from(precision) << 16) + i32::from(scale) + 4)
            }
        };
        let (oid, pg_type, ..) = BUILTIN.iter().find(|(.., known)| *known == name)?;
        Some((*oid, pg_type.clone(), modifier))
    }

    /// Whether values that differ still do as another type's, and the other way round.
    pub fn keeps_apart(&self, other: &PgType) -> bool {
        use PgType::{Int2, Int4, Int8, Numeric, Text, Uuid, Varchar};
        matches!(
            (self, other),
            (Int2, Int4 | Int8 | Numeric | Text)
                | (Int4, Int8 | Numeric | Text)
                | (Int8, Numeric | Text)
                | (Uuid | Varchar, Text)
        )
    }

    /// The name as `format_type` prints it, without modifiers.
    pub fn name(&self) -> String {
        match self {
            PgType::Enum { name, .. } | PgType::Other { name } => name.clone(),
            PgType::Array(element) => format!("{}[]", element.name()),
            plain => BUILTIN
                .iter()
                .find(|(_, pg_type, ..)| pg_type == plain)
                .map_or_else(String::new, |(.., name)| (*name).to_owned()),
        }
    }
}

/// Precision and scale of a `numeric(p,s)` column's modifier; `None` when unbounded.
pub fn numeric_modifier(modifier: i32) -> Option<(u16, i16)> {
    let packed = u32::try_from(modifier.checked_sub(4)?).ok()?;
    let precision = u16::try_from(packed >> 16).ok()?;
    // The scale is 11 bits, two's complement.
    let scale = i16::try_from(packed & 0x7FF).ok()?;
    Some((precision, (scale ^ 1024) - 1024))
}

/// Length in characters of a `varchar(n)` or `char(n)` column's modifier; `None` when unbounded.
pub fn length_modifier(modifier: i32) -> Option<u32> {
    u32::try_from(modifier.checked_sub(4)?).ok()
}

/// Fraction digits of a `time(n)`, `timestamp(n)` or `timestamptz(n)` column's modifier; 6 when none is set.
pub fn fraction_modifier(modifier: i32) -> u8 {
    u8::try_from(modifier).unwrap_or(6).min(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_types() {
        for (oid, pg_type, array, _) in BUILTIN {
            assert_eq!(PgType::builtin(oid), Some(pg_type.clone()));
            assert_eq!(PgType::named(&pg_type.name()), Some(pg_type.clone()));
            let array = PgType::builtin(array).unwrap();
            assert_eq!(PgType::named(&array.name()), Some(array));
        }
    }

    #[test]
    fn modifiers_are_read_as_postgresql_packs_them() {
        assert_eq!(numeric_modifier(-1), None);
        assert_eq!(numeric_modifier((10 << 16) + 2 + 4), Some((10, 2)));
        assert_eq!(numeric_modifier(((3 << 16) | (0x7FF & -2i32 as u32) as i32) + 4), Some((3, -2)));
        assert_eq!(length_modifier(24), Some(20));
        assert_eq!(length_modifier(-1), None);
        assert_eq!(fraction_modifier(3), 3);
        assert_eq!(fraction_modifier(-1), 6);
    }
}
