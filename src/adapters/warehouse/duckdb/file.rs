//! A DuckDB file that is held open: its log, the room of rows that were deleted, and the memory that DuckDB keeps.
//!
//! DuckDB by itself brings its log into the file inside of a commit, before what that frees is free, and then rewrites
//! all pieces of the file that have enough deleted rows in them, at once: two seconds and half a gigabyte for a table of
//! two million rows. Here both come after the commit, the second a piece of each table at a time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duckdb::{Config, Connection};

/// What DuckDB may take of memory at most, where it would take more by itself (80 % of the machine's). A merge needs far
/// less, but a row of 1,600 columns needs a block for each, and a value of 50 MB several copies.
const MEMORY_GIB: f64 = 2.0;
/// Rows in one commit after which memory is given back: fewer leave little behind.
const MANY: u64 = 10_000;
/// The size of the log from which on it is brought into the file. Each time the last rows of the file are packed again,
/// and each piece with new deleted rows tells them: 0.24 and 0.20 s for 111,000 changes all over ten million rows.
const LOG: u64 = 16 << 20;
/// So much time for each piece of a table that is rewritten without its deleted rows: row groups that become three at
/// most.
const VACUUM: Duration = Duration::from_secs(30);
/// Pieces of each table at a time; one takes a second where its rows are wide, and memory until all are done.
const PIECES: u32 = 4;

/// See the module.
pub(super) struct File {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// The memory that DuckDB may take, as it is told.
    limit: String,
    /// The threads that it may use, and those that it uses now.
    threads: i64,
    now: i64,
    /// The log beside the file.
    log: PathBuf,
    /// When pieces were last rewritten, as far as their time was used up.
    vacuumed: Instant,
    /// Whether somebody else reads: what is set for one connection counts for all.
    pub(super) shared: bool,
}

impl File {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> duckdb::Result<File> {
        let config = Config::default()
            .with("autoinstall_known_extensions", "false")?
            .with("autoload_known_extensions", "false")?
            .with("preserve_insertion_order", "false")?
            .with("max_vacuum_tasks", "0")?;
        let connection = Connection::open_with_flags(path, config)?;
        connection.execute_batch("SET TimeZone = 'UTC'; SET wal_autocheckpoint = '1 TiB'")?;
        let mut limit: String = connection.query_row("SELECT current_setting('memory_limit')", [], |row| row.get(0))?;
        if beyond(&limit, MEMORY_GIB) {
            limit = format!("{MEMORY_GIB} GiB");
            connection.execute_batch(&format!("SET memory_limit = '{limit}'"))?;
        }
        let threads = connection.query_row("SELECT current_setting('threads')", [], |row| row.get(0))?;
        let log = path.with_added_extension("wal");
        Ok(File {
            connection,
            path: path.to_owned(),
            limit,
            threads,
            now: threads,
            log,
            vacuumed: Instant::now(),
            shared: false,
        })
    }

    /// What is to be done after a commit of so many rows.
    pub(super) fn committed(&mut self, rows: u64) -> duckdb::Result<()> {
        let long = std::fs::metadata(&self.log).is_ok_and(|log| log.len() >= LOG);
        if long || rows >= MANY {
            self.try_limit(&self.limit);
        }
        if long {
            match self.checkpoint(self.due()) {
                // Another connection is in its way; the next commit tries again.
                Err(error) if error.to_string().contains("Cannot CHECKPOINT") => return Ok(()),
                done => done?,
            }
            self.let_go()?;
        }
        Ok(())
    }

    /// Brings the log into the file, so that a reader needs only that.
    pub(super) fn close(&mut self) -> duckdb::Result<()> {
        self.checkpoint(self.due().max(1))
    }

    /// How many pieces of the file may be rewritten.
    fn due(&self) -> u32 {
        u32::try_from(self.vacuumed.elapsed().as_secs() / VACUUM.as_secs()).unwrap_or(PIECES).min(PIECES)
    }

    fn checkpoint(&mut self, pieces: u32) -> duckdb::Result<()> {
        self.alone(false)?;
        self.connection.execute_batch(&format!("SET max_vacuum_tasks = {pieces}; CHECKPOINT"))?;
        let (now, spent) = (Instant::now(), self.vacuumed + VACUUM * pieces);
        self.vacuumed = if pieces < PIECES { spent.min(now) } else { now };
        Ok(())
    }

