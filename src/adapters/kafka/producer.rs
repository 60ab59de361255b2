//! The producer: idempotent, all replicas, bounded by bytes; one thread of its own serves the delivery reports.
//!
//! With a transactional id it has transactions too. Their calls are made in slices, so that whoever waits for one can be
//! dropped; a call whose outcome stays unknown is never taken for one that did nothing.
//!
//! A record's fate is told to [`Reports`] under the tag it was sent with: a number, so that nothing is allocated for
//! a record but librdkafka's own copy of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio::sync::Notify;

use super::Cluster;
use super::client::{Context, coded, creation, failed, producer_config};
use super::topics::blocking;
use crate::model::{Error, Result};

/// One look at a call that takes its time.
const SLICE: Duration = Duration::from_millis(500);
/// How long the settling of a predecessor may take.
const INIT: Duration = Duration::from_secs(30);
/// How long a commit may take: beyond this the brokers have aborted the transaction.
const COMMIT: Duration = Duration::from_secs(60);
/// How long an abort may take.
const ABORT: Duration = Duration::from_secs(5);

/// What a record belongs to: a batch, and within it a route (topic).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    /// Index of the route, below 2^24.
    pub(super) route: u32,
    /// Number of the batch, below 2^40.
    pub(super) batch: u64,
}

impl Tag {
    const BATCH_BITS: u32 = 40;
    /// Of records that belong to no batch; nobody waits for one of them alone.
    pub(super) const CONTROL: Tag = Tag { route: 0xFF_FFFF, batch: 0 };

    fn pack(self) -> usize {
        (usize::try_from(self.route).unwrap_or_default() << Self::BATCH_BITS)
            | usize::try_from(self.batch & ((1 << Self::BATCH_BITS) - 1)).unwrap_or_default()
    }

    fn unpack(packed: usize) -> Tag {
        let packed = packed as u64;
        Tag { route: (packed >> Self::BATCH_BITS) as u32, batch: packed & ((1 << Self::BATCH_BITS) - 1) }
    }
}

/// Where a record landed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    /// The partition.
    pub(super) partition: i32,
    /// The record's offset; negative when the broker did not say.
    pub(super) offset: i64,
}

/// Why a record did not get there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// The reason.
    pub(super) code: Code,
    /// Bytes of key and value.
    pub(super) size: usize,
}

/// Takes delivery reports, on the producer's own thread.
pub(super) trait Reports: Send + Sync + 'static {
    /// The record with this tag is safe on all replicas in sync, or will never be.
    fn settled(&self, tag: Tag, outcome: Result<Placed, Refused>);

    /// What is on its way will never be settled.
    fn given_up(&self, error: &Error);

    /// Why sending more makes no sense, if so.
    fn failure(&self) -> Option<Error>;
}

/// A record to send.
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    /// `None`: by the key's hash.
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: OwnedHeaders,
    /// Milliseconds since 1970; the time of sending when absent.
    pub(super) timestamp: Option<i64>,
}

impl Record<'_> {
    /// Bytes of key and value.
    pub(super) fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// Bytes that may be on their way.
struct Budget {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Budget {
    /// Takes the bytes when there is room; a record larger than the whole budget goes alone.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| (used == 0 || used + bytes <= self.limit).then_some(used + bytes);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    /// Gives bytes back; wakes a waiter when a quarter is free, not at every record.
    fn give(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        let threshold = self.limit - self.limit / 4;
        if before >= threshold && before - bytes < threshold || before == bytes {
            self.freed.notify_waiters();
        }
    }
}

/// librdkafka's view of us.
struct Outbox {
    context: Context,
    budget: Arc<Budget>,
    reports: Arc<dyn Reports>,
}

impl ClientContext for Outbox {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Outbox {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let message = match result {
            Ok(message) | Err((_, message)) => message,
        };
        let size = message.payload_len() + message.key_len();
        let outcome = match result {
            Ok(message) => Ok(Placed { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(Refused { code: error.rdkafka_error_code().unwrap_or(Code::Unknown), size }),
        };
        self.reports.settled(Tag::unpack(opaque), outcome);
        self.budget.give(size);
    }
}

/// Sends records. Its thread ends with it.
pub(super) struct Producer {
    inner: Arc<BaseProducer<Outbox>>,
    budget: Arc<Budget>,
    context: Context,
    reports: Arc<dyn Reports>,
    stop: Arc<AtomicBool>,
}

impl Producer {
    /// Connects in the background; at most `buffer` bytes are on their way at a time. With a transactional id nothing
    /// can be sent before [`Producer::settle`].
    pub(super) fn start(
        cluster: &Cluster,
        buffer: usize,
        id: Option<&str>,
        reports: Arc<dyn Reports>,
    ) -> Result<Producer> {
        let context = Context::default();
        let budget = Arc::new(Budget { limit: buffer.max(1), used: AtomicUsize::new(0), freed: Notify::new() });
        let outbox = Outbox { context: context.clone(), budget: Arc::clone(&budget), reports: Arc::clone(&reports) };
        let config = producer_config(cluster, buffer, id)?;
        let inner: BaseProducer<Outbox> = config.create_with_context(outbox).map_err(creation)?;
        let inner = Arc::new(inner);
        let stop = Arc::new(AtomicBool::new(false));
        context.watch(cluster, &inner)?;
        let poll = (Arc::clone(&inner), Arc::clone(&stop), context.clone(), Arc::clone(&reports));
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || {
                let (producer, stop, context, reports) = poll;
                while !stop.load(Ordering::Relaxed) {
                    producer.poll(Duration::from_millis(100));
                    if let Some(error) = context.lost() {
                        reports.given_up(&error);
                    }
                }
            })
            .map_err(|error| Error::transient("no thread for Kafka's delivery reports").because(error))?;
        Ok(Producer { inner, budget, context, reports, stop })
    }

