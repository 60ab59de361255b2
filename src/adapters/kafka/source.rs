//! Kafka as a source: the source database's commit order, made again from partitions and markers.
//!
//! ```text
//! progress topic ─▶ marker "up to change X, below these offsets"
//!                     └─▶ each partition read exactly that far ─▶ decoded ─▶ sorted by change id ─▶ batches
//! ```
//!
//! Why this is safe. A marker says that every change up to X lies below its offsets, so after reading that far nothing
//! up to X is missing. What lies there beyond X, or up to the marker before, is a writing that was never marked and
//! comes (or came) again under its own marker: it is dropped by its change id. So every change is yielded once, in
//! order, whatever the writers' crashes left behind. A position is yielded where a marker is complete, and carries the
//! offsets that the warehouse stores beside the data: after a restart reading goes on exactly there. Positions inside
//! of a marker carry the offsets of the one before, and the last change (see `pieces`). The group's offsets are only
//! for display.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::SourceOptions;
use super::client::{ANSWER, Context, consumer_config, create};
use super::control::{Control, Listing};
use super::handover::{Inlet, handover};
use super::member::Display;
use super::partitions::Judge;
use super::prefix::written;
use super::reader::{Reader, Start};
use super::topics::blocking;
use crate::codecs::event::{held_topic, tables_topic};
use crate::logic::pipeline::{Batch, Source};
use crate::logic::share::Topics;
use crate::model::{ChangeId, Checkpoint, Error, Lsn, Meters, Phase, Position, Result, SourcePosition, TableName};

/// How far the reading of topics has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicPosition {
    /// What the sink stores. Its offsets are those of all partitions that moved since the last acknowledgement.
    pub(super) checkpoint: Checkpoint,
    /// The next offset of the progress topic.
    pub(super) progress: i64,
    /// For one of several processes: the topics that moved since the position before, whoever reads them.
    pub(super) moved: Topics,
}

impl TopicPosition {
    /// The next offset of the progress topic.
    pub fn progress(&self) -> i64 {
        self.progress
    }

    /// For one of several processes: the topics that moved since the position before, whoever reads them.
    pub fn moved(&self) -> &Topics {
        &self.moved
    }
}

impl Position for TopicPosition {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    fn reaches(&self, goal: &TopicPosition) -> bool {
        self.progress >= goal.progress
    }
}

/// How long a transaction may stay open: the writer's time-out is a minute, and the brokers look every ten seconds.
const OPEN: Duration = Duration::from_secs(90);
/// How long one is waited for without a word.
const NOTEWORTHY: Duration = Duration::from_secs(2);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// The topic of each table.
pub(super) type Homes = Arc<Mutex<HashMap<TableName, String>>>;

/// Follows the topics of one prefix. See the module.
pub struct KafkaSource {
    inlet: Inlet<TopicPosition>,
    stop: Arc<AtomicBool>,
    consumer: Arc<BaseConsumer<Context>>,
    options: SourceOptions,
    progress_topic: String,
    /// The last position handed out.
    at: TopicPosition,
    /// Offsets that moved since the last acknowledgement.
    moved: BTreeMap<(String, i32), i64>,
    /// A batch without changes that says again where we are.
    repeat: bool,
    /// Who shows the group's progress when it is not ours alone.
    display: Option<Display>,
    /// Where the tables' events lie, for one of several processes.
    homes: Homes,
}

impl KafkaSource {
    /// Connects and goes on where `resume`, which the warehouse stored, says; without it from the beginning.
    pub async fn start(options: SourceOptions, resume: Option<Checkpoint>, meters: Arc<Meters>) -> Result<KafkaSource> {
        let control = Control::connect(&options.cluster, &options.group)?;
        let (control, listing) = blocking(move || control.list(ANSWER).map(|listing| (control, listing))).await?;
        let (prefix, progress_topic) = written(&listing, &options)?;
        let mut at = TopicPosition {
            progress: start_offset(resume.as_ref(), &progress_topic)?,
            checkpoint: origin(&resume),
            moved: Topics::new(),
        };
        // A warehouse that stores a part of the first marker's changes has to store with it where they are read from.
        let first = resume.is_none() && options.only.is_none();
        if first {
            at.checkpoint.offsets.push((progress_topic.clone(), 0, at.progress));
        }
        let homes = Homes::default();
        let context = Context::default();
        let queue = queue_bytes(&options, &listing);
        let consumer = create(&consumer_config(&options.cluster, &options.group, queue)?, context.clone())?;
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(consumer);
        context.watch(&options.cluster, &consumer)?;
        let stop = Arc::new(AtomicBool::new(false));
        let start = Start {
            consumer: Arc::clone(&consumer),
            control: Arc::new(control),
            judge: Judge::new(&options.cluster, &options.group),
            context,
            stop: Arc::clone(&stop),
            progress_topic: progress_topic.clone(),
            tables_topic: tables_topic(&prefix),
            held_topic: held_topic(&prefix),
            topics: options.topics.clone(),
            format: options.format,
            resume,
            at: at.clone(),
            only: options.only.clone(),
            homes: homes.clone(),
            meters,
        };
        let reader = blocking(move || Reader::start(start)).await?;
        let (outlet, inlet) = handover(options.buffer_bytes);
        std::thread::Builder::new()
            .name("kafka-reader".into())
            .spawn(move || reader.run(&outlet))
            .map_err(|error| Error::transient("no thread for reading Kafka").because(error))?;
        Ok(KafkaSource {
            inlet,
            stop,
            consumer,
            options,
            progress_topic,
            at,
            moved: BTreeMap::new(),
            repeat: first,
            display: None,
            homes,
        })
    }

