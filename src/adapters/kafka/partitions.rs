//! Partitions, each read on its own and exactly as far as a marker says.
//!
//! Every partition has its own queue inside librdkafka, which fetches ahead until the queue holds its share of bytes.
//! A partition that is ahead of the others so waits with a full queue, and memory stays bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Cluster;
use super::client::{self, Context, classify, coded, consumer_config, create, failed};
use crate::model::{Class, Error, Result};

/// How long one look into a queue waits.
const LOOK: Duration = Duration::from_millis(100);
/// After this long without a record that must be there, the partition's range is looked at.
const SUSPICIOUS: Duration = Duration::from_secs(10);
/// After this long the pipeline is torn down and set up again.
const STANDSTILL: Duration = Duration::from_secs(300);

/// A record as it lies in a partition.
pub(super) struct Event<'a> {
    pub(super) offset: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Option<&'a BorrowedHeaders>,
}

struct Partition {
    queue: PartitionQueue<Context>,
    /// The offset of the next record to hand on.
    next: i64,
    /// A record that was met behind a gap and lies beyond what was asked for.
    ahead: Option<OwnedMessage>,
}

/// Knows how far partitions reach, transactions that are open or not yet told of included. A marker can be seen a
/// moment before the end of its transaction reaches the other partitions, and that moment lasts while a broker is away.
pub(super) struct Judge {
    cluster: Cluster,
    group: String,
}

impl Judge {
    pub(super) fn new(cluster: &Cluster, group: &str) -> Judge {
        Judge { cluster: cluster.clone(), group: group.to_owned() }
    }

    /// The partition's first offset and the one after its last. Blocks.
    pub(super) fn range(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let mut config = consumer_config(&self.cluster, &self.group, 64 << 10)?;
        config.set("isolation.level", "read_uncommitted");
        let context = Context::default();
        let consumer: BaseConsumer<Context> = create(&config, context.clone())?;
        let range = client::range(&consumer, topic, partition);
        range.map_err(|error| context.explain(&format!("asking for the range of {topic}[{partition}]"), &error))
    }
}

/// See the module. Its calls block, and end with an error soon after `stop` is set.
pub(super) struct Partitions {
    consumer: Arc<BaseConsumer<Context>>,
    judge: Judge,
    context: Context,
    joined: HashMap<String, HashMap<i32, Partition>>,
    stop: Arc<AtomicBool>,
}

