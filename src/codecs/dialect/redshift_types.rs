//! PostgreSQL's types in Redshift, and in the files that COPY reads.
//!
//! | PostgreSQL | Redshift | staged as |
//! |---|---|---|
//! | `smallint integer bigint real double boolean date timestamp numeric(p<=38)` | the same | the same |
//! | `oid` | `bigint` | the same |
//! | `timestamptz` | `timestamptz` | `timestamp` in UTC: Parquet has no other for COPY |
//! | `time` | `time` | text |
//! | `bytea` | `varbyte(1024000)` | the same |
//! | `jsonb`, `json` | `super`, or text by policy | text |
//! | all else | text: `varchar`, in bytes, widened when a longer value comes | text |

use super::{Layout, Target};
use crate::model::pg_type::{length_modifier, numeric_modifier};
use crate::model::{Column, PgType};

/// Bytes of text in a column at most.
pub const LONGEST_TEXT: usize = 65_535;
/// Bytes of a binary value at most.
pub const LONGEST_BYTES: usize = 1_024_000;
/// Bytes of an identifier at most.
const LONGEST_NAME: usize = 127;
/// The widest text.
pub(super) const LONGEST: &str = "character varying(65535)";
/// What text begins with where its length is not limited.
const USUAL: usize = 1024;
/// Names that PostgreSQL's own columns have.
const SYSTEM_COLUMNS: [&str; 7] = ["oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// What becomes of types that Redshift has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Types {
    /// What becomes of `json` and `jsonb`.
    pub json: Json,
    /// Digits after the point that `numeric` without precision gets, as `numeric(38, n)`; text when not said.
    pub numeric_scale: Option<u8>,
    /// Whether text is as wide as can be from the beginning: no open transaction widens it later.
    pub widest: bool,
}

/// What becomes of `json` and `jsonb`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Json {
    /// `super`
    #[default]
    Super,
    /// Text as PostgreSQL prints it.
    Text,
}

/// The policies' names in the configuration.
pub const JSONS: [(&str, Json); 2] = [("super", Json::Super), ("text", Json::Text)];

/// How a column's values are staged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staging {
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `boolean`
    Bool,
    /// `date`
    Date,
    /// `timestamp`, in UTC
    Timestamp,
    /// `numeric` of this precision and scale
    Decimal(u8, u8),
    /// `varbyte`
    Bytes,
    /// Text that is read as a time of day.
    Time,
    /// Text that is read as JSON.
    Super,
    /// Text.
    Text,
}

impl Types {
    /// How a column's values are staged.
    pub fn staging(&self, column: &Column) -> Staging {
        match &column.pg_type {
            PgType::Int2 => Staging::Int2,
            PgType::Int4 => Staging::Int4,
            PgType::Int8 | PgType::Oid => Staging::Int8,
            PgType::Float4 => Staging::Float4,
            PgType::Float8 => Staging::Float8,
            PgType::Bool => Staging::Bool,
            PgType::Bytea => Staging::Bytes,
            PgType::Date => Staging::Date,
            PgType::Time => Staging::Time,
            PgType::Timestamp | PgType::Timestamptz => Staging::Timestamp,
            PgType::Json | PgType::Jsonb if self.json == Json::Super => Staging::Super,
            PgType::Numeric => self.decimal(column.modifier).map_or(Staging::Text, |(p, s)| Staging::Decimal(p, s)),
            _ => Staging::Text,
        }
    }

    /// Precision and scale, where Redshift has them: 38 digits, up to 37 of them behind the point.
    fn decimal(&self, modifier: i32) -> Option<(u8, u8)> {
        let Some((precision, scale)) = numeric_modifier(modifier) else {
            return self.numeric_scale.map(|scale| (38, scale));
        };
        let whole = i32::from(precision) - i32::from(scale);
        let scale = u8::try_from(scale.max(0)).ok().filter(|scale| *scale <= 37)?;
        let precision = u8::try_from(whole.max(0) + i32::from(scale)).ok().filter(|digits| *digits <= 38)?;
        Some((precision.max(1), scale))
    }

    /// The type of a column in the target, as the catalog prints it.
    pub(super) fn target(&self, column: &Column) -> String {
        match (self.staging(column), &column.pg_type) {
            (Staging::Timestamp, PgType::Timestamptz) => "timestamp with time zone".to_owned(),
            (Staging::Time, _) => "time without time zone".to_owned(),
            (Staging::Super, _) => "super".to_owned(),
            (Staging::Text, _) if self.widest => LONGEST.to_owned(),
            (Staging::Text, pg_type) => format!("character varying({})", first_width(pg_type, column.modifier)),
            (plain, _) => plain.name(),
        }
    }

    /// The type of a column in the staging table.
    pub(super) fn stage(&self, column: &Column) -> String {
        self.staging(column).name()
    }

