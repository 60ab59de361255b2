//! Kafka as a sink: events, then a progress marker that makes them count.
//!
//! ```text
//! apply ─▶ encode ─▶ producer ─▶ events confirmed ─▶ marker "up to this change, below these offsets"
//!                                                          └─▶ confirmed ─▶ the delivery resolves ─▶ acknowledgement
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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use super::control::{Control, check_pipeline, collision};
use super::ledger::{Delivery, Due, End, Ledger, Route};
use super::marker::Marker;
use super::producer::{Producer, Record, Reports, Tag};
use super::topics::{Purpose, Topics, blocking};
use super::{SinkOptions, murmur};
use crate::codecs::event::{
    Encoder, Records, Settings, decode_table, encode_table, progress_topic, tables_topic, topic,
};
use crate::logic::pipeline::{Batch, Sink};
use crate::model::{
    Change, ChangeId, Checkpoint, Error, Lsn, Meters, PgTimestamp, Phase, Position, Result, SourcePosition, Table,
    TableName,
};

/// Markers for small batches are at least this far apart.
const MARKER_PAUSE: Duration = Duration::from_millis(20);
/// Batches of this many bytes get a marker at once: a reader holds what lies between two markers in memory.
const MARKER_BYTES: usize = 1 << 20;

/// Publishes changes. See the module.
pub struct KafkaSink {
    options: SinkOptions,
    topics: Topics,
    producer: Arc<Producer>,
    ledger: Arc<Ledger>,
    versions: Versions,
    plans: Plans,
    settings: Settings,
    records: Records,
    _markers: Task,
}

/// A task that ends with its owner.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the changes of one table, as the source knows it now, become records.
struct Plan {
    /// Kept so that its address stays its own.
    source: Arc<Table>,
    encoder: Encoder,
    partitions: i32,
    route: u32,
}

/// Plans by the address of the source's table.
#[derive(Default)]
struct Plans {
    plans: Vec<Plan>,
    by_address: HashMap<usize, usize>,
}

impl Plans {
    fn index(&self, table: &Arc<Table>) -> Option<usize> {
        self.by_address.get(&address(table)).copied()
    }

    fn insert(&mut self, plan: Plan) -> usize {
        let address = address(&plan.source);
        let old = self.plans.iter().position(|old| old.source.name == plan.source.name);
        let index = match old.and_then(|index| Some((index, self.plans.get_mut(index)?))) {
            Some((index, old)) => {
                self.by_address.remove(&self::address(&old.source));
                *old = plan;
                index
            }
            None => {
                self.plans.push(plan);
                self.plans.len() - 1
            }
        };
        self.by_address.insert(address, index);
        index
    }
}

fn address(table: &Arc<Table>) -> usize {
    Arc::as_ptr(table).addr()
}

/// The table versions that the tables topic holds.
#[derive(Default)]
struct Versions {
    latest: HashMap<TableName, Arc<Table>>,
    owners: HashMap<String, TableName>,
}

impl Versions {
    fn learn(&mut self, prefix: &str, table: Arc<Table>) {
        self.owners.entry(topic(prefix, &table.name)).or_insert_with(|| table.name.clone());
        let newer = self.latest.get(&table.name).is_none_or(|known| known.version < table.version);
        if newer {
            self.latest.insert(table.name.clone(), table);
        }
    }

    /// The table under the number its shape has here, and whether that number is new.
    fn number(&self, table: &Table) -> (Arc<Table>, bool) {
        match self.latest.get(&table.name) {
            Some(known) if known.same_shape(table) => (Arc::clone(known), false),
            known => {
                let version = known.map_or(0, |known| known.version) + 1;
                (Arc::new(Table { version, ..table.clone() }), true)
            }
        }
    }
}

