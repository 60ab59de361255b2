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
use super::control::Control;
use crate::model::{Class, Error, Result};

/// How long one look into a queue waits.
const LOOK: Duration = Duration::from_millis(100);
/// How long the leaders of new topics are asked for.
const LEADERS: Duration = Duration::from_secs(1);
/// Records of one partition before another has its turn.
const TURN: usize = 1_000;
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

/// How far a partition is to be read.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// The offset after the last record that is wanted.
    pub(super) upto: i64,
}

/// One partition, for whoever reads it alone.
pub(super) struct Loan<'a> {
    pub(super) span: Span,
    joined: &'a mut Partition,
    client: &'a Client,
    /// When the last record came, and when the partition's range was looked at for want of one.
    moved: Instant,
    looked: Instant,
}

/// What reading a partition takes beside the partition.
struct Client {
    consumer: Arc<BaseConsumer<Context>>,
    /// Asks for ranges on a connection of its own: on the other, answers would come behind a fetch that waits.
    asker: Arc<Control>,
    judge: Judge,
    context: Context,
    stop: Arc<AtomicBool>,
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
    client: Client,
    joined: HashMap<String, HashMap<i32, Partition>>,
}

impl Partitions {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        asker: Arc<Control>,
        judge: Judge,
        context: Context,
        stop: Arc<AtomicBool>,
    ) -> Partitions {
        Partitions { client: Client { consumer, asker, judge, context, stop }, joined: HashMap::new() }
    }

    /// Whether the partition is being read.
    pub(super) fn has(&self, topic: &str, partition: i32) -> bool {
        self.joined.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// Whether any partition of the topic is being read.
    pub(super) fn has_any(&self, topic: &str) -> bool {
        self.joined.get(topic).is_some_and(|partitions| !partitions.is_empty())
    }

    /// Starts to read a partition at an offset; refuses when that is no longer, or not yet, there.
    pub(super) fn join(&mut self, topic: &str, partition: i32, from: i64) -> Result<()> {
        self.join_all(&[(topic, partition, from)])
    }

    /// The same of several.
    pub(super) fn join_all(&mut self, starts: &[(&str, i32, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let strange = starts.iter().any(|(topic, ..)| !self.has_any(topic));
        for &(topic, partition, from) in starts {
            let doing = format!("reading {topic}[{partition}]");
            check_range(topic, partition, from, self.range(topic, partition)?)?;
            // The queue is set apart before the first fetch, so that nothing of it lands in the common one.
            let queue = self.client.consumer.split_partition_queue(topic, partition);
            let queue = queue.ok_or_else(|| Error::blocked(format!("{doing}: there is no such partition")))?;
            list.add_partition_offset(topic, partition, Offset::Offset(from))
                .map_err(|error| failed(&doing, &error))?;
            let joined = Partition { queue, next: from, ahead: None };
            self.joined.entry(topic.to_owned()).or_default().insert(partition, joined);
        }
        if list.count() > 0 {
            let assigned = self.client.consumer.incremental_assign(&list);
            assigned.map_err(|error| failed("reading more partitions", &error))?;
        }
        // It looks for the leaders of topics that are new to it once a second, unless it is asked.
        if strange && let Err(error) = self.client.consumer.fetch_metadata(None, LEADERS) {
            tracing::debug!(%error, "the leaders of new topics are looked for later");
        }
        Ok(())
    }

    /// The partition's first offset and the one after its last. Brokers that do not answer are asked again.
    pub(super) fn range(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let began = Instant::now();
        loop {
            match self.client.asker.range_of(topic, partition) {
                Err(error) if error.class() == Class::Transient && began.elapsed() < STANDSTILL => {
                    self.client.serve()?
                }
                answer => return answer,
            }
        }
    }

    /// Whether no transaction is open in the partition, or committed and not yet told of there.
    pub(super) fn settled(&self, topic: &str, partition: i32) -> Result<bool> {
        let (_, end) = self.client.judge.range(topic, partition)?;
        self.client.serve()?;
        Ok(self.range(topic, partition)?.1 >= end)
    }

    /// The next record, if one arrives soon.
    pub(super) fn look(
        &mut self,
        topic: &str,
        partition: i32,
        each: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        self.client.serve()?;
        let joined = self.joined.get_mut(topic).and_then(|partitions| partitions.get_mut(&partition));
        let joined = joined.ok_or_else(|| Error::bug(format!("{topic}[{partition}] is not being read")))?;
        joined.step(topic, i64::MAX, LOOK, each).map(|_| ())
    }

    /// Hands on each record below the offset `upto` that has not been handed on before.
    pub(super) fn read(
        &mut self,
        topic: &str,
        partition: i32,
        upto: i64,
        mut each: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let loans = self.lend(&[Span { topic: topic.to_owned(), partition, upto }])?;
        loans.into_iter().try_for_each(|mut loan| loan.read(&mut each))
    }

    /// The partitions of these spans, each for one reader.
    pub(super) fn lend(&mut self, spans: &[Span]) -> Result<Vec<Loan<'_>>> {
        let Partitions { client, joined } = self;
        let all = joined
            .iter_mut()
            .flat_map(|(topic, parts)| parts.iter_mut().map(move |(part, joined)| (topic, part, joined)));
        let wanted: HashMap<_, _> = spans.iter().map(|span| ((span.topic.as_str(), span.partition), span)).collect();
        let loan = |(topic, part, joined): (&String, &i32, _)| {
            let (span, now) = (wanted.get(&(topic.as_str(), *part))?, Instant::now());
            Some(Loan { span: (*span).clone(), joined, client, moved: now, looked: now })
        };
        let loans: Vec<Loan<'_>> = all.filter_map(loan).collect();
        match spans.len() == loans.len() {
            true => Ok(loans),
            false => Err(Error::bug("a partition that is asked for is not being read, or asked for twice")),
        }
    }
}

impl Loan<'_> {
    /// How many offsets there are to read.
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.span.upto - self.joined.next).unwrap_or(0)
    }

    /// Whether nothing is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.joined.next >= self.span.upto
    }

    /// Hands on each record of the span that has not been handed on before.
    pub(super) fn read(&mut self, mut each: impl FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        while !self.is_done() {
            self.some(LOOK, &mut each)?;
        }
        Ok(())
    }

    /// Hands on some of the records, those that have arrived or do so in this time; whether there were any.
    pub(super) fn some(&mut self, wait: Duration, mut each: impl FnMut(Event<'_>) -> Result<()>) -> Result<bool> {
        let (Span { topic, upto, .. }, mut wait, mut count) = (&self.span, wait, 0);
        while self.joined.next < *upto && count < TURN && self.joined.step(topic, *upto, wait, &mut each)? {
            (wait, count) = (Duration::ZERO, count + 1);
        }
        match count {
            0 => self.miss()?,
            _ => self.moved = Instant::now(),
        }
        Ok(count > 0)
    }

    /// Nothing has arrived: whether it still may.
    fn miss(&mut self) -> Result<()> {
        let (Span { topic, partition, upto }, next) = (&self.span, self.joined.next);
        self.client.serve()?;
        if self.moved.elapsed() > STANDSTILL {
            return Err(Error::transient(format!("{topic}[{partition}]: record {next} does not arrive")));
        }
        if self.moved.elapsed() > SUSPICIOUS && self.looked.elapsed() > SUSPICIOUS {
            self.looked = Instant::now();
            // While no broker answers, this says nothing.
            if let Ok((low, high)) = self.client.judge.range(topic, *partition) {
                check_range(topic, *partition, next, (low, high))?;
                check_range(topic, *partition, *upto, (low, high))?;
            }
        }
        Ok(())
    }
}

impl Client {
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
        self.context.hopeless().map_or(Ok(()), Err)
    }
}

impl Partition {
    /// Hands on the next record below `upto`, if one arrives in this time; whether it came nearer to `upto`.
    fn step(
        &mut self,
        topic: &str,
        upto: i64,
        wait: Duration,
        mut each: impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<bool> {
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
        match self.queue.poll(wait) {
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
