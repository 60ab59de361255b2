//! Lanes: the partitions that are read, each with its own queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::client::{Context, classify, coded, failed};
use super::super::control::Control;
use super::ends::wanted;
use crate::model::{Class, Error, Pattern, Result};

/// How often topics and partitions that have appeared are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// A topic's partition.
pub(super) type Place = (String, i32);

/// The partitions that are read.
pub(super) struct Lanes {
    consumer: Arc<BaseConsumer<Context>>,
    context: Context,
    pub(super) control: Control,
    patterns: Vec<Pattern>,
    stop: Arc<AtomicBool>,
    /// Where the warehouse stands.
    stored: HashMap<Place, i64>,
    lanes: BTreeMap<Place, PartitionQueue<Context>>,
    /// Those that have been read to their end once.
    ended: BTreeSet<Place>,
    looked: Option<Instant>,
}

impl Lanes {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        context: Context,
        control: Control,
        patterns: Vec<Pattern>,
        stop: Arc<AtomicBool>,
        stored: HashMap<Place, i64>,
    ) -> Lanes {
        Lanes {
            consumer,
            context,
            control,
            patterns,
            stop,
            stored,
            lanes: BTreeMap::new(),
            ended: BTreeSet::new(),
            looked: None,
        }
    }

    /// All that are read, those of a topic together.
    pub(super) fn topics(&self) -> Vec<Vec<Place>> {
        let places: Vec<Place> = self.lanes.keys().cloned().collect();
        places.chunk_by(|a, b| a.0 == b.0).map(<[Place]>::to_vec).collect()
    }

    /// Whether a partition has been read to its end since it joined: what comes now has only just been written.
    pub(super) fn is_current(&self, place: &Place) -> bool {
        self.ended.contains(place)
    }

    /// The others of a topic.
    pub(super) fn beside(&self, place: &Place) -> Vec<Place> {
        self.lanes.keys().filter(|other| other.0 == place.0 && *other != place).cloned().collect()
    }

    /// What has appeared since the last look, where it is time for one: each partition with the offset it begins at.
    pub(super) fn look(&mut self) -> Result<Vec<(Place, Option<i64>)>> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(Vec::new());
        }
        let found = match wanted(&self.control, &self.patterns) {
            // What is read goes on; brokers that do not answer are asked again.
            Err(error) if error.class() == Class::Transient && self.looked.is_some() => {
                self.looked = Some(Instant::now());
                return Ok(Vec::new());
            }
            found => found?,
        };
        let mut appeared = Vec::new();
        for (topic, partitions) in found {
            // A partition that is added later is read from its very first record, and not from what is left of it.
            let known = self.stored.keys().chain(self.lanes.keys()).any(|(known, _)| *known == topic);
            for partition in 0..partitions {
                let place = (topic.clone(), partition);
                if !self.lanes.contains_key(&place) {
                    let from = self.stored.get(&place).copied().or(known.then_some(0));
                    appeared.push((place, from));
                }
            }
        }
        self.looked = Some(Instant::now());
        Ok(appeared)
    }

    /// The partitions of a topic that are read.
    pub(super) fn of(&self, topic: &str) -> Vec<Place> {
        self.lanes.keys().filter(|place| place.0 == topic).cloned().collect()
    }

    /// Whether a topic is asked for.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    /// Looks again at once for what has appeared.
    pub(super) fn look_again(&mut self) {
        self.looked = Instant::now().checked_sub(LOOK);
    }

    /// Starts to read a partition from an offset; again, where it is read already.
    pub(super) fn join(&mut self, (topic, partition): &Place, from: i64) -> Result<()> {
        let doing = format!("reading {topic}[{partition}]");
        let place = (topic.clone(), *partition);
        let queue = self.consumer.split_partition_queue(topic, *partition);
        let queue = queue.ok_or_else(|| Error::transient(format!("{doing}: there is no such partition yet")))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, *partition, Offset::Offset(from)).map_err(|error| failed(&doing, &error))?;
        if self.lanes.remove(&place).is_some() {
            self.ended.remove(&place);
            self.consumer.incremental_unassign(&list).map_err(|error| failed(&doing, &error))?;
        }
        self.consumer.incremental_assign(&list).map_err(|error| failed(&doing, &error))?;
        tracing::info!(topic, partition, from, "reading");
        self.lanes.insert(place, queue);
        Ok(())
    }

    /// The next record of a partition, if one arrives within this time.
    pub(super) fn poll(&mut self, place: &Place, wait: Duration) -> Result<Option<BorrowedMessage<'_>>> {
        let Some(queue) = self.lanes.get(place) else { return Ok(None) };
        match queue.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.ended.insert(place.clone());
                Ok(None)
            }
            Some(Err(KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code)))
                if classify(code) != Class::Transient =>
            {
                Err(self.refused(place, code))
            }
            Some(Err(_)) => Ok(None),
        }
    }

    /// What a partition's refusal means: with its range, where that is the reason.
    fn refused(&self, (topic, partition): &Place, code: Code) -> Error {
        let what = match self.control.range_of(topic, *partition) {
            Ok((low, high)) => format!("reading {topic}[{partition}], which has the offsets {low} to {high}: {code}"),
            Err(_) => format!("reading {topic}[{partition}]: {code}"),
        };
        let error = coded(what, code);
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::TopicAuthorizationFailed => {
                self.context.forget(code);
                error
            }
            _ => error.systemic(),
        }
    }

    /// How many records of a topic lie behind these offsets; roughly, for ends of transactions count too.
    pub(super) fn behind(&self, topic: &str, next: impl Fn(&Place) -> Option<i64>) -> Option<u64> {
        let of = |place: &Place| {
            let (low, high) = self.control.range_of(&place.0, place.1).ok()?;
            u64::try_from(high - next(place).unwrap_or(low)).ok()
        };
        // The first that does not answer is the last that is asked.
        let mut places = self.lanes.keys().filter(|place| place.0 == topic).peekable();
        places.peek().is_some().then(|| places.map(of).sum()).flatten()
    }

    /// Hears what the client says outside of the partitions, for this long.
    pub(super) fn serve(&self, wait: Duration) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::transient("the Kafka source has been stopped"));
        }
        if let Some(Ok(_)) = self.consumer.poll(wait) {
            return Err(Error::bug("a record arrived outside of its partition's queue"));
        }
        self.context.hopeless().map_or(Ok(()), |error| Err(error.systemic()))
    }
}
