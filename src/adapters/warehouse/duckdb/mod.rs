//! A DuckDB file as a warehouse.
//!
//! DuckDB runs inside this process and holds its file alone: another process can't open it while we run, another part
//! of this process can ask for a [`reader`].

mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use duckdb::types::ValueRef;
use duckdb::{Config, Connection};
use tokio::task::block_in_place;

use super::client::Client;
use super::options::DuckdbFile;
use crate::codecs::dialect::{Duckdb, Target, quote};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{Cell, Class, Error, Result};

/// What DuckDB may take of memory at most, where it would take more by itself (80 % of the machine's). A merge needs far
/// less, but a row of 1,600 columns needs a block for each, and a value of 50 MB several copies.
const MEMORY_GIB: f64 = 2.0;
/// Rows handed over at a time.
const BATCH: usize = 16 * 1024;
/// Rows in one commit after which memory is given back: fewer leave little behind.
const MANY: u64 = 10_000;
/// The size of the log from which on it is brought into the file: after the commit and what that frees, where DuckDB
/// by itself would do it before.
const LOG: u64 = 16 << 20;

static READERS: Mutex<BTreeMap<PathBuf, Connection>> = Mutex::new(BTreeMap::new());

/// A second connection to a file that a sink of this process holds.
pub fn reader(path: &Path) -> Option<Connection> {
    let readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
    readers.get(path).and_then(|connection| connection.try_clone().ok())
}

/// A connection to a DuckDB file.
pub struct DuckdbClient {
    connection: Connection,
    path: PathBuf,
    /// The memory that DuckDB may take, as it is told.
    limit: String,
    /// The log beside the file.
    log: PathBuf,
    /// The staging tables that there are.
    staged: BTreeSet<String>,
    /// Rows that were staged since the last commit.
    rows: u64,
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
        let path = file.path.clone();
        let failed = |error| failure(error, &path);
        let config = Config::default()
            .with("autoinstall_known_extensions", "false")
            .and_then(|c| c.with("autoload_known_extensions", "false"))
            .and_then(|c| c.with("preserve_insertion_order", "false"))
            .map_err(failed)?;
        let connection = Connection::open_with_flags(&path, config).map_err(failed)?;
        connection.execute_batch("SET TimeZone = 'UTC'; SET wal_autocheckpoint = '1 TiB'").map_err(failed)?;
        let limit = "SELECT current_setting('memory_limit')";
        let mut limit: String = connection.query_row(limit, [], |row| row.get(0)).map_err(failed)?;
        if beyond(&limit, MEMORY_GIB) {
            limit = format!("{MEMORY_GIB} GiB");
            connection.execute_batch(&format!("SET memory_limit = '{limit}'")).map_err(failed)?;
        }
        if let Ok(second) = connection.try_clone() {
            READERS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), second);
        }
        let log = path.with_added_extension("wal");
        Ok(DuckdbClient { connection, path, limit, log, staged: BTreeSet::new(), rows: 0 })
    }

    /// Commits without the staging tables, whose memory goes with them.
    fn commit(&mut self) -> duckdb::Result<()> {
        for stage in std::mem::take(&mut self.staged) {
            self.connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", quote(&stage)))?;
        }
        self.connection.execute_batch("COMMIT")?;
        if std::mem::take(&mut self.rows) >= MANY {
            self.give_back();
        }
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() >= LOG) {
            match self.connection.execute_batch("CHECKPOINT") {
                // Somebody reads; the next commit tries again.
                Err(error) if error.to_string().contains("Cannot CHECKPOINT") => {}
                done => done?,
            }
            self.give_back();
        }
        Ok(())
    }

    /// DuckDB gives back what its allocators keep for later, which may be more than all it uses, when the limit is set.
    fn give_back(&self) {
        if let Err(error) = self.connection.execute_batch(&format!("SET memory_limit = '{}'", self.limit)) {
            tracing::debug!(%error, "DuckDB keeps its memory");
        }
    }

    fn rows(&self, sql: &str) -> duckdb::Result<Vec<Vec<Option<String>>>> {
        let mut statement = self.connection.prepare(sql)?;
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
        let mut appender = self.connection.appender(into).map_err(failed)?;
        for rows in rows.chunks(BATCH) {
            appender.append_record_batch(rows::batch(target, rows)?).map_err(failed)?;
            // It would keep hundreds of thousands otherwise, beside those in the table.
            appender.flush().map_err(failed)?;
        }
        Ok(())
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
        let (raw, failed) = (Duckdb.raw(target), |error| failure(error, &self.path));
        self.connection.execute_batch(&Duckdb.create_raw(target)).map_err(failed)?;
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
            let found = self.rows(&query).map_err(|error| failure(error, &self.path))?;
            misfits.extend(found.iter().filter_map(|id| Some(Misfit { row: *places.get(id)?, column })));
        }
        Ok(misfits)
    }

    /// Which column holds a value that its type does not take.
    fn misfit(&self, stage: &Stage, error: duckdb::Error) -> Error {
        let table = &stage.target.table;
        let Some(column) = uncast(&error.to_string()) else { return failure(error, &self.path) };
        let own = table.columns.get(column);
        let column = own.map_or_else(|| "the key of before".to_owned(), |own| format!("column {}", own.name));
        let key = table.key_columns().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        Error::blocked(format!("a value of {} (key {key}), {column}, does not fit its DuckDB type", table.name))
            .remedy("NaN and infinite numerics and dates beyond DuckDB's range have no place in these types: correct the row at the source, or leave the column out with columns.exclude")
    }
}

