//! A DuckDB file as a warehouse.
//!
//! DuckDB runs inside this process and holds its file alone: another process can't open it while we run, another part
//! of this process can ask for a [`reader`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use duckdb::arrow::datatypes::{DataType, Field, Schema};
use duckdb::types::ValueRef;
use duckdb::{Config, Connection};
use tokio::task::block_in_place;

use super::client::Client;
use super::options::DuckdbFile;
use crate::codecs::dialect::{Dialect, Duckdb, Target, quote};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{Cell, Class, Error, Result};

/// What DuckDB may take of memory at most, where it would take more by itself (80 % of the machine's). A merge needs far
/// less, but a row of 1,600 columns needs a block for each, and a value of 50 MB several copies.
const MEMORY_GIB: f64 = 2.0;
/// Rows handed over at a time.
const BATCH: usize = 16 * 1024;
/// Rows in one commit after which memory is given back: fewer leave little behind.
const MANY: u64 = 10_000;

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
        connection.execute_batch("SET TimeZone = 'UTC'").map_err(failed)?;
        let limit = "SELECT current_setting('memory_limit')";
        let mut limit: String = connection.query_row(limit, [], |row| row.get(0)).map_err(failed)?;
        if beyond(&limit, MEMORY_GIB) {
            limit = format!("{MEMORY_GIB} GiB");
            connection.execute_batch(&format!("SET memory_limit = '{limit}'")).map_err(failed)?;
        }
        if let Ok(second) = connection.try_clone() {
            READERS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), second);
        }
        Ok(DuckdbClient { connection, path, limit, staged: BTreeSet::new(), rows: 0 })
    }

    /// Commits without the staging tables, whose memory goes with them.
    fn commit(&mut self) -> duckdb::Result<()> {
        for stage in std::mem::take(&mut self.staged) {
            self.connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", quote(&stage)))?;
        }
        self.connection.execute_batch("COMMIT")?;
        // DuckDB gives back what its allocators keep for later, which may be more than all it uses, when the limit is set.
        if std::mem::take(&mut self.rows) >= MANY
            && let Err(error) = self.connection.execute_batch(&format!("SET memory_limit = '{}'", self.limit))
        {
            tracing::debug!(%error, "DuckDB keeps its memory");
        }
        Ok(())
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
        self.staged.extend([stage.target.stage(), Duckdb.raw(&stage.target)]);
        self.append(&stage.target, &stage.rows)?;
        let convert = Duckdb.convert(&stage.target);
        let rows = self.connection.execute(&convert, []).map_err(|error| self.misfit(stage, error))? as u64;
        self.rows += rows;
        Ok(rows)
    }

    /// Fills the table that takes rows as text.
    fn append(&self, target: &Target, rows: &[NetRow]) -> Result<()> {
        let failed = |error| failure(error, &self.path);
        let raw = Duckdb.raw(target);
        let mut appender = self.connection.appender(&raw).map_err(failed)?;
        for rows in rows.chunks(BATCH) {
            appender.append_record_batch(batch(target, rows)?).map_err(failed)?;
        }
        appender.flush().map_err(failed)
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
        self.staged.extend([target.stage(), Duckdb.raw(target)]);
        for statement in Duckdb.create_stage(target) {
            self.connection.execute_batch(&statement).map_err(|error| failure(error, &self.path))?;
        }
        self.append(target, rows)?;
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

    /// Which column holds a value that its type does not take. DuckDB's own message would show the value.
    fn misfit(&self, stage: &Stage, error: duckdb::Error) -> Error {
        let table = &stage.target.table;
        let key = table.key_columns().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        // The failed statement has ended the transaction: its rows are gone, the next attempt brings them again.
        tracing::debug!(table = %table.name, key, "a value does not fit");
        let text = error.to_string();
        if !text.contains("Conversion Error") && !text.contains("Out of Range") && !text.contains("Invalid Input") {
            return failure(error, &self.path);
        }
        let wanted = |column: &&crate::model::Column| text.contains(&Duckdb.target_type(column));
        let suspects: Vec<&str> = table.columns.iter().filter(wanted).map(|c| c.name.as_str()).collect();
        Error::blocked(format!(
            "a value of {} (key {key}) does not fit its DuckDB type; one of the columns {}",
            table.name,
            suspects.join(", ")
        ))
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

/// Staged rows as columns of text, as the raw staging table has them.
fn batch(target: &Target, rows: &[NetRow]) -> Result<RecordBatch> {
    let table = &target.table;
    let width = table.columns.len();
    let mut texts: Vec<StringBuilder> =
        (0..width).map(|_| StringBuilder::with_capacity(rows.len(), rows.len() * 16)).collect();
    let (mut lsn, mut seq) = (Int64Builder::new(), Int64Builder::new());
    let (mut op, mut missing) = (StringBuilder::new(), StringBuilder::new());
    let layout = target.layout;
    let mut extras: Vec<StringBuilder> = layout.staged().iter().map(|_| StringBuilder::new()).collect();
    let mut base: Vec<StringBuilder> = table.key.iter().map(|_| StringBuilder::new()).collect();
    let mut scratch = Vec::new();
    for row in rows {
        for ((builder, cell), column) in texts.iter_mut().zip(row.row.cells()).zip(&table.columns) {
            builder.append_option(utf8(cell).map_err(|what| misread(target, &column.name, what))?);
        }
        lsn.append_value(i64::try_from(row.id.commit.get()).unwrap_or(i64::MAX));
        seq.append_value(i64::try_from(row.id.seq).unwrap_or(i64::MAX));
        op.append_value(row.op.letter().encode_utf8(&mut [0; 4]));
        missing.append_option(row.missing(&mut scratch).then(|| String::from_utf8_lossy(&scratch).into_owned()));
        for (builder, &extra) in extras.iter_mut().zip(layout.staged()) {
            let some = row.staged(extra, table, &mut scratch);
            builder.append_option(some.then(|| String::from_utf8_lossy(&scratch).into_owned()));
        }
        for (builder, &index) in base.iter_mut().zip(&table.key) {
            let cell = row.base.as_ref().map_or(Cell::Null, |base| base.cell(index));
            builder.append_option(utf8(cell).map_err(|what| misread(target, "the key", what))?);
        }
    }
    let mut columns: Vec<ArrayRef> = texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    columns.extend([
        Arc::new(lsn.finish()) as ArrayRef,
        Arc::new(seq.finish()),
        Arc::new(op.finish()),
        Arc::new(missing.finish()),
    ]);
    columns.extend(extras.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.extend(base.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            Field::new(
                format!("c{i}"),
                if *column.data_type() == DataType::Int64 { DataType::Int64 } else { DataType::Utf8 },
                true,
            )
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::bug("staged rows do not make a batch").because(error))
}

fn utf8(cell: Cell<'_>) -> std::result::Result<Option<&str>, &'static str> {
    match cell {
        Cell::Null | Cell::Unchanged => Ok(None),
        Cell::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| "is not UTF-8, which DuckDB asks for"),
        Cell::Binary(_) => Err("came in binary form"),
    }
}

fn misread(target: &Target, column: &str, what: &str) -> Error {
    Error::blocked(format!("a value of {}, column {column}, {what}", target.table.name))
        .remedy("correct the row at the source, or leave the column out with columns.exclude")
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
    if has("Out of Memory") || has("could not allocate") {
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