    /// A staged value as the target's type.
    pub(super) fn staged(&self, column: &Column, expression: String) -> String {
        match (self.staging(column), &column.pg_type) {
            (Staging::Timestamp, PgType::Timestamptz) => format!("({expression} AT TIME ZONE 'UTC')"),
            (Staging::Time, _) => format!("CAST({expression} AS time without time zone)"),
            (Staging::Super, _) => format!("JSON_PARSE({expression})"),
            _ => expression,
        }
    }

    /// A value of the target as it is staged.
    pub(super) fn restaged(&self, column: &Column, expression: String) -> String {
        match (self.staging(column), &column.pg_type) {
            (Staging::Timestamp, PgType::Timestamptz) => format!("({expression} AT TIME ZONE 'UTC')"),
            (Staging::Time, _) => format!("CAST({expression} AS {LONGEST})"),
            (Staging::Super, _) => format!("JSON_SERIALIZE({expression})"),
            _ => expression,
        }
    }

    /// Whether a column of the present type takes this column's values; text of any width can be widened.
    pub(super) fn same(&self, column: &Column, present: &str) -> bool {
        let wanted = self.target(column);
        match self.staging(column) {
            Staging::Text => width(present).is_some(),
            Staging::Bytes => present.starts_with("binary varying") || present.starts_with("varbyte"),
            _ => present.eq_ignore_ascii_case(&wanted),
        }
    }
}

impl Staging {
    fn name(self) -> String {
        let plain = match self {
            Staging::Int2 => "smallint",
            Staging::Int4 => "integer",
            Staging::Int8 => "bigint",
            Staging::Float4 => "real",
            Staging::Float8 => "double precision",
            Staging::Bool => "boolean",
            Staging::Date => "date",
            Staging::Timestamp => "timestamp without time zone",
            Staging::Bytes => return format!("binary varying({LONGEST_BYTES})"),
            Staging::Decimal(precision, scale) => return format!("numeric({precision},{scale})"),
            Staging::Time | Staging::Super | Staging::Text => LONGEST,
        };
        plain.to_owned()
    }
}

/// The bytes that a text type takes; `None` for all other types.
pub fn width(type_name: &str) -> Option<usize> {
    type_name.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok()
}

/// The bytes that text has room for at first: a character takes up to four.
fn first_width(pg_type: &PgType, modifier: i32) -> usize {
    let characters = length_modifier(modifier).and_then(|n| usize::try_from(n).ok());
    match (pg_type, characters) {
        (PgType::Varchar | PgType::Bpchar, Some(n)) => (n * 4).clamp(1, LONGEST_TEXT),
        (PgType::Bpchar, None) => 4,
        (PgType::Uuid, _) => 36,
        (PgType::Enum { labels, .. }, _) => labels.iter().map(String::len).max().unwrap_or(0).max(64),
        _ => USUAL,
    }
}

/// Why Redshift can't have such a table, and what to do.
pub(super) fn refusal(types: &Types, target: &Target) -> Option<(String, String)> {
    let table = &target.table;
    if !matches!(target.layout, Layout::Mirror | Layout::Log | Layout::Append) {
        return Some((
            format!("{} is to be kept as {}, which Redshift is not written for yet", table.name, target.layout.name()),
            "use the modes mirror or append; without a key, append".to_owned(),
        ));
    }
    let names = [&target.name.schema, &target.name.name].into_iter().chain(table.columns.iter().map(|c| &c.name));
    for name in names {
        if name.to_lowercase().len() > LONGEST_NAME {
            return Some((
                format!("a name in {} has more than {LONGEST_NAME} bytes, which Redshift does not take", table.name),
                "leave the column out with columns.exclude, or give the table another name with rename".to_owned(),
            ));
        }
    }
    if let Some(column) = table.columns.iter().find(|c| SYSTEM_COLUMNS.contains(&c.name.to_lowercase().as_str())) {
        return Some((
            format!(
                "column {} of {} has the name of a system column, which no column of Redshift can have",
                column.name, table.name
            ),
            "rename the column at the source, or leave it out with columns.exclude".to_owned(),
        ));
    }
    if let Some(column) = table.key_columns().find(|column| types.staging(column) == Staging::Super) {
        return Some((
            format!("column {} of the key of {} is JSON, which Redshift can't compare", column.name, table.name),
            "set json = \"text\" in [sink.redshift], or name another key".to_owned(),
        ));
    }
    let wide = table.columns.len() + 4 + target.layout.staged().len() + table.key.len();
    (wide > 1600).then(|| {
        (
            format!(
                "{} has {} columns; merging needs {wide}, and Redshift has 1600 at most",
                table.name,
                table.columns.len()
            ),
            "leave columns out with columns.exclude".to_owned(),
        )
    })
}
