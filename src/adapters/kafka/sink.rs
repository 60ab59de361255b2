//! Kafka as a sink: events, then a progress marker that makes them count.
//!
//! ```text
//! at least once   apply ─▶ encode ─▶ producer ─▶ events confirmed ─▶ marker "up to this change, below these offsets"
//!                                                                      └─▶ confirmed ─▶ the delivery resolves
//! exactly once    apply ─▶ encode ─▶ parcels ─▶ ( begin ─▶ events confirmed ─▶ marker ─▶ commit ) ─▶ it resolves
//! ```
//!
//! Why this is safe. A marker is written only when every record of its batches, and of all batches before, is
//! confirmed by all replicas in sync; the delivery resolves only when the marker itself is. So what the source
//! forgets is in Kafka and marked. After a crash the last marker says where the source goes on. Records that were
//! written without a marker are written again, with the same change ids: a reader takes, between two markers, only the
//! changes between the two markers' change ids, each once, so it drops the first writing, whatever part of it
//! there is, in whichever partition. Offsets in a marker are those of its own batches only: a partition keeps the
//! order of one producer, so nothing of a later batch lies below them except leftovers of a writer before, and those
//! come again. A marker inside a large transaction says that it is not complete, and carries the position of the
//! last complete one, so a writer that goes on there begins the transaction again and the reader drops what it has.
//!
//! Exactly once, marker and records are of one Kafka transaction, so there is nothing that was written and not marked
//! for those who read what is committed: `committer.rs` says how. The start settles the writer before and shuts it out
//! (`init_transactions`) before it reads the last marker: after that nobody else can add one. Inside a large source
//! transaction the writer begins it again and leaves out the changes up to the marker's, whose ids are the same as long
//! as the source is read in the same way; after another way it stops. A writer that was shut out finds a marker with a
//! higher epoch, which each writer leaves at its start, and stops too: the newer one goes on.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use tokio::sync::{mpsc, oneshot};

use super::apart::{Apart, Sent, beat, id_bytes};
use super::claims::Claims;
use super::committer::Committer;
use super::held::{Barred, Held};
use super::ledger::{Delivery, End, Ledger, Route};
use super::parcel::Outlet;
use super::plans::{Plan, Plans, Versions};
use super::producer::{Producer, Record, Reports, Tag};
use super::progress::before;
use super::schemas::Schemas;
use super::scribe::{Scribe, control_record, publish};
use super::start::{Began, begin};
use super::topics::{Purpose, Topics, blocking};
use super::{Guarantee, LargeRecords, SinkOptions, fit, murmur};
use crate::codecs::event::{
    Cause, EncodeError, Encoder, Notice, Notices, Records, Topic, Transactions, encode_partitions, encode_table,
    header, tables_topic,
};
use crate::logic::pipeline::{Batch, Sink};
use crate::model::{Change, ChangeId, Checkpoint, Error, Meters, PgTimestamp, Position, Result, Table};

/// How long ending in good order may take.
const CLOSING: Duration = Duration::from_secs(6);

/// Publishes changes. See the module.
pub struct KafkaSink {
    pub(super) options: SinkOptions,
    pub(super) topics: Topics,
    pub(super) producer: Arc<Producer>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) versions: Versions,
    pub(super) held: Held,
    /// The last complete position that was taken.
    pub(super) complete: Option<Checkpoint>,
    claims: Claims,
    plans: Plans,
    schemas: Schemas,
    apart: Apart,
    /// Tells the records of this run from those of others.
    run: String,
    records: Records,
    /// The last change of a transaction that a writer before left unfinished: up to it all are in the topics.
    had: ChangeId,
    /// The writer's epoch, in digits.
    epoch: String,
    closer: Option<mpsc::Sender<oneshot::Sender<()>>>,
    _tasks: Vec<Task>,
}

/// What is to become of a change's records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling<'a> {
    /// They are sent.
    New,
    /// They are in the topics, and only counted.
    Counted,
    /// They are sent, and say of which topic the change was while it waited. Its transaction has been told.
    Waited(&'a str),
}

