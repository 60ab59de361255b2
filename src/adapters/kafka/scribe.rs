//! Writes the markers, and after them which tables are followed.
//!
//! Why a table counts as followed only after the marker that its rows lie under: a crash between the two has it read
//! once more, the other order would have it never read.

use std::sync::Arc;

use rdkafka::message::OwnedHeaders;

use super::client::coded;
use super::ledger::{Due, End, Ledger};
use super::marker::Marker;
use super::producer::{Producer, Record, Reports};
use crate::codecs::event::encode_followed;
use crate::model::{ChangeId, Checkpoint, Error, Followed, Lsn, Phase, Result, SourcePosition};

/// Markers for small batches are at least this far apart.
const MARKER_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// Batches of this many bytes get a marker at once: a reader holds what lies between two markers in memory.
const MARKER_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Scribe {
    pub(super) producer: Arc<Producer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) topic: String,
    pub(super) tables: String,
    pub(super) pipeline: String,
    /// The last complete position.
    pub(super) last: Checkpoint,
    /// What the tables topic says of the tables that are followed.
    pub(super) followed: Followed,
}

impl Scribe {
    pub(super) async fn run(mut self) {
        loop {
            self.ledger.finished.notified().await;
            let mut bytes = 0;
            while let Some(due) = self.ledger.take() {
                bytes += due.bytes;
                if let Err(error) = self.write(due).await {
                    self.ledger.fail(&error);
                }
            }
            if self.ledger.failure().is_some() {
                return;
            }
            if bytes < MARKER_BYTES {
                tokio::time::sleep(MARKER_PAUSE).await;
            }
        }
    }

    async fn write(&mut self, mut due: Due) -> Result<()> {
        let marker = self.marker(&due).encode();
        let followed = self.last.followed.clone().filter(|_| self.last.phase == Phase::Stream);
        let changed = followed.filter(|followed| **followed != self.followed);
        // What is told of a table's rows is told when the next start will know that they are there.
        let waiting = if changed.is_some() { std::mem::take(&mut due.waiting) } else { Vec::new() };
        let record = Record {
            topic: &self.topic,
            partition: Some(0),
            key: Some(self.pipeline.as_bytes()),
            value: Some(&marker),
            headers: OwnedHeaders::new(),
            timestamp: None,
        };
        let tag = self.ledger.mark(due);
        match self.producer.send(record, tag).await? {
            Ok(()) => {}
            Err(refused) => return Err(self.ledger.refusal(tag.route, refused)),
        }
        if let Some(followed) = changed {
            // A producer keeps no order between topics.
            self.ledger.marked().await?;
            self.follow(followed).await?;
            for done in waiting {
                // Nobody waits any more when the loop has ended.
                let _ = done.send(Ok(()));
            }
        }
        Ok(())
    }

    /// Tells which tables are followed, where that is not what the topic says.
    async fn follow(&mut self, followed: Arc<Followed>) -> Result<()> {
        let gone = self.followed.keys().filter(|name| !followed.contains_key(name)).map(|name| (name, None));
        let come = followed.iter().filter(|(name, m)| self.followed.get(name) != Some(m)).map(|(n, m)| (n, Some(*m)));
        for (name, membership) in gone.chain(come) {
            let record = encode_followed(name, membership);
            publish(&self.producer, &self.ledger, &self.tables, &record, &format!("noting that {name} is followed"))
                .await?;
        }
        self.followed = Followed::clone(&followed);
        Ok(())
    }

    fn marker(&mut self, due: &Due) -> Marker {
        let inside = match &due.end {
            End::Complete(checkpoint) => {
                self.last = Checkpoint { offsets: Vec::new(), ..checkpoint.clone() };
                None
            }
            End::Inside(change) => Some(*change),
        };
        Marker { checkpoint: Checkpoint { offsets: due.offsets.clone(), ..self.last.clone() }, inside }
    }
}

/// Before the first complete position.
pub(super) fn nowhere() -> Checkpoint {
    Checkpoint {
        position: SourcePosition { system_id: 0, timeline: 0, lsn: Lsn::ZERO },
        change: ChangeId::ZERO,
        phase: Phase::Snapshot,
        offsets: Vec::new(),
        followed: None,
    }
}

/// Writes a record of the tables topic and waits until it is confirmed.
pub(super) async fn publish(
    producer: &Producer,
    ledger: &Ledger,
    topic: &str,
    (key, value): &(Vec<u8>, Vec<u8>),
    doing: &str,
) -> Result<()> {
    let (tag, confirmed) = ledger.awaited();
    let headers = OwnedHeaders::new();
    let record = Record { topic, partition: Some(0), key: Some(key), value: Some(value), headers, timestamp: None };
    let refused = match producer.send(record, tag).await? {
        Ok(()) => match confirmed.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(ledger.failure().unwrap_or_else(|| Error::transient("the sink has ended"))),
        },
        Err(refused) => refused,
    };
    Err(coded(format!("{doing} in {topic}: {}", refused.code), refused.code))
}
