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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::lanes::Place;
use crate::model::meters::StoppedTable;
use crate::model::{Class, Error, Meters, Note, PgTimestamp, TableName};

/// What the names of these notes begin with.
const NOTE: &str = "stopped ";
/// What a topic's name begins with where it stands among those of tables.
const TOPIC: &str = "topic ";

/// What a process remembers of topics that are stopped, through its attempts.
#[derive(Clone, Debug)]
pub struct StoppedTopics {
    /// `None` before the first attempt, which begins with what is noted.
    known: Arc<Mutex<Option<BTreeMap<String, Stop>>>>,
    /// How often one was stopped.
    count: Arc<AtomicU64>,
    /// After how long one is read again, where that may help; `None` where the whole pipeline stops instead.
    retry: Option<Duration>,
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
    /// About how many records wait.
    #[serde(skip)]
    records: u64,
}

/// The topics that are stopped, as they are shown.
pub(super) type Shown = Arc<Vec<(TableName, StoppedTable)>>;

impl StoppedTopics {
    /// None yet. A topic stops by itself, and is read again after this long where that may help; without it the whole
    /// pipeline stops instead.
    pub fn new(retry: Option<Duration>) -> StoppedTopics {
        StoppedTopics { known: Arc::default(), count: Arc::default(), retry }
    }

    /// How often one was stopped so far: each time is a step, for the others go on.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Those that were stored with what is in the warehouse.
    pub fn noted(notes: &BTreeMap<String, String>) -> Vec<(TableName, StoppedTable)> {
        shown(&read(notes))
    }
}

fn read(notes: &BTreeMap<String, String>) -> BTreeMap<String, Stop> {
    let stops = notes.iter().filter_map(|(name, value)| {
        let stop: Stop = serde_json::from_str(value).ok()?;
        Some((name.strip_prefix(NOTE)?.to_owned(), Stop { again: Some(Instant::now()), ..stop }))
    });
    stops.collect()
}

fn shown(stops: &BTreeMap<String, Stop>) -> Vec<(TableName, StoppedTable)> {
    stops.iter().map(|(topic, stop)| (name(topic), stop.state())).collect()
}

/// A topic's name, unlike any table's.
fn name(topic: &str) -> TableName {
    let whole = format!("{TOPIC}{topic}");
    let (schema, name) = whole.rsplit_once('.').unwrap_or((TOPIC.trim_end(), topic));
    TableName::new(schema, name)
}

/// Shows these topics as stopped, and no others.
pub(super) fn show(meters: &Meters, stopped: &[(TableName, StoppedTable)]) {
    let ours = |name: &TableName| name.schema.starts_with(TOPIC.trim_end());
    for (name, _) in meters.stopped().iter().filter(|(name, _)| ours(name)) {
        if stopped.iter().all(|(other, _)| other != name) {
            meters.table_goes_on(name);
        }
    }
    stopped.iter().for_each(|(name, state)| meters.stop_table(name, state.clone()));
}

impl Stop {
    fn state(&self) -> StoppedTable {
        let since = PgTimestamp::from_unix_micros(self.since);
        StoppedTable { since, reason: self.reason.clone(), remedy: self.remedy.clone(), held: self.records }
    }

    fn place(&self, topic: &str) -> Place {
        (topic.to_owned(), self.partition)
    }

    /// Whether this has been told: offsets in it go on while nothing else is new.
    fn has_told(&self, partition: i32, offset: i64, reason: &str) -> bool {
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        self.told && (self.partition, self.offset) == (partition, offset) && words(&self.reason) == words(reason)
    }
}

/// The stopped topics of one attempt.
pub(super) struct Stops {
    shared: StoppedTopics,
    known: BTreeMap<String, Stop>,
    /// Those that have come to the record they wait before.
    held: Arc<BTreeSet<String>>,
    /// Those of which something is to be noted.
    news: BTreeSet<String>,
    shown: Shown,
    /// When it was counted what waits.
    counted: Instant,
}