impl Partitions {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        judge: Judge,
        context: Context,
        stop: Arc<AtomicBool>,
    ) -> Partitions {
        Partitions { consumer, judge, context, joined: HashMap::new(), stop }
    }

    /// Whether the partition is being read.
    pub(super) fn has(&self, topic: &str, partition: i32) -> bool {
        self.joined.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// Whether any partition of the topic is being read.
    pub(super) fn has_any(&self, topic: &str) -> bool {
        self.joined.get(topic).is_some_and(|partitions| !partitions.is_empty())
    }

    /// Starts to read a partition at the offset `from`; refuses when that is no longer, or not yet, there.
    pub(super) fn join(&mut self, topic: &str, partition: i32, from: i64) -> Result<()> {
        let doing = format!("reading {topic}[{partition}]");
        let (low, high) = self.range(topic, partition)?;
        check_range(topic, partition, from, (low, high))?;
        // The queue is set apart before the first fetch, so that nothing of it lands in the common one.
        let queue = self.consumer.split_partition_queue(topic, partition);
        let queue = queue.ok_or_else(|| Error::blocked(format!("{doing}: there is no such partition")))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(|error| failed(&doing, &error))?;
        self.consumer.incremental_assign(&list).map_err(|error| failed(&doing, &error))?;
        let joined = Partition { queue, next: from, ahead: None };
        self.joined.entry(topic.to_owned()).or_default().insert(partition, joined);
        Ok(())
    }

    /// The partition's first offset and the one after its last. Brokers that do not answer are asked again.
    pub(super) fn range(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let began = Instant::now();
        loop {
            match self.ask(topic, partition) {
                Err(error) if error.class() == Class::Transient && began.elapsed() < STANDSTILL => self.serve()?,
                answer => return answer,
            }
        }
    }

    fn ask(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let range = client::range(&self.consumer, topic, partition);
        range.map_err(|error| self.context.explain(&format!("asking for the range of {topic}[{partition}]"), &error))
    }

    /// Whether no transaction is open in the partition, or committed and not yet told of there.
    pub(super) fn settled(&self, topic: &str, partition: i32) -> Result<bool> {
        let (_, end) = self.judge.range(topic, partition)?;
        self.serve()?;
        Ok(self.range(topic, partition)?.1 >= end)
    }

    /// The next record, if one arrives soon.
    pub(super) fn look(
        &mut self,
        topic: &str,
        partition: i32,
        each: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        self.serve()?;
        let joined = self.joined.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition));
        let joined = joined.ok_or_else(|| Error::bug(format!("{topic}[{partition}] is not being read")))?;
        joined.step(topic, i64::MAX, each).map(|_| ())
    }

    /// Hands on each record below the offset `upto` that has not been handed on before.
    pub(super) fn read(
        &mut self,
        topic: &str,
        partition: i32,
        upto: i64,
        mut each: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut moved = Instant::now();
        let mut looked = Instant::now();
        loop {
            let joined = self.joined.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition));
            let joined = joined.ok_or_else(|| Error::bug(format!("{topic}[{partition}] is not being read")))?;
            if joined.next >= upto {
                return Ok(());
            }
            if joined.step(topic, upto, &mut each)? {
                moved = Instant::now();
                continue;
            }
            let next = joined.next;
            self.serve()?;
            if moved.elapsed() > STANDSTILL {
                return Err(Error::transient(format!("{topic}[{partition}]: record {next} does not arrive")));
            }
            if moved.elapsed() > SUSPICIOUS && looked.elapsed() > SUSPICIOUS {
                looked = Instant::now();
                // While no broker answers, this says nothing.
                if let Ok((low, high)) = self.judge.range(topic, partition) {
                    check_range(topic, partition, next, (low, high))?;
                    check_range(topic, partition, upto, (low, high))?;
                }
            }
        }
    }

    /// Hears what the client says outside of the partitions.
    fn serve(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::transient("the Kafka source has been stopped"));
        }
        // A line of the client's log ends a poll like silence does, so several are made.
        for _ in 0..8 {
            if let Some(Ok(_)) = self.consumer.poll(Duration::ZERO) {
                return Err(Error::bug("a record arrived outside of its partition's queue"));
            }
        }
        self.context.blocked().map_or(Ok(()), Err)
    }
}

impl Partition {
    /// Hands on the next record below `upto`, if one arrives soon; whether it came nearer to `upto`.
    fn step(&mut self, topic: &str, upto: i64, mut each: impl FnMut(Event<'_>) -> Result<()>) -> Result<bool> {
        if let Some(message) = self.ahead.take() {
            if message.offset() >= upto {
                self.next = upto;
                self.ahead = Some(message);
                return Ok(true);
            }
            self.next = message.offset() + 1;
            let headers = message.headers().map(|headers| headers.as_borrowed());
            each(Event { offset: message.offset(), key: message.key(), value: message.payload(), headers })?;
            return Ok(true);
        }
        match self.queue.poll(LOOK) {
            Some(Ok(message)) if message.offset() >= upto => {
                self.ahead = Some(message.detach());
                self.next = upto;
                Ok(true)
            }
            Some(Ok(message)) => {
                self.next = message.offset() + 1;
                let headers = message.headers();
                each(Event { offset: message.offset(), key: message.key(), value: message.payload(), headers })?;
                Ok(true)
            }
            Some(Err(error)) => match error {
                KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code)
                    if classify(code) != Class::Transient =>
                {
                    Err(coded(format!("reading {topic} from offset {}: {code}", self.next), code))
                }
                _ => Ok(false),
            },
            None => Ok(false),
        }
    }
}

/// Refuses an offset that retention has passed, or that the partition has not reached.
pub(super) fn check_range(topic: &str, partition: i32, offset: i64, (low, high): (i64, i64)) -> Result<()> {
    if offset < low {
        return Err(Error::blocked(format!(
            "{topic}[{partition}] begins at offset {low}, and offset {offset} is needed: {} records are gone",
            low - offset
        ))
        .remedy(
            "retention removed them before they were read: raise retention.ms, and have the tables read again under another prefix, into an empty warehouse",
        ));
    }
    if offset > high {
        return Err(Error::blocked(format!(
            "{topic}[{partition}] ends at offset {high}, and {offset} was there before"
        ))
        .remedy("the topic was deleted and created anew, or lost records: start over with a new snapshot"));
    }
    Ok(())
}
