//! Updated rows that lack large values which neither the flush nor the target has.
//!
//! ```text
//!  staged rows without a base ─▶ ROLLBACK ─▶ read by key at the source, at one point ─▶ merged, committed
//!                             ─▶ the next attempt: the target has newer rows, what is staged is older
//! ```
//!
//! Why nothing older overwrites newer, and no row gets another's values: what is read is of an exact point and has its
//! version, so changes before it, which it shows, are dropped by the merge, and those after it are not; and values are
//! only ever filled in from a row that is older than the change: a row that came out of the key before the point finds
//! its base too new, and is read again itself. A row that is not there at the point was deleted, or has another key, by
//! a change before it: its staged remains are dropped, and that change follows.
//!
//! Nothing may be open meanwhile: where source and warehouse are one server, the snapshot waits for our transaction.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, MergeSpec, Target};
use crate::logic::merge::{Fold, Folded, NetOp, NetRow, Stage, key};
use crate::model::{Cell, Change, Error, Lsn, Result, Row, Table, TableName};

/// How many rows are asked for at a time.
const ROWS: usize = 5_000;

type Asked = Pin<Box<dyn Future<Output = Result<(Lsn, Vec<Change>)>> + Send>>;
/// By target and key: the point at which no row had it.
type Absent = HashMap<(TableName, Vec<u8>), Lsn>;
type Ask = dyn Fn(TableName, Vec<String>, Vec<Vec<String>>) -> Asked + Send + Sync;

/// Reads rows at the source: by table, names of the key's columns, keys; gives the point that the rows are of.
///
/// Remembers, for as long as the process lives, which keys had no row.
#[derive(Clone)]
pub struct Reread {
    ask: Arc<Ask>,
    absent: Arc<Mutex<Absent>>,
}

impl Reread {
    /// By asking so.
    pub fn new(ask: impl Fn(TableName, Vec<String>, Vec<Vec<String>>) -> Asked + Send + Sync + 'static) -> Reread {
        Reread { ask: Arc::new(ask), absent: Arc::default() }
    }

    fn is_absent(&self, target: &TableName, key: Vec<u8>, row: &NetRow) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(&(target.clone(), key)).is_some_and(|point| row.id.commit < *point)
    }

    fn note(&self, target: &TableName, keys: impl Iterator<Item = Vec<u8>>, point: Lsn) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.extend(keys.map(|key| ((target.clone(), key), point)));
    }

    /// What is stored has passed the points before `position`.
    pub(super) fn forget(&self, position: Lsn) {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, point| *point > position);
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

/// The key's columns of which the warehouse keeps the spelling.
pub(super) fn spelled(dialect: &impl Dialect, table: &Table) -> Vec<usize> {
    let spelled = |i: &usize| table.columns.get(*i).is_some_and(|column| dialect.spelled(column));
    table.key.iter().copied().filter(spelled).collect()
}

impl<C: Client, D: Dialect> Worker<C, D> {
    /// Stages rows some of which lack values, without those that nobody knows; says whether some take rows away.
    pub(super) async fn load_mended(&mut self, target: &Target, mut rows: Arc<Vec<NetRow>>) -> Result<bool> {
        loop {
            self.load(target, Arc::clone(&rows)).await?;
            if rows.is_empty() || !self.mend(target, &mut rows).await? {
                return Ok(rows.iter().any(NetRow::deletes));
            }
            if !rows.is_empty() {
                self.client.ahead(target, &rows, self.open).await?;
            }
        }
    }

    /// Refuses staged rows without a base, where whoever staged them is gone.
    pub(super) async fn refuse_orphans(&mut self, spec: &MergeSpec<'_>) -> Result<()> {
        let target = spec.target;
        if spec.missing.is_empty() {
            return Ok(());
        }
        match self.client.query(&self.dialect.orphans(target)).await?.len() {
            0 => Ok(()),
            count => Err(nowhere(&target.table, count, spec.missing.iter().copied())),
        }
    }

    /// Looks for staged rows without a base; `true` when rows were changed because of some, and are to be staged anew.
    async fn mend(&mut self, target: &Target, rows: &mut Arc<Vec<NetRow>>) -> Result<bool> {
        let orphans = self.client.query(&self.dialect.orphans(target)).await?;
        let orphans: HashSet<Vec<Option<String>>> = orphans.into_iter().collect();
        if orphans.is_empty() {
            return Ok(false);
        }
        let spelled = spelled(&self.dialect, &target.table);
        let orphan = |row: &NetRow| row.lacks() && orphans.contains(&row.told_by());
        let reread = self.options.reread.as_ref();
        // Nobody has the values of what is gone.
        let gone = |row: &NetRow| {
            row.op == NetOp::Mark
                || row.end.is_some()
                || reread
                    .is_some_and(|reread| reread.is_absent(&target.name, key(&target.table, &spelled, &row.row), row))
        };
        let unknown: Vec<Row> =
            rows.iter().filter(|row| orphan(row) && !gone(row)).take(ROWS).map(|row| row.row.clone()).collect();
        if !unknown.is_empty() {
            return Err(self.read_again(target, unknown).await?);
        }
        tracing::warn!(table = %target.name, rows = orphans.len(), "rows that the warehouse did not have are gone at the source before their large values could be read");
        let rows = Arc::make_mut(rows);
        rows.retain(|row| !(row.op == NetOp::Version && orphan(row)));
        for row in rows.iter_mut() {
            if orphan(row) {
                row.op = NetOp::Delete;
            }
        }
        Ok(true)
    }

