//! One open transaction: the newest bytes in memory, the rest in a file that has no name.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::Usage;
use super::seal::Seal;
use crate::model::Lsn;

/// Of files that still have a name.
pub(super) const EXTENSION: &str = "spool";

/// Sealed bytes of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// Where in the transaction it begins.
    start: u64,
    /// Where in the file.
    at: u64,
    length: usize,
}

#[derive(Debug)]
pub(super) struct Store {
    chunks: Vec<Chunk>,
    file: Option<File>,
    /// Where in the transaction the tail begins.
    start: u64,
    tail: Vec<u8>,
    usage: Arc<Usage>,
}

impl Store {
    pub(super) fn new(usage: Arc<Usage>) -> Store {
        Store { chunks: Vec::new(), file: None, start: 0, tail: Vec::new(), usage }
    }

    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// How much of it is in memory.
    pub(super) fn tail(&self) -> usize {
        self.tail.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.tail
    }

    /// Where its next record will begin.
    pub(super) fn end(&self) -> u64 {
        self.start + self.tail.len() as u64
    }

    pub(super) fn push(&mut self, lsn: Lsn, body: &[u8]) -> crate::model::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| crate::model::Error::bug("a message of more than 4 GiB"))?;
        let before = self.tail.len();
        self.tail.reserve(12 + body.len());
        self.tail.put_u64(lsn.get());
        self.tail.put_u32(length);
        self.tail.put_slice(body);
        self.usage.memory(before, self.tail.len());
        Ok(())
    }

    /// Moves the tail, sealed by the caller, into the file.
    pub(super) fn spill(&mut self, sealed: &[u8], dir: &Path) -> Result<()> {
        let at = self.disk();
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(file(dir)?),
        };
        file.write_all_at(sealed, at)?;
        self.chunks.push(Chunk { start: self.start, at, length: sealed.len() });
        self.usage.disk(at, self.disk());
        self.start = self.end();
        self.put(Vec::new());
        Ok(())
    }

    /// Forgets what begins at or after `offset`.
    pub(super) fn cut(&mut self, offset: u64, seal: &Seal) -> Result<()> {
        let before = self.disk();
        while let Some(last) = self.chunks.last().copied().filter(|_| offset < self.start) {
            let raw = if last.start < offset { self.read(last, seal)?.to_vec() } else { Vec::new() };
            self.chunks.pop();
            self.start = last.start;
            self.put(raw);
        }
        let length = self.tail.len();
        self.tail.truncate(usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX));
        self.usage.memory(length, self.tail.len());
        if let Some(file) = self.file.as_ref().filter(|_| self.disk() < before) {
            file.set_len(self.disk())?;
            self.usage.disk(before, self.disk());
        }
        Ok(())
    }

    /// What a chunk holds.
    pub(super) fn read(&self, chunk: Chunk, seal: &Seal) -> Result<Bytes> {
        let file = self.file.as_ref().ok_or_else(|| Error::other("there is no file"))?;
        let mut sealed = vec![0; chunk.length];
        file.read_exact_at(&mut sealed, chunk.at)?;
        seal.open(sealed).ok_or_else(|| Error::new(ErrorKind::InvalidData, "what was written is not what is read"))
    }

    pub(super) fn chunk(&self, index: usize) -> Option<Chunk> {
        self.chunks.get(index).copied()
    }

    /// Takes the tail away.
    pub(super) fn take_tail(&mut self) -> Bytes {
        let tail = std::mem::take(&mut self.tail);
        self.usage.memory(tail.len(), 0);
        tail.into()
    }

    fn put(&mut self, tail: Vec<u8>) {
        self.usage.memory(self.tail.len(), tail.len());
        self.tail = tail;
    }

    fn disk(&self) -> u64 {
        self.chunks.last().map_or(0, |last| last.at + last.length as u64)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.usage.memory(self.tail.len(), 0);
        self.usage.disk(self.disk(), 0);
    }
}

/// A file that only we can read, and that has no name any more.
pub(super) fn file(dir: &Path) -> Result<File> {
    let path = dir.join(format!("{:016x}.{EXTENSION}", rand::random::<u64>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    match std::fs::remove_file(&path) {
        // Another process of the same name has just tidied up.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}