    fn limit_memory(&self, limit: &str) -> duckdb::Result<()> {
        self.connection.execute_batch(&format!("SET memory_limit = '{limit}'"))
    }

    /// With that DuckDB gives back what its allocators keep for later, which may be more than all it uses.
    fn try_limit(&self, limit: &str) {
        if let Err(error) = self.limit_memory(limit) {
            tracing::debug!(%error, "DuckDB keeps its memory");
        }
    }

    /// DuckDB lets go of the blocks of the file, those that it has just written above all, when its limit is what all
    /// else takes. Outside of a transaction: where it can't, it says so, and a transaction would be lost.
    fn let_go(&self) -> duckdb::Result<()> {
        if self.shared {
            // Who reads would be left without memory for the moment.
            return Ok(());
        }
        let others =
            "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT FROM duckdb_memory() WHERE tag <> 'BASE_TABLE'";
        let others: i64 = self.connection.query_row(others, [], |row| row.get(0))?;
        self.try_limit(&format!("{} KiB", others / 1024 + 1024));
        self.limit_memory(&self.limit)
    }

    /// What comes next is done by one thread, or by all that there are. Where rows are brought in, each would keep some of
    /// them, with room for more in all columns. An aborted transaction refuses it: not before ROLLBACK.
    pub(super) fn alone(&mut self, alone: bool) -> duckdb::Result<()> {
        // It would wait for what others run.
        let wanted = if alone && !self.shared { 1 } else { self.threads };
        if wanted != self.now {
            self.connection.execute_batch(&format!("SET threads = {wanted}"))?;
            self.now = wanted;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn number(file: &File, sql: &str) -> i64 {
        file.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Rows in the file, deleted ones too.
    fn kept(file: &File) -> i64 {
        number(
            file,
            "SELECT sum(count)::BIGINT FROM pragma_storage_info('t') WHERE column_name = 'id' AND segment_type = 'BIGINT'",
        )
    }

    #[test]
    fn deleted_rows_leave_the_file_a_piece_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::open(&dir.path().join("warehouse.duckdb")).unwrap();
        let fill = "CREATE TABLE t AS SELECT range AS id FROM range(1000000); DELETE FROM t WHERE id % 3 > 0";
        file.connection.execute_batch(fill).unwrap();
        file.checkpoint(0).unwrap();
        assert_eq!(kept(&file), 1_000_000);
        let mut before = 1_000_000;
        for _ in 0..2 {
            // Something has to be new, or there is nothing to do.
            file.connection.execute_batch("INSERT INTO t VALUES (-1); DELETE FROM t WHERE id = -1").unwrap();
            file.close().unwrap();
            let after = kept(&file);
            assert!((100_000..400_000).contains(&(before - after)), "{before} and {after}");
            before = after;
        }
        assert_eq!(number(&file, "SELECT count(*) FROM t"), 333_334);
    }

    #[test]
    fn a_long_log_comes_into_the_file_and_what_that_read_and_wrote_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::open(&dir.path().join("warehouse.duckdb")).unwrap();
        let text = |file: &File, sql: &str| file.connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        let limit = text(&file, "SELECT current_setting('memory_limit')");
        let log = |file: &File| std::fs::metadata(&file.log).map_or(0, |log| log.len());
        file.connection.execute_batch("CREATE TABLE t (id BIGINT, note VARCHAR)").unwrap();
        let mut flushes = 0;
        while log(&file) < LOG {
            assert!(flushes < 20, "the log stays short: {}", log(&file));
            file.alone(true).unwrap();
            let rows = "INSERT INTO t SELECT range, md5(range::VARCHAR) FROM range(100000)";
            file.connection.execute_batch(rows).unwrap();
            flushes += 1;
            let before = log(&file);
            if before < LOG {
                file.committed(100_000).unwrap();
                assert_eq!(log(&file), before, "it is not long yet");
            }
        }
        file.committed(100_000).unwrap();
        assert!(log(&file) < 1 << 20, "{}", log(&file));
        let blocks = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'";
        assert!(number(&file, blocks) <= 2 << 20, "{}", number(&file, blocks));
        assert_eq!(number(&file, "SELECT count(*) FROM t"), flushes * 100_000);
        assert_eq!(number(&file, "SELECT current_setting('threads')"), file.threads);
        assert_eq!(text(&file, "SELECT current_setting('memory_limit')"), limit);
    }
}
