//! What the parts report of themselves while they run; the metrics endpoint renders it.
//!
//! Updated once per batch or message burst, never per change.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::role::Role;
use super::{Lsn, Op, PgTimestamp, TableName};

/// A value that goes up and down, or a count; `NONE` until it is known.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge(AtomicI64::new(Gauge::NONE))
    }
}

impl Gauge {
    const NONE: i64 = i64::MIN;

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Makes it unknown again.
    pub fn clear(&self) {
        self.set(Gauge::NONE);
    }

    /// The last value set; `None` when nothing is known.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&value| value != Gauge::NONE)
    }
}

/// A position in the log as last seen; 0/0 until known.
#[derive(Debug, Default)]
pub struct LsnGauge(AtomicU64);

impl LsnGauge {
    /// Moves it, also backwards (a reconnect starts earlier than the last one ended).
    pub fn set(&self, lsn: Lsn) {
        self.0.store(lsn.get(), Ordering::Relaxed);
    }

    /// Moves it forward only.
    pub fn raise(&self, lsn: Lsn) {
        self.0.fetch_max(lsn.get(), Ordering::Relaxed);
    }

    /// The position.
    pub fn get(&self) -> Lsn {
        Lsn::new(self.0.load(Ordering::Relaxed))
    }
}

/// How many changes of each kind a table had.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct OpCounts {
    /// Rows a snapshot read.
    pub read: u64,
    /// Inserts.
    pub insert: u64,
    /// Updates.
    pub update: u64,
    /// Deletes.
    pub delete: u64,
    /// Truncates.
    pub truncate: u64,
}

impl OpCounts {
    /// Counts one change.
    pub fn count(&mut self, op: &Op) {
        match op {
            Op::Read { .. } => self.read += 1,
            Op::Insert { .. } => self.insert += 1,
            Op::Update { .. } => self.update += 1,
            Op::Delete { .. } => self.delete += 1,
            Op::Truncate => self.truncate += 1,
            // Of no table.
            Op::Message(_) | Op::Commit { .. } => {}
        }
    }

    fn add(&mut self, more: OpCounts) {
        self.read += more.read;
        self.insert += more.insert;
        self.update += more.update;
        self.delete += more.delete;
        self.truncate += more.truncate;
    }
}

/// What is known of one table.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct TableMeter {
    /// Changes that are durable in the sink.
    pub durable: OpCounts,
    /// Commit time of the newest durable change.
    pub newest: Option<PgTimestamp>,
    /// Commit time of the oldest change that is not durable yet.
    pub waiting_since: Option<PgTimestamp>,
}

/// A table that is stopped while the others go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoppedTable {
    /// When it was stopped.
    pub since: PgTimestamp,
    /// What keeps it.
    pub reason: String,
    /// What to do.
    pub remedy: String,
    /// How many of its changes wait.
    pub held: u64,
}

