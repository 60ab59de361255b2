//! Whether a source table and its copy are equal in every row and column.
//!
//! Order does not count, nor do columns that only the copy has. Each side writes its values as text; what the two
//! write differently for the same value (floats, trailing zeros of numerics, JSON, arrays) is brought into one form.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "duckdb")]
use std::path::Path;

use super::session::{Rows, Session, identifier, literal};

/// A table's schema and name.
pub type Name<'a> = (&'a str, &'a str);

/// Where the copy is.
#[derive(Clone, Copy)]
pub enum Copy<'a> {
    /// In a PostgreSQL database.
    Postgres(&'a Session),
    /// In a DuckDB file that nobody holds.
    #[cfg(feature = "duckdb")]
    Duckdb(&'a Path),
}

/// How a source column's values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Real,
    Float,
    Numeric,
    Bool,
    Date,
    Json,
    Array,
    Address,
    Text,
}

struct Column {
    name: String,
    kind: Kind,
    key: bool,
}

/// Panics when the copy differs.
#[track_caller]
pub fn assert_equal(source: &Session, table: Name<'_>, copy: Copy<'_>, copied: Name<'_>) {
    if let Some(difference) = difference(source, table, copy, copied) {
        panic!("{difference}");
    }
}

/// Panics unless each table, `schema.name`, is equal to the copy of the same name.
#[track_caller]
pub fn assert_all_equal(source: &Session, tables: &[&str], copy: Copy<'_>) {
    let differences: Vec<String> =
        tables.iter().filter_map(|table| difference(source, split(table), copy, split(table))).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// `schema.name` in its parts; a schema with a dot has to be given in parts.
pub fn split(table: &str) -> Name<'_> {
    table.split_once('.').unwrap_or(("public", table))
}

/// What is different, in words: counts, and the keys of at most five rows.
pub fn difference(source: &Session, table: Name<'_>, copy: Copy<'_>, copied: Name<'_>) -> Option<String> {
    let what = format!("{}.{}", table.0, table.1);
    let columns = columns(source, table);
    assert!(!columns.is_empty(), "the source has no table {what}");
    let types = match copy {
        Copy::Postgres(session) => postgres_types(session, copied),
        #[cfg(feature = "duckdb")]
        Copy::Duckdb(path) => duckdb_types(path, copied),
    };
    if types.is_empty() {
        return Some(format!("{what}: the copy has no such table"));
    }
    let lacking: Vec<&str> =
        columns.iter().map(|column| column.name.as_str()).filter(|&name| !types.contains_key(name)).collect();
    if !lacking.is_empty() {
        return Some(format!("{what}: the copy lacks the columns {lacking:?}"));
    }
    // An array is compared as text where the copy keeps it as text, else as JSON on both sides.
    let structured: BTreeSet<&str> = columns
        .iter()
        .filter(|column| column.kind == Kind::Array && !is_text(&types[&column.name]))
        .map(|column| column.name.as_str())
        .collect();
    let left = source.sql(&postgres_select(&columns, &structured, table));
    let right = match copy {
        Copy::Postgres(session) => session.sql(&postgres_select(&columns, &structured, copied)),
        #[cfg(feature = "duckdb")]
        Copy::Duckdb(path) => duckdb_select(path, &columns, &types, &structured, copied),
    };
    report(&what, &columns, &counted(&columns, left), &counted(&columns, right))
}

type Counted = BTreeMap<Vec<Option<String>>, i64>;

fn counted(columns: &[Column], rows: Rows) -> Counted {
    let mut counted = Counted::new();
    for row in rows {
        let row = row.into_iter().zip(columns).map(|(value, column)| value.map(|value| canonical(column.kind, value)));
        *counted.entry(row.collect()).or_default() += 1;
    }
    counted
}

fn report(what: &str, columns: &[Column], left: &Counted, right: &Counted) -> Option<String> {
    let surplus = |a: &Counted, b: &Counted| -> Vec<Vec<Option<String>>> {
        a.iter().filter(|(row, count)| b.get(*row).unwrap_or(&0) < count).map(|(row, _)| row.clone()).collect()
    };
    let (missing, extra) = (surplus(left, right), surplus(right, left));
    if missing.is_empty() && extra.is_empty() {
        return None;
    }
    let keyed = columns.iter().any(|column| column.key);
    let shown = |row: &Vec<Option<String>>| -> String {
        let values = row.iter().zip(columns).filter(|(_, column)| column.key || !keyed);
        let values = values.map(|(value, column)| {
            let value = value.as_deref().unwrap_or("NULL");
            format!("{}={}", column.name, value.chars().take(40).collect::<String>())
        });
        values.collect::<Vec<_>>().join(" ")
    };
    let listed = |rows: &[Vec<Option<String>>]| rows.iter().take(5).map(shown).collect::<Vec<_>>().join("; ");
    let differing: BTreeSet<&str> = match (missing.first(), keyed) {
        (Some(row), true) => {
            let same_key = |other: &&Vec<Option<String>>| shown(other) == shown(row);
            let other = extra.iter().find(same_key);
            let pairs = other.map(|other| row.iter().zip(other).zip(columns));
            pairs.into_iter().flatten().filter(|((a, b), _)| a != b).map(|(_, column)| column.name.as_str()).collect()
        }
        _ => BTreeSet::new(),
    };
    Some(format!(
        "{what}: the source has {} rows, the copy {}\n  {} rows of the source are not in the copy: {}\n  {} rows of the \
         copy are not in the source: {}\n  columns that differ in the first such row: {differing:?}",
        left.values().sum::<i64>(),
        right.values().sum::<i64>(),
        missing.len(),
        listed(&missing),
        extra.len(),
        listed(&extra),
    ))
}

