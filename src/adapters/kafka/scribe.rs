//! At least once: writes the markers, and after them which tables are followed.
//!
//! Why a table counts as followed only after the marker that its rows lie under: a crash between the two has it read
//! once more, the other order would have it never read.

use std::sync::Arc;

use rdkafka::message::OwnedHeaders;

use super::client::coded;
use super::ledger::{Due, Ledger};
use super::producer::{Producer, Record, Reports};
use super::progress::Progress;
use crate::model::{Error, Result};

/// Markers for small batches are at least this far apart.
const MARKER_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// Batches of this many bytes get a marker at once: a reader holds what lies between two markers in memory.
const MARKER_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Scribe {
    pub(super) producer: Arc<Producer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) progress: Progress,
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
        let marker = self.progress.marker(&due).encode();
        let changed = self.progress.news();
        // What is told of a table's rows is told when the next start will know that they are there.
        let waiting = if changed.is_some() { std::mem::take(&mut due.waiting) } else { Vec::new() };
        let record = control_record(&self.progress.topic, self.progress.pipeline.as_bytes(), &marker);
        let tag = self.ledger.mark(due);
        match self.producer.send(record, tag).await? {
            Ok(()) => {}
            Err(refused) => return Err(self.ledger.refusal(tag.route, refused)),
        }
        if let Some(followed) = changed {
            // A producer keeps no order between topics.
            self.ledger.marked().await?;
            for record in self.progress.follow(&followed) {
                let doing = "noting which tables are followed";
                publish(&self.producer, &self.ledger, &self.progress.tables, &record, doing).await?;
            }
            for done in waiting {
                // Nobody waits any more when the loop has ended.
                let _ = done.send(Ok(()));
            }
        }
        Ok(())
    }
}

/// A record of a control topic.
pub(super) fn control_record<'a>(topic: &'a str, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    let headers = OwnedHeaders::new();
    Record { topic, partition: Some(0), key: Some(key), value: Some(value), headers, timestamp: None }
}

/// Writes a record of a control topic and waits until it is confirmed.
pub(super) async fn publish(
    producer: &Producer,
    ledger: &Ledger,
    topic: &str,
    (key, value): &(Vec<u8>, Vec<u8>),
    doing: &str,
) -> Result<()> {
    let (tag, confirmed) = ledger.awaited();
    let refused = match producer.send(control_record(topic, key, value), tag).await? {
        Ok(()) => match confirmed.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(ledger.failure().unwrap_or_else(|| Error::transient("the sink has ended"))),
        },
        Err(refused) => refused,
    };
    Err(coded(format!("{doing} in {topic}: {}", refused.code), refused.code))
}
