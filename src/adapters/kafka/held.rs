//! Tables that can't be told: each stops alone, and its changes wait in a topic of their own.
//!
//! ```text
//! told ──refused──▶ stopped: state noted ─▶ every change to the topic of what waits ──▶ released (see that module)
//! ```
//!
//! Why nothing is lost and nothing overtakes: that a table is stopped, and from where in that topic on its changes
//! wait, is noted and confirmed before the first of them is sent, or is of the same Kafka transaction; from then on, through every restart, all of its
//! changes go there until the note is taken back. They are records of the same batches as events, so markers speak for
//! them too, and a reader behind markers has them in their place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use tokio::time::{Duration, Instant};

use super::apart::Sent;
use super::client::ANSWER;
use super::control::{Control, Span};
use super::ledger::{Ledger, Route};
use super::producer::{Record, Tag};
use super::registry::Denied;
use super::release::Release;
use super::scribe::{control_record, publish};
use super::sink::KafkaSink;
use super::topics::{Purpose, blocking};
use super::{SinkOptions, plans};
use crate::codecs::event::{
    Cause, Hold, Stamp, encode_held, encode_hold, encode_table, header, held_topic, tables_topic, version_name,
};
use crate::logic::project::Rule;
use crate::model::meters::StoppedTable;
use crate::model::{Change, ChangeId, Class, Error, Meters, Patterns, PgTimestamp, Result, Table, TableName};

/// Why a change was not told.
pub(super) enum Barred {
    /// Its table can't go on; the others can.
    One(Cause, Error),
    /// Nothing can.
    All(Error),
}

impl From<Error> for Barred {
    fn from(error: Error) -> Barred {
        Barred::All(error)
    }
}

impl Barred {
    /// Of one table, where a person has to act; else of all.
    pub(super) fn one(cause: Cause) -> impl Fn(Error) -> Barred {
        move |error| match error.class() {
            Class::Blocked => Barred::One(cause, error),
            _ => Barred::All(error),
        }
    }

    /// What the registry's refusal keeps from going on.
    pub(super) fn denied(table: &TableName) -> impl Fn(Denied) -> Barred + '_ {
        move |denied| match denied {
            Denied::Schema(error) => Barred::One(Cause::Registry, error.within(format!("table {table}"))),
            Denied::All(error) => Barred::All(error.within(format!("table {table}"))),
        }
    }
}

/// A stopped table.
pub(super) struct Stop {
    /// The source's name of it.
    pub(super) source: TableName,
    pub(super) hold: Hold,
    /// When it is tried again to have it go on; `None`: not before a new start.
    pub(super) again: Option<Instant>,
    /// Whether the configuration leaves it out and no change of it has come.
    pub(super) asleep: bool,
    /// Whether this process has said that it is stopped.
    pub(super) said: bool,
}

/// How changes of one table version wait.
struct Shape {
    /// Kept so that its address stays its own.
    _table: Arc<Table>,
    version: String,
    topic: String,
    masked: Vec<String>,
}

/// See the module.
pub(super) struct Held {
    pub(super) topic: String,
    pub(super) control: Arc<Control>,
    /// By the name they are told under.
    pub(super) tables: HashMap<TableName, Stop>,
    /// By the table's address.
    shapes: HashMap<usize, Shape>,
    route: Option<u32>,
    /// The shapes that were published since the start: what waits names them.
    pub(super) versions: HashMap<String, Arc<Table>>,
    /// The last change of a transaction that a writer before left unfinished, and that goes on behind it.
    pub(super) had: ChangeId,
    pub(super) release: Option<Release>,
    /// When the release under way goes on: batches are taken meanwhile.
    pub(super) pause: Instant,
    pub(super) retry: Duration,
    pub(super) meters: Arc<Meters>,
}

impl Held {
    /// Those that the tables topic says are stopped. Blocks: counts what waits.
    pub(super) fn read(
        control: Arc<Control>,
        options: &SinkOptions,
        holds: BTreeMap<TableName, Hold>,
        had: ChangeId,
        meters: Arc<Meters>,
    ) -> Result<Held> {
        let topic = held_topic(&options.events.prefix);
        let counts = count(&control, &topic, &holds)?;
        meters.stopped().iter().for_each(|(table, _)| meters.table_goes_on(table));
        let now = Instant::now();
        let mut tables = HashMap::new();
        for (source, hold) in holds {
            let told = Rule::told_name(&options.rules, &source);
            let asleep = !wanted(&options.wanted, &source);
            if !asleep {
                meters.stop_table(&told, state(&hold, counts.get(&source).copied().unwrap_or(0)));
            }
            tables.insert(told, Stop { source, hold, again: Some(now), asleep, said: false });
        }
        let retry = Duration::from_secs(options.retry_seconds);
        let (shapes, versions, route, release) = (HashMap::new(), HashMap::new(), None, None);
        Ok(Held { topic, control, tables, shapes, versions, had, route, release, pause: now, retry, meters })
    }

