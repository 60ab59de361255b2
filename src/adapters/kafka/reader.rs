//! The reading thread: marker by marker, partitions to batches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedHeaders, Headers, Message};

use super::Only;
use super::client::Context;
use super::collect::{Hand, Versions, at_home, hands};
use super::control::Control;
use super::handover::Outlet;
use super::marker::Marker;
use super::partitions::{Judge, Partitions, Span};
use super::pieces::Pieces;
use super::source::{Homes, TopicPosition};
use crate::codecs::event::{Format, Shapes, Stamp, TableRecord, decode_table, version_name};
use crate::logic::share::Topics;
use crate::model::{Change, ChangeId, Checkpoint, Error, Meters, Pattern, Result, SourcePosition, Table};

/// What the reading begins with.
pub(super) struct Start {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) control: Arc<Control>,
    pub(super) judge: Judge,
    pub(super) context: Context,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) progress_topic: String,
    pub(super) tables_topic: String,
    pub(super) held_topic: String,
    pub(super) topics: Vec<Pattern>,
    pub(super) format: Option<Format>,
    pub(super) resume: Option<Checkpoint>,
    pub(super) at: TopicPosition,
    pub(super) only: Option<Only>,
    pub(super) homes: Homes,
    pub(super) meters: Arc<Meters>,
}

/// Which topics are read, and from where.
pub(super) struct Choice {
    patterns: Vec<Pattern>,
    /// Offsets of the warehouse; `None` when it was empty.
    pub(super) stored: Option<HashMap<(String, i32), i64>>,
    known: HashMap<String, bool>,
}

impl Choice {
    pub(super) fn wants(&mut self, topic: &str) -> bool {
        let wanted = self.would(topic);
        if !self.known.contains_key(topic) {
            self.known.insert(topic.to_owned(), wanted);
        }
        wanted
    }

    /// The same, without remembering the answer.
    pub(super) fn would(&self, topic: &str) -> bool {
        let known = self.known.get(topic).copied();
        known.unwrap_or_else(|| self.patterns.iter().any(|pattern| pattern.matches(topic)))
    }

    /// The offset to start at, and whether the warehouse has never had anything of the topic although it has others'.
    pub(super) fn from(&self, topic: &str, partition: i32) -> (i64, bool) {
        let Some(stored) = &self.stored else { return (0, false) };
        let from = stored.get(&(topic.to_owned(), partition)).copied();
        (from.unwrap_or(0), !self.knows(topic))
    }

    /// Whether the warehouse has had something of the topic.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.keys().any(|(known, _)| known == topic))
    }

    /// The warehouse will have something of the topic.
    pub(super) fn met(&mut self, partition: (String, i32)) {
        if let Some(stored) = &mut self.stored {
            stored.insert(partition, 0);
        }
    }
}

/// See the module.
pub(super) struct Reader {
    pub(super) partitions: Partitions,
    progress_topic: String,
    pub(super) held_topic: String,
    pub(super) choice: Choice,
    pub(super) tables: Tables,
    /// As many as partitions are read side by side.
    pub(super) hands: Vec<Hand>,
    /// Where the last position stands, or the last piece of a transaction.
    pub(super) at: Checkpoint,
    complete: bool,
    /// The offset after the last marker with a position.
    progress: i64,
    /// Partitions of topics that are new to the warehouse and that no position has told of.
    pub(super) untold: BTreeSet<(String, i32)>,
    /// The epoch of the last marker's writer: whoever has a lower one was replaced.
    pub(super) epoch: u64,
    /// Offsets that moved since the last position: inside a transaction they wait for the position that ends it.
    pub(super) moved: BTreeMap<(String, i32), i64>,
    /// The first change that may be met in a topic that is new to the warehouse.
    pub(super) begun: ChangeId,
    pipeline: Option<String>,
    /// For one of several processes: what it reads, and what moved since the last position.
    pub(super) only: Option<Only>,
    pub(super) touched: Topics,
    /// Topics that markers have spoken of.
    pub(super) met: HashSet<String>,
    pub(super) homes: Homes,
    meters: Arc<Meters>,
}

impl Reader {
    /// Joins the control topics and reads the table versions.
    pub(super) fn start(start: Start) -> Result<Reader> {
        let mut partitions =
            Partitions::new(start.consumer, Arc::clone(&start.control), start.judge, start.context, start.stop);
        partitions.join(&start.progress_topic, 0, start.at.progress)?;
        let versions = Versions { format: start.format, known: HashMap::new() };
        let mut tables = Tables { topic: start.tables_topic, control: start.control, next: 0, versions };
        tables.refresh()?;
        // One that stands before the first marker has read nothing.
        let stored = start.resume.filter(|_| start.at.progress > 0).map(|resume| {
            resume.offsets.into_iter().map(|(topic, partition, next)| ((topic, partition), next)).collect()
        });
        Ok(Reader {
            partitions,
            progress_topic: start.progress_topic,
            held_topic: start.held_topic,
            choice: Choice { patterns: start.topics, stored, known: HashMap::new() },
            tables,
            hands: hands(),
            begun: start.at.checkpoint.change,
            at: start.at.checkpoint,
            complete: true,
            progress: start.at.progress,
            untold: BTreeSet::new(),
            epoch: 0,
            moved: BTreeMap::new(),
            pipeline: None,
            only: start.only,
            touched: Topics::new(),
            met: HashSet::new(),
            homes: start.homes,
            meters: start.meters,
        })
    }

