//! Topics that can't be read on: each stops by itself before the record that is why, and the others go on.
//!
//! ```text
//!  a record fails ─┬─ while it is read ──────▶ its topic waits before it, and is tried again now and then
//!                  └─ while it becomes a row ─▶ the attempt ends; the next one has the topic wait before it
//! ```
//!
//! Why nothing is lost: a topic's offsets move with what was made of its records, and none of them past the record that
//! it waits before; Kafka keeps what is behind. Why the attempt ends: by then the record's mark has been taken note of,
//! and what its batch brought before it; the next attempt has what is stored, which knows nothing of the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::lanes::Place;
use crate::codecs::event::foreign::named_by;
use crate::logic::project::Rule;
use crate::model::meters::StoppedTable;
use crate::model::{Class, Error, Meters, Note, PgTimestamp, TableName};

/// What the names of these notes begin with.
const NOTE: &str = "stopped ";

/// What a process remembers of topics that are stopped, through its attempts.
#[derive(Clone, Debug)]
pub struct StoppedTopics {
    /// `None` before the first attempt, which begins with what is noted.
    known: Arc<Mutex<Option<BTreeMap<String, Stop>>>>,
    /// After how long one is read again, where that may help; `None` where the whole pipeline stops instead.
    retry: Option<Duration>,
    rules: Vec<Rule>,
}

/// Why a topic is stopped, and before which record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Stop {
    partition: i32,
    offset: i64,
    /// Microseconds since 1970.
    since: i64,
    reason: String,
    remedy: String,
    /// When the record may be read again: for `None` when the process starts again.
    #[serde(skip)]
    again: Option<Instant>,
    /// Whether the log has been told.
    #[serde(skip)]
    told: bool,
}

impl StoppedTopics {
    /// None yet. A topic stops by itself, and is read again after this long where that may help; without it the whole
    /// pipeline stops instead. Tables are shown by the names that these rules give them.
    pub fn new(retry: Option<Duration>, rules: Vec<Rule>) -> StoppedTopics {
        StoppedTopics { known: Arc::default(), retry, rules }
    }

    /// Those that were stored with what is in the warehouse, by the table that the topic's name speaks of.
    pub fn noted(notes: &BTreeMap<String, String>) -> Vec<(TableName, StoppedTable)> {
        read(notes).iter().map(|(topic, stop)| (named_by(topic), stop.state(0))).collect()
    }
}

fn read(notes: &BTreeMap<String, String>) -> BTreeMap<String, Stop> {
    let stops = notes.iter().filter_map(|(name, value)| {
        let stop: Stop = serde_json::from_str(value).ok()?;
        Some((name.strip_prefix(NOTE)?.to_owned(), Stop { again: Some(Instant::now()), ..stop }))
    });
    stops.collect()
}

impl Stop {
    fn state(&self, held: u64) -> StoppedTable {
        let since = PgTimestamp::from_unix_micros(self.since);
        StoppedTable { since, reason: self.reason.clone(), remedy: self.remedy.clone(), held }
    }

    fn place(&self, topic: &str) -> Place {
        (topic.to_owned(), self.partition)
    }
}

/// The stopped topics of one attempt.
pub(super) struct Stops {
    shared: StoppedTopics,
    meters: Arc<Meters>,
    known: BTreeMap<String, Stop>,
    /// Those that have come to the record they wait before.
    held: Arc<BTreeSet<String>>,
    /// Those of which something is to be noted.
    news: BTreeSet<String>,
}

impl Stops {
    /// Goes on with what an attempt before has left, at first with what is noted.
    pub(super) fn begin(shared: StoppedTopics, notes: &BTreeMap<String, String>, meters: Arc<Meters>) -> Stops {
        let noted = read(notes);
        let known = {
            let mut known = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert_with(|| noted.clone()).clone()
        };
        let news = known.keys().chain(noted.keys()).cloned().collect();
        let stops = Stops { shared, meters, known, held: Arc::default(), news };
        stops.known.keys().for_each(|topic| stops.show(topic, 0));
        stops
    }

    /// Whether a failure at a record is of its topic alone.
    pub(super) fn concerns(&self, error: &Error) -> bool {
        self.shared.retry.is_some() && matches!(error.class(), Class::Blocked | Class::Corrupt) && !error.is_systemic()
    }

