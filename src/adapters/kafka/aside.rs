//! Changes that wait because their table is stopped, as a reader of markers has them: in their place.
//!
//! Why a reader loses and delays nothing: markers speak for the topic of what waits as for any other. When a table goes
//! on, its own topic gets events of the same ids; those lie behind the reader's position and are dropped there.

use bytes::Bytes;
use rdkafka::message::{BorrowedHeaders, Headers};

use super::reader::{Reader, foreign, late, place, stamp};
use crate::codecs::event::{decode_held, header};
use crate::model::{Change, ChangeId, Error, Lsn, Result};

/// A change that waits, as it lies there.
struct Found {
    id: ChangeId,
    version: String,
    topic: String,
    since: ChangeId,
    value: Bytes,
    offset: i64,
}

impl Reader {
    /// Reads the topic of what waits below `next` and keeps the changes after the last marker's and up to this one's
    /// whose own topics are read.
    pub(super) fn collect_held(&mut self, next: i64, last: ChangeId, changes: &mut Vec<Change>) -> Result<()> {
        let topic = self.held_topic.clone();
        if !self.partitions.has(&topic, 0) {
            let (from, _) = self.choice.from(&topic, 0);
            self.partitions.join(&topic, 0, from)?;
        }
        self.moved.insert((topic.clone(), 0), next);
        let (watermark, choice, mut found) = (self.at.change, &mut self.choice, Vec::new());
        self.partitions.read(&topic, 0, next, |event| {
            let Some(label) = event.headers.and_then(label) else {
                return Err(foreign(&place(&topic, 0, event.offset)));
            };
            let value = Bytes::copy_from_slice(event.value.unwrap_or_default());
            let found_one = Found { value, offset: event.offset, ..label };
            if found_one.id > watermark && found_one.id <= last && choice.wants(&found_one.topic) {
                found.push(found_one);
            }
            Ok(())
        })?;
        for found in found {
            self.know(&found)?;
            self.touch(&found.topic);
            if !self.reads(&found.topic) {
                continue;
            }
            self.meet(&found.version)?;
            let place = place(&topic, 0, found.offset);
            let table = self.tables.table(&found.version).ok_or_else(|| self.tables.unknown(&place, &found.version))?;
            let waiting = decode_held(&found.value).map_err(|error| {
                Error::corrupt(format!("{place}: a change of {} can't be read: {error}", found.version))
            })?;
            let change = Change { id: found.id, origin: waiting.origin, table, op: waiting.op };
            self.home(&found.topic, std::slice::from_ref(&change));
            changes.push(change);
        }
        Ok(())
    }

    /// Remembers that the topic of a change is read: when its events come, they are not from before the warehouse.
    fn know(&mut self, found: &Found) -> Result<()> {
        if self.choice.knows(&found.topic) || self.partitions.has_any(&found.topic) || self.met.contains(&found.topic) {
            return Ok(());
        }
        let key = (found.topic.clone(), 0);
        if self.choice.stored.is_some() && !self.moved.contains_key(&key) && found.since <= self.begun {
            return Err(late(&found.topic));
        }
        self.moved.entry(key.clone()).or_insert(0);
        self.tell_later(&found.topic, 0);
        self.choice.met(key);
        Ok(())
    }
}

/// What the headers say; the value is not there yet.
fn label(headers: &BorrowedHeaders) -> Option<Found> {
    let stamp = stamp(headers)?;
    let text = |key: &str| {
        let header = headers.iter().find(|header| header.key == key)?;
        std::str::from_utf8(header.value?).ok()
    };
    let (commit, seq) = text(header::SINCE)?.split_once('/')?;
    Some(Found {
        id: stamp.id,
        version: stamp.table.to_owned(),
        topic: text(header::TOPIC)?.to_owned(),
        since: ChangeId { commit: Lsn::new(commit.parse().ok()?), seq: seq.parse().ok()? },
        value: Bytes::new(),
        offset: 0,
    })
}
