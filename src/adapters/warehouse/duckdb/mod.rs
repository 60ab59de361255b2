//! A DuckDB file as a warehouse.
//!
//! DuckDB runs inside this process and holds its file alone: another process can't open it while we run, another part
//! of this process can ask for a [`reader`].

mod failure;
mod file;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use duckdb::Connection;
use duckdb::arrow::array::RecordBatch;
use duckdb::types::ValueRef;
use tokio::task::block_in_place;

use self::failure::{failure, uncast};
use self::file::File;
use super::client::Client;
use super::options::DuckdbFile;
use crate::codecs::dialect::{Duckdb, Target, quote};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{Cell, Error, Result};

/// Rows handed over at a time.
const BATCH: usize = 16 * 1024;

/// Connections for readers, and whether one was asked for.
static READERS: Mutex<BTreeMap<PathBuf, (Connection, bool)>> = Mutex::new(BTreeMap::new());

/// A second connection to a file that a sink of this process holds. From then on the sink keeps more memory: what it would
/// do about that would disturb who reads.
pub fn reader(path: &Path) -> Option<Connection> {
    let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (connection, asked) = readers.get_mut(path)?;
    *asked = true;
    connection.try_clone().ok()
}

/// A connection to a DuckDB file.
pub struct DuckdbClient {
    file: File,
    /// The staging tables that there are.
    staged: BTreeSet<String>,
    /// Rows that were staged since the last commit.
    rows: u64,
    /// Those of the last table, until they are in it.
    last_staged: usize,
}

impl DuckdbClient {
    /// Opens the file, or makes it.
    pub async fn start(file: &DuckdbFile) -> Result<DuckdbClient> {
        block_in_place(|| DuckdbClient::open(file))
    }

    /// Whether the file can be opened for writing.
    pub fn probe(file: &DuckdbFile) -> Result<()> {
        let existed = file.path.exists();
        let result = DuckdbClient::open(file).map(drop);
        if !existed && result.is_ok() {
            let _ = std::fs::remove_file(&file.path);
        }
        result
    }

    fn open(file: &DuckdbFile) -> Result<DuckdbClient> {
        let file = File::open(&file.path).map_err(|error| failure(error, &file.path))?;
        if let Ok(second) = file.connection.try_clone() {
            READERS.lock().unwrap_or_else(PoisonError::into_inner).insert(file.path.clone(), (second, false));
        }
        Ok(DuckdbClient { file, staged: BTreeSet::new(), rows: 0, last_staged: 0 })
    }

    /// Commits without the staging tables, whose memory goes with them.
    fn commit(&mut self) -> duckdb::Result<()> {
        for stage in std::mem::take(&mut self.staged) {
            self.file.connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", quote(&stage)))?;
        }
        self.file.connection.execute_batch("COMMIT")?;
        let readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.shared = readers.get(&self.file.path).is_some_and(|(_, asked)| *asked);
        drop(readers);
        self.file.committed(std::mem::take(&mut self.rows))
    }

