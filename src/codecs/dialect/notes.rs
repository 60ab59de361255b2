//! `_tailwater.notes`: what sources remember beside their positions. Plain SQL that every warehouse speaks.

use super::literal;

/// The notes of one pipeline.
#[derive(Clone, Debug)]
pub struct Notes<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The progress table in SQL, which has the fence.
    pub progress: String,
}

impl Notes<'_> {
    /// Reads them: name, value.
    pub fn read(&self) -> String {
        format!("SELECT name, value FROM _tailwater.notes WHERE pipeline = {} ORDER BY name", literal(self.pipeline))
    }

    /// Replaces a note, where the fence is still ours.
    pub fn write(&self, fence: u64, name: &str, value: &str) -> [String; 2] {
        let (pipeline, name, value) = (literal(self.pipeline), literal(name), literal(value));
        let ours =
            format!("EXISTS (SELECT 1 FROM {} p WHERE p.pipeline = {pipeline} AND p.fence = {fence})", self.progress);
        [
            format!("DELETE FROM _tailwater.notes WHERE pipeline = {pipeline} AND name = {name} AND {ours}"),
            format!(
                "INSERT INTO _tailwater.notes (pipeline, name, value) SELECT {pipeline}, {name}, {value} WHERE {ours}"
            ),
        ]
    }
}

/// Creates the table.
pub(super) fn notes(text: &str, long: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tailwater.notes (pipeline {text} NOT NULL, name {text} NOT NULL, value {long} NOT NULL)"
    )
}