impl Stops {
    /// Goes on with what an attempt before has left, at first with what is noted.
    pub(super) fn begin(shared: StoppedTopics, notes: &BTreeMap<String, String>) -> Stops {
        let noted = read(notes);
        let known = {
            let mut known = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert_with(|| noted.clone()).clone()
        };
        let news = known.keys().chain(noted.keys()).cloned().collect();
        let shown = Arc::new(shown(&known));
        Stops { shared, known, held: Arc::default(), news, shown, counted: Instant::now() }
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

    /// All that are held.
    pub(super) fn held(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.held)
    }

    /// All that are stopped.
    pub(super) fn shown(&self) -> Shown {
        Arc::clone(&self.shown)
    }

    /// A topic stops before a record. `soon`: it may heal while the process runs.
    pub(super) fn stop(&mut self, (topic, partition): &Place, offset: i64, error: &Error, soon: bool) {
        let before = self.known.get(topic);
        let (reason, remedy) = (error.what(), error.advice().unwrap_or("see the log").to_owned());
        if !before.is_some_and(|stop| stop.has_told(*partition, offset, &reason)) {
            tracing::error!(topic, "stopped, the others go on: {reason}; its records wait in Kafka; {remedy}");
            self.shared.count.fetch_add(1, Ordering::Relaxed);
        }
        let since = before.map_or_else(|| PgTimestamp::now().unix_micros(), |stop| stop.since);
        let records = before.map_or(0, |stop| stop.records);
        let again = self.shared.retry.filter(|_| soon).map(|retry| Instant::now() + retry);
        let stop = Stop { partition: *partition, offset, since, reason, remedy, again, told: true, records };
        self.known.insert(topic.clone(), stop);
        self.changed(topic);
    }

    /// A topic has come to the record that it waits before.
    pub(super) fn hold(&mut self, topic: &str) {
        if Arc::make_mut(&mut self.held).insert(topic.to_owned()) {
            self.changed(topic);
        }
    }

    /// A topic that was to be read again is put off.
    pub(super) fn put_off(&mut self, topic: &str) {
        if let (Some(stop), Some(retry)) = (self.known.get_mut(topic), self.shared.retry) {
            stop.again = Some(Instant::now() + retry);
        }
        self.hold(topic);
    }

    /// Held ones whose records are to be counted again.
    pub(super) fn due(&mut self) -> Vec<String> {
        if self.held.is_empty() || self.shared.retry.is_none_or(|retry| self.counted.elapsed() < retry) {
            return Vec::new();
        }
        self.counted = Instant::now();
        self.held.iter().cloned().collect()
    }

    /// So many records of a topic wait.
    pub(super) fn count(&mut self, topic: &str, records: u64) {
        if let Some(stop) = self.known.get_mut(topic).filter(|stop| stop.records != records) {
            stop.records = records;
            self.changed(topic);
        }
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
        if self.known.len() > self.held.len() {
            let on = |(topic, stop): &(&String, &Stop)| !self.holds(topic) && taken(&stop.place(topic), stop.offset);
            let topics: Vec<String> = self.known.iter().filter(on).map(|(topic, _)| topic.clone()).collect();
            self.forget(&topics, "goes on");
        }
    }

    /// Topics that nobody asks for any more are not stopped.
    pub(super) fn leave_out(&mut self, unwanted: impl Fn(&str) -> bool) {
        let topics: Vec<String> = self.known.keys().filter(|topic| unwanted(topic)).cloned().collect();
        self.forget(&topics, "is not read any more");
    }

    fn forget(&mut self, topics: &[String], why: &str) {
        for topic in topics {
            tracing::info!(topic, "{why}");
            self.known.remove(topic);
            Arc::make_mut(&mut self.held).remove(topic);
            self.changed(topic);
        }
    }

    /// Whether something is to be noted.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What is to be noted since this was asked.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let note = |topic: String| {
            let stop = self.known.get(&topic).and_then(|stop| serde_json::to_string(stop).ok());
            Note { name: format!("{NOTE}{topic}"), value: stop.unwrap_or_default(), early: false }
        };
        std::mem::take(&mut self.news).into_iter().map(note).collect()
    }

    fn changed(&mut self, topic: &str) {
        self.news.insert(topic.to_owned());
        self.shown = Arc::new(shown(&self.known));
        *self.shared.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.known.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_shown_under_a_name_that_no_table_has() {
        assert_eq!(name("shop.app.t").to_string(), "topic shop.app.t");
        assert_eq!(name("orders").to_string(), "topic.orders");
    }
}