    /// Whether the table is stopped.
    pub(super) fn has(&self, table: &TableName) -> bool {
        !self.tables.is_empty() && self.tables.contains_key(table)
    }

    /// When there is something to do.
    pub(super) fn when(&self) -> Option<Instant> {
        match &self.release {
            Some(_) => Some(self.pause),
            None => self.tables.values().filter(|stop| !stop.asleep).filter_map(|stop| stop.again).min(),
        }
    }

    /// A table whose time has come.
    pub(super) fn ripe(&self) -> Option<TableName> {
        let now = Instant::now();
        let ripe = |stop: &Stop| !stop.asleep && stop.again.is_some_and(|again| again <= now);
        self.tables.iter().find(|(_, stop)| ripe(stop)).map(|(told, _)| told.clone())
    }

    /// Where the topic ends now, as far as readers of what is committed are told.
    pub(super) async fn end(&self) -> Result<i64> {
        let (control, topic) = (Arc::clone(&self.control), self.topic.clone());
        blocking(move || Ok(control.range(&topic)?.1)).await
    }

    /// The offset after the last record that this process has written there.
    pub(super) fn written(&self, ledger: &Ledger) -> i64 {
        self.route.map_or(0, |route| ledger.next(route, 0))
    }

    /// Says once that a table is stopped.
    pub(super) fn say(&mut self, told: &TableName) {
        let Some(stop) = self.tables.get_mut(told) else { return };
        if !std::mem::replace(&mut stop.said, true) {
            let Hold { what, remedy, .. } = &stop.hold;
            tracing::error!(
                table = %told,
                "stopped, the others go on: {what}; its changes wait in {}; {remedy}", self.topic
            );
        }
    }
}

/// What is shown of a stopped table.
fn state(hold: &Hold, held: u64) -> StoppedTable {
    StoppedTable { since: hold.at, reason: hold.what.clone(), remedy: hold.remedy.clone(), held }
}

fn wanted(patterns: &Patterns, source: &TableName) -> bool {
    patterns.choose(&source.to_string())
}

/// What a change that waits is of.
pub(super) struct Label {
    pub(super) id: ChangeId,
    /// `schema.table@version`
    pub(super) version: String,
    /// Its own topic.
    pub(super) topic: String,
    /// The source's name of its table.
    pub(super) key: String,
}

/// Reads a record's key and headers; `None` when somebody else wrote it.
pub(super) fn label<M: Message>(message: &M) -> Option<Label> {
    let headers = message.headers()?;
    let stamp = Stamp::read(headers.iter().map(|header| (header.key, header.value.unwrap_or_default())))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let topic = headers.iter().find(|header| header.key == header::TOPIC)?.value?;
    Some(Label { id: stamp.id, version: stamp.table.to_owned(), topic: text(topic), key: text(message.key()?) })
}

/// How many changes of each table wait.
fn count(control: &Control, topic: &str, holds: &BTreeMap<TableName, Hold>) -> Result<HashMap<TableName, u64>> {
    let Some(from) = holds.values().map(|hold| hold.from).min() else { return Ok(HashMap::new()) };
    let mut last: HashMap<String, (&TableName, i64, ChangeId, u64)> =
        holds.iter().map(|(source, hold)| (source.to_string(), (source, hold.from, hold.released, 0))).collect();
    let (_, high) = control.range(topic)?;
    let mut next = from;
    while next < high {
        next = control.read_some(topic, Span { from: next, sure: from, upto: high }, 8 << 20, |message| {
            let Some(Label { id, key, .. }) = label(message) else { return Ok(()) };
            if let Some((_, from, last, count)) = last.get_mut(&key)
                && message.offset() >= *from
                && id > *last
            {
                (*last, *count) = (id, *count + 1);
            }
            Ok(())
        })?;
    }
    Ok(last.into_values().map(|(source, _, _, count)| (source.clone(), count)).collect())
}

/// The tables that are stopped and wanted, without changing anything.
pub async fn stopped(options: &SinkOptions) -> Result<Vec<(TableName, StoppedTable)>> {
    let options = options.clone();
    blocking(move || {
        let control = Control::connect(&options.cluster, &format!("tailwater-{}", options.pipeline))?;
        let (tables, topic) = (tables_topic(&options.events.prefix), held_topic(&options.events.prefix));
        let topics = control.list(ANSWER)?.topics;
        if !topics.contains_key(&tables) || !topics.contains_key(&topic) {
            return Ok(Vec::new());
        }
        let holds = plans::Known::read(&control, &tables, &options)?.held;
        let counts = count(&control, &topic, &holds)?;
        let wanted = holds.iter().filter(|(source, _)| wanted(&options.wanted, source));
        Ok(wanted
            .map(|(source, hold)| {
                let held = counts.get(source).copied().unwrap_or(0);
                (Rule::told_name(&options.rules, source), state(hold, held))
            })
            .collect())
    })
    .await
}

