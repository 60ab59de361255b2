//! Reading the control topics, which have one partition each: table versions from the start, markers from the end.
//!
//! A topic's last offsets may be taken by the ends of transactions, and by records of such as were aborted: a reading
//! ends where the client says that there is no more, not only at a record.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Cluster;
use super::client::{self, Context, classify, coded, consumer_config, create, failed};
use super::marker::Marker;
use crate::model::{Class, Error, Result};

/// How long reading a control topic to its end may stand still.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Reads control topics. Its calls block.
pub(super) struct Control {
    consumer: BaseConsumer<Context>,
    context: Context,
}

/// What the cluster holds.
pub(super) struct Listing {
    /// Partitions of each topic.
    pub(super) topics: HashMap<String, i32>,
    /// The brokers that there are: those that are up, and those that are to have a partition though they are missed.
    pub(super) brokers: i32,
}

/// A marker and who wrote it where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Marked {
    /// The marker.
    pub(super) marker: Marker,
    /// Its offset in the progress topic.
    pub(super) offset: i64,
    /// The pipeline that wrote it.
    pub(super) pipeline: String,
}

impl Marked {
    /// Reads a record of the progress topic.
    pub(super) fn read(message: &BorrowedMessage<'_>) -> Result<Marked> {
        let marker = Marker::decode(message.payload().unwrap_or_default())
            .map_err(|error| error.within(format!("{} at offset {}", message.topic(), message.offset())))?;
        let pipeline = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        Ok(Marked { marker, offset: message.offset(), pipeline })
    }
}

/// A part of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first offset.
    pub(super) from: i64,
    /// The offset after the last record that is known to be there, though its transaction's end may be on its way.
    pub(super) sure: i64,
    /// The offset after the last.
    pub(super) upto: i64,
}

impl Control {
    /// A consumer of its own, for the time of a start.
    pub(super) fn connect(cluster: &Cluster, group: &str) -> Result<Control> {
        let context = Context::default();
        let mut config = consumer_config(cluster, group, 4 << 20)?;
        // The end of a transaction takes an offset too: that nothing follows is known from the broker alone.
        config.set("enable.partition.eof", "true");
        // The broker says so only when it has waited this long for more.
        config.set("fetch.wait.max.ms", "10");
        let consumer = create(&config, context.clone())?;
        Ok(Control { consumer, context })
    }

    /// All topics with their partitions, and the brokers. Asking for all can't create one.
    pub(super) fn list(&self, timeout: Duration) -> Result<Listing> {
        let metadata = self
            .consumer
            .fetch_metadata(None, timeout)
            .map_err(|error| self.explain("asking Kafka for its topics", &error))?;
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let topics = topics.map(|topic| (topic.name().to_owned(), count(topic.partitions().len())));
        let replicas = metadata.topics().iter().flat_map(|topic| topic.partitions()).flat_map(|part| part.replicas());
        let brokers: HashSet<i32> =
            metadata.brokers().iter().map(|broker| broker.id()).chain(replicas.copied()).collect();
        Ok(Listing { topics: topics.collect(), brokers: count(brokers.len()) })
    }

    /// The error of a call, with the reason that the client has told in the meantime.
    fn explain(&self, doing: &str, error: &KafkaError) -> Error {
        // What a client says outside of calls is heard only by polling.
        for _ in 0..100 {
            let _ = self.consumer.poll(Duration::ZERO);
        }
        self.context.explain(doing, error)
    }

    /// The topic's first offset and the one after its last.
    pub(super) fn range(&self, topic: &str) -> Result<(i64, i64)> {
        self.range_of(topic, 0)
    }

    /// A partition's first offset and the one after its last.
    pub(super) fn range_of(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let range = client::range(&self.consumer, topic, partition);
        range.map_err(|error| self.explain(&format!("asking for the end of {topic}"), &error))
    }

    /// The range of one partition of a topic that may not exist.
    pub(super) fn end(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let range = self.consumer.fetch_watermarks(topic, partition, client::ANSWER);
        range.map_err(|error| failed(&format!("asking for the end of {topic}"), &error))
    }

