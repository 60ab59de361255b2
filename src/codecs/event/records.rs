//! Records: many in one buffer.

use std::ops::Range;

/// How many bytes of room stay reserved between uses.
pub(super) const KEEP: usize = 4 * 1024 * 1024;

/// The records of changes, in their order. Cleared and used again, so that nothing is allocated for a record.
#[derive(Debug, Default)]
pub struct Records {
    pub(super) bytes: Vec<u8>,
    pub(super) headers: Vec<(&'static str, Range<usize>)>,
    entries: Vec<Entry>,
}

/// Where a record's parts lie.
#[derive(Clone, Debug)]
struct Entry {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One record; without a value it is a tombstone.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key, where the table has one.
    pub key: Option<&'a [u8]>,
    /// The event.
    pub value: Option<&'a [u8]>,
    records: &'a Records,
    entry: &'a Entry,
}

impl Records {
    /// Room for nothing yet.
    pub fn new() -> Records {
        Records::default()
    }

    /// Forgets the records and keeps the room, but not what only a huge value needed.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.headers.clear();
        self.entries.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes they take.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The records in their order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record {
            key: self.part(&entry.key),
            value: self.part(&entry.value),
            records: self,
            entry,
        })
    }

    fn part(&self, range: &Option<Range<usize>>) -> Option<&[u8]> {
        range.as_ref().and_then(|range| self.bytes.get(range.clone()))
    }

    /// A header whose value has been written since `start`; it belongs to the records that are pushed over it.
    pub(super) fn header(&mut self, name: &'static str, start: usize) {
        self.headers.push((name, start..self.bytes.len()));
    }

    /// A record with the headers that have been written since `headers`.
    pub(super) fn push(&mut self, key: Option<Range<usize>>, value: Option<Range<usize>>, headers: usize) {
        self.entries.push(Entry { key, value, headers: headers..self.headers.len() });
    }

    /// How far the records reach, for [`Records::truncate`].
    pub(super) fn mark(&self) -> (usize, usize, usize) {
        (self.bytes.len(), self.headers.len(), self.entries.len())
    }

    /// Forgets what was written since `mark`.
    pub(super) fn truncate(&mut self, mark: (usize, usize, usize)) {
        self.bytes.truncate(mark.0);
        self.headers.truncate(mark.1);
        self.entries.truncate(mark.2);
    }
}

impl<'a> Record<'a> {
    /// The headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'a [u8])> + use<'a> {
        let records = self.records;
        let headers = records.headers.get(self.entry.headers.clone()).unwrap_or_default();
        headers.iter().map(|(name, range)| (*name, records.bytes.get(range.clone()).unwrap_or_default()))
    }
}