/// A task that ends with its owner.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KafkaSink {
    /// Connects, creates the control topics, and reads where the writer before has come to.
    pub async fn start(options: SinkOptions, meters: Arc<Meters>) -> Result<(KafkaSink, Option<Checkpoint>)> {
        let Began { control, mut topics, producer, ledger, progress, mut known, stored, had } = begin(&options).await?;
        let held = blocking({
            let (control, options, meters) = (Arc::clone(&control), options.clone(), Arc::clone(&meters));
            let holds = std::mem::take(&mut known.held);
            move || Held::read(control, &options, holds, had, meters)
        })
        .await?;
        let schemas = Schemas::new(options.registry.clone(), options.events.modes.format)?;
        let (outlet, parcels) = match options.guarantee {
            Guarantee::ExactlyOnce => {
                let (outlet, parcels) = Outlet::queued(Arc::clone(&producer), Arc::clone(&ledger));
                (Arc::new(outlet), Some(parcels))
            }
            Guarantee::AtLeastOnce => (Arc::new(Outlet::direct(Arc::clone(&producer))), None),
        };
        let epoch = progress.writer.epoch.to_string();
        let (closer, close) = mpsc::channel(1);
        let (for_task, of_ledger) = (Arc::clone(&producer), Arc::clone(&ledger));
        let mut tasks = vec![Task(match parcels {
            Some(parcels) => {
                let own = Arc::clone(&options.own);
                let closing = outlet.closing();
                let (producer, ledger) = (for_task, of_ledger);
                let committer = Committer { producer, ledger, progress, parcels, control, own, close, closing };
                tokio::spawn(committer.run())
            }
            None => tokio::spawn(Scribe { producer: for_task, ledger: of_ledger, progress }.run()),
        })];
        let notices = async |notice| -> Result<Notices> {
            let mut notices = Notices::new(notice, &options.events);
            if let Some((key, value)) = notices.schemas()
                && let Some((key, value)) = schemas.numbers(notices.topic(), Some(key), value).await?
            {
                notices.number(key, value);
            }
            Ok(notices)
        };
        if options.heartbeat_seconds > 0 {
            let (notices, every) = (notices(Notice::Heartbeat).await?, Duration::from_secs(options.heartbeat_seconds));
            topics.ensure(notices.topic(), Purpose::Heartbeats).await?;
            let ways = (Arc::clone(&outlet), Arc::clone(&producer), Arc::clone(&ledger));
            tasks.push(Task(tokio::spawn(beat(notices, options.events.prefix.clone(), every, ways, meters))));
        }
        let transactions = match options.transaction_metadata {
            true => Some(Transactions::new(notices(Notice::Transaction).await?)),
            false => None,
        };
        let apart = Apart::new(Arc::clone(&outlet), Arc::clone(&ledger), transactions, &options, &epoch);
        let transactional = options.guarantee == Guarantee::ExactlyOnce;
        let sink = KafkaSink {
            options,
            topics,
            producer,
            outlet,
            ledger,
            versions: known.versions,
            held,
            complete: stored.clone(),
            claims: known.claims,
            plans: Plans::default(),
            run: run_id(),
            schemas,
            apart,
            records: Records::new(),
            had,
            epoch,
            closer: Some(closer).filter(|_| transactional),
            _tasks: tasks,
        };
        // The source must be the one that the unfinished transaction is of.
        let stored = stored.map(|stored| Checkpoint { change: stored.change.max(had), ..stored });
        Ok((sink, stored))
    }

    /// Ends in good order: a transaction that is open is aborted, so that no reader has to wait for its time-out.
    pub async fn close(mut self) {
        let Some(closer) = self.closer.take() else { return };
        let (done, closed) = oneshot::channel();
        let ended = async {
            if closer.send(done).await.is_ok() {
                // Nobody answers where the task has ended by itself.
                let _ = closed.await;
            }
        };
        // A commit that waits for its brokers is not waited for.
        let _ = tokio::time::timeout(CLOSING, ended).await;
    }

    /// Sends the records of a batch.
    async fn send(&mut self, number: u64, changes: &[Change]) -> Result<Sent> {
        let mut sent = Sent::default();
        let now = PgTimestamp::now();
        for change in changes {
            let had = change.id.commit == self.had.commit && change.id <= self.had;
            if change.id.commit < self.had.commit {
                // The log has gone back behind that transaction: it is not the same one that comes.
                self.had = ChangeId::ZERO;
            }
            if had && self.apart.transactions.is_none() {
                continue;
            }
            // What is in the topics is still counted, where transactions tell of how much they are.
            self.apart.muted = had;
            if !self.apart.idle() && self.apart.take(change, number, &mut self.topics, &mut sent).await? {
                continue;
            }
            if self.held.has(&change.table.name) {
                if !had {
                    self.hold(change, number, &mut sent).await?;
                }
                continue;
            }
            let telling = if had { Telling::Counted } else { Telling::New };
            match self.tell(change, number, now, telling, &mut sent).await {
                Ok(()) => {}
                // What is in the topics was told in another way.
                Err(Barred::One(..)) if had => {}
                Err(Barred::One(cause, error)) => {
                    self.stop(change, cause, error).await?;
                    self.hold(change, number, &mut sent).await?;
                }
                Err(Barred::All(error)) => return Err(error),
            }
        }
        for (topic, partitions) in self.topics.unsaid() {
            let doing = format!("noting the partitions of {topic}");
            self.announce(&encode_partitions(&topic, partitions), &doing).await?;
        }
        Ok(sent)
    }

    /// Sends the records of a change.
    pub(super) async fn tell(
        &mut self,
        change: &Change,
        number: u64,
        now: PgTimestamp,
        telling: Telling<'_>,
        sent: &mut Sent,
    ) -> Result<(), Barred> {
        let index = match self.plans.index(&change.table) {
            Some(index) => index,
            None => self.plan(&change.table).await?,
        };
        let waited = match telling {
            Telling::New | Telling::Counted => None,
            Telling::Waited(topic) => Some(topic),
        };
        self.encode(index, change, now, waited.is_none()).await?;
        if telling == Telling::Counted {
            return Ok(());
        }
        let plan = self.plans.plans.get(index).expect("plans are never removed");
        for event in self.records.iter() {
            let all = event.headers().chain([(header::EPOCH, self.epoch.as_bytes())]);
            let count = event.headers().count() + 1;
            let headers = all.fold(OwnedHeaders::new_with_capacity(count), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let headers = waited.iter().fold(headers, |headers, topic| {
                headers.insert(Header { key: header::WAITED, value: Some(topic.as_bytes()) })
            });
            // As many as there were at first: what is added under way takes no keys.
            let partition = match event.key {
                Some(key) => murmur::partition(key, plan.partitions),
                None => murmur::partition(&id_bytes(change.id), plan.partitions),
            };
            let (topic, partition, key, value) = (&plan.topic.name, Some(partition), event.key, event.value);
            let record = Record { topic, partition, key, value, headers, timestamp: None };
            let size = record.size();
            let tag = Tag { route: plan.route, batch: number };
            if let Err(refused) = self.outlet.send(record, tag).await? {
                return Err(self.ledger.refusal(plan.route, refused).into());
            }
            sent.records += 1;
            sent.bytes += size;
        }
        Ok(())
    }

    /// Makes the change's records.
    async fn encode(&mut self, index: usize, change: &Change, now: PgTimestamp, placed: bool) -> Result<(), Barred> {
        loop {
            let plan = self.plans.plans.get_mut(index).expect("plans are never removed");
            self.records.clear();
            let told = self.apart.transactions.as_ref().filter(|_| placed);
            let mut orders = told.map(|told| told.orders(&change.table.name));
            let Err(error) = plan.encoder.encode_placed(change, now, orders.as_mut(), &mut self.records) else {
                if let Some(limited) = &plan.limited {
                    fit::fits(&self.records, limited)?;
                }
                if let (Some(told), Some(orders)) = (&mut self.apart.transactions, orders) {
                    told.count(&change.table.name, orders);
                }
                return Ok(());
            };
            let table = Arc::clone(plan.encoder.table());
            let nullable = table.columns.iter().any(|column| column.name == error.column && column.optional);
            if !error.of_null() || nullable {
                return Err(Barred::One(Cause::Value, unsaid(&table, &error)));
            }
            // The catalog says what is so now; the row is from before. From here on the column may be null.
            let mut table = (*table).clone();
            table
                .columns
                .iter_mut()
                .filter(|column| column.name == error.column)
                .for_each(|column| column.optional = true);
            self.prepare(&change.table, &table).await?;
        }
    }

    /// Makes the topic, publishes the table version when it is new, and only then a plan to use it.
    async fn plan(&mut self, source: &Arc<Table>) -> Result<usize, Barred> {
        self.prepare(source, source).await
    }

    /// The same for a table whose changes the source gives as `source`'s.
    async fn prepare(&mut self, source: &Arc<Table>, told: &Table) -> Result<usize, Barred> {
        if source.is_of_messages() {
            return self.plan_messages(source).await;
        }
        let topic = self.options.topic(&source.name);
        let (prefix, adjustment) = (&self.options.events.prefix, self.options.events.modes.name_adjustment);
        self.claims.claim(&topic, &source.name).map_err(Barred::one(Cause::Names))?;
        self.claims.claim_names(prefix, source, adjustment).map_err(Barred::one(Cause::Names))?;
        self.topics.unaltered(&topic.name)?;
        let found = self.topics.ensure(&topic.name, Purpose::Events).await.map_err(Barred::one(Cause::Topic))?;
        let (table, new) = self.versions.number(told, &self.options.events.modes);
        let encoder = self.encoder(&topic.name, &table).await?;
        if new {
            let doing = format!("publishing the shape of {}", table.name);
            self.announce(&encode_table(&table, &self.options.events.modes), &doing).await?;
        }
        self.versions.learn(Arc::clone(&table), self.options.events.modes);
        let limit = self.topics.largest_batch(&topic.name).await;
        let route = Route { topic: topic.name.clone(), table: describe(&table), limit };
        let limited = (self.options.large_records == LargeRecords::Table).then(|| route.clone());
        let (source, partitions, route) = (Arc::clone(source), found.partitions, self.ledger.route(route));
        Ok(self.plans.insert(Plan { source, encoder, topic, partitions, route, limited }))
    }

    /// Tells the tables topic something before the next record goes out.
    pub(super) async fn announce(&self, record: &(Vec<u8>, Vec<u8>), doing: &str) -> Result<()> {
        let topic = tables_topic(&self.options.events.prefix);
        if self.outlet.transactional() {
            // With what needs it, or not at all.
            self.outlet.announce(control_record(&topic, &record.0, &record.1));
            return Ok(());
        }
        publish(&self.producer, &self.ledger, &topic, record, doing).await
    }

    /// The table version's encoder, its schemas registered where the format needs that.
    async fn encoder(&self, topic: &str, table: &Arc<Table>) -> Result<Encoder, Barred> {
        let mut encoder = Encoder::new(Arc::clone(table), &self.options.settings(&table.name)).map_err(|error| {
            let remedy = error.remedy();
            let error = Error::blocked(format!("table {}: {error}", table.name)).remedy(remedy);
            Barred::One(Cause::Names, error)
        })?;
        if self.options.context_headers {
            encoder.tell_context(&self.options.events.prefix, &self.run);
        }
        if let Some((key, value)) = encoder.schemas() {
            let numbers = self.schemas.numbers(topic, key.cloned(), value.clone()).await;
            if let Some((key, value)) = numbers.map_err(Barred::denied(&table.name))? {
                encoder.number(key, value);
            }
        }
        Ok(encoder)
    }
}

