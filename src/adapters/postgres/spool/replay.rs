//! What came of a transaction, read back piece by piece.

use bytes::{Buf, Bytes};

use super::seal::Seal;
use super::store::Store;
use super::{SpoolOptions, unusable};
use crate::model::{Error, Lsn, Result};

/// A message and its place in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where the server said that it lies; 0/0 where it said nothing.
    pub lsn: Lsn,
    /// The message.
    pub body: Bytes,
}

/// A transaction's messages in their order. At most two chunks of it are in memory.
#[derive(Debug)]
pub struct Replay {
    store: Store,
    seal: Seal,
    options: SpoolOptions,
    /// The chunk that is read next; after the last of them the tail.
    next: usize,
    here: Bytes,
    ahead: Bytes,
}

impl Replay {
    pub(super) fn new(store: Store, seal: Seal, options: SpoolOptions) -> Replay {
        Replay { store, seal, options, next: 0, here: Bytes::new(), ahead: Bytes::new() }
    }

    /// The next message; `None` after the last.
    ///
    /// # Errors
    ///
    /// Transient when the file can't be read.
    pub fn record(&mut self) -> Result<Option<Record>> {
        if self.here.is_empty() {
            self.here = if self.ahead.is_empty() { self.chunk()? } else { std::mem::take(&mut self.ahead) };
        }
        if self.here.is_empty() { Ok(None) } else { split(&mut self.here).map(Some) }
    }

    /// Where the next message lies that lies anywhere; `None` when none does.
    ///
    /// # Errors
    ///
    /// Transient when the file can't be read.
    pub fn upcoming(&mut self) -> Result<Option<Lsn>> {
        if let Some(lsn) = placed(self.here.clone())? {
            return Ok(Some(lsn));
        }
        if self.ahead.is_empty() {
            self.ahead = self.chunk()?;
        }
        placed(self.ahead.clone())
    }

    /// The next chunk; empty after the last.
    fn chunk(&mut self) -> Result<Bytes> {
        let Some(chunk) = self.store.chunk(self.next) else { return Ok(self.store.take_tail()) };
        self.next += 1;
        let read = tokio::task::block_in_place(|| self.store.read(chunk, &self.seal));
        read.map_err(|error| {
            self.options.given_up.store(true, std::sync::atomic::Ordering::Relaxed);
            unusable(&self.options.dir, error)
        })
    }
}

fn placed(mut records: Bytes) -> Result<Option<Lsn>> {
    while !records.is_empty() {
        let Record { lsn, .. } = split(&mut records)?;
        if lsn != Lsn::ZERO {
            return Ok(Some(lsn));
        }
    }
    Ok(None)
}

fn split(records: &mut Bytes) -> Result<Record> {
    let torn = || Error::bug("a chunk of the spool ends inside a record");
    let lsn = records.try_get_u64().map_err(|_| torn())?;
    let length = records.try_get_u32().map_err(|_| torn())? as usize;
    if records.len() < length {
        return Err(torn());
    }
    Ok(Record { lsn: Lsn::new(lsn), body: records.split_to(length) })
}