impl Drop for DuckdbClient {
    fn drop(&mut self) {
        READERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Client for DuckdbClient {
    async fn execute(&mut self, sql: &str) -> Result<u64> {
        let done = block_in_place(|| match sql {
            "COMMIT" => self.commit().map(|()| 0),
            "ROLLBACK" => {
                self.staged.clear();
                match self.connection.execute(sql, []) {
                    // A COMMIT that failed has ended it.
                    Err(error) if error.to_string().contains("no transaction is active") => Ok(0),
                    done => done,
                }
            }
            _ => self.connection.execute(sql, []),
        });
        done.map(|rows| rows as u64).map_err(|error| failure(error, &self.path))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        block_in_place(|| self.rows(sql)).map_err(|error| failure(error, &self.path))
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        block_in_place(|| self.stage(&stage))
    }

    async fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        block_in_place(|| self.unfit(target, rows))
    }

    /// Moves the log into the file, so that a reader needs only that.
    async fn close(&mut self) -> Result<()> {
        block_in_place(|| self.connection.execute_batch("CHECKPOINT")).map_err(|error| failure(error, &self.path))
    }
}

/// The column whose text the appender could not cast, as it says.
fn uncast(text: &str) -> Option<usize> {
    let (_, column) = text.split_once("type mismatch in AppendDataChunk")?.1.split_once("for column ")?;
    column.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether an amount as DuckDB prints it, `18.6 GiB`, is more than so many GiB.
fn beyond(amount: &str, gib: f64) -> bool {
    match amount.split_once(' ') {
        Some((number, "GiB")) => number.parse::<f64>().is_ok_and(|number| number > gib),
        Some((_, unit)) => unit == "TiB",
        None => false,
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

/// What DuckDB's refusal means. Messages about values are not repeated.
fn failure(error: duckdb::Error, path: &Path) -> Error {
    let text = error.to_string();
    if let Some(error) = of_the_file(&text, path) {
        return error.systemic();
    }
    if text.contains("has altered this table") {
        return Error::blocked(
            "a table's shape changed inside a source transaction too large for one flush, which DuckDB can't apply",
        )
        .remedy("raise sink.duckdb.flush.bytes above the transaction's size and start again");
    }
    let kind = text.split(':').next().unwrap_or_default();
    let has = |part: &str| kind.contains(part);
    let class = if has("IO Error") || has("TransactionContext") { Class::Transient } else { Class::Blocked };
    let quiet = has("Conversion") || has("Constraint") || has("Invalid Input");
    let single = quiet || ["Catalog", "Binder", "Out of Range", "Not implemented", "Dependency"].into_iter().any(has);
    let detail = if quiet { kind.to_owned() } else { text.clone() };
    let error = Error::new(class, format!("DuckDB ({}) says: {detail}", path.display()));
    if single { error } else { error.systemic() }
}

/// What is amiss with the whole file, or with what DuckDB needs for it.
fn of_the_file(text: &str, path: &Path) -> Option<Error> {
    let file = path.display();
    let has = |part: &str| text.contains(part);
    if has("Conflicting lock") || has("Could not set lock") {
        return Some(
            Error::blocked(format!("another process holds {file}"))
                .remedy("stop it: DuckDB lets one process at a time open a file for writing"),
        );
    }
    if has("No space left") || has("Disk full") || has("could not write all bytes") {
        return Some(
            Error::transient(format!("the disk of {file} is full"))
                .remedy("make room; nothing is lost, it goes on by itself"),
        );
    }
    // A checkpoint's and a commit's refusal do not say that it is memory but in what was asked for.
    if has("Out of Memory") || has("could not allocate") || has("failed to pin block") {
        return Some(Error::blocked(format!("DuckDB has too little memory for what is to be merged into {file}")).remedy(
            "lower sink.duckdb.flush.bytes and flush.rows, or run where there is more memory (it takes up to 2 GiB)",
        ));
    }
    if has("Permission denied") || has("Read-only file system") || has("read-only") {
        return Some(
            Error::blocked(format!("{file} can't be written")).remedy("check the rights of the file and its directory"),
        );
    }
    if path.is_dir() {
        return Some(
            Error::blocked(format!("{file} is a directory"))
                .remedy("name a file in it, as in path = \"warehouse.duckdb\""),
        );
    }
    if has("Cannot open file") || has("No such file") {
        return Some(
            Error::blocked(format!("{file} can't be opened"))
                .remedy("check that its directory exists and may be written"),
        );
    }
    if has("not a valid DuckDB database") || has("different version") || has("newer version") {
        return Some(
            Error::blocked(format!("{file} is not a DuckDB file of this version")).remedy("name another path"),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_that_could_not_be_cast_is_known() {
        let told = "Invalid Input Error: type mismatch in AppendDataChunk, expected INTEGER, got VARCHAR for column 12";
        assert_eq!(uncast(told), Some(12));
        assert_eq!(uncast("Constraint Error: NOT NULL constraint failed for column 3"), None);
    }
}