/// A UUID of version 7: the time, and chance.
fn run_id() -> String {
    let millis = u64::try_from(PgTimestamp::now().unix_millis()).unwrap_or_default();
    let (middle, end) = (rand::random::<u16>() & 0xFFF, rand::random::<u64>());
    let (variant, end) = (0x8000 | (end >> 48) & 0x3FFF, end & 0xFFFF_FFFF_FFFF);
    format!("{:08x}-{:04x}-7{middle:03x}-{variant:04x}-{end:012x}", millis >> 16, millis & 0xFFFF)
}

impl KafkaSink {
    /// Makes the topic of messages.
    async fn plan_messages(&mut self, source: &Arc<Table>) -> Result<usize, Barred> {
        let topic = Topic::of_messages(&self.options.events.prefix);
        self.claims.claim_messages(&topic.name)?;
        let partitions = self.topics.ensure(&topic.name, Purpose::Events).await?.partitions;
        let limit = self.topics.largest_batch(&topic.name).await;
        let route = Route { topic: topic.name.clone(), table: "logical messages (key prefix)".to_owned(), limit };
        let route = self.ledger.route(route);
        let encoder = self.encoder(&topic.name, source).await.map_err(|barred| match barred {
            Barred::One(_, error) | Barred::All(error) => Barred::All(error),
        })?;
        // Messages are of no table that could stop.
        Ok(self.plans.insert(Plan { source: Arc::clone(source), encoder, topic, partitions, route, limited: None }))
    }
}

