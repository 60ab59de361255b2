//! The spool: what has come of transactions that are still open.
//!
//! ```text
//!  append ──▶ tail in memory ──lz4, AES-GCM──▶ chunks of a file without a name ──▶ replay, in order, piece by piece
//!                  ▲                               │
//!                  └──────── cut: a savepoint ◀────┘
//! ```
//!
//! Why nothing of it outlives the process: a file loses its name as soon as it is open, so the system frees it whatever
//! ends the process; and what may be found on the device afterwards was sealed with a key that was only in its memory.
//! Nothing depends on it either: the slot keeps a transaction until its commit is acknowledged.

mod replay;
mod seal;
mod store;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::block_in_place;

use crate::model::{Error, Lsn, Meters, Result, Xid};

pub use replay::{Record, Replay};
use seal::Seal;
use store::Store;

/// A transaction of up to this many bytes stays in memory.
const SMALL: usize = 4 << 20;
/// While all of them are no larger than this.
const MEMORY: u64 = 32 << 20;
/// How much of a larger one goes to its file at a time.
const CHUNK: usize = 1 << 20;

/// Where open transactions are kept, and how much of them.
#[derive(Clone, Default, Debug)]
pub struct SpoolOptions {
    /// The directory; made when it is not there.
    pub dir: PathBuf,
    /// The most that its files may hold, in bytes.
    pub limit: u64,
    /// Set when the spool had to be given up: the next connection does without it, once.
    pub given_up: Arc<AtomicBool>,
}

/// What is kept now.
#[derive(Debug)]
struct Usage {
    memory: AtomicU64,
    disk: AtomicU64,
    meters: Arc<Meters>,
}

impl Usage {
    fn memory(&self, before: usize, after: usize) {
        self.memory.fetch_add(after as u64, Ordering::Relaxed);
        self.memory.fetch_sub(before as u64, Ordering::Relaxed);
    }

    fn disk(&self, before: u64, after: u64) {
        self.disk.fetch_add(after, Ordering::Relaxed);
        let all = self.disk.fetch_sub(before, Ordering::Relaxed) - before;
        self.meters.spool_bytes.set(i64::try_from(all).unwrap_or(i64::MAX));
    }
}

/// The open transactions of one connection.
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    seal: Seal,
    usage: Arc<Usage>,
    stores: HashMap<Xid, Store>,
    /// Whether there is nobody else who keeps what does not fit.
    needed: bool,
}

impl Spool {
    /// An empty spool, in a directory that is private and can be written.
    ///
    /// # Errors
    ///
    /// Transient when there can be no such directory.
    pub fn new(options: SpoolOptions, meters: Arc<Meters>) -> Result<Spool> {
        prepare(&options.dir).map_err(|error| unusable(&options.dir, error))?;
        let usage = Usage { memory: AtomicU64::new(0), disk: AtomicU64::new(0), meters };
        usage.meters.spool_bytes.set(0);
        Ok(Spool { options, seal: Seal::new()?, usage: Arc::new(usage), stores: HashMap::new(), needed: false })
    }

    /// The same, where no other place is left for what does not fit.
    pub fn needed(self) -> Spool {
        Spool { needed: true, ..self }
    }

    /// Adds a message of an open transaction.
    ///
    /// # Errors
    ///
    /// Transient when there is no room for it; then the whole spool is of no more use. Blocked where it is needed.
    pub fn append(&mut self, xid: Xid, lsn: Lsn, body: &[u8]) -> Result<()> {
        let usage = &self.usage;
        let store = self.stores.entry(xid).or_insert_with(|| Store::new(Arc::clone(usage)));
        store.push(lsn, body)?;
        if store.tail() >= if store.has_file() { CHUNK } else { SMALL } {
            self.spill(xid)?;
        }
        while self.usage.memory.load(Ordering::Relaxed) > MEMORY {
            let largest = self.stores.iter().max_by_key(|(_, store)| store.tail()).map(|(&xid, _)| xid);
            self.spill(largest.ok_or_else(|| Error::bug("the spool counts bytes that nobody has"))?)?;
        }
        Ok(())
    }

    /// How much has come of a transaction: the offset of its next message.
    pub fn end(&self, xid: Xid) -> u64 {
        self.stores.get(&xid).map_or(0, Store::end)
    }

    /// Forgets what came of a transaction from `offset` on.
    ///
    /// # Errors
    ///
    /// Transient when the file can't be read.
    pub fn cut(&mut self, xid: Xid, offset: u64) -> Result<()> {
        let Some(store) = self.stores.get_mut(&xid) else { return Ok(()) };
        block_in_place(|| store.cut(offset, &self.seal)).map_err(|error| self.broken(error))
    }

    /// Forgets a transaction.
    pub fn forget(&mut self, xid: Xid) {
        self.stores.remove(&xid);
    }

    /// What came of a transaction, in its order; it is not in the spool any more.
    pub fn replay(&mut self, xid: Xid) -> Replay {
        let store = self.stores.remove(&xid).unwrap_or_else(|| Store::new(Arc::clone(&self.usage)));
        Replay::new(store, self.seal.clone(), self.options.clone())
    }

    /// Has the next connection do without a spool.
    pub fn give_up(&self) {
        self.options.given_up.store(true, Ordering::Relaxed);
    }

    fn spill(&mut self, xid: Xid) -> Result<()> {
        let Some(store) = self.stores.get_mut(&xid) else { return Ok(()) };
        let sealed = block_in_place(|| self.seal.close(store.bytes()))?;
        if self.usage.disk.load(Ordering::Relaxed) + sealed.len() as u64 > self.options.limit {
            let limit = self.options.limit;
            if self.needed {
                return Err(Error::blocked(format!("prepared transactions are larger than the spool's {limit} bytes"))
                    .remedy("decide them (pg_prepared_xacts lists them), or give the spool more room with pipeline.spool_bytes"));
            }
            self.give_up();
            return Err(Error::transient(format!("open transactions are larger than the spool's {limit} bytes"))
                .remedy("PostgreSQL keeps them itself until they have committed; pipeline.spool_bytes gives the spool more room"));
        }
        let spilt = block_in_place(|| store.spill(&sealed, &self.options.dir));
        spilt.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: std::io::Error) -> Error {
        self.give_up();
        unusable(&self.options.dir, error)
    }
}

fn unusable(dir: &Path, error: std::io::Error) -> Error {
    Error::transient(format!("the spool of open transactions in {} can't be used", dir.display()))
        .remedy("until it can, PostgreSQL keeps large transactions itself; check pipeline.state_dir, its rights and the room there")
        .because(error)
}

/// Makes the directory, for us alone; removes what a process left that died while it made a file.
fn prepare(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == store::EXTENSION) {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    store::file(dir).map(drop)
}
