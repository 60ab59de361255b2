//! What a warehouse holds of a history, beside what its model holds.

use std::collections::BTreeMap;
#[cfg(feature = "duckdb")]
use std::path::PathBuf;

use tailwater::codecs::dialect::{self, Dialect, Mode};
use tailwater::model::TableName;

use super::Kept;
use super::shape::UID;
use super::truth::Truth;
#[cfg(feature = "duckdb")]
use crate::support::duck;
use crate::support::session::{Rows, Session, identifier};

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

    /// What a table's columns hold: the name of each by the number of the source's.
    pub fn held(&self, seed: u64, table: &str) -> BTreeMap<u16, String> {
        let (pipeline, target) = (format!("p{seed}"), TableName::new(format!("s{seed}"), table));
        let sql = match self {
            #[cfg(feature = "duckdb")]
            Look::Duckdb(_) => dialect::Duckdb.held(&pipeline, &target),
            #[cfg(feature = "redshift")]
            Look::Redshift(_) => dialect::Redshift { pipeline: pipeline.clone(), ..dialect::Redshift::default() }
                .held(&pipeline, &target),
            Look::Postgres(_) => dialect::Postgres.held(&pipeline, &target),
        };
        let folded = |name: String| if self.kept() == Kept::All { name } else { name.to_lowercase() };
        let row = |row: Vec<Option<String>>| Some((row[1].as_ref()?.parse().unwrap(), folded(row[3].clone()?)));
        self.rows(&sql).into_iter().filter_map(row).collect()
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

    /// Whether a table may change within a transaction, too. What DuckDB stops for then goes on after it.
    pub fn alters_inside(&self) -> bool {
        #[cfg(feature = "duckdb")]
        return !matches!(self, Look::Duckdb(_));
        #[cfg(not(feature = "duckdb"))]
        return true;
    }

    /// Panics where the tables are not what the model's are.
    pub fn compare(&self, seed: u64, truth: &Truth, modes: &[(&str, Mode)]) {
        let schema = format!("s{seed}");
        let present = self.columns(&schema);
        let check = |name: &str, columns: &[String], sorted: bool, mut wanted: Rows| {
            if !present.has(name, "_tw_lsn") {
                assert!(wanted.is_empty(), "{name} is not there");
                return;
            }
            let order = if sorted { "" } else { " order by _tw_lsn, _tw_seq" };
            let mut rows = self.rows(&format!("select {} from {schema}.{name}{order}", columns.join(", ")));
            if sorted {
                rows.sort();
                wanted.sort();
            }
            let lacking: Vec<_> = wanted.iter().filter(|row| !rows.contains(row)).take(3).collect();
            let extra: Vec<_> = rows.iter().filter(|row| !wanted.contains(row)).take(3).collect();
            assert!(rows == wanted, "{name}, {columns:?}\nlacking: {lacking:#?}\nnot wanted: {extra:#?}");
        };
        let numbers = truth.numbers();
        let keyed = |name: &str, first: &[&str], more: &[String], wanted: Rows| {
            if modes.iter().all(|(mode, _)| *mode != name) {
                return;
            }
            let held = self.held(seed, name);
            let column = |number: &u16| held.get(number).map_or("null".to_owned(), |column| identifier(column));
            let columns = first.iter().map(|name| (*name).to_owned()).chain(numbers.iter().map(column));
            let columns: Vec<String> = columns.chain(more.iter().cloned()).collect();
            check(name, &columns, first.is_empty(), wanted);
        };
        let more = ["_tw_unchanged".to_owned(), "_tw_old".to_owned(), self.micros("_tw_committed_at")];
        keyed("mirrored", &[], &[], truth.mirror());
        keyed("events", &["_tw_op"], &more, truth.append_rows());
        let plain = self.plain();
        check("log", &[vec!["_tw_op".to_owned()], plain.to_vec()].concat(), false, self.unsigned(truth.log()));
        if self.kept() == Kept::All {
            let gone = format!("case when _tw_deleted then {} end", self.micros("_tw_deleted_at"));
            keyed("soft", &[], &[gone], truth.soft_delete());
            keyed("versions", &[], &[self.micros("_tw_valid_from"), self.micros("_tw_valid_to")], truth.history());
            check("copies", &plain, true, self.unsigned(truth.copies()));
        }
    }

    /// Panics unless the columns have the names that the source's have, in the tables that something was told of, and
    /// those that were dropped keep what was in them.
    pub fn compare_columns(&self, seed: u64, truth: &Truth, modes: &[(&str, Mode)]) {
        let present = self.columns(&format!("s{seed}"));
        for (table, mode) in modes.iter().filter(|(table, _)| present.has(table, "_tw_lsn")) {
            let mut held = self.held(seed, table);
            for field in &truth.told.fields {
                let found = held.remove(&field.number).map(|name| name.to_lowercase());
                assert_eq!(found, Some(field.name.to_lowercase()), "{table}: column {}", field.number);
            }
            if *mode == Mode::Mirror {
                held.into_iter().for_each(|dropped| self.compare_dropped(seed, table, truth, dropped));
            }
        }
    }

    /// Rows that were left alone have what they had.
    fn compare_dropped(&self, seed: u64, table: &str, truth: &Truth, (number, column): (u16, String)) {
        let (wanted, uid) = (truth.dropped(number), truth.told.name(UID));
        let columns = format!("{}, {}", identifier(uid), identifier(&column));
        let rows = self.rows(&format!("select {columns} from s{seed}.{table}"));
        let row = |row: &Vec<Option<String>>| (row[0].as_ref().unwrap().parse::<u32>().unwrap(), row[1].clone());
        let kept: BTreeMap<u32, Option<String>> =
            rows.iter().map(row).filter(|(uid, _)| wanted.contains_key(uid)).collect();
        assert_eq!(kept, wanted, "{table}: {column}, which was dropped");
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