    /// Reads until something fails or nobody takes the batches any more.
    pub(super) fn run(mut self, outlet: &Outlet<TopicPosition>) {
        loop {
            match self.marker() {
                Ok(None) => {}
                Ok(Some((marker, progress))) => match self.follow(marker, progress, outlet) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return outlet.fail(error),
                },
                Err(error) => return outlet.fail(error),
            }
        }
    }

    /// The next marker and the offset after it, if one arrives soon.
    fn marker(&mut self) -> Result<Option<(Marker, i64)>> {
        let (mut found, mut writer) = (None, None);
        let topic = self.progress_topic.as_str();
        self.partitions.look(topic, 0, |event| {
            let marker = Marker::decode(event.value.unwrap_or_default());
            found = Some((
                marker.map_err(|error| error.within(format!("{topic} at offset {}", event.offset)))?,
                event.offset + 1,
            ));
            writer = event.key.map(|key| String::from_utf8_lossy(key).into_owned());
            Ok(())
        })?;
        if let Some(writer) = writer {
            let pipeline = self.pipeline.get_or_insert_with(|| writer.clone());
            if *pipeline != writer {
                return Err(Error::blocked(format!("two pipelines write to {topic}: {pipeline} and {writer}"))
                    .remedy("give each pipeline a prefix of its own"));
            }
        }
        Ok(found)
    }

    /// Yields what the marker promises; `false` when nobody wants it any more.
    fn follow(&mut self, marker: Marker, progress: i64, outlet: &Outlet<TopicPosition>) -> Result<bool> {
        self.check_system(&marker.checkpoint)?;
        let writer = marker.writer.epoch;
        if writer < self.epoch {
            // Its successor began at a marker before this one, and tells everything since.
            tracing::warn!(writer, successor = self.epoch, "a writer that was replaced has written on: left out");
            self.moved.insert((self.progress_topic.clone(), 0), progress);
            return Ok(true);
        }
        self.epoch = writer;
        let last = marker.last();
        let mut changes = Vec::new();
        let mut spans = Vec::new();
        for (topic, partition, next) in &marker.checkpoint.offsets {
            if *topic == self.held_topic {
                self.collect_held(*next, last, &mut changes)?;
            } else if self.choice.wants(topic) {
                if self.reads(topic) {
                    spans.push(Span { topic: topic.clone(), partition: *partition, upto: *next });
                }
                self.touch(topic);
                self.moved.insert((topic.clone(), *partition), *next);
            }
        }
        self.collect(&spans, last, &mut changes)?;
        self.moved.insert((self.progress_topic.clone(), 0), progress);
        // What was read of a partition is in order already: the stable sort only joins such runs.
        changes.sort_by_key(|change| change.id);
        changes.dedup_by_key(|change| change.id);
        let inside = !self.complete;
        let position = SourcePosition { lsn: self.at.position.lsn, ..marker.checkpoint.position };
        let checkpoint = Checkpoint { position, offsets: Vec::new(), ..self.at.clone() };
        let before = TopicPosition { checkpoint, progress: self.progress, moved: Topics::new() };
        // A writer that began again may speak of changes that its predecessor's last marker has already told of.
        if last >= self.at.change {
            self.complete = marker.inside.is_none();
            self.at = Checkpoint { offsets: Vec::new(), change: last, ..marker.checkpoint };
        }
        self.meters.server.raise(self.at.position.lsn);
        self.meters.received.raise(self.at.position.lsn);
        if let Some(change) = changes.last() {
            self.meters.newest_received.set(change.origin.at.unix_micros());
        }
        self.hand(changes, (before, inside), progress, outlet)
    }

    /// Whether this process reads the events of a topic that is wanted.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.reads(topic))
    }

    /// A marker has spoken of the topic.
    pub(super) fn touch(&mut self, topic: &str) {
        if self.only.is_some() {
            self.met.insert(topic.to_owned());
            self.touched.insert(topic.to_owned());
        }
    }

    /// Notes a partition that the next position tells of, where its topic is new to the warehouse.
    pub(super) fn tell_later(&mut self, topic: &str, partition: i32) {
        if self.only.is_none() && !self.choice.knows(topic) {
            self.untold.insert((topic.to_owned(), partition));
        }
    }

    /// Notes where the changes' tables have their events.
    pub(super) fn home(&self, topic: &str, changes: &[Change]) {
        if self.only.is_some() {
            at_home(&self.homes, topic, changes);
        }
    }

    /// Hands on the changes; `before` is where the marker before stands, `inside` whether that is in a transaction.
    fn hand(
        &mut self,
        changes: Vec<Change>,
        (before, inside): (TopicPosition, bool),
        progress: i64,
        outlet: &Outlet<TopicPosition>,
    ) -> Result<bool> {
        let mut pieces = Pieces { before: self.only.is_none().then_some(before), inside, untold: &mut self.untold };
        let Some(mut last) = pieces.cut(changes, |piece| outlet.hand(piece)) else { return Ok(false) };
        if self.complete {
            let moved = std::mem::take(&mut self.moved).into_iter();
            let offsets = moved.map(|((topic, partition), next)| (topic, partition, next)).collect();
            let moved = std::mem::take(&mut self.touched);
            last.upto = Some(TopicPosition { checkpoint: Checkpoint { offsets, ..self.at.clone() }, progress, moved });
            self.progress = progress;
            self.untold.clear();
        }
        if last.upto.is_none() && last.changes.is_empty() {
            return Ok(true);
        }
        Ok(outlet.hand(last))
    }

    /// Reads the table versions until the event's is there. Event and version may be of one transaction, whose end
    /// reaches one partition after the other.
    pub(super) fn meet(&mut self, version: &str) -> Result<()> {
        if !self.tables.versions.known.contains_key(version) {
            self.tables.refresh()?;
        }
        while !self.tables.versions.known.contains_key(version) {
            let whole = self.partitions.settled(&self.tables.topic, 0)?;
            self.tables.refresh()?;
            if whole {
                break;
            }
        }
        Ok(())
    }

    fn check_system(&self, next: &Checkpoint) -> Result<()> {
        let (ours, theirs) = (self.at.position.system_id, next.position.system_id);
        if ours == 0 || theirs == 0 || ours == theirs {
            return Ok(());
        }
        Err(Error::blocked(format!(
            "the topics go on with the changes of another database cluster ({theirs}, not {ours})"
        ))
        .remedy("write the other cluster's changes under another prefix, and read that into an empty warehouse"))
    }
}

