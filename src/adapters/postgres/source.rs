//! The source: a snapshot if one is wanted, then the stream, as batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::catalog::{self, Facts};
use super::options::{Options, SnapshotMode};
use super::refusal::sql_error;
use super::slot::{self, Exported};
use super::snapshot::{Snapshot, Wanted};
use super::stream::Stream;
use super::watch::{self, Watch};
use super::wire::Wire;
use super::{publication, sql};
use crate::codecs::pgoutput::{Decoder, Frame, Relation, Streaming};
use crate::logic::assemble::{Assembler, Step, shape};
use crate::logic::pipeline::{Batch, Source};
use crate::model::{Change, ChangeId, Checkpoint, Error, Lsn, Meters, Oid, Phase, Position, Result, SourcePosition};

/// A batch is handed on at the next commit after this much.
const BATCH: usize = 1 << 20;
/// A transaction larger than this is handed on in pieces.
const PIECE: usize = 4 << 20;
/// How often an idle stream's position is handed on.
const IDLE: Duration = Duration::from_secs(10);
/// Or after this much log of other databases.
const IDLE_BYTES: u64 = 16 << 20;

/// How far a slot has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotPosition(Checkpoint);

impl Position for SlotPosition {
    fn checkpoint(&self) -> Checkpoint {
        self.0.clone()
    }

    fn reaches(&self, goal: &SlotPosition) -> bool {
        self.0.phase == Phase::Stream && self.0.position.lsn >= goal.0.position.lsn
    }
}

/// A slot being followed.
pub struct PostgresSource {
    options: Options,
    client: Client,
    stream: Stream,
    snapshot: Option<Box<Snapshot>>,
    decoder: Decoder,
    assembler: Assembler,
    /// The last complete position, and the last change up to it.
    at: SourcePosition,
    last: ChangeId,
    handed_on: (Lsn, Instant),
    /// The last change received, and whether pieces of its transaction have been handed on.
    seen: ChangeId,
    in_pieces: bool,
    /// A position that somebody waits for: handed on as soon as it is reached.
    goal: Option<Lsn>,
    pending: Pending,
    watch: Watch,
    meters: Arc<Meters>,
}

/// What has been received and not handed on; survives a cancelled call.
#[derive(Default)]
struct Pending {
    payloads: std::vec::IntoIter<bytes::Bytes>,
    describe: Option<Relation>,
    changes: Vec<Change>,
    bytes: usize,
    /// How many of the changes, and of their bytes, belong to complete transactions.
    complete: (usize, usize),
    boundary: bool,
}

impl PostgresSource {
    /// Checks the server, the publication and the slot, and goes on from `resume`, what the sink has stored.
    pub async fn start(options: Options, resume: Option<Checkpoint>, meters: Arc<Meters>) -> Result<PostgresSource> {
        let client = sql::connect(&options.endpoint, &slot::tag(&options)).await?;
        let facts = catalog::facts(&client).await?;
        if let Some(problem) = unfit(&facts).into_iter().next() {
            return Err(problem);
        }
        let tables = catalog::matching(&client, &options).await?;
        let mut found = slot::find(&client, &options.slot, &facts).await?;
        let joined = publication::ensure(&client, &options, &tables).await?;
        let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let tag = slot::tag(&options);
        let mut wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
        let identity = identify(&mut wire).await?;
        let streaming = resume.as_ref().filter(|stored| stored.phase == Phase::Stream);
        for table in joined.iter().filter(|_| streaming.is_some()) {
            watch::announce(table);
        }
        if let Some(stored) = &resume {
            same_cluster(&mut wire, stored, identity).await?;
        }
        if let Some(slot) = &found {
            slot.usable(&options.slot, &facts)?;
            slot::take_over(&client, &options, slot).await?;
            if slot.active_pid.is_some() {
                // A slot that our predecessor was still making went with it.
                found = slot::find(&client, &options.slot, &facts).await?;
            }
        }
        let exported = match &found {
            Some(slot) => match streaming {
                Some(stored) => slot.behind(&options.slot, stored).map(|()| None)?,
                None if options.snapshot == SnapshotMode::Never => None,
                None => Some(slot::snapshot(&mut wire).await?),
            },
            None => Some(created(&mut wire, &options, &facts, streaming).await?),
        };
        let start = match (&exported, streaming, &found) {
            (Some(exported), ..) => exported.point,
            (None, Some(stored), _) => stored.position.lsn,
            (None, None, found) => found.as_ref().map_or(Lsn::ZERO, |slot| slot.confirmed),
        };
        let mut assembler = Assembler::new(start);
        let wanted = exported.filter(|_| options.snapshot != SnapshotMode::Never && streaming.is_none());
        let snapshot = match &wanted {
            Some(exported) if resume.as_ref().is_some_and(|stored| exported.point <= stored.position.lsn) => {
                // Its rows would count as delivered already; making a slot writes log, so the next point is later.
                return Err(Error::transient("the new snapshot's point is not after the interrupted one's"));
            }
            Some(exported) => {
                let reader = sql::connect(&options.endpoint, &tag).await?;
                let wanted = Wanted {
                    exported,
                    tables: &tables,
                    version: facts.version,
                    publication: &options.publication,
                    clear: resume.is_some(),
                };
                let snapshot = Snapshot::begin(reader, wanted, &mut assembler, Arc::clone(&meters));
                Some(Box::new(snapshot.await?))
            }
            None => None,
        };
        // The exporter is done with: the same connection goes on as the stream's, unless it holds a temporary slot.
        if found.is_some() && wanted.is_some() {
            wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
        }
        let status = sender_timeout(&client).await? / 3;
        wire.copy_both(&slot::start(&options, start), "starting the stream").await?;
        let stream =
            Stream::spawn(wire, start, options.buffer_bytes, status, options.endpoint.clone(), Arc::clone(&meters));
        tracing::info!(slot = options.slot, from = %start, tables = tables.len(), "following the log");
        let last = streaming.map_or(ChangeId::snapshot(start, 0), |stored| stored.change);
        let watch = Watch::spawn(options.clone(), facts, Arc::clone(&meters));
        Ok(PostgresSource {
            client,
            stream,
            snapshot,
            decoder: Decoder::new(Streaming::Off),
            assembler,
            at: SourcePosition { lsn: start, ..identity },
            last,
            seen: last,
            in_pieces: false,
            handed_on: (start, Instant::now()),
            goal: None,
            pending: Pending::default(),
            watch,
            options,
            meters,
        })
    }