    /// Hands on each record from `from` to the end the topic has now.
    pub(super) fn read(
        &self,
        topic: &str,
        from: i64,
        each: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        self.read_partition(topic, 0, from, each)
    }

    /// The same of any partition.
    pub(super) fn read_partition(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        let (low, high) = self.range_of(topic, partition)?;
        let from = from.max(low);
        if from >= high {
            return Ok(());
        }
        let doing = format!("reading {topic}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(|error| failed(&doing, &error))?;
        self.consumer.assign(&list).map_err(|error| failed(&doing, &error))?;
        let mut moved = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    moved = Instant::now();
                    each(&message)?;
                    if message.offset() + 1 >= high {
                        return self.consumer.unassign().map_err(|error| failed(&doing, &error));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    return self.consumer.unassign().map_err(|error| failed(&doing, &error));
                }
                Some(Err(KafkaError::MessageConsumption(code))) if classify(code) != Class::Transient => {
                    return Err(coded(format!("{doing}: {code}"), code));
                }
                _ => {}
            }
            if moved.elapsed() > STANDSTILL {
                return Err(Error::transient(format!("{doing}: nothing arrives")));
            }
        }
    }

    /// Hands on records from `from` to below `upto`, or fewer, about `bytes` of values; the offset to go on at.
    pub(super) fn read_some(
        &self,
        topic: &str,
        Span { from, sure, upto }: Span,
        bytes: usize,
        mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<i64> {
        let doing = format!("reading {topic} from offset {from}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(from)).map_err(|error| failed(&doing, &error))?;
        self.consumer.assign(&list).map_err(|error| failed(&doing, &error))?;
        let (mut next, mut read, mut moved) = (from, 0, Instant::now());
        while next < upto && read < bytes {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() >= upto => next = upto,
                Some(Ok(message)) => {
                    moved = Instant::now();
                    each(&message)?;
                    next = message.offset() + 1;
                    read += message.payload_len();
                }
                // Ends of transactions take offsets too; but what is sure to be there comes.
                Some(Err(KafkaError::PartitionEOF(_))) if next >= sure.min(upto) => next = upto,
                Some(Err(KafkaError::MessageConsumption(code))) if classify(code) != Class::Transient => {
                    return Err(coded(format!("{doing}: {code}"), code));
                }
                _ => {}
            }
            if moved.elapsed() > STANDSTILL {
                return Err(Error::transient(format!("{doing}: nothing arrives")));
            }
        }
        self.consumer.unassign().map_err(|error| failed(&doing, &error))?;
        Ok(next)
    }

    /// The last marker.
    pub(super) fn last_marker(&self, topic: &str) -> Result<Option<Marked>> {
        self.last(topic, |_| true)
    }

    /// The offset after the last marker that ends complete; 0 when there is none.
    pub(super) fn complete_end(&self, topic: &str) -> Result<i64> {
        let last = self.last(topic, |marker| marker.inside.is_none())?;
        Ok(last.map_or(0, |marked| marked.offset + 1))
    }

    /// The last marker of this kind.
    fn last(&self, topic: &str, kind: impl Fn(&Marker) -> bool) -> Result<Option<Marked>> {
        let (low, high) = self.range(topic)?;
        let mut window = 2;
        loop {
            let from = (high - window).max(low);
            let mut last = None;
            self.read(topic, from, |message| {
                let marked = Marked::read(message)?;
                if kind(&marked.marker) {
                    last = Some(marked);
                }
                Ok(())
            })?;
            if last.is_some() || from <= low {
                return Ok(last);
            }
            window *= 16;
        }
    }
}

/// Refuses a progress topic that another pipeline writes.
pub(super) fn check_pipeline(topic: &str, marked: &Marked, pipeline: &str) -> Result<()> {
    if marked.pipeline == pipeline {
        return Ok(());
    }
    Err(Error::blocked(format!("{topic} belongs to the pipeline {}, not {pipeline}", marked.pipeline))
        .remedy("give this pipeline another prefix, or its old name back"))
}