impl KafkaSink {
    /// Connects, creates the control topics, and reads where the writer before has come to.
    pub async fn start(options: SinkOptions, _meters: Arc<Meters>) -> Result<(KafkaSink, Option<Checkpoint>)> {
        let control = Arc::new(Control::connect(&options.cluster, &format!("tailwater-{}", options.pipeline))?);
        let mut topics =
            Topics::start(&options.cluster, Arc::clone(&control), options.partitions, options.replication).await?;
        let (progress, tables) = (progress_topic(&options.prefix), tables_topic(&options.prefix));
        // A reader takes the progress topic for the sign that both are there.
        topics.ensure(&tables, Purpose::Tables).await?;
        topics.ensure(&progress, Purpose::Progress).await?;
        let (prefix, pipeline, topic) = (options.prefix.clone(), options.pipeline.clone(), progress.clone());
        let (stored, versions) = blocking(move || {
            let last = control.last_marker(&topic)?;
            if let Some(marked) = &last {
                check_pipeline(&topic, marked, &pipeline)?;
            }
            let last = last.map(|marked| Checkpoint { offsets: Vec::new(), ..marked.marker.checkpoint });
            Ok((last, read_versions(&control, &tables, &prefix)?))
        })
        .await?;
        let settings = Settings {
            prefix: options.prefix.clone(),
            database: options.database.clone(),
            tombstones: options.tombstones,
            truncates: options.truncates,
        };
        let ledger = Arc::new(Ledger::default());
        let reports: Arc<dyn Reports> = Arc::clone(&ledger) as _;
        let producer = Arc::new(Producer::start(&options.cluster, options.buffer_bytes, reports)?);
        let scribe = Scribe {
            producer: Arc::clone(&producer),
            ledger: Arc::clone(&ledger),
            topic: progress,
            pipeline: options.pipeline.clone(),
            last: stored.clone().unwrap_or_else(nowhere),
        };
        // A writer before that never reached a complete position has left nothing to go on from.
        let stored = stored.filter(|checkpoint| checkpoint.position.system_id != 0);
        let sink = KafkaSink {
            options,
            topics,
            producer,
            ledger,
            versions,
            plans: Plans::default(),
            settings,
            records: Records::new(),
            _markers: Task(tokio::spawn(scribe.run())),
        };
        Ok((sink, stored))
    }

    /// Sends the records of a batch; returns how many and their bytes.
    async fn send(&mut self, number: u64, changes: &[Change]) -> Result<(usize, usize)> {
        let (mut sent, mut bytes) = (0, 0);
        let now = PgTimestamp::now();
        for change in changes {
            let index = match self.plans.index(&change.table) {
                Some(index) => index,
                None => self.plan(&change.table).await?,
            };
            let plan = self.plans.plans.get_mut(index).expect("plans are never removed");
            self.records.clear();
            plan.encoder
                .encode(change, now, &mut self.records)
                .map_err(|error| Error::corrupt(format!("a change of table {}: {error}", change.table.name)))?;
            for event in self.records.iter() {
                let count = event.headers().count();
                let headers = event.headers().fold(OwnedHeaders::new_with_capacity(count), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value) })
                });
                let partition = event.key.is_none().then(|| murmur::partition(&id_bytes(change.id), plan.partitions));
                let (key, value) = (event.key, event.value);
                let record = Record { topic: plan.encoder.topic(), partition, key, value, headers };
                let size = record.size();
                let tag = Tag { route: plan.route, batch: number };
                if let Err(refused) = self.producer.send(record, tag).await? {
                    return Err(self.ledger.refusal(plan.route, refused));
                }
                sent += 1;
                bytes += size;
            }
        }
        Ok((sent, bytes))
    }

    /// Makes the topic, publishes the table version when it is new, and only then a plan to use it.
    async fn plan(&mut self, source: &Arc<Table>) -> Result<usize> {
        let topic = topic(&self.options.prefix, &source.name);
        match self.versions.owners.get(&topic) {
            Some(owner) if *owner != source.name => return Err(collision(&topic, owner, &source.name)),
            _ => {}
        }
        let found = self.topics.ensure(&topic, Purpose::Events).await?;
        let (table, new) = self.versions.number(source);
        if new {
            self.publish(&table).await?;
        }
        self.versions.learn(&self.options.prefix, Arc::clone(&table));
        let limit = self.topics.largest_batch(&topic).await;
        let route = self.ledger.route(Route { topic: topic.clone(), table: describe(&table), limit });
        let encoder = Encoder::new(table, &self.settings);
        Ok(self.plans.insert(Plan { source: Arc::clone(source), encoder, partitions: found.partitions, route }))
    }

    /// Writes a table version and waits until it is confirmed.
    async fn publish(&self, table: &Table) -> Result<()> {
        let (key, value) = encode_table(table);
        let topic = tables_topic(&self.options.prefix);
        let (tag, confirmed) = self.ledger.awaited();
        let record = Record {
            topic: &topic,
            partition: Some(0),
            key: Some(&key),
            value: Some(&value),
            headers: OwnedHeaders::new(),
        };
        let refused = match self.producer.send(record, tag).await? {
            Ok(()) => match confirmed.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refused)) => refused,
                Err(_) => return Err(self.ledger.failure().unwrap_or_else(|| Error::transient("the sink has ended"))),
            },
            Err(refused) => refused,
        };
        let doing = format!("publishing the shape of {} to {topic}: {}", table.name, refused.code);
        Err(super::client::coded(doing, refused.code))
    }
}