/// The state of one process, shared by all its parts.
#[derive(Debug, Default)]
pub struct Meters {
    /// The server's end of log, as last seen.
    pub server: LsnGauge,
    /// The end of what the source has received.
    pub received: LsnGauge,
    /// The end of what is durable in the sink.
    pub durable: LsnGauge,
    /// What the slot has been told.
    pub acknowledged: LsnGauge,
    /// Commit time of the oldest change received but not durable, unix microseconds; unknown when nothing is outstanding.
    pub oldest_undurable: Gauge,
    /// Commit time of the newest change received, unix microseconds.
    pub newest_received: Gauge,
    /// Bytes of log the slot keeps on the server.
    pub slot_retained: Gauge,
    /// Bytes until `max_slot_wal_keep_size` takes the slot away; unknown without a limit.
    pub slot_safe: Gauge,
    /// Seconds until then at the present rate; unknown without a limit.
    pub slot_seconds_to_limit: Gauge,
    /// How many transactions ago the slot's oldest catalog row was: VACUUM keeps what came since.
    pub slot_catalog_age: Gauge,
    /// Bytes of large transactions that the server has put on its own disk for the slot, since its statistics began.
    pub slot_spilled: Gauge,
    /// And those that it has sent while they were open.
    pub slot_streamed: Gauge,
    /// Bytes that transactions which are still open take in the spool's files; unknown without a spool.
    pub spool_bytes: Gauge,
    /// Rows set aside.
    pub quarantined: Gauge,
    /// Whether the source is connected and the sink takes batches.
    pub flowing: AtomicBool,
    /// Unix microseconds of the last sign of progress: a batch durable, or nothing outstanding.
    pub last_progress: Gauge,
    /// Snapshot rows read so far.
    pub snapshot_rows: AtomicU64,
    /// Times the source or the sink had to be set up again.
    pub restarts: AtomicU64,
    tables: Mutex<BTreeMap<TableName, TableMeter>>,
    stopped: Mutex<BTreeMap<TableName, StoppedTable>>,
    misfits: Mutex<BTreeMap<(TableName, String), u64>>,
    last_error: Mutex<Option<(PgTimestamp, String)>>,
    role: Mutex<Option<Role>>,
}

impl Meters {
    /// All at nothing known.
    pub fn new() -> Arc<Meters> {
        Arc::new(Meters::default())
    }

    /// Adds durable changes to a table's counts.
    pub fn table_durable(&self, table: &TableName, counts: OpCounts, newest: PgTimestamp) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = tables.entry(table.clone()).or_default();
        meter.durable.add(counts);
        meter.newest = meter.newest.max(Some(newest));
    }

    /// Every table seen, in name order.
    pub fn tables(&self) -> Vec<(TableName, TableMeter)> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().map(|(name, meter)| (name.clone(), *meter)).collect()
    }

    fn stopped_tables(&self) -> MutexGuard<'_, BTreeMap<TableName, StoppedTable>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a table is stopped, or again how it is.
    pub fn stop_table(&self, table: &TableName, state: StoppedTable) {
        self.stopped_tables().insert(table.clone(), state);
    }

    /// Says that a table goes on.
    pub fn table_goes_on(&self, table: &TableName) {
        self.stopped_tables().remove(table);
    }

    /// Counts changes of a stopped table that wait, or do not wait any more.
    pub fn table_held(&self, table: &TableName, more: i64) {
        if let Some(state) = self.stopped_tables().get_mut(table) {
            state.held = state.held.saturating_add_signed(more);
        }
    }

    /// Says anew why a table is stopped.
    pub fn table_because(&self, table: &TableName, reason: String, remedy: String) {
        if let Some(state) = self.stopped_tables().get_mut(table) {
            (state.reason, state.remedy) = (reason, remedy);
        }
    }

    /// Every table that is stopped, in name order.
    pub fn stopped(&self) -> Vec<(TableName, StoppedTable)> {
        self.stopped_tables().iter().map(|(name, state)| (name.clone(), state.clone())).collect()
    }

    /// Counts values that NULL was written for.
    pub fn replaced(&self, table: &TableName, column: &str, more: u64) {
        let mut misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
        *misfits.entry((table.clone(), column.to_owned())).or_default() += more;
    }

    /// By table and column: values that NULL was written for.
    pub fn misfits(&self) -> BTreeMap<(TableName, String), u64> {
        self.misfits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what this process does in its consumer group.
    pub fn play(&self, role: Role) {
        *self.role.lock().unwrap_or_else(PoisonError::into_inner) = Some(role);
    }

    /// What this process does in its consumer group; `None` when it is the only one.
    pub fn role(&self) -> Option<Role> {
        *self.role.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an error for the status page.
    pub fn error(&self, text: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((PgTimestamp::now(), text));
    }

    /// The last error and when it was.
    pub fn last_error(&self) -> Option<(PgTimestamp, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