impl KafkaSink {
    /// Stops a table at this change.
    pub(super) async fn stop(&mut self, change: &Change, cause: Cause, error: Error) -> Result<()> {
        self.topics.ensure(&self.held.topic, Purpose::Held).await?;
        let told = change.table.name.clone();
        let source = self.options.origins.of(&told);
        let hold = Hold {
            told: told.clone(),
            since: change.id,
            at: PgTimestamp::now(),
            from: self.held.end().await?,
            released: ChangeId::ZERO,
            cause,
            what: error.what(),
            remedy: error.advice().unwrap_or("see the log").to_owned(),
        };
        self.announce(&encode_hold(&source, Some(&hold)), &format!("noting that {source} is stopped")).await?;
        self.held.meters.stop_table(&told, state(&hold, 0));
        let again = cause.may_heal().then(|| Instant::now() + self.held.retry);
        self.held.tables.insert(told.clone(), Stop { source, hold, again, asleep: false, said: false });
        self.held.say(&told);
        Ok(())
    }

    /// Notes in the tables topic how a table is, between two batches.
    pub(super) async fn note(&self, source: &TableName, hold: Option<&Hold>) -> Result<()> {
        let (record, topic) = (encode_hold(source, hold), tables_topic(&self.options.events.prefix));
        if self.outlet.transactional() {
            return self.outlet.alone(control_record(&topic, &record.0, &record.1)).await;
        }
        publish(&self.producer, &self.ledger, &topic, &record, &format!("noting whether {source} is stopped")).await
    }

    /// Sends a change of a stopped table to where it waits.
    pub(super) async fn hold(&mut self, change: &Change, number: u64, sent: &mut Sent) -> Result<()> {
        let address = Arc::as_ptr(&change.table).addr();
        if !self.held.shapes.contains_key(&address) {
            let shape = self.shape(&change.table).await?;
            self.held.shapes.insert(address, shape);
        }
        let route = self.held_route().await?;
        let Held { shapes, tables, meters, topic, .. } = &mut self.held;
        let shape = shapes.get(&address).expect("it has just been made");
        let stop = tables.get_mut(&change.table.name).expect("only changes of stopped tables come here");
        if std::mem::take(&mut stop.asleep) {
            meters.stop_table(&change.table.name, state(&stop.hold, 0));
        }
        let mut value = Vec::with_capacity(change.size() + 64);
        if !encode_held(change, &shape.masked, &mut value) {
            return Ok(());
        }
        let (commit, seq) = (change.id.commit.get().to_string(), change.id.seq.to_string());
        let since = format!("{}/{}", stop.hold.since.commit.get(), stop.hold.since.seq);
        let headers = [
            (header::COMMIT_LSN, &commit),
            (header::SEQ, &seq),
            (header::TABLE, &shape.version),
            (header::TOPIC, &shape.topic),
            (header::SINCE, &since),
        ];
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
            all.insert(Header { key, value: Some(value.as_bytes()) })
        });
        let key = stop.source.to_string();
        let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
        let record = Record { topic, partition: Some(0), key, value, headers, timestamp: None };
        let size = record.size();
        match self.outlet.send(record, Tag { route, batch: number }).await? {
            Ok(()) => {}
            Err(refused) => return Err(self.ledger.refusal(route, refused)),
        }
        sent.records += 1;
        sent.bytes += size;
        meters.table_held(&change.table.name, 1);
        Ok(())
    }

    /// Publishes the table version where it is new, whatever its events would be.
    async fn shape(&mut self, source: &Arc<Table>) -> Result<Shape> {
        let modes = self.options.events.modes;
        let (table, new) = self.versions.number(source, &modes);
        if new {
            let doing = format!("publishing the shape of {}", table.name);
            self.announce(&encode_table(&table, &modes), &doing).await?;
        }
        self.versions.learn(Arc::clone(&table), modes);
        self.held.versions.insert(version_name(&table), Arc::clone(&table));
        let rule = Rule::of(&self.options.rules, &self.options.origins.of(&source.name));
        let masked = rule.map(|rule| rule.done(source)).unwrap_or_default();
        let topic = self.options.topic(&source.name).name;
        Ok(Shape { _table: Arc::clone(source), version: version_name(&table), topic, masked })
    }

    async fn held_route(&mut self) -> Result<u32> {
        if let Some(route) = self.held.route {
            return Ok(route);
        }
        self.topics.ensure(&self.held.topic, Purpose::Held).await?;
        let limit = self.topics.largest_batch(&self.held.topic).await;
        let table = "a stopped table".to_owned();
        let route = self.ledger.route(Route { topic: self.held.topic.clone(), table, limit });
        self.held.route = Some(route);
        Ok(route)
    }
}