/// All table versions in the topic.
fn read_versions(control: &Control, name: &str, prefix: &str) -> Result<Versions> {
    use rdkafka::Message;
    let mut versions = Versions::default();
    control.read(name, 0, |message| {
        let table = decode_table(message.payload().unwrap_or_default())
            .map_err(|error| Error::corrupt(format!("{name} at offset {}: {error}", message.offset())))?;
        versions.learn(prefix, Arc::new(table));
        Ok(())
    })?;
    Ok(versions)
}

/// `table public.orders (key tenant, id)`
fn describe(table: &Table) -> String {
    let key: Vec<_> = table.key_columns().map(|column| column.name.as_str()).collect();
    match key.as_slice() {
        [] => format!("table {} (without a key)", table.name),
        key => format!("table {} (key {})", table.name, key.join(", ")),
    }
}

/// A change's id as the bytes that choose a partition: the same for each writing of the same change.
fn id_bytes(id: ChangeId) -> [u8; 16] {
    (u128::from(id.commit.get()) << 64 | u128::from(id.seq)).to_be_bytes()
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
        let mut unsealed = Unsealed(Some(Arc::clone(&self.ledger)));
        match self.send(number, &batch.changes).await {
            Ok((sent, bytes)) => {
                unsealed.0 = None;
                Ok(self.ledger.seal(sent, bytes, end))
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
}

/// A batch of which only a part has been sent: without this, a dropped call would leave the rest waiting for ever.
struct Unsealed(Option<Arc<Ledger>>);

impl Drop for Unsealed {
    fn drop(&mut self) {
        if let Some(ledger) = &self.0 {
            ledger.fail(&Error::transient("a batch was interrupted while it was sent to Kafka"));
        }
    }
}

/// Writes the markers.
struct Scribe {
    producer: Arc<Producer>,
    ledger: Arc<Ledger>,
    topic: String,
    pipeline: String,
    /// The last complete position.
    last: Checkpoint,
}

impl Scribe {
    async fn run(mut self) {
        loop {
            self.ledger.finished.notified().await;
            let mut bytes = 0;
            while let Some(due) = self.ledger.take() {
                bytes += due.bytes;
                if let Err(error) = self.write(due).await {
                    self.ledger.fail(&error);
                }
            }
            if self.ledger.failure().is_some() {
                return;
            }
            if bytes < MARKER_BYTES {
                tokio::time::sleep(MARKER_PAUSE).await;
            }
        }
    }

    async fn write(&mut self, due: Due) -> Result<()> {
        let marker = self.marker(&due).encode();
        let record = Record {
            topic: &self.topic,
            partition: Some(0),
            key: Some(self.pipeline.as_bytes()),
            value: Some(&marker),
            headers: OwnedHeaders::new(),
        };
        let tag = self.ledger.mark(due);
        match self.producer.send(record, tag).await? {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.ledger.refusal(tag.route, refused)),
        }
    }

    fn marker(&mut self, due: &Due) -> Marker {
        let inside = match &due.end {
            End::Complete(checkpoint) => {
                self.last = Checkpoint { offsets: Vec::new(), ..checkpoint.clone() };
                None
            }
            End::Inside(change) => Some(*change),
        };
        Marker { checkpoint: Checkpoint { offsets: due.offsets.clone(), ..self.last.clone() }, inside }
    }
}

/// Before the first complete position.
fn nowhere() -> Checkpoint {
    Checkpoint {
        position: SourcePosition { system_id: 0, timeline: 0, lsn: Lsn::ZERO },
        change: ChangeId::ZERO,
        phase: Phase::Snapshot,
        offsets: Vec::new(),
    }
}