fn columns(session: &Session, table: Name<'_>) -> Vec<Column> {
    let rows = session.sql(&format!(
        "select a.attname, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text, t.typcategory,
                exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey))
         from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
              join pg_type t on t.oid = a.atttypid
         where n.nspname = {} and c.relname = {} and a.attnum > 0 and not a.attisdropped order by a.attnum",
        literal(table.0),
        literal(table.1)
    ));
    let column = |row: Vec<Option<String>>| {
        let text = |at: usize| row[at].clone().unwrap_or_default();
        let kind = match text(1).as_str() {
            _ if text(2) == "A" => Kind::Array,
            "real" => Kind::Real,
            "double precision" => Kind::Float,
            "numeric" => Kind::Numeric,
            "boolean" => Kind::Bool,
            "json" | "jsonb" => Kind::Json,
            "inet" => Kind::Address,
            "date" | "timestamp without time zone" | "timestamp with time zone" => Kind::Date,
            _ => Kind::Text,
        };
        Column { name: text(0), kind, key: text(3) == "t" }
    };
    rows.into_iter().map(column).collect()
}

fn postgres_types(session: &Session, table: Name<'_>) -> BTreeMap<String, String> {
    pairs(session.sql(&format!(
        "select a.attname, format_type(a.atttypid, null)
         from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = {} and c.relname = {} and a.attnum > 0 and not a.attisdropped",
        literal(table.0),
        literal(table.1)
    )))
}

fn pairs(rows: Rows) -> BTreeMap<String, String> {
    rows.into_iter().map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default())).collect()
}

fn is_text(type_name: &str) -> bool {
    matches!(type_name, "text" | "character varying" | "VARCHAR")
}

fn postgres_select(columns: &[Column], structured: &BTreeSet<&str>, table: Name<'_>) -> String {
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = identifier(&column.name);
            if structured.contains(column.name.as_str()) {
                format!("to_json({name})::text")
            } else if column.kind == Kind::Address {
                // Its cast to text adds a mask that its output has not.
                format!("case when {name} is not null then format('%s', {name}) end")
            } else {
                format!("{name}::text")
            }
        })
        .collect();
    format!(
        "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; select {} from {}.{}",
        list.join(", "),
        identifier(table.0),
        identifier(table.1)
    )
}

#[cfg(feature = "duckdb")]
fn duckdb_types(path: &Path, table: Name<'_>) -> BTreeMap<String, String> {
    pairs(super::duck::rows(
        path,
        &format!(
            "select column_name, data_type from duckdb_columns() where schema_name = {} and table_name = {}",
            literal(table.0),
            literal(table.1)
        ),
    ))
}

#[cfg(feature = "duckdb")]
fn duckdb_select(
    path: &Path,
    columns: &[Column],
    types: &BTreeMap<String, String>,
    structured: &BTreeSet<&str>,
    table: Name<'_>,
) -> Rows {
    let list: Vec<String> = columns
        .iter()
        .zip(0..)
        .map(|(column, at)| {
            let name = identifier(&column.name);
            let value = match types[&column.name].as_str() {
                "BLOB" => format!("'\\x' || lower(hex({name}))"),
                _ if structured.contains(column.name.as_str()) => format!("to_json({name})"),
                _ => name,
            };
            format!("{value} as c{at}")
        })
        .collect();
    let sql = format!("select {} from {}.{}", list.join(", "), identifier(table.0), identifier(table.1));
    super::duck::rows(path, &sql)
}

/// One form for what the two sides may write differently.
fn canonical(kind: Kind, value: String) -> String {
    match kind {
        // Warehouses print as many digits as they like, as long as they mean the same number.
        Kind::Real => match value.to_ascii_lowercase().as_str() {
            "nan" => "NaN".to_owned(),
            text => text.parse::<f32>().map_or(value, |number| format!("{number:?}")),
        },
        Kind::Float => match value.to_ascii_lowercase().as_str() {
            "nan" => "NaN".to_owned(),
            text => text.parse::<f64>().map_or(value, |number| format!("{number:?}")),
        },
        Kind::Numeric if value.contains('.') => {
            let short = value.trim_end_matches('0').trim_end_matches('.');
            if matches!(short, "-0" | "") { "0".to_owned() } else { short.to_owned() }
        }
        Kind::Bool => value.chars().take(1).collect(),
        Kind::Date => match value.split_once(" (BC) ") {
            Some((day, time)) => format!("{day} {time} BC"),
            None => value.replace(['(', ')'], ""),
        },
        // Maps of serde_json are sorted by name.
        Kind::Json => serde_json::from_str::<serde_json::Value>(&value).map_or(value, |json| json.to_string()),
        Kind::Array => serde_json::from_str::<serde_json::Value>(&value).map_or(value, |json| json_array(&json)),
        Kind::Numeric | Kind::Address | Kind::Text => value,
    }
}

/// Numbers that are equal are written alike, and so are the two ways to write a time of day after a date.
fn json_array(json: &serde_json::Value) -> String {
    use serde_json::Value;
    match json {
        Value::Array(items) => format!("[{}]", items.iter().map(json_array).collect::<Vec<_>>().join(",")),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |float| format!("{float:?}")),
        Value::String(text) => {
            let bytes = text.as_bytes();
            let time = bytes.len() > 10 && bytes[10] == b'T' && bytes[4] == b'-' && bytes[7] == b'-';
            let text = if time { text.replacen('T', " ", 1).replace("+00:00", "+00") } else { text.clone() };
            Value::String(text).to_string()
        }
        other => other.to_string(),
    }
}
