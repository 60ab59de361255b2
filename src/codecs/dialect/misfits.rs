//! `_tailwater.misfits`: in which rows of the targets NULL stands in the place of a value that did not fit; found by the
//! row's `_tw_lsn` and `_tw_seq`. Plain SQL that every warehouse speaks.

use super::{Dialect, Layout, MergeSpec, base_match, key_match, literal, modes, quote, table};
use crate::model::{ChangeId, TableName};

/// Marks written by one statement.
const MARKS: usize = 500;

/// The digits that values need before and behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Before the point.
    pub whole: usize,
    /// Behind it.
    pub scale: usize,
    /// Whether some are written with an exponent.
    pub float: bool,
}

/// The marks of one pipeline.
#[derive(Clone, Debug)]
pub struct Misfits<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table in SQL.
    pub place: String,
}

impl Misfits<'_> {
    /// Forgets all of them.
    pub fn forget(&self) -> String {
        format!("DELETE FROM {} WHERE pipeline = {}", self.place, literal(self.pipeline))
    }

    /// A query for the targets that have some: schema, table.
    pub fn targets(&self) -> String {
        format!(
            "SELECT DISTINCT target_schema, target_table FROM {} WHERE pipeline = {}",
            self.place,
            literal(self.pipeline)
        )
    }

    /// Marks a column of rows; once, however often.
    pub fn mark(&self, target: &TableName, column: &str, rows: &[ChangeId]) -> Vec<String> {
        let of = [self.pipeline, &target.schema, &target.name, column].map(literal);
        let mut statements = Vec::new();
        for rows in rows.chunks(MARKS) {
            let row = |id: &ChangeId| format!("(commit_lsn = {} AND seq = {})", id.commit.get(), id.seq);
            let value = |id: &ChangeId| format!("({}, {}, {})", of.join(", "), id.commit.get(), id.seq);
            statements.push(format!(
                "DELETE FROM {} WHERE {} AND ({})",
                self.place,
                self.of("", target, Some(column)),
                rows.iter().map(row).collect::<Vec<_>>().join(" OR ")
            ));
            statements.push(format!(
                "INSERT INTO {} {COLUMNS} VALUES {}",
                self.place,
                rows.iter().map(value).collect::<Vec<_>>().join(", ")
            ));
        }
        statements
    }

    /// Those of a target, of one of its columns.
    fn of(&self, m: &str, target: &TableName, column: Option<&str>) -> String {
        let column = column.map(|column| format!(" AND {m}target_column = {}", literal(column))).unwrap_or_default();
        format!(
            "{m}pipeline = {} AND {m}target_schema = {} AND {m}target_table = {}{column}",
            literal(self.pipeline),
            literal(&target.schema),
            literal(&target.name)
        )
    }

    /// Gives the marks of target rows `t` to the staged rows `s` that take their values over.
    pub(super) fn hand_on(&self, target: &TableName, column: Option<&str>, pairs: &str) -> String {
        format!(
            "INSERT INTO {place} {COLUMNS} SELECT DISTINCT m.pipeline, m.target_schema, m.target_table, m.target_column, s._tw_lsn, s._tw_seq \
             FROM {pairs} AND m.commit_lsn = t._tw_lsn AND m.seq = t._tw_seq AND {of}",
            place = self.place,
            of = self.of("m.", target, column)
        )
    }
}

const COLUMNS: &str = "(pipeline, target_schema, target_table, target_column, commit_lsn, seq)";

/// See [`Dialect::keep_marks`].
pub(super) fn keep<D: Dialect>(dialect: &D, pipeline: &str, spec: &MergeSpec<'_>) -> Vec<String> {
    let target = spec.target;
    let misfits = dialect.misfits(pipeline);
    let (t, s) = (table(&target.name), dialect.stage(target));
    let staged = |column: &crate::model::Column, expression| dialect.staged(column, expression);
    let live = target.layout.live("t").map(|live| format!(" AND {live}")).unwrap_or_default();
    let from = format!("{} AS m, {s} AS s, {t} AS t WHERE {}{live}", misfits.place, modes::OLDER);
    let mut all = Vec::new();
    for &missing in &spec.missing {
        let Some(column) = target.table.columns.get(missing) else { continue };
        let pairs =
            format!("{from} AND substr(s._tw_missing, {}, 1) = '1' AND {}", missing + 1, base_match(target, staged));
        all.push(misfits.hand_on(&target.name, Some(&column.name), &pairs));
    }
    if target.layout == Layout::SoftDelete && spec.deletes {
        let pairs = format!("{from} AND s._tw_op = 'd' AND {}", key_match(target, staged));
        all.push(misfits.hand_on(&target.name, None, &pairs));
    }
    all
}

/// Creates the table.
pub(super) fn create(place: &str, text: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {place} (pipeline {text} NOT NULL, target_schema {text} NOT NULL, target_table {text} NOT NULL, \
         target_column {text} NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL)"
    )
}

/// A column of DuckDB as text, as PostgreSQL prints what is in it; `found` is the type that it has.
pub(super) fn duckdb_text(t: &str, column: &str, found: &str) -> Option<Vec<String>> {
    let name = quote(column);
    let text = format!("CAST({name} AS VARCHAR)");
    let text = match found {
        "SMALLINT" | "INTEGER" | "BIGINT" | "UINTEGER" | "UUID" | "TIME" | "JSON" => text,
        "DATE" | "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE" => {
            format!("regexp_replace({text}, '^(\\S+) \\(BC\\)(.*)$', '\\1\\2 BC')")
        }
        decimal if decimal.starts_with("DECIMAL(") => text,
        _ => return None,
    };
    Some(vec![format!("ALTER TABLE {t} ALTER COLUMN {name} TYPE VARCHAR USING {text}")])
}
