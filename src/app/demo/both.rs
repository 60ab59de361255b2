//! Both sides, queried: row counts while it runs, every row in the end.

use std::path::{Path, PathBuf};

use duckdb::Connection;
use tokio::task::block_in_place;
use tokio_postgres::Client;

use super::shop::SCHEMA;
use crate::adapters::warehouse::duckdb::reader;
use crate::model::{Error, Result};

/// The tables, each with its columns as (name, whether it is an instant).
const TABLES: [(&str, &[(&str, bool)]); 5] = [
    ("customers", &[("id", false), ("name", false), ("joined", true), ("vip", false), ("city", false)]),
    ("products", &[("sku", false), ("price", false), ("stock", false), ("description", false)]),
    ("orders", &[("id", false), ("customer", false), ("total", false), ("state", false), ("placed", true)]),
    ("order_lines", &[("order_id", false), ("line", false), ("sku", false), ("quantity", false)]),
    ("visits", &[("customer", false), ("page", false), ("at", true)]),
];

/// A table's rows at the source and in the warehouse; unknown before the warehouse has it.
pub(super) struct Count {
    pub(super) table: &'static str,
    pub(super) source: i64,
    pub(super) copy: Option<i64>,
}

/// The two sides.
pub(super) struct Both<'a> {
    source: &'a Client,
    file: PathBuf,
}

impl<'a> Both<'a> {
    pub(super) fn new(source: &'a Client, file: &Path) -> Both<'a> {
        Both { source, file: file.to_owned() }
    }

    /// Counts the rows of both sides, the warehouse's through a second connection to the file that is being written.
    pub(super) async fn counts(&mut self) -> Result<Vec<Count>> {
        let copy = reader(&self.file);
        let mut counts = Vec::new();
        for (table, _) in TABLES {
            let sql = format!("SELECT count(*) FROM {SCHEMA}.{table}");
            let source = self.source.query_one(&sql, &[]).await.map_err(source_error)?.get(0);
            let copy =
                copy.as_ref().and_then(|copy| block_in_place(|| copy.query_row(&sql, [], |row| row.get(0))).ok());
            counts.push(Count { table, source, copy });
        }
        Ok(counts)
    }

    /// Compares counts and a hash over every row and column; an error when a table differs.
    pub(super) async fn compare(&self) -> Result<()> {
        let copy = Connection::open(&self.file).map_err(copy_error)?;
        copy.execute_batch("SET TimeZone = 'UTC'").map_err(copy_error)?;
        let mut different = Vec::new();
        for (table, columns) in TABLES {
            let source = self.source.query_one(&query(table, columns, true), &[]).await.map_err(source_error)?;
            let source: (i64, String) = (source.get(0), source.get(1));
            let sql = query(table, columns, false);
            let copy: (i64, String) = block_in_place(|| copy.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))))
                .map_err(copy_error)?;
            let equal = source == copy;
            println!(
                "  {table:<12} {:>9} rows  {}  {}",
                source.0,
                source.1.get(..12).unwrap_or_default(),
                if equal { "equal" } else { "DIFFERENT" }
            );
            if !equal {
                different.push(table);
            }
        }
        if different.is_empty() {
            println!("PostgreSQL and DuckDB are equal.");
            return Ok(());
        }
        Err(Error::bug(format!("these tables differ: {}", different.join(", "))))
    }
}

/// Row count and a hash that does not depend on the order of the rows; both sides write values the same way.
fn query(table: &str, columns: &[(&str, bool)], source: bool) -> String {
    let text = |(name, instant): &(&str, bool)| match (*instant, source) {
        (false, true) => format!("coalesce(\"{name}\"::text, '~')"),
        (false, false) => format!("coalesce(\"{name}\"::varchar, '~')"),
        (true, true) => format!("((extract(epoch FROM \"{name}\") * 1000000)::bigint)::text"),
        (true, false) => format!("epoch_us(\"{name}\")::varchar"),
    };
    let row = columns.iter().map(text).collect::<Vec<_>>().join(" || '|' || ");
    format!(
        "SELECT count(*), md5(coalesce(string_agg(h, '' ORDER BY h), '')) FROM (SELECT md5({row}) AS h FROM {SCHEMA}.{table}) hashes"
    )
}

fn source_error(error: tokio_postgres::Error) -> Error {
    Error::transient("asking PostgreSQL").because(error)
}

fn copy_error(error: duckdb::Error) -> Error {
    Error::transient("asking DuckDB").because(error)
}
