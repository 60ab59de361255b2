//! The control tables: `_tailwater.progress`, `_tailwater.offsets`, `_tailwater.followed` and `_tailwater.tables`; those
//! of tables that are stopped are in `stops`. Plain SQL that every warehouse speaks.

use super::{columns, literal, misfits, moment, notes, sources, stops, views};
use crate::model::{ChangeId, Checkpoint, Membership, PgTimestamp, Phase, TableName};

/// The schema of everything that is ours.
pub const CONTROL_SCHEMA: &str = "_tailwater";

/// The progress row of one pipeline.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table it is in.
    pub progress: String,
    /// The table of offsets.
    pub offsets: String,
    /// The table of what is followed.
    pub followed: String,
    /// What tells the time.
    pub now: &'static str,
}

impl<'a> Progress<'a> {
    /// In the control tables that all pipelines share.
    pub fn of(pipeline: &'a str) -> Progress<'a> {
        let of = |name: &str| format!("{CONTROL_SCHEMA}.{name}");
        Progress { pipeline, progress: of("progress"), offsets: of("offsets"), followed: of("followed"), now: "now()" }
    }

    /// Makes the row if it is absent.
    pub fn create(&self) -> String {
        let (name, progress) = (literal(self.pipeline), &self.progress);
        format!(
            "INSERT INTO {progress} (pipeline, fence) SELECT {name}, 0 \
             WHERE NOT EXISTS (SELECT 1 FROM {progress} WHERE pipeline = {name})"
        )
    }

    /// Takes the fence: whoever had it before fails at its next flush.
    pub fn take_fence(&self) -> String {
        format!("UPDATE {} SET fence = fence + 1 WHERE pipeline = {}", self.progress, literal(self.pipeline))
    }

    /// Reads the row: fence, system id, timeline, lsn, commit LSN, seq, phase.
    pub fn read(&self) -> String {
        format!(
            "SELECT fence, system_id, timeline, lsn, commit_lsn, seq, phase FROM {} WHERE pipeline = {}",
            self.progress,
            literal(self.pipeline)
        )
    }

    /// Reads the offsets: topic, partition, next offset.
    pub fn read_offsets(&self) -> String {
        format!(
            "SELECT topic, part, next_offset FROM {} WHERE pipeline = {} ORDER BY topic, part",
            self.offsets,
            literal(self.pipeline)
        )
    }

    /// Reads which source tables are followed: schema, table, and the OIDs of table, publication and entry.
    pub fn read_followed(&self) -> String {
        format!(
            "SELECT source_schema, source_table, table_oid, publication_oid, entry_oid FROM {} WHERE pipeline = {}",
            self.followed,
            literal(self.pipeline)
        )
    }

    /// Changes nothing, and exactly one row, unless another process has the fence.
    pub fn guard(&self, fence: u64) -> String {
        let name = literal(self.pipeline);
        format!("UPDATE {} SET fence = fence WHERE pipeline = {name} AND fence = {fence}", self.progress)
    }

    /// Moves the row from `expected` to `checkpoint`, whose last transaction committed at `at`, where that is known; must
    /// change exactly one row, else another process has the fence.
    pub fn advance(&self, fence: u64, expected: ChangeId, checkpoint: &Checkpoint, at: Option<PgTimestamp>) -> String {
        let Checkpoint { position, change, phase, .. } = checkpoint;
        let phase = match phase {
            Phase::Snapshot => "snapshot",
            Phase::Stream => "stream",
        };
        let at = at.map(|at| format!("committed_at = {}, ", moment(at)));
        format!(
            "UPDATE {} SET system_id = '{}', timeline = {}, lsn = {}, commit_lsn = {}, seq = {}, phase = '{phase}', \
             {}updated_at = {} WHERE pipeline = {} AND fence = {fence} AND coalesce(commit_lsn, 0) = {} AND coalesce(seq, 0) = {}",
            self.progress,
            position.system_id,
            position.timeline,
            position.lsn.get(),
            change.commit.get(),
            change.seq,
            at.unwrap_or_default(),
            self.now,
            literal(self.pipeline),
            expected.commit.get(),
            expected.seq,
        )
    }
}

/// Sets the next offset of one partition.
pub(super) fn offset(table: &str, pipeline: &str, topic: &str, part: i32, next: i64) -> [String; 2] {
    let (pipeline, topic) = (literal(pipeline), literal(topic));
    [
        format!("DELETE FROM {table} WHERE pipeline = {pipeline} AND topic = {topic} AND part = {part}"),
        format!(
            "INSERT INTO {table} (pipeline, topic, part, next_offset) VALUES ({pipeline}, {topic}, {part}, {next})"
        ),
    ]
}

/// Forgets which source tables are followed.
pub(super) fn forget_followed(table: &str, pipeline: &str) -> String {
    format!("DELETE FROM {table} WHERE pipeline = {}", literal(pipeline))
}

/// Notes that a source table's rows are complete, or that they are not kept up with any more.
pub(super) fn follow(place: &str, pipeline: &str, name: &TableName, membership: Option<Membership>) -> Vec<String> {
    let (pipeline, schema, table) = (literal(pipeline), literal(&name.schema), literal(&name.name));
    let mut statements = vec![format!(
        "DELETE FROM {place} WHERE pipeline = {pipeline} AND source_schema = {schema} AND source_table = {table}"
    )];
    if let Some(Membership { table: oid, publication, entry }) = membership {
        statements.push(format!(
            "INSERT INTO {place} (pipeline, source_schema, source_table, table_oid, publication_oid, entry_oid) \
             VALUES ({pipeline}, {schema}, {table}, {oid}, {publication}, {entry})"
        ));
    }
    statements
}

/// Whose rows a target holds.
pub(super) fn owner(schema: &str, name: &str) -> String {
    format!(
        "SELECT pipeline, source_schema, source_table, mode FROM _tailwater.tables WHERE target_schema = {} AND target_table = {}",
        literal(schema),
        literal(name)
    )
}

/// Notes whose rows a target holds.
pub(super) fn own(pipeline: &str, schema: &str, name: &str, source: &TableName, mode: &str) -> String {
    format!(
        "INSERT INTO _tailwater.tables (target_schema, target_table, pipeline, source_schema, source_table, mode) VALUES ({}, {}, {}, {}, {}, {})",
        literal(schema),
        literal(name),
        literal(pipeline),
        literal(&source.schema),
        literal(&source.name),
        literal(mode)
    )
}

/// Gives the progress table what an earlier version made it without.
pub(super) fn add_committed_at(time: &str) -> String {
    format!("ALTER TABLE _tailwater.progress ADD COLUMN IF NOT EXISTS committed_at {time}")
}

/// Gives the table of targets what an earlier version made it without.
pub(super) fn add_mode(text: &str) -> String {
    format!("ALTER TABLE _tailwater.tables ADD COLUMN IF NOT EXISTS mode {text}")
}

/// The control tables, given their names in SQL and those of the types of text, time and long text.
pub(super) fn tables(of: &dyn Fn(&str) -> String, text: &str, time: &str, long: &str) -> Vec<String> {
    let [progress, offsets, followed, tables] = ["progress", "offsets", "followed", "tables"].map(of);
    vec![
        "CREATE SCHEMA IF NOT EXISTS _tailwater".to_owned(),
        format!(
            "CREATE TABLE IF NOT EXISTS {progress} (pipeline {text} NOT NULL, system_id {text}, timeline bigint, lsn bigint, \
             commit_lsn bigint, seq bigint, phase {text}, fence bigint NOT NULL, updated_at {time}, \
             committed_at {time})"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {offsets} (pipeline {text} NOT NULL, topic {text} NOT NULL, part integer NOT NULL, \
             next_offset bigint NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {followed} (pipeline {text} NOT NULL, source_schema {text} NOT NULL, \
             source_table {text} NOT NULL, table_oid bigint NOT NULL, publication_oid bigint NOT NULL, entry_oid bigint NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {tables} (target_schema {text} NOT NULL, target_table {text} NOT NULL, \
             pipeline {text} NOT NULL, source_schema {text} NOT NULL, source_table {text} NOT NULL, mode {text})"
        ),
        stops::stopped(text, time, long),
        stops::held(text, long),
        notes::notes(text, long),
        sources::sources(text),
        columns::create(&of("columns"), text),
        views::create(&of("views"), text),
        misfits::create(&of("misfits"), text),
    ]
}