    /// The topic that a table's events, as far as they have been handed out, came from; for one of several processes.
    pub fn topic_of(&self, table: &TableName) -> Option<String> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    /// Shows progress as a member of the group: from anybody else it takes no offsets while it has members.
    pub fn show_through(&mut self, display: Display) {
        self.display = Some(display);
    }

    /// Waits until what the progress topic holds below `end` is committed or aborted: a commit that its writer knows of
    /// reaches the topic's partitions a moment later.
    async fn ended(&self, control: &Arc<Control>, end: i64) -> Result<()> {
        let (begun, mut told) = (Instant::now(), false);
        loop {
            let (asked, topic) = (Arc::clone(control), self.progress_topic.clone());
            let (_, committed) = blocking(move || asked.range(&topic)).await?;
            if committed >= end {
                return Ok(());
            }
            let topic = &self.progress_topic;
            if begun.elapsed() > OPEN {
                return Err(Error::transient(format!(
                    "a transaction has been open in {topic} for {} seconds, from offset {committed} on",
                    OPEN.as_secs()
                ))
                .remedy("nothing after it can be read: end it (kafka-transactions.sh find-hanging, abort)"));
            }
            if !told && begun.elapsed() > NOTEWORTHY {
                told = true;
                tracing::info!(
                    topic,
                    "waiting for the end of an open transaction; one that a dead writer left, the brokers abort after a minute"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shows the group's progress to whoever lists consumer groups; nothing depends on it.
    fn show(&self, position: &TopicPosition) {
        if let Some(display) = &self.display {
            return display.show(&position.checkpoint.offsets);
        }
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in &position.checkpoint.offsets {
            if list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).is_err() {
                return;
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Source for KafkaSource {
    type Position = TopicPosition;

    async fn next(&mut self) -> Result<Batch<TopicPosition>> {
        if std::mem::take(&mut self.repeat) {
            return Ok(Batch { changes: Vec::new(), bytes: 0, upto: Some(self.at.clone()) });
        }
        let mut batch = self.inlet.next().await?;
        if let Some(upto) = &mut batch.upto {
            let offsets = std::mem::take(&mut upto.checkpoint.offsets);
            self.moved.extend(offsets.into_iter().map(|(topic, partition, next)| ((topic, partition), next)));
            let all = self.moved.iter().map(|((topic, partition), next)| (topic.clone(), *partition, *next));
            upto.checkpoint.offsets = all.collect();
            self.at = upto.clone();
        }
        Ok(batch)
    }

    async fn ack(&mut self, upto: TopicPosition) -> Result<()> {
        self.show(&upto);
        for (topic, partition, stored) in upto.checkpoint.offsets {
            let key = (topic, partition);
            if self.moved.get(&key).is_some_and(|&next| next <= stored) {
                self.moved.remove(&key);
            }
        }
        Ok(())
    }

    async fn current(&mut self) -> Result<TopicPosition> {
        let control = Arc::new(Control::connect(&self.options.cluster, &self.options.group)?);
        let (judge, topic) = (Judge::new(&self.options.cluster, &self.options.group), self.progress_topic.clone());
        let (_, end) = blocking(move || judge.range(&topic, 0)).await?;
        self.ended(&control, end).await?;
        let topic = self.progress_topic.clone();
        let progress = blocking(move || control.complete_end(&topic)).await?;
        // Where nothing new will come, saying again where we are is what ends a run that waits for this.
        self.repeat |= self.at.progress >= progress;
        Ok(TopicPosition { checkpoint: self.at.checkpoint.clone(), progress, moved: Topics::new() })
    }
}

/// Where the warehouse stands; before everything when it is empty.
fn origin(resume: &Option<Checkpoint>) -> Checkpoint {
    let nowhere = || Checkpoint {
        position: SourcePosition { system_id: 0, timeline: 0, lsn: Lsn::ZERO },
        change: ChangeId::ZERO,
        phase: Phase::Snapshot,
        offsets: Vec::new(),
        followed: None,
    };
    let stored = resume.clone().unwrap_or_else(nowhere);
    Checkpoint { offsets: Vec::new(), ..stored }
}

/// The offset of the progress topic to start at.
fn start_offset(resume: Option<&Checkpoint>, topic: &str) -> Result<i64> {
    let Some(resume) = resume else { return Ok(0) };
    let stored = resume.offsets.iter().find(|(stored, ..)| stored == topic);
    stored.map(|&(_, _, next)| next).ok_or_else(|| {
        Error::blocked(format!("the warehouse has progress of this pipeline, but none in {topic}"))
            .remedy("it was filled from elsewhere: give the pipeline another name and an empty warehouse")
    })
}

/// How many bytes may be fetched ahead of each partition, so that all together stay within the buffer, with the last
/// fetch of each. Half as much, and a reader that takes 200,000 changes a second waits for brokers.
fn queue_bytes(options: &SourceOptions, listing: &Listing) -> usize {
    let read = |topic: &str| options.topics.iter().any(|pattern| pattern.matches(topic));
    let partitions =
        listing.topics.iter().filter(|(topic, _)| read(topic)).map(|(_, &n)| usize::try_from(n).unwrap_or(0));
    (options.buffer_bytes / 4 * 3 / partitions.sum::<usize>().max(1)).clamp(128 << 10, 4 << 20)
}
