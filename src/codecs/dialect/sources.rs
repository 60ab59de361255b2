//! `_tailwater.sources`: which pipelines share a target, each with a value of its own in the column that tells them apart.
//! Plain SQL that every warehouse speaks.

use super::literal;
use crate::model::TableName;

/// The sources of one target.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The target, as the warehouse folds its name.
    pub target: TableName,
}

impl Sources {
    /// Reads them: column, value, pipeline.
    pub fn read(&self) -> String {
        format!("SELECT source_column, source_value, pipeline FROM _tailwater.sources WHERE {}", self.of())
    }

    /// Adds one.
    pub fn add(&self, column: &str, value: &str, pipeline: &str) -> String {
        format!(
            "INSERT INTO _tailwater.sources (target_schema, target_table, source_column, source_value, pipeline) \
             VALUES ({}, {}, {}, {}, {})",
            literal(&self.target.schema),
            literal(&self.target.name),
            literal(column),
            literal(value),
            literal(pipeline)
        )
    }

    fn of(&self) -> String {
        format!("target_schema = {} AND target_table = {}", literal(&self.target.schema), literal(&self.target.name))
    }
}

/// Creates the table.
pub(super) fn sources(text: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tailwater.sources (target_schema {text} NOT NULL, target_table {text} NOT NULL, \
         source_column {text} NOT NULL, source_value {text} NOT NULL, pipeline {text} NOT NULL)"
    )
}