    /// Hands a record over; waits while too many bytes are on their way. A call that is dropped has sent nothing.
    ///
    /// What librdkafka refuses at once comes back as [`Refused`] inside; all else arrives at [`Reports`].
    pub(super) async fn send(&self, record: Record<'_>, tag: Tag) -> Result<Result<(), Refused>> {
        let size = record.size();
        loop {
            // Listening begins before the look, or a release between the two would be missed.
            let freed = self.budget.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.budget.take(size) {
                break;
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
            self.hopeless()?;
        }
        let mut message: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp,
            headers: Some(record.headers),
            delivery_opaque: tag.pack(),
        };
        let mut room = Claim { budget: &self.budget, bytes: size };
        loop {
            match self.inner.send(message) {
                Ok(()) => {
                    room.bytes = 0;
                    return Ok(Ok(()));
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    message = back;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    self.hopeless()?;
                }
                Err((error, _)) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    return Ok(Err(Refused { code, size }));
                }
            }
        }
    }

    /// Settles what a producer before left open under the same transactional id, and shuts it out.
    pub(super) async fn settle(&self) -> Result<()> {
        self.call("taking over the transactional id", INIT, |producer, slice| producer.init_transactions(slice)).await
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<()> {
        self.inner.begin_transaction().map_err(|error| failed("beginning a Kafka transaction", &error))
    }

    /// Commits. After an error nobody knows whether it did.
    pub(super) async fn commit(&self) -> Result<()> {
        self.call("committing a Kafka transaction", COMMIT, |producer, slice| {
            // The client's own flush looks again only after a tenth of a second.
            let begun = Instant::now();
            while producer.in_flight_count() > 0 && begun.elapsed() < slice {
                std::thread::sleep(Duration::from_micros(50));
            }
            producer.commit_transaction(slice)
        })
        .await
    }

    /// Aborts, so that readers need not wait for the transaction's time-out. After an error nobody knows whether it did.
    pub(super) async fn abort(&self) -> Result<()> {
        self.call("aborting a Kafka transaction", ABORT, |producer, slice| producer.abort_transaction(slice)).await
    }

    /// Why this producer can never be used again, if so.
    pub(super) fn fatal(&self) -> Option<Code> {
        self.inner.client().fatal_error().map(|(code, _)| code)
    }

    /// Why the transaction can only be aborted, if so: what is sent then is refused without a reason. Only to be asked
    /// by who gives the producer up, since in a transaction's absence it begins one.
    pub(super) fn reason(&self) -> Option<Error> {
        match self.inner.begin_transaction() {
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                Some(coded(format!("writing in a Kafka transaction: {}", error.string()), error.code()))
            }
            _ => None,
        }
    }

    /// A call that may be taken up again where its time was over.
    async fn call(
        &self,
        doing: &'static str,
        limit: Duration,
        call: impl Fn(&BaseProducer<Outbox>, Duration) -> KafkaResult<()> + Copy + Send + 'static,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            let (inner, context) = (Arc::clone(&self.inner), self.context.clone());
            let outcome = blocking(move || Ok(call(&inner, SLICE))).await?;
            let Err(error) = outcome else { return Ok(()) };
            let again = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                KafkaError::Flush(code) => *code == Code::OperationTimedOut,
                _ => false,
            };
            if !again || begun.elapsed() > limit {
                return Err(context.explain(doing, &error));
            }
            if let Some(error) = context.hopeless() {
                return Err(error.within(doing));
            }
        }
    }

    /// Fails when there will never be room.
    fn hopeless(&self) -> Result<()> {
        match self.reports.failure().or_else(|| self.context.hopeless()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Bytes taken from the budget, given back unless the record went out.
struct Claim<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_way_through_a_number() {
        for tag in [
            Tag { route: 0, batch: 0 },
            Tag { route: 0xFF_FFFF, batch: (1 << 40) - 1 },
            Tag { route: 7, batch: 123_456_789_012 },
        ] {
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }

    #[test]
    fn a_budget_lets_one_too_large_record_through_alone() {
        let budget = Budget { limit: 100, used: AtomicUsize::new(0), freed: Notify::new() };
        assert!(budget.take(60));
        assert!(!budget.take(50));
        assert!(!budget.take(1000));
        budget.give(60);
        assert!(budget.take(1000));
        assert!(!budget.take(1));
    }
}