    /// Whether a record is not to be read now.
    pub(super) fn bars(&self, place: &Place, offset: i64) -> bool {
        let stop = self.known.get(&place.0).filter(|stop| stop.partition == place.1 && stop.offset <= offset);
        stop.is_some_and(|stop| stop.again.is_none_or(|again| again > Instant::now()))
    }

    /// Whether nothing of the topic is taken now.
    pub(super) fn holds(&self, topic: &str) -> bool {
        !self.held.is_empty() && self.held.contains(topic)
    }

    /// Why a topic is stopped.
    pub(super) fn reason(&self, topic: &str) -> Error {
        match self.known.get(topic) {
            Some(stop) => Error::blocked(&stop.reason).remedy(&stop.remedy),
            None => Error::bug(format!("{topic} is held without being stopped")),
        }
    }

    /// All of those.
    pub(super) fn held(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.held)
    }

    /// A topic stops before a record. `soon`: it may heal while the process runs.
    pub(super) fn stop(&mut self, (topic, partition): &Place, offset: i64, error: &Error, soon: bool) {
        let before = self.known.get(topic);
        let (reason, remedy) = (error.what(), error.advice().unwrap_or("see the log").to_owned());
        let told = before.is_some_and(|stop| stop.told && stop.reason == reason);
        if !told {
            tracing::error!(topic, "stopped, the others go on: {reason}; its records wait in Kafka; {remedy}");
        }
        let since = before.map_or_else(|| PgTimestamp::now().unix_micros(), |stop| stop.since);
        let again = self.shared.retry.filter(|_| soon).map(|retry| Instant::now() + retry);
        let stop = Stop { partition: *partition, offset, since, reason, remedy, again, told: true };
        self.known.insert(topic.clone(), stop);
        self.news.insert(topic.clone());
        self.share();
        self.show(topic, 0);
    }

    /// A topic has come to the record that it waits before, or to its place among the others; so many records wait.
    pub(super) fn hold(&mut self, topic: &str, records: u64) {
        if Arc::make_mut(&mut self.held).insert(topic.to_owned()) {
            self.news.insert(topic.to_owned());
        }
        self.show(topic, records);
    }

    /// Those whose time has come, with the record they wait before: they are not held any more.
    pub(super) fn ripe(&mut self) -> Vec<(Place, i64)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let ripe = |topic: &&String| self.known.get(*topic)?.again.filter(|again| *again <= now);
        let topics: Vec<String> = self.held.iter().filter(|topic| ripe(topic).is_some()).cloned().collect();
        let mut places = Vec::new();
        for topic in topics {
            Arc::make_mut(&mut self.held).remove(&topic);
            places.extend(self.known.get(&topic).map(|stop| (stop.place(&topic), stop.offset)));
        }
        places
    }

    /// Topics whose record was taken, as `taken` says of a place and an offset, go on.
    pub(super) fn go_on(&mut self, taken: impl Fn(&Place, i64) -> bool) {
        if self.known.len() == self.held.len() {
            return;
        }
        let on = |(topic, stop): &(&String, &Stop)| !self.holds(topic) && taken(&stop.place(topic), stop.offset);
        let topics: Vec<String> = self.known.iter().filter(on).map(|(topic, _)| topic.clone()).collect();
        for topic in topics {
            tracing::info!(topic, "goes on");
            self.known.remove(&topic);
            self.meters.table_goes_on(&self.table(&topic));
            self.news.insert(topic);
            self.share();
        }
    }

    /// Whether something is to be noted.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What is to be noted since this was asked.
    pub(super) fn notes(&mut self) -> impl Iterator<Item = Note> {
        let note = |topic: String| {
            let stop = self.known.get(&topic).and_then(|stop| serde_json::to_string(stop).ok());
            Note { name: format!("{NOTE}{topic}"), value: stop.unwrap_or_default(), early: false }
        };
        std::mem::take(&mut self.news).into_iter().map(note).collect::<Vec<_>>().into_iter()
    }

    fn share(&self) {
        *self.shared.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.known.clone());
    }

    fn table(&self, topic: &str) -> TableName {
        Rule::told_name(&self.shared.rules, &named_by(topic))
    }

    fn show(&self, topic: &str, records: u64) {
        if let Some(stop) = self.known.get(topic) {
            self.meters.stop_table(&self.table(topic), stop.state(records));
        }
    }
}
