//! What a warehouse holds of a history, beside what its model holds.

#[cfg(feature = "duckdb")]
use std::path::PathBuf;

use super::Kept;
use super::truth::Truth;
#[cfg(feature = "duckdb")]
use crate::support::duck;
use crate::support::session::{Rows, Session};

/// Where to look while a sink is there.
pub enum Look<'a> {
    Postgres(&'a Session),
    #[cfg(feature = "duckdb")]
    Duckdb(PathBuf),
    #[cfg(feature = "redshift")]
    Redshift(&'a Session),
}

/// The columns that are there, as (table, column): each table is made with its first change.
struct Columns(Rows);

impl Columns {
    fn has(&self, table: &str, column: &str) -> bool {
        let named = |row: &Vec<Option<String>>| row[0].as_deref() == Some(table) && row[1].as_deref() == Some(column);
        self.0.iter().any(named)
    }
}

impl Look<'_> {
    pub fn rows(&self, sql: &str) -> Rows {
        match self {
            Look::Postgres(session) => session.sql(sql),
            #[cfg(feature = "duckdb")]
            Look::Duckdb(path) => {
                let reader = tailwater::adapters::warehouse::duckdb::reader(path).expect("a sink holds the file");
                reader.execute_batch("set TimeZone = 'UTC'").unwrap();
                duck::query(&reader, sql)
            }
            #[cfg(feature = "redshift")]
            Look::Redshift(session) => session.sql(sql),
        }
    }

    /// So few rows need no threads, which would look for work all the time.
    pub fn settle(&self) {
        #[cfg(feature = "duckdb")]
        if let Look::Duckdb(path) = self {
            let reader = tailwater::adapters::warehouse::duckdb::reader(path).expect("a sink holds the file");
            reader.execute_batch("set threads = 1").unwrap();
        }
    }

    fn columns(&self, schema: &str) -> Columns {
        let catalog =
            "from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace";
        let postgres = || {
            format!(
                "select c.relname, a.attname {catalog} where n.nspname = '{schema}' and a.attnum > 0 and c.relkind = 'r'"
            )
        };
        Columns(match self {
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => self
                .rows(&format!("select table_name, column_name from duckdb_columns() where schema_name = '{schema}'")),
            _ => self.rows(&postgres()),
        })
    }

    /// The expression for a column that comes later.
    pub fn extra(&self, seed: u64) -> &'static str {
        if self.columns(&format!("s{seed}")).has("mirrored", "extra") { "extra" } else { "null" }
    }

    /// A time in microseconds since 2000.
    fn micros(&self, column: &str) -> String {
        match self {
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => format!("epoch_us({column}) - 946684800000000"),
            _ => format!("(extract(epoch from {column}) * 1000000)::bigint - 946684800000000"),
        }
    }

    /// Which layouts it has.
    pub fn kept(&self) -> Kept {
        match self {
            #[cfg(feature = "redshift")]
            Look::Redshift(_) => Kept::Plainly,
            _ => Kept::All,
        }
    }

    /// Panics where the tables are not what the model's are.
    pub fn compare(&self, seed: u64, truth: &Truth) {
        let schema = format!("s{seed}");
        let present = self.columns(&schema);
        let check = |name: &str, columns: &[String], sorted: bool, mut wanted: Rows| {
            if !present.has(name, columns[0].trim_matches('"')) {
                assert!(wanted.is_empty(), "{name} is not there");
                return;
            }
            let order = if sorted { "" } else { " order by _tw_lsn, _tw_seq" };
            // A table gets a new column with its first change behind it; one that only grows has nothing of a truncate.
            let there = |column: &String| *column != "extra" || present.has(name, "extra");
            let columns: Vec<&str> = columns.iter().map(|c| if there(c) { c.as_str() } else { "null" }).collect();
            let mut rows = self.rows(&format!("select {} from {schema}.{name}{order}", columns.join(", ")));
            if sorted {
                rows.sort();
                wanted.sort();
            }
            assert_eq!(rows, wanted, "{name}");
        };
        let own = ["name", "id", "v", "big", "wide", "extra"].map(str::to_owned);
        let with = |more: &[String]| [own.to_vec(), more.to_vec()].concat();
        check("mirrored", &own, true, truth.mirror());
        let more = ["_tw_unchanged".to_owned(), "_tw_old".to_owned(), self.micros("_tw_committed_at")];
        check("events", &[vec!["_tw_op".to_owned()], with(&more)].concat(), false, truth.append_rows());
        let plain = self.plain();
        check("log", &[vec!["_tw_op".to_owned()], plain.to_vec()].concat(), false, self.unsigned(truth.log()));
        if self.kept() == Kept::All {
            let gone = format!("case when _tw_deleted then {} end", self.micros("_tw_deleted_at"));
            check("soft", &with(&[gone]), true, truth.soft_delete());
            let span = [self.micros("_tw_valid_from"), self.micros("_tw_valid_to")];
            check("versions", &with(&span), true, truth.history());
            check("copies", &plain, true, self.unsigned(truth.copies()));
        }
    }

    /// The columns of the tables without a key.
    fn plain(&self) -> [String; 2] {
        let number = match self {
            // Its storage takes zero's two signs for one value.
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => "replace(replace(lower(n::varchar), '-0.0', '0'), '.0', '')",
            _ => "n::text",
        };
        ["t".to_owned(), number.to_owned()]
    }

    /// Rows whose last column is a number, as this warehouse shows it.
    fn unsigned(&self, rows: Rows) -> Rows {
        match self {
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => {
                let shown = |number: String| if number == "-0" { "0".to_owned() } else { number.to_lowercase() };
                rows.into_iter()
                    .map(|mut row| {
                        let last = row.pop().flatten().map(shown);
                        row.push(last);
                        row
                    })
                    .collect()
            }
            _ => rows,
        }
    }
}