/// The refusal of a change that no record can hold.
fn unsaid(table: &Table, error: &EncodeError) -> Error {
    let what = format!("a change of table {}: {error}", table.name);
    if error.expected == "UTF-8" {
        return Error::blocked(what)
            .remedy("mend the value, or leave the column out with columns.exclude of its [[table]]");
    }
    Error::blocked(what).remedy(
        "leave the column out with columns.exclude of its [[table]], mask it, or choose a mode that can hold it",
    )
}

/// `table public.orders (key tenant, id)`
fn describe(table: &Table) -> String {
    let key: Vec<_> = table.key_columns().map(|column| column.name.as_str()).collect();
    match key.as_slice() {
        [] => format!("table {} (without a key)", table.name),
        key => format!("table {} (key {})", table.name, key.join(", ")),
    }
}

impl<P: Position> Sink<P> for KafkaSink {
    type Delivery = Delivery;

    async fn apply(&mut self, batch: Batch<P>) -> Result<Delivery> {
        if let Some(error) = self.ledger.failure() {
            return Err(error);
        }
        let end = match (&batch.upto, batch.changes.last()) {
            (Some(upto), _) => End::Complete(upto.checkpoint()),
            (None, Some(last)) => End::Inside(last.id),
            (None, None) => return Err(Error::bug("a batch without changes and without a position")),
        };
        let number = self.ledger.begin();
        let mut unsealed = Unsealed::of(&self.ledger);
        match self.send(number, &batch.changes).await {
            Ok(Sent { records, bytes }) => {
                unsealed.sealed();
                if let End::Complete(checkpoint) = &end
                    && !before(checkpoint, self.had)
                {
                    self.complete = Some(checkpoint.clone());
                }
                let delivery = self.ledger.seal(records, bytes, end);
                self.outlet.end(number).await?;
                Ok(delivery)
            }
            Err(error) => {
                self.ledger.fail(&error);
                Err(error)
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.ledger.idle().await
    }

    async fn due(&mut self) {
        match self.held.when() {
            Some(when) => tokio::time::sleep_until(when).await,
            None => std::future::pending().await,
        }
    }

    async fn tend(&mut self) -> Result<bool> {
        self.tend_tables().await
    }
}

/// A batch of which only a part has been sent: without this, a dropped call would leave the rest waiting for ever.
pub(super) struct Unsealed(Option<Arc<Ledger>>);

impl Unsealed {
    pub(super) fn of(ledger: &Arc<Ledger>) -> Unsealed {
        Unsealed(Some(Arc::clone(ledger)))
    }

    pub(super) fn sealed(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unsealed {
    fn drop(&mut self) {
        if let Some(ledger) = &self.0 {
            ledger.fail(&Error::transient("a batch was interrupted while it was sent to Kafka"));
        }
    }
}
