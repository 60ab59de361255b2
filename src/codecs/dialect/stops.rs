//! `_tailwater.stopped`: tables that can't proceed; `_tailwater.held`: their changes, as they wait. Plain SQL that every
//! warehouse speaks.

use super::literal;
use crate::model::value::{Finite, print};
use crate::model::{ChangeId, PgTimestamp, TableName};

/// Characters of one row of what waits: what the narrowest text column of any warehouse takes.
pub const PART: usize = 60_000;

/// The stopped tables of one pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Stops<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
}

impl Stops<'_> {
    /// Reads the stopped tables: schema, name, since when in microseconds since 1970, reason, remedy.
    pub fn read(&self) -> String {
        format!(
            "SELECT source_schema, source_table, CAST(extract(epoch FROM since) * 1000000 AS bigint), reason, remedy \
             FROM _tailwater.stopped WHERE pipeline = {} ORDER BY source_schema, source_table",
            literal(self.pipeline)
        )
    }

    /// Reads how many changes wait: schema, name, changes.
    pub fn count(&self) -> String {
        format!(
            "SELECT source_schema, source_table, CAST(sum(changes) AS bigint) FROM _tailwater.held WHERE pipeline = {} \
             GROUP BY source_schema, source_table",
            literal(self.pipeline)
        )
    }

    /// Notes that a table is stopped.
    pub fn stop(&self, table: &TableName, since: PgTimestamp, reason: &str, remedy: &str) -> [String; 2] {
        let mut text = Vec::new();
        print::pg_timestamptz(Finite::Value(since.0), &mut text);
        [
            self.go_on(table),
            format!(
                "INSERT INTO _tailwater.stopped (pipeline, source_schema, source_table, since, reason, remedy) \
                 VALUES ({}, {}, {}, TIMESTAMPTZ '{}', {}, {})",
                literal(self.pipeline),
                literal(&table.schema),
                literal(&table.name),
                String::from_utf8_lossy(&text),
                literal(reason),
                literal(remedy)
            ),
        ]
    }

    /// Notes that a table goes on.
    pub fn go_on(&self, table: &TableName) -> String {
        format!("DELETE FROM _tailwater.stopped WHERE {}", self.of(table))
    }

    /// Keeps changes of a table, as one text in parts.
    pub fn hold(&self, table: &TableName, first: ChangeId, changes: u64, text: &str) -> Vec<String> {
        let mut statements = Vec::new();
        let (mut rest, mut part) = (text, 0);
        while !rest.is_empty() {
            // Base64 is ASCII: every byte ends a character.
            let (now, later) = rest.split_at(rest.len().min(PART));
            let (changes, bytes) = if part == 0 { (changes, text.len()) } else { (0, 0) };
            statements.push(format!(
                "INSERT INTO _tailwater.held (pipeline, source_schema, source_table, commit_lsn, seq, part, changes, bytes, content) \
                 VALUES ({}, {}, {}, {}, {}, {part}, {changes}, {bytes}, '{now}')",
                literal(self.pipeline),
                literal(&table.schema),
                literal(&table.name),
                first.commit.get(),
                first.seq,
            ));
            (rest, part) = (later, part + 1);
        }
        statements
    }

    /// A query for the next texts that wait, in order: commit LSN, seq, changes, bytes.
    pub fn next(&self, table: &TableName, limit: usize) -> String {
        format!(
            "SELECT commit_lsn, seq, changes, bytes FROM _tailwater.held WHERE {} AND part = 0 ORDER BY commit_lsn, seq LIMIT {limit}",
            self.of(table)
        )
    }

    /// A query for the parts of the texts up to one of them, in order: commit LSN, seq, content.
    pub fn content(&self, table: &TableName, upto: ChangeId) -> String {
        format!(
            "SELECT commit_lsn, seq, content FROM _tailwater.held WHERE {} AND {} ORDER BY commit_lsn, seq, part",
            self.of(table),
            until(upto)
        )
    }

    /// Forgets what waits, up to a text.
    pub fn release(&self, table: &TableName, upto: ChangeId) -> String {
        format!("DELETE FROM _tailwater.held WHERE {} AND {}", self.of(table), until(upto))
    }

    /// Forgets all that waits.
    pub fn forget(&self) -> String {
        format!("DELETE FROM _tailwater.held WHERE pipeline = {}", literal(self.pipeline))
    }

    fn of(&self, table: &TableName) -> String {
        format!(
            "pipeline = {} AND source_schema = {} AND source_table = {}",
            literal(self.pipeline),
            literal(&table.schema),
            literal(&table.name)
        )
    }
}

fn until(upto: ChangeId) -> String {
    let (lsn, seq) = (upto.commit.get(), upto.seq);
    format!("(commit_lsn < {lsn} OR (commit_lsn = {lsn} AND seq <= {seq}))")
}

/// Creates the table of stopped tables.
pub(super) fn stopped(text: &str, time: &str, long: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tailwater.stopped (pipeline {text} NOT NULL, source_schema {text} NOT NULL, \
         source_table {text} NOT NULL, since {time} NOT NULL, reason {long} NOT NULL, remedy {long} NOT NULL)"
    )
}

/// Creates the table of what waits.
pub(super) fn held(text: &str, content: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tailwater.held (pipeline {text} NOT NULL, source_schema {text} NOT NULL, \
         source_table {text} NOT NULL, commit_lsn bigint NOT NULL, seq bigint NOT NULL, part integer NOT NULL, \
         changes bigint NOT NULL, bytes bigint NOT NULL, content {content} NOT NULL)"
    )
}
