//! The PostgreSQL source against real servers: how it gets in, what it refuses, and that it yields each change once.

use std::collections::BTreeMap;
use std::time::Duration;

use tailwater::adapters::postgres::{Endpoint, Form, Options, PostgresSource, SnapshotMode};
use tailwater::logic::pipeline::Source;
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Error, Meters, OldRow, Op, Pattern, Phase, Position, Result, Row,
};

use crate::support::postgres::Database;

mod access;
mod binary;
mod facts;
mod join;
mod slot;
mod stream;
mod streamed;
mod two_phase;
mod versions;
mod writers;

/// Follows every table of `public` with slot and publication of the pipeline's name.
fn options(url: &str, pipeline: &str) -> Options {
    Options {
        pipeline: pipeline.into(),
        endpoint: Endpoint::parse(url).unwrap(),
        tables: vec![Pattern::new("public.*")],
        exclude: Vec::new(),
        partitions: Default::default(),
        portions: Vec::new(),
        slot: pipeline.into(),
        publication: pipeline.into(),
        create: true,
        snapshot: SnapshotMode::Initial,
        resnapshot: false,
        messages: None,
        commits: false,
        schema_history: false,
        form: Form::default(),
        two_phase: false,
        streaming: Some(false),
        spool: Default::default(),
        buffer_bytes: 16 << 20,
        connect_timeout: Duration::from_secs(10),
    }
}

/// The slot of a database's pipeline: databases of one server share the names of slots.
fn of(database: &Database<'_>) -> Options {
    options(&database.url(), database.name())
}

async fn start(options: &Options, resume: Option<Checkpoint>) -> PostgresSource {
    PostgresSource::start(options.clone(), resume, Meters::new()).await.unwrap()
}

async fn refused(options: &Options, resume: Option<Checkpoint>) -> Error {
    PostgresSource::start(options.clone(), resume, Meters::new()).await.err().expect("the start is refused")
}

/// A sink that keeps each table's rows by the text of their first column, and checks the order of what it gets.
#[derive(Default)]
struct Mirror {
    tables: BTreeMap<String, BTreeMap<String, Vec<Option<String>>>>,
    stored: Option<Checkpoint>,
    last: ChangeId,
    taken: usize,
}

impl Mirror {
    /// Takes batches until everything that is committed now has come, acknowledging each.
    async fn follow(&mut self, source: &mut PostgresSource) {
        let goal = source.current().await.unwrap();
        loop {
            let reached = self.take(source).await.unwrap();
            if reached.is_some_and(|upto| upto.reaches(&goal)) {
                return;
            }
        }
    }

    /// Takes one batch and acknowledges it.
    async fn take(&mut self, source: &mut PostgresSource) -> Result<Option<<PostgresSource as Source>::Position>> {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
            .await
            .expect("a batch comes")?;
        batch.changes.iter().for_each(|change| self.apply(change));
        if let Some(upto) = &batch.upto {
            self.stored = Some(upto.checkpoint());
            source.ack(upto.clone()).await?;
        }
        Ok(batch.upto)
    }

    fn apply(&mut self, change: &Change) {
        assert!(change.id > self.last, "{} comes after {}", change.id, self.last);
        self.last = change.id;
        self.taken += 1;
        let rows = self.tables.entry(change.table.name.name.clone()).or_default();
        match &change.op {
            Op::Read { new } | Op::Insert { new } => {
                assert_eq!(rows.insert(key(new), text(new)), None, "the row was there already");
            }
            Op::Update { old, new } => {
                let before = old.as_ref().map_or_else(|| key(new), |old| key(old.row()));
                assert!(rows.remove(&before).is_some(), "the row to update is not there");
                rows.insert(key(new), text(new));
            }
            Op::Delete { old: OldRow::Key(old) | OldRow::Full(old) } => {
                assert!(rows.remove(&key(old)).is_some(), "the row to delete is not there");
            }
            Op::Truncate => rows.clear(),
            Op::Message(_) | Op::Commit { .. } => {}
        }
    }

    /// The stored position of the stream's phase.
    fn checkpoint(&self) -> Checkpoint {
        let stored = self.stored.clone().unwrap();
        assert_eq!(stored.phase, Phase::Stream);
        stored
    }

    /// Whether it holds of its only table what the query gives.
    #[track_caller]
    fn assert_equals(&self, database: &Database<'_>, query: &str) {
        assert!(self.tables.len() <= 1, "{:?}", self.tables.keys());
        self.assert_same(self.tables.values().next(), database, query);
    }

    /// Whether it holds what a table holds.
    #[track_caller]
    fn assert_table(&self, database: &Database<'_>, table: &str) {
        self.assert_same(self.tables.get(table), database, &format!("select * from {table}"));
    }

    #[track_caller]
    fn assert_same(&self, here: Option<&BTreeMap<String, Vec<Option<String>>>>, database: &Database<'_>, query: &str) {
        let there: BTreeMap<String, Vec<Option<String>>> =
            database.sql(query).into_iter().map(|row| (row[0].clone().unwrap(), row)).collect();
        let here = here.cloned().unwrap_or_default();
        assert!(here == there, "{} rows here, {} in the database", here.len(), there.len());
    }
}

fn text(row: &Row) -> Vec<Option<String>> {
    let text = |cell| match cell {
        Cell::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    row.cells().map(text).collect()
}

fn key(row: &Row) -> String {
    text(row)[0].clone().expect("a key")
}