    /// Tells the server the last durable position and lets go of the slot.
    pub async fn close(self) {
        self.watch.stop();
        self.stream.close().await;
    }

    fn position(&self, phase: Phase) -> SlotPosition {
        SlotPosition(Checkpoint { position: self.at, change: self.last, phase, offsets: Vec::new() })
    }

    /// The snapshot's next batch.
    async fn read(&mut self) -> Result<Batch<SlotPosition>> {
        let Some(snapshot) = &mut self.snapshot else { return Err(Error::bug("no snapshot to read")) };
        let pending = &mut self.pending;
        let done = snapshot.read(&mut pending.changes, &mut pending.bytes).await?;
        let (changes, bytes) = (std::mem::take(&mut pending.changes), std::mem::take(&mut pending.bytes));
        let point = snapshot.point();
        self.last = changes.last().map_or(self.last, |change| change.id);
        self.seen = self.last;
        if done {
            self.snapshot = None;
            tracing::info!(%point, "the existing rows are read");
        }
        let upto = Some(self.position(if done { Phase::Stream } else { Phase::Snapshot }));
        Ok(Batch { changes, bytes, upto })
    }

    /// Takes messages until a batch is due or no more are waiting.
    async fn receive(&mut self) -> Result<Batch<SlotPosition>> {
        loop {
            if let Some(relation) = self.pending.describe.take() {
                self.pending.describe = Some(relation.clone());
                self.define(relation).await?;
                self.pending.describe = None;
            }
            while let Some(payload) = self.pending.payloads.next() {
                self.message(&payload)?;
                if self.pending.describe.is_some() {
                    break;
                }
                if let Some(batch) = self.due(false) {
                    return Ok(batch);
                }
            }
            if self.pending.describe.is_some() {
                continue;
            }
            let burst = match self.stream.ready()? {
                Some(burst) => burst,
                None => match self.due(true) {
                    Some(batch) => return Ok(batch),
                    None => tokio::select! {
                        burst = self.stream.next() => burst?,
                        error = self.watch.failure() => return Err(error),
                    },
                },
            };
            self.pending.payloads = burst.payloads.into_iter();
        }
    }

    fn message(&mut self, payload: &bytes::Bytes) -> Result<()> {
        match Frame::decode(payload)? {
            Frame::Keepalive(keepalive) => {
                if !self.assembler.inside() && keepalive.end > self.at.lsn {
                    self.at.lsn = keepalive.end;
                    self.pending.boundary = true;
                }
            }
            Frame::XLogData(data) => {
                let message = self.decoder.decode(&data.body)?;
                let before = self.pending.changes.len();
                let step = self.assembler.feed(message, data.start, &mut self.pending.changes)?;
                if self.pending.changes.len() > before {
                    self.pending.bytes += payload.len();
                    self.seen = self.pending.changes.last().map_or(self.seen, |change| change.id);
                }
                match step {
                    Step::Going => {}
                    Step::Describe(relation) => self.pending.describe = Some(relation),
                    Step::Boundary { end, .. } => {
                        self.at.lsn = self.at.lsn.max(end);
                        self.pending.boundary = true;
                        self.pending.complete = (self.pending.changes.len(), self.pending.bytes);
                        self.last = self.seen;
                    }
                }
            }
        }
        Ok(())
    }

