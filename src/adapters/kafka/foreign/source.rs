//! The source: starts the reading and hands its batches on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::ForeignOptions;
use super::super::client::{Context, consumer_config, create};
use super::super::control::Control;
use super::super::handover::{Inlet, handover};
use super::super::topics::blocking;
use super::ends::ends;
use super::lanes::{Lanes, Place};
use super::reader::{Reader, checkpoint, resume};
use super::stops::{Shown, StoppedTopics, Stops, show};
use super::take::Taker;
use crate::logic::pipeline::{Batch, Source};
use crate::model::{Checkpoint, Error, Meters, Note, Position, Result};

/// Bytes fetched ahead of a partition: there may be many.
const AHEAD: usize = 1 << 20;

/// How far the reading has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignPosition {
    /// What the sink stores; its offsets are those that moved with this batch.
    pub(super) checkpoint: Checkpoint,
    /// The next offset of each partition that is read.
    pub(super) next: Arc<BTreeMap<Place, i64>>,
    pub(super) notes: Vec<Note>,
    /// Topics that wait before a record.
    pub(super) held: Arc<BTreeSet<String>>,
    /// Topics that are stopped.
    pub(super) stopped: Shown,
}

impl Position for ForeignPosition {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    fn reaches(&self, goal: &ForeignPosition) -> bool {
        let has =
            |place: &Place, end| self.held.contains(&place.0) || self.next.get(place).is_some_and(|next| next >= end);
        goal.next.iter().all(|(place, end)| has(place, end))
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }
}

/// Follows topics that others write. See the module.
pub struct ForeignSource {
    inlet: Inlet<ForeignPosition>,
    stop: Arc<AtomicBool>,
    consumer: Arc<BaseConsumer<Context>>,
    options: ForeignOptions,
    meters: Arc<Meters>,
    /// The last position handed out.
    at: ForeignPosition,
    /// A batch without changes that says again where we are.
    repeat: bool,
}

impl ForeignSource {
    /// Connects and goes on where `stored` says, with what was noted; without it from the beginning. Topics that can't be
    /// read on are `stopped`.
    pub async fn start(
        options: ForeignOptions,
        stored: Option<Checkpoint>,
        notes: BTreeMap<String, String>,
        stopped: StoppedTopics,
        meters: Arc<Meters>,
    ) -> Result<ForeignSource> {
        let number = resume(stored.as_ref())?;
        let taker = Taker::new(&options, &notes, number)?;
        let offsets: BTreeMap<Place, i64> = stored
            .into_iter()
            .flat_map(|stored| stored.offsets)
            .map(|(topic, partition, next)| ((topic, partition), next))
            .collect();
        let source = &options.source;
        let (cluster, group) = (source.cluster.clone(), source.group.clone());
        let control = blocking(move || Control::connect(&cluster, &group)).await?;
        let context = Context::default();
        let mut config = consumer_config(&source.cluster, &source.group, AHEAD)?;
        config.set("enable.partition.eof", "true");
        let consumer = create(&config, context.clone())?;
        let consumer: Arc<BaseConsumer<Context>> = Arc::new(consumer);
        context.watch(&source.cluster, &consumer)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stored = offsets.clone().into_iter().collect();
        let lanes =
            Lanes::new(Arc::clone(&consumer), context, control, source.topics.clone(), Arc::clone(&stop), stored);
        let (outlet, inlet) = handover(source.buffer_bytes);
        let next = Arc::new(offsets);
        let stops = Stops::begin(stopped, &notes);
        show(&meters, &stops.shown());
        let at = ForeignPosition {
            checkpoint: checkpoint(number, Vec::new()),
            next: Arc::clone(&next),
            notes: Vec::new(),
            held: stops.held(),
            stopped: stops.shown(),
        };
        let (moved, ahead) = Default::default();
        let reader = Reader { lanes, taker, stops, meters: Arc::clone(&meters), next, moved, ahead };
        std::thread::Builder::new()
            .name("kafka-reader".into())
            .spawn(move || reader.run(&outlet))
            .map_err(|error| Error::transient("no thread for reading Kafka").because(error))?;
        Ok(ForeignSource { inlet, stop, consumer, options, meters, at, repeat: false })
    }
}

impl Drop for ForeignSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Source for ForeignSource {
    type Position = ForeignPosition;

    async fn next(&mut self) -> Result<Batch<ForeignPosition>> {
        if std::mem::take(&mut self.repeat) {
            let at = ForeignPosition { notes: Vec::new(), ..self.at.clone() };
            return Ok(Batch { changes: Vec::new(), bytes: 0, upto: Some(at) });
        }
        let batch = self.inlet.next().await?;
        if let Some(upto) = &batch.upto {
            let stands = Checkpoint { offsets: Vec::new(), ..upto.checkpoint.clone() };
            self.at = ForeignPosition { checkpoint: stands, notes: Vec::new(), ..upto.clone() };
        }
        Ok(batch)
    }

    /// Says which topics are stopped, as the warehouse has it now, and shows the group's progress to whoever lists consumer
    /// groups; nothing depends on that.
    async fn ack(&mut self, upto: ForeignPosition) -> Result<()> {
        show(&self.meters, &upto.stopped);
        let mut list = TopicPartitionList::new();
        for (topic, partition, next) in &upto.checkpoint.offsets {
            if list.add_partition_offset(topic, *partition, Offset::Offset(*next)).is_err() {
                return Ok(());
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
        Ok(())
    }

    async fn current(&mut self) -> Result<ForeignPosition> {
        let source = self.options.source.clone();
        let next = Arc::clone(&self.at.next);
        let ask = move || ends(&Control::connect(&source.cluster, &source.group)?, &source.topics, &next);
        let ends = blocking(ask).await?;
        let goal = ForeignPosition { next: Arc::new(ends), ..self.at.clone() };
        // Where nothing new will come, saying again where we are is what ends a run that waits for this.
        // Where topics are stopped the reading begins with what has become of them.
        self.repeat = self.at.stopped.is_empty() && self.at.reaches(&goal);
        Ok(goal)
    }
}