pub(super) fn place(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}[{partition}] at offset {offset}")
}

pub(super) fn stamp(headers: &BorrowedHeaders) -> Option<Stamp<'_>> {
    Stamp::read(texts(headers))
}

pub(super) fn texts(headers: &BorrowedHeaders) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|header| (header.key, header.value.unwrap_or_default()))
}

/// The refusal of a record that is not ours.
pub(super) fn foreign(place: &str) -> Error {
    Error::blocked(format!("{place}: the record has no tw.commit_lsn, tw.seq and tw.table headers"))
        .remedy("another program wrote it: leave the topic out, or read it with a pipeline whose `origin` says who did")
}

/// The refusal of a topic whose older records the warehouse has never had.
pub(super) fn late(topic: &str) -> Error {
    Error::blocked(format!("topic {topic} holds changes from before the warehouse's position, and it has none of them"))
        .remedy("`topics` matches more than it did: leave the topic out, or start over with an empty warehouse")
}

/// The table versions known so far, and where more are found.
pub(super) struct Tables {
    topic: String,
    control: Arc<Control>,
    /// The offset after the last record that was read.
    next: i64,
    pub(super) versions: Versions,
}

impl Tables {
    /// The table version of this name, where it is known.
    pub(super) fn table(&self, version: &str) -> Option<Arc<Table>> {
        self.versions.known.get(version).map(|(table, _)| Arc::clone(table))
    }

    /// The refusal of a record whose table version is nowhere.
    pub(super) fn unknown(&self, place: &str, version: &str) -> Error {
        Error::blocked(format!("{place}: {} holds no table version {version}", self.topic))
            .remedy("the topic lost records or belongs to another writer: start over with a new snapshot")
    }

    /// Reads what the topic has got since the last time.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let Tables { topic, control, next, versions } = self;
        let from = *next;
        control.read(topic, from, |event| {
            *next = event.offset() + 1;
            let record = decode_table(event.payload().unwrap_or_default())
                .map_err(|error| Error::corrupt(format!("{topic} at offset {}: {error}", event.offset())))?;
            if let TableRecord::Version(table, modes) = record {
                if modes.kind == Shapes::Flat {
                    return Err(Error::blocked(format!(
                        "the events of {} are rows without an envelope: changes can't be made of them again",
                        table.name
                    ))
                    .remedy(
                        "have a pipeline of its own write them with envelope.kind = \"debezium\" for this reader",
                    ));
                }
                versions.known.entry(version_name(&table)).or_insert_with(|| (Arc::new(table), modes));
            }
            Ok(())
        })
    }
}
