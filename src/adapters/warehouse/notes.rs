//! What the source remembers beside its position: some of it before targets are altered, the rest with the data.

use std::collections::BTreeMap;

use super::client::Client;
use super::worker::Worker;
use crate::codecs::dialect::Dialect;
use crate::model::{Change, Error, Note, Result};

/// Notes that wait for their flush, by name.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<String, Note>);

impl Waiting {
    pub(super) fn take(&mut self, notes: Vec<Note>) {
        self.0.extend(notes.into_iter().map(|note| (note.name.clone(), note)));
    }

    pub(super) fn append(&mut self, later: Waiting) {
        self.0.extend(later.0);
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes those of one time out.
    fn part(&mut self, early: bool) -> Vec<Note> {
        let (now, later) = std::mem::take(&mut self.0).into_iter().partition(|(_, note)| note.early == early);
        self.0 = later;
        now.into_values().collect()
    }
}

/// The notes of a pipeline, by name.
pub(super) async fn read<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
) -> Result<BTreeMap<String, String>> {
    let rows = client.query(&dialect.notes(pipeline).read()).await?;
    let row = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
        Ok([Some(name), Some(value)]) => Some((name, value)),
        _ => None,
    };
    rows.into_iter().map(row).collect::<Option<_>>().ok_or_else(|| {
        Error::blocked("a row of _tailwater.notes can't be read").remedy("it was changed by hand: restore it")
    })
}

/// The notes of a pipeline by name, without changing anything.
pub async fn noted<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
) -> Result<BTreeMap<String, String>> {
    if client.query(&dialect.columns(&dialect.control_table("notes"))).await?.is_empty() {
        return Ok(BTreeMap::new());
    }
    read(client, dialect, pipeline).await
}

impl<C: Client, D: Dialect> Worker<C, D> {
    /// Stores what has to be known before any target is altered, in a transaction of its own where none is open.
    pub(super) async fn note_early(&mut self) -> Result<()> {
        let notes = self.gathered.notes.part(true);
        if notes.is_empty() {
            return Ok(());
        }
        let alone = !self.open;
        if alone {
            self.begin().await?;
        }
        self.write_notes(notes).await?;
        if alone {
            self.client.execute("COMMIT").await?;
            self.open = false;
        }
        Ok(())
    }

    /// Stores the rest, in the transaction of the data.
    pub(super) async fn note(&mut self) -> Result<()> {
        let notes = self.gathered.notes.part(false);
        if notes.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        self.write_notes(notes).await
    }

    async fn write_notes(&mut self, notes: Vec<Note>) -> Result<()> {
        let statements = self.dialect.notes(&self.options.pipeline);
        let fence = self.ledger.fence();
        let all: Vec<_> = notes.iter().flat_map(|note| statements.write(fence, &note.name, &note.value)).collect();
        for statement in all {
            self.client.execute(&statement).await?;
        }
        Ok(())
    }

    /// Whether a table's shape changes with these changes.
    pub(super) fn part_ways(&self, changes: &[Change]) -> bool {
        changes.chunk_by(|a, b| std::sync::Arc::ptr_eq(&a.table, &b.table)).filter_map(|run| run.first()).any(
            |change| {
                self.gathered
                    .folds
                    .iter()
                    .any(|fold| fold.table().name == change.table.name && !fold.table().same_shape(&change.table))
            },
        )
    }
}