    async fn define(&mut self, relation: Relation) -> Result<()> {
        let types: Vec<Oid> = relation.columns.iter().map(|column| column.type_oid).collect();
        let described = catalog::describe(&self.client, relation.oid, &types).await?;
        let table = shape(&relation, &described);
        let table = self.assembler.define(relation, table);
        if table.version > 1 {
            tracing::info!(table = %table.name, version = table.version, columns = table.columns.len(), "the table has a new shape");
        }
        Ok(())
    }

    /// The batch to hand on now, if one is due; `idle`: no more messages are waiting.
    fn due(&mut self, idle: bool) -> Option<Batch<SlotPosition>> {
        let pending = &mut self.pending;
        let (count, bytes) = pending.complete;
        if count > 0 && (idle || pending.bytes >= BATCH) {
            let rest = pending.changes.split_off(count);
            let changes = std::mem::replace(&mut pending.changes, rest);
            pending.bytes -= bytes;
            pending.complete = (0, 0);
            return Some(self.complete(changes, bytes));
        }
        if count == 0 && pending.bytes >= PIECE {
            let changes = std::mem::take(&mut pending.changes);
            let bytes = std::mem::take(&mut pending.bytes);
            self.in_pieces = true;
            return Some(Batch { changes, bytes, upto: None });
        }
        let awaited = self.goal.is_some_and(|goal| self.at.lsn >= goal);
        if !(pending.boundary || awaited) || self.assembler.inside() || !pending.changes.is_empty() {
            return None;
        }
        // The end of a transaction whose last piece has gone already, or the log of others going by.
        let (lsn, since) = self.handed_on;
        let late = since.elapsed() >= IDLE || self.at.lsn.bytes_since(lsn) >= IDLE_BYTES;
        (self.in_pieces || awaited || late).then(|| self.complete(Vec::new(), 0))
    }

    /// A batch that ends where a transaction does.
    fn complete(&mut self, changes: Vec<Change>, bytes: usize) -> Batch<SlotPosition> {
        self.in_pieces = false;
        self.pending.boundary = self.assembler.inside() && self.pending.boundary;
        self.handed_on = (self.at.lsn, Instant::now());
        self.goal = self.goal.filter(|&goal| goal > self.at.lsn);
        if let Some(newest) = changes.last() {
            self.meters.newest_received.set(newest.origin.at.unix_micros());
        }
        Batch { changes, bytes, upto: Some(self.position(Phase::Stream)) }
    }
}

impl Source for PostgresSource {
    type Position = SlotPosition;

    async fn next(&mut self) -> Result<Batch<SlotPosition>> {
        if self.snapshot.is_some() { self.read().await } else { self.receive().await }
    }

    async fn ack(&mut self, upto: SlotPosition) -> Result<()> {
        if upto.0.phase == Phase::Stream {
            self.stream.confirm(upto.0.position.lsn);
        }
        Ok(())
    }

    async fn current(&mut self) -> Result<SlotPosition> {
        let lsn = match self.options.snapshot {
            SnapshotMode::Only => self.at.lsn,
            _ => flushed(&self.client).await?,
        };
        self.goal = Some(lsn);
        let position = SourcePosition { lsn, ..self.at };
        Ok(SlotPosition(Checkpoint { position, change: ChangeId::ZERO, phase: Phase::Stream, offsets: Vec::new() }))
    }
}

