//! Records on their way to the one that sends them: encoded here, sent there, so that a commit holds up nobody's work.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::message::OwnedHeaders;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::ledger::Ledger;
use super::producer::{Producer, Record, Refused, Reports, Tag};
use super::transaction::Part;
use crate::model::{Error, Result};

/// Parcels are handed on at about this many bytes.
const PARCEL_BYTES: usize = 256 << 10;
/// What a record takes beside its key and value.
const RECORD_BYTES: usize = 160;
/// Kilobytes of parcels that may wait.
const WAITING_KBYTES: u32 = 8 << 10;

/// A record without its bytes.
struct Entry {
    topic: usize,
    partition: Option<i32>,
    key: Option<usize>,
    value: Option<usize>,
    headers: OwnedHeaders,
    timestamp: Option<i64>,
    tag: Tag,
}

/// Records in order.
#[derive(Default)]
pub(super) struct Parcel {
    topics: Vec<String>,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Parcel {
    /// Bytes of memory it takes, about.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * RECORD_BYTES
    }

    fn push(&mut self, record: Record<'_>, tag: Tag) {
        let known = self.topics.iter().rposition(|topic| topic == record.topic);
        let topic = known.unwrap_or_else(|| {
            self.topics.push(record.topic.to_owned());
            self.topics.len() - 1
        });
        for part in [record.key, record.value].into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        let (key, value) = (record.key.map(<[u8]>::len), record.value.map(<[u8]>::len));
        let Record { partition, headers, timestamp, .. } = record;
        self.entries.push(Entry { topic, partition, key, value, headers, timestamp, tag });
    }

    /// Hands each record to the producer.
    pub(super) async fn send(self, producer: &Producer) -> Result<Result<(), (Tag, Refused)>> {
        let mut rest = self.bytes.as_slice();
        let mut cut = |length: Option<usize>| {
            let (part, after) = rest.split_at_checked(length?)?;
            rest = after;
            Some(part)
        };
        for entry in self.entries {
            let (key, value) = (cut(entry.key), cut(entry.value));
            let topic = self.topics.get(entry.topic).map_or("", String::as_str);
            let Entry { partition, headers, timestamp, tag, .. } = entry;
            let record = Record { topic, partition, key, value, headers, timestamp };
            if let Err(refused) = producer.send(record, tag).await? {
                return Ok(Err((tag, refused)));
            }
        }
        Ok(Ok(()))
    }
}

/// A parcel on its way, with its share of the memory.
pub(super) struct Handed {
    pub(super) parcel: Parcel,
    pub(super) part: Part,
    pub(super) room: OwnedSemaphorePermit,
}

struct Queue {
    current: Mutex<Parcel>,
    parcels: mpsc::UnboundedSender<Handed>,
    room: Arc<Semaphore>,
    ledger: Arc<Ledger>,
}

/// Where records are put: straight into the producer, or into parcels for the one that commits them.
pub(super) struct Outlet {
    producer: Arc<Producer>,
    queue: Option<Queue>,
}

impl Outlet {
    /// Straight to the producer.
    pub(super) fn direct(producer: Arc<Producer>) -> Outlet {
        Outlet { producer, queue: None }
    }

    /// In parcels, which come out at the other end.
    pub(super) fn queued(producer: Arc<Producer>, ledger: Arc<Ledger>) -> (Outlet, mpsc::UnboundedReceiver<Handed>) {
        let (parcels, taken) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WAITING_KBYTES as usize));
        let queue = Queue { current: Mutex::new(Parcel::default()), parcels, room, ledger };
        (Outlet { producer, queue: Some(queue) }, taken)
    }

    /// Whether what is sent becomes visible with its transaction only.
    pub(super) fn transactional(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes a record; waits while there is no room.
    ///
    /// What librdkafka refuses at once comes back as [`Refused`] inside; all else arrives at [`Reports`].
    pub(super) async fn send(&self, record: Record<'_>, tag: Tag) -> Result<Result<(), Refused>> {
        let Some(queue) = &self.queue else { return self.producer.send(record, tag).await };
        if queue.put(record, tag) >= PARCEL_BYTES {
            queue.hand(Part::Piece).await?;
        }
        Ok(Ok(()))
    }

    /// Takes a record that goes before the next of the batch that is being sent, and is of none itself.
    pub(super) fn announce(&self, record: Record<'_>) {
        if let Some(queue) = &self.queue {
            queue.put(record, Tag::CONTROL);
        }
    }

    /// Takes a record that stands alone.
    pub(super) async fn alone(&self, record: Record<'_>) -> Result<()> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let mut parcel = Parcel::default();
        parcel.push(record, Tag::CONTROL);
        queue.hand_over(parcel, Part::Apart).await
    }

    /// Says that the batch has been sent to its end.
    pub(super) async fn end(&self, batch: u64) -> Result<()> {
        match &self.queue {
            Some(queue) => queue.hand(Part::End(batch)).await,
            None => Ok(()),
        }
    }
}

impl Queue {
    /// Adds a record; the bytes that wait to be handed on.
    fn put(&self, record: Record<'_>, tag: Tag) -> usize {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.push(record, tag);
        current.size()
    }

    async fn hand(&self, part: Part) -> Result<()> {
        let parcel = std::mem::take(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner));
        self.hand_over(parcel, part).await
    }

    async fn hand_over(&self, parcel: Parcel, part: Part) -> Result<()> {
        let ended = || self.ledger.failure().unwrap_or_else(|| Error::transient("the Kafka sink has ended"));
        let kbytes = u32::try_from(parcel.size() / 1024).unwrap_or(u32::MAX).clamp(1, WAITING_KBYTES);
        // Closed when the one that sends has ended.
        let room = Arc::clone(&self.room).acquire_many_owned(kbytes).await.map_err(|_| ended())?;
        self.parcels.send(Handed { parcel, part, room }).map_err(|_| ended())
    }
}

/// Wakes whoever waits for room when the one that sends has ended.
pub(super) struct Closing(pub(super) Arc<Semaphore>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Outlet {
    /// Closes the queue when dropped.
    pub(super) fn closing(&self) -> Option<Closing> {
        self.queue.as_ref().map(|queue| Closing(Arc::clone(&queue.room)))
    }
}