    fn rows(&self, sql: &str) -> duckdb::Result<Vec<Vec<Option<String>>>> {
        let mut statement = self.file.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let width = row.as_ref().column_count();
            let cells: duckdb::Result<Vec<_>> = (0..width).map(|i| row.get_ref(i).map(text)).collect();
            all.push(cells?);
        }
        Ok(all)
    }

    /// Fills the staging table, which was made for these rows.
    fn stage(&mut self, stage: &Stage) -> Result<u64> {
        let Stage { target, rows, .. } = stage;
        self.staged.insert(target.stage());
        self.last_staged = rows.len();
        self.file.alone(rows.len() > BATCH).map_err(|error| failure(error, &self.file.path))?;
        self.append(&target.stage(), target, rows, |error| self.misfit(stage, error))?;
        self.rows += rows.len() as u64;
        Ok(rows.len() as u64)
    }

    /// Fills a table with rows, whose texts DuckDB casts to the types of its columns.
    fn append(
        &self,
        into: &str,
        target: &Target,
        rows: &[NetRow],
        failed: impl Fn(duckdb::Error) -> Error + Copy,
    ) -> Result<()> {
        let mut appender = self.file.connection.appender(into).map_err(failed)?;
        let mut append = |batch: RecordBatch| {
            appender.append_record_batch(batch).map_err(failed)?;
            // It would keep hundreds of thousands otherwise, beside those in the table.
            appender.flush().map_err(failed)
        };
        if rows.len() <= BATCH {
            return append(rows::batch(target, rows)?);
        }
        thread::scope(|scope| {
            // The next batch is made while one is cast.
            let (made, batches) = mpsc::sync_channel(1);
            scope.spawn(move || rows.chunks(BATCH).try_for_each(|rows| made.send(rows::batch(target, rows))));
            batches.into_iter().try_for_each(|batch| append(batch?))
        })
    }

    /// The values that DuckDB can't parse, or those that are not UTF-8, which come first.
    fn unfit(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        let mut misfits = Vec::new();
        for (row, net) in rows.iter().enumerate() {
            let cells = net.row.cells().enumerate();
            let unread =
                cells.filter(|(_, cell)| matches!(cell, Cell::Text(text) if std::str::from_utf8(text).is_err()));
            misfits.extend(unread.map(|(column, _)| Misfit { row, column }));
        }
        if !misfits.is_empty() {
            return Ok(misfits);
        }
        let (raw, failed) = (Duckdb.raw(target), |error| failure(error, &self.file.path));
        self.file.connection.execute_batch(&Duckdb.create_raw(target)).map_err(failed)?;
        self.staged.insert(raw.clone());
        self.append(&raw, target, rows, failed)?;
        let table = &target.table;
        let own = (0..).zip(&table.columns).map(|(at, column)| (at, column, quote(&column.name)));
        let base =
            (1..).zip(&table.key).filter_map(|(n, &at)| Some((at, table.columns.get(at)?, format!("_tw_base_{n}"))));
        let places: HashMap<Vec<Option<String>>, usize> =
            rows.iter().enumerate().map(|(at, row)| (row.told_by(), at)).collect();
        for (column, typed, raw) in own.chain(base) {
            let Some(query) = Duckdb.unparsed(target, typed, &raw) else { continue };
            let found = self.rows(&query).map_err(|error| failure(error, &self.file.path))?;
            misfits.extend(found.iter().filter_map(|id| Some(Misfit { row: *places.get(id)?, column })));
        }
        Ok(misfits)
    }

    /// Which column holds a value that its type does not take.
    fn misfit(&self, stage: &Stage, error: duckdb::Error) -> Error {
        let table = &stage.target.table;
        let Some(column) = uncast(&error.to_string()) else { return failure(error, &self.file.path) };
        let own = table.columns.get(column);
        let column = own.map_or_else(|| "the key of before".to_owned(), |own| format!("column {}", own.name));
        let key = table.key_columns().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        Error::blocked(format!("a value of {} (key {key}), {column}, does not fit its DuckDB type", table.name))
            .remedy("NaN and infinite numerics and dates beyond DuckDB's range have no place in these types: correct the row at the source, or leave the column out with columns.exclude")
    }
}

impl Drop for DuckdbClient {
    fn drop(&mut self) {
        READERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file.path);
    }
}

impl Client for DuckdbClient {
    async fn execute(&mut self, sql: &str) -> Result<u64> {
        let done = block_in_place(|| match sql {
            "COMMIT" => self.commit().map(|()| 0),
            "ROLLBACK" => {
                self.staged.clear();
                (self.rows, self.last_staged) = (0, 0);
                match self.file.connection.execute(sql, []) {
                    // A COMMIT that failed has ended it.
                    Err(error) if error.to_string().contains("no transaction is active") => Ok(0),
                    done => done,
                }
            }
            _ => {
                let brings = sql.starts_with("INSERT INTO") && std::mem::take(&mut self.last_staged) > BATCH;
                self.file.alone(brings).and_then(|()| self.file.connection.execute(sql, []))
            }
        });
        done.map(|rows| rows as u64).map_err(|error| failure(error, &self.file.path))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        block_in_place(|| self.rows(sql)).map_err(|error| failure(error, &self.file.path))
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        block_in_place(|| self.stage(&stage))
    }

    async fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        block_in_place(|| self.unfit(target, rows))
    }

    async fn close(&mut self) -> Result<()> {
        block_in_place(|| self.file.close()).map_err(|error| failure(error, &self.file.path))
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::BigInt(number) => Some(number.to_string()),
        ValueRef::Int(number) => Some(number.to_string()),
        ValueRef::HugeInt(number) => Some(number.to_string()),
        ValueRef::UBigInt(number) => Some(number.to_string()),
        ValueRef::Boolean(flag) => Some(flag.to_string()),
        other => Some(format!("{other:?}")),
    }
}