/// The end of the log that holds everything committed by now. What has been inserted is flushed within a moment.
async fn flushed(client: &Client) -> Result<Lsn> {
    let failed = |error| sql_error(error, "reading the end of the log");
    let query = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END::text,
        CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END::text";
    let mut wanted = None;
    let mut reached = Lsn::ZERO;
    for _ in 0..50 {
        let row = client.query_one(query, &[]).await.map_err(failed)?;
        let lsn = |column| {
            row.get::<usize, &str>(column)
                .parse::<Lsn>()
                .map_err(|error| Error::corrupt("the end of the log").because(error))
        };
        let wanted = *wanted.get_or_insert(lsn(0)?);
        reached = lsn(1)?;
        if reached >= wanted {
            return Ok(wanted);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // At a page's border the insert position lies behind a header that is written with the next record.
    Ok(reached)
}

/// What keeps the server from being followed.
pub(super) fn unfit(facts: &Facts) -> Vec<Error> {
    let mut problems = Vec::new();
    if facts.version < 140_000 {
        problems.push(
            Error::blocked("the server is older than PostgreSQL 14")
                .remedy("Tailwater follows PostgreSQL 14 and later"),
        );
    }
    if facts.wal_level != "logical" {
        problems.push(
            Error::blocked(format!("the server's wal_level is {}", facts.wal_level))
                .remedy("set wal_level = logical in postgresql.conf and restart the server"),
        );
    }
    if !facts.may_replicate {
        problems.push(
            Error::blocked("the user of the database URL has no REPLICATION right")
                .remedy("run: ALTER ROLE ... REPLICATION"),
        );
    }
    problems
}

/// System and timeline; the LSN is not meaningful yet.
async fn identify(wire: &mut Wire) -> Result<SourcePosition> {
    let rows = wire.query("IDENTIFY_SYSTEM", "identifying the server").await?;
    let row = rows.first().ok_or_else(|| Error::corrupt("IDENTIFY_SYSTEM gave no row"))?;
    let number = |column: usize| row.get(column).cloned().flatten().and_then(|text| text.parse::<u64>().ok());
    match (number(0), number(1).and_then(|timeline| u32::try_from(timeline).ok())) {
        (Some(system_id), Some(timeline)) => Ok(SourcePosition { system_id, timeline, lsn: Lsn::ZERO }),
        _ => Err(Error::corrupt("IDENTIFY_SYSTEM gave no system identifier and timeline")),
    }
}

/// Whether the stored position means the same in this cluster: the same system, and a timeline that grew out of ours
/// after that position.
async fn same_cluster(wire: &mut Wire, stored: &Checkpoint, now: SourcePosition) -> Result<()> {
    let then = stored.position;
    let remedy = "connect to the right server; if it was restored or replaced, clear the sink's progress so that a new snapshot is taken";
    if then.system_id != now.system_id {
        return Err(Error::blocked(format!(
            "the sink's progress belongs to the cluster {}, this one is {}",
            then.system_id, now.system_id
        ))
        .remedy(remedy));
    }
    if now.timeline < then.timeline {
        return Err(Error::blocked(format!(
            "the server is on timeline {}, the sink's progress on the later {}",
            now.timeline, then.timeline
        ))
        .remedy(remedy));
    }
    if now.timeline == then.timeline {
        return Ok(());
    }
    let rows = wire.query(&format!("TIMELINE_HISTORY {}", now.timeline), "reading the timeline's history").await?;
    let history = rows.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
    let left = history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        (timeline == then.timeline).then(|| fields.next()?.parse::<Lsn>().ok()).flatten()
    });
    match left {
        Some(left) if left >= then.lsn => Ok(()),
        Some(left) => Err(Error::blocked(format!(
            "the server left timeline {} at {left}, the sink has changes up to {}: what lies between was lost in the failover",
            then.timeline, then.lsn
        ))
        .remedy(remedy)),
        None => Err(Error::blocked(format!("the server's history does not hold timeline {}", then.timeline)).remedy(remedy)),
    }
}

/// Makes the slot, unless the sink has been fed from one before: that one is gone, with the changes it kept.
async fn created(
    wire: &mut Wire,
    options: &Options,
    facts: &Facts,
    streaming: Option<&Checkpoint>,
) -> Result<Exported> {
    let name = &options.slot;
    if let Some(stored) = streaming {
        return Err(Error::blocked(format!(
            "slot {name} is gone; the changes after {} are lost to the sink",
            stored.position.lsn
        ))
        .remedy(
            "clear the sink's progress so that a new snapshot is taken, or point to the server that has the slot",
        ));
    }
    if !options.create {
        return Err(Error::blocked(format!("slot {name} does not exist"))
            .remedy(format!("run: SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")));
    }
    let waiting = slot::create(wire, options, facts);
    let mut waiting = std::pin::pin!(waiting);
    loop {
        match tokio::time::timeout(Duration::from_secs(10), &mut waiting).await {
            Ok(created) => return created,
            Err(_) => {
                tracing::warn!(slot = name, "creating the slot waits for transactions that are open on the server")
            }
        }
    }
}

async fn sender_timeout(client: &Client) -> Result<Duration> {
    let row = client
        .query_one("SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'", &[])
        .await
        .map_err(|error| sql_error(error, "reading wal_sender_timeout"))?;
    let millis = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
    Ok(if millis == 0 { Duration::from_secs(60) } else { Duration::from_millis(millis) })
}