    /// Ends this attempt; the next one finds the rows in the target.
    async fn read_again(&mut self, target: &Target, unknown: Vec<Row>) -> Result<Error> {
        let table = &target.table;
        let Some(reread) = self.options.reread.clone() else {
            let missing = |index: &usize| unknown.iter().any(|row| row.cell(*index) == Cell::Unchanged);
            return Ok(nowhere(table, unknown.len(), (0..table.columns.len()).filter(missing)));
        };
        if std::mem::take(&mut self.open) {
            self.client.execute("ROLLBACK").await?;
        }
        // The warehouse's names of columns may be others.
        let told = self.fitting.get(&target.name).map(|(told, _)| Arc::clone(told));
        // Targets and staging tables may have been made or altered in what is undone.
        self.fitting.clear();
        self.staging.clear();
        let spelled = spelled(&self.dialect, table);
        let columns = told.as_deref().unwrap_or(table).key_columns().map(|column| column.name.clone()).collect();
        let keys = unknown.iter().filter_map(|row| texts(table, row)).collect();
        let source = self.options.origins.of(&table.name);
        let (point, changes) = (reread.ask)(source, columns, keys)
            .await
            .map_err(|error| error.within(format!("reading rows of {} again", table.name)))?;
        let read: HashSet<Vec<u8>> =
            changes.iter().filter_map(|change| row_of(change)).map(|(table, row)| key(table, &spelled, row)).collect();
        let asked: HashSet<Vec<u8>> = unknown.iter().map(|row| key(table, &spelled, row)).collect();
        self.write(changes).await?;
        reread.note(&target.name, asked.difference(&read).cloned(), point);
        let count = unknown.len();
        Ok(Error::transient(format!(
            "{count} updated rows of {} that the warehouse did not have were read again at {point}",
            table.name
        )))
    }

    /// Merges what was read, in a transaction of its own under the fence; the progress stays where it is.
    async fn write(&mut self, changes: Vec<Change>) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        let target = self.target(&Arc::clone(&first.table)).await?;
        let mut fold = Fold::new(&target, spelled(&self.dialect, &target.table));
        changes.into_iter().try_for_each(|change| fold.push(change))?;
        let target = self.fit(target).await?;
        let Folded { mut rows, .. } = fold.finish();
        self.near(&target, &mut rows).await?;
        self.client.arrived().await?;
        self.begin().await?;
        self.write_marks().await?;
        let rows = Arc::new(rows);
        if let Err(error) = self.load(&target, Arc::clone(&rows)).await {
            return Err(self.unfit(&target, &rows, error).await);
        }
        let (horizon, at, missing, since) = (None, None, Vec::new(), None);
        let spec = MergeSpec { target: &target, horizon, at, deletes: false, missing, staged: true, since };
        self.merge_staged(&spec).await?;
        if let Some(checkpoint) = self.ledger.partial(self.ledger.change()) {
            self.ledger.advance(&mut self.client, &self.dialect, &checkpoint, None).await?;
        }
        self.client.execute("COMMIT").await?;
        self.open = false;
        self.count_marks();
        Ok(())
    }

    /// Brings rows into the staging table.
    pub(super) async fn load(&mut self, target: &Target, rows: Arc<Vec<NetRow>>) -> Result<()> {
        self.fit_stage(target).await?;
        let staged = rows.len() as u64;
        if staged == 0 {
            return Ok(());
        }
        let stage = Stage { name: self.dialect.stage(target), target: target.clone(), rows };
        let loaded = self.client.load(stage).await?;
        if loaded != staged {
            return Err(Error::transient(format!("{loaded} rows were staged of {staged}")));
        }
        Ok(())
    }
}

fn row_of(change: &Change) -> Option<(&Table, &Row)> {
    match &change.op {
        crate::model::Op::Read { new } => Some((&change.table, new)),
        _ => None,
    }
}

/// The key's values.
fn texts(table: &Table, row: &Row) -> Option<Vec<String>> {
    let text = |&index: &usize| match row.cell(index) {
        Cell::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        _ => None,
    };
    table.key.iter().map(text).collect()
}

/// Nobody can be asked.
fn nowhere(table: &Table, rows: usize, missing: impl Iterator<Item = usize>) -> Error {
    let names: Vec<&str> = missing.filter_map(|i| table.columns.get(i)).map(|column| column.name.as_str()).collect();
    Error::blocked(format!(
        "{rows} updated rows of {} have large values that PostgreSQL did not send (columns {}), and the warehouse does not have the rows",
        table.name,
        names.join(", ")
    ))
    .remedy("the table was not read by a snapshot, or its topics have lost records: run the pipeline that reads the database once with --resnapshot, or set REPLICA IDENTITY FULL")
}
