//! The rows of a DuckDB file, once no other process holds it.

use std::path::Path;

use duckdb::{AccessMode, Config, Connection};

use super::session::Rows;

/// Opens a file for reading.
#[track_caller]
pub fn open(path: &Path) -> Connection {
    let config = Config::default().access_mode(AccessMode::ReadOnly).expect("a setting of DuckDB");
    let connection = Connection::open_with_flags(path, config)
        .unwrap_or_else(|error| panic!("{} can't be opened: {error}", path.display()));
    connection.execute_batch("set TimeZone = 'UTC'").expect("a setting of DuckDB");
    connection
}

/// The rows of a query as text, in the query's order.
#[track_caller]
pub fn rows(path: &Path, sql: &str) -> Rows {
    query(&open(path), sql)
}

/// The rows of a query as text.
#[track_caller]
pub fn query(connection: &Connection, sql: &str) -> Rows {
    let text = format!("select columns(*)::varchar from ({sql})");
    let mut statement = connection.prepare(&text).unwrap_or_else(|error| panic!("{error}\nin: {text}"));
    let mut rows = statement.query([]).unwrap_or_else(|error| panic!("{error}\nin: {text}"));
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let width = row.as_ref().column_count();
        all.push((0..width).map(|at| row.get(at).expect("text")).collect());
    }
    all
}
