//! `_tailwater.columns`: which column of a target holds which column of the source, by the number that a rename does not
//! change. Plain SQL that every warehouse speaks.

use super::literal;
use crate::model::{Oid, TableName};

/// Which column of a target holds a column of the source; also of one that was dropped there and is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The relation whose column it is: numbers are its own.
    pub relation: Oid,
    /// The column's number at the source; 0 where that is not known.
    pub number: u16,
    /// Its last name there.
    pub source: String,
    /// The column of the target.
    pub column: String,
}

/// A query for what a target's columns hold: relation, number, source column, column.
pub(super) fn read(place: &str, pipeline: &str, target: &TableName) -> String {
    format!(
        "SELECT source_relation, source_number, source_column, target_column FROM {place} WHERE {}",
        of(pipeline, target)
    )
}

/// Notes what a target's columns hold.
pub(super) fn write(place: &str, pipeline: &str, target: &TableName, columns: &[Held]) -> Vec<String> {
    let mut statements = vec![format!("DELETE FROM {place} WHERE {}", of(pipeline, target))];
    let value = |held: &Held| {
        format!(
            "({}, {}, {}, {}, {}, {}, {})",
            literal(pipeline),
            literal(&target.schema),
            literal(&target.name),
            held.relation,
            held.number,
            literal(&held.source),
            literal(&held.column)
        )
    };
    statements.extend((!columns.is_empty()).then(|| {
        format!(
            "INSERT INTO {place} (pipeline, target_schema, target_table, source_relation, source_number, source_column, target_column) VALUES {}",
            columns.iter().map(value).collect::<Vec<_>>().join(", ")
        )
    }));
    statements
}

/// Creates the table.
pub(super) fn create(place: &str, text: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {place} (pipeline {text} NOT NULL, target_schema {text} NOT NULL, target_table {text} NOT NULL, \
         source_relation bigint NOT NULL, source_number integer NOT NULL, source_column {text} NOT NULL, target_column {text} NOT NULL)"
    )
}

pub(super) fn of(pipeline: &str, target: &TableName) -> String {
    format!(
        "pipeline = {} AND target_schema = {} AND target_table = {}",
        literal(pipeline),
        literal(&target.schema),
        literal(&target.name)
    )
}
