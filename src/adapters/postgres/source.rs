//! The source: a snapshot if one is wanted, then the stream, as batches.
//!
//! A table that joins later is read while the stream stands still where its snapshot's point is; see `join`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::catalog;
use super::forms;
use super::join::{Hold, Join};
use super::options::{Options, SnapshotMode};
use super::refusal::sql_error;
use super::snapshot::Snapshot;
use super::stream::Stream;
use super::texts::Texts;
use super::watch::Watch;
use crate::codecs::pgoutput::{Decoder, Frame, Message, Relation};
use crate::logic::assemble::{Assembler, Gather, Portion, Step, shape};
use crate::logic::pipeline::{Batch, Source};
use crate::model::{Change, Checkpoint, Error, Followed, Lsn, Meters, Phase, Position, Result, SourcePosition};

/// How far a slot has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotPosition {
    checkpoint: Checkpoint,
    /// Whether there are tables whose rows are still to be read.
    waiting: bool,
}

impl Position for SlotPosition {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    fn reaches(&self, goal: &SlotPosition) -> bool {
        let here = &self.checkpoint;
        !self.waiting && here.phase == Phase::Stream && here.position.lsn >= goal.checkpoint.position.lsn
    }
}

/// A slot being followed.
pub struct PostgresSource {
    pub(super) options: Options,
    pub(super) client: Client,
    pub(super) stream: Stream,
    pub(super) reading: Option<Reading>,
    pub(super) decoder: Decoder,
    pub(super) assembler: Assembler,
    /// Where the stream comes in binary.
    pub(super) texts: Option<Texts>,
    pub(super) gather: Gather,
    /// The cluster and its timeline.
    pub(super) identity: SourcePosition,
    pub(super) pending: Pending,
    /// The tables whose changes are handed on; `None`: all that are wanted, their rows are never read.
    pub(super) followed: Option<Arc<Followed>>,
    /// Whether wanted tables are still to be read.
    pub(super) waiting: bool,
    pub(super) hold: Option<Hold>,
    pub(super) join: Option<Join>,
    pub(super) watch: Watch,
    pub(super) meters: Arc<Meters>,
}

/// A snapshot being read.
pub(super) struct Reading {
    pub(super) snapshot: Box<Snapshot>,
    /// The tables that join by it; `None` when it is the initial one.
    pub(super) members: Option<Followed>,
}

/// What has been received and not handed on; survives a cancelled call.
#[derive(Default)]
pub(super) struct Pending {
    payloads: std::vec::IntoIter<bytes::Bytes>,
    /// The first of a transaction before which something else comes.
    again: Option<bytes::Bytes>,
    describe: Option<Relation>,
    /// Of a snapshot.
    rows: Vec<Change>,
    bytes: usize,
}

impl PostgresSource {
    /// Tells the server the last durable position and lets go of the slot.
    pub async fn close(self) {
        self.watch.stop();
        self.stream.close().await;
    }

    fn position(&self, phase: Phase) -> SlotPosition {
        let followed = self.followed.clone();
        let position = SourcePosition { lsn: self.gather.at(), ..self.identity };
        let checkpoint = Checkpoint { position, change: self.gather.last(), phase, offsets: Vec::new(), followed };
        SlotPosition { checkpoint, waiting: self.waiting }
    }

    /// The snapshot's next batch.
    async fn read(&mut self) -> Result<Batch<SlotPosition>> {
        let Some(reading) = &mut self.reading else { return Err(Error::bug("no snapshot to read")) };
        let pending = &mut self.pending;
        let done = reading.snapshot.read(&mut pending.rows, &mut pending.bytes).await?;
        let (changes, bytes) = (std::mem::take(&mut pending.rows), std::mem::take(&mut pending.bytes));
        let (point, initial) = (reading.snapshot.point(), reading.members.is_none());
        self.gather.passed(changes.last().map_or(self.gather.last(), |change| change.id));
        if let Some(reading) = self.reading.take_if(|_| done) {
            tracing::info!(%point, "the existing rows are read");
            self.joined(reading.members.unwrap_or_default());
        }
        let upto = Some(self.position(if initial && !done { Phase::Snapshot } else { Phase::Stream }));
        Ok(Batch { changes, bytes, upto })
    }

    /// Takes messages until a batch is due or no more are waiting.
    async fn receive(&mut self) -> Result<Batch<SlotPosition>> {
        loop {
            while let Some(note) = self.watch.noted() {
                self.note(note);
            }
            if let Some(relation) = self.pending.describe.take() {
                self.pending.describe = Some(relation.clone());
                self.define(relation).await?;
                self.pending.describe = None;
            }
            if let Some(batch) = self.consume()? {
                return Ok(batch);
            }
            if self.pending.describe.is_some() {
                continue;
            }
            if self.interrupted() {
                if let Some(batch) = self.due(true) {
                    return Ok(batch);
                }
                if self.interlude().await? {
                    return self.read().await;
                }
                continue;
            }
            let burst = match self.stream.ready()? {
                Some(burst) => burst,
                None => match self.due(true) {
                    Some(batch) => return Ok(batch),
                    None => tokio::select! {
                        burst = self.stream.next() => burst?,
                        note = self.watch.note() => {
                            self.note(note?);
                            continue;
                        }
                    },
                },
            };
            self.pending.payloads = burst.payloads.into_iter();
        }
    }

    /// Takes the messages at hand, until a batch is due, a table is to be described, or something else comes first.
    fn consume(&mut self) -> Result<Option<Batch<SlotPosition>>> {
        loop {
            if self.interrupted() {
                return Ok(None);
            }
            let Some(payload) = self.pending.again.take().or_else(|| self.pending.payloads.next()) else {
                return Ok(None);
            };
            self.message(&payload)?;
            if self.pending.describe.is_some() || self.pending.again.is_some() {
                return Ok(None);
            }
            if let Some(batch) = self.due(false) {
                return Ok(Some(batch));
            }
        }
    }

    fn message(&mut self, payload: &bytes::Bytes) -> Result<()> {
        match Frame::decode(payload)? {
            Frame::Keepalive(keepalive) => self.gather.keepalive(keepalive.end, self.assembler.inside()),
            Frame::XLogData(data) => {
                let mut message = self.decoder.decode(&data.body)?;
                if let (Some(begin), Some(join)) = (begins(&message), &self.join)
                    && begin >= join.point
                    && self.gather.at() < join.point
                {
                    // Everything before the point has come, though no transaction ended at it.
                    self.gather.reach(join.point);
                    self.pending.again = Some(payload.clone());
                    return Ok(());
                }
                self.assembler.sent(data.at);
                let mut bytes = payload.len();
                if let Some(texts) = &mut self.texts {
                    bytes = bytes.max(texts.print(&mut message)?);
                }
                let step = self.gather.feed(&mut self.assembler, message, data.start, bytes)?;
                if let Step::Describe(relation) = step {
                    self.pending.describe = Some(relation);
                }
            }
        }
        Ok(())
    }

    /// Where the next message that lies anywhere does; waits until it is here. A relation is followed by its row. Cancel-safe.
    async fn upcoming(&mut self) -> Result<Lsn> {
        loop {
            for payload in self.pending.payloads.as_slice() {
                if let Frame::XLogData(data) = Frame::decode(payload)?
                    && data.start != Lsn::ZERO
                {
                    return Ok(data.start);
                }
            }
            let burst = self.stream.next().await?;
            let waiting = std::mem::take(&mut self.pending.payloads);
            self.pending.payloads = waiting.chain(burst.payloads).collect::<Vec<_>>().into_iter();
        }
    }

    async fn define(&mut self, relation: Relation) -> Result<()> {
        let at = if self.options.schema_history { Some(self.upcoming().await?) } else { None };
        let described = catalog::describe_at(&self.client, &relation, at).await?;
        let table = shape(&relation, &described);
        if let Some(texts) = &mut self.texts {
            let wanted = self.options.wants(&table.name);
            let plan = if wanted { Some(forms::plan(&self.client, &relation).await?) } else { None };
            texts.define(&table, plan);
        }
        let from = self.from(&table.name, table.oid);
        let table = self.assembler.define(relation, table, from);
        if table.version > 1 {
            tracing::info!(table = %table.name, version = table.version, columns = table.columns.len(), "the table has a new shape");
        }
        Ok(())
    }

    /// The batch to hand on now, if one is due; `idle`: no more messages are waiting.
    fn due(&mut self, idle: bool) -> Option<Batch<SlotPosition>> {
        let Portion { changes, bytes, whole } =
            self.gather.due(idle, self.assembler.inside(), self.waiting, Instant::now())?;
        if let Some(newest) = changes.last().filter(|_| whole) {
            self.meters.newest_received.set(newest.origin.at.unix_micros());
        }
        Some(Batch { changes, bytes, upto: whole.then(|| self.position(Phase::Stream)) })
    }
}

impl Source for PostgresSource {
    type Position = SlotPosition;

    async fn next(&mut self) -> Result<Batch<SlotPosition>> {
        if self.reading.is_some() { self.read().await } else { self.receive().await }
    }

    async fn ack(&mut self, upto: SlotPosition) -> Result<()> {
        if upto.checkpoint.phase == Phase::Stream {
            self.stream.confirm(upto.checkpoint.position.lsn);
        }
        Ok(())
    }

    async fn current(&mut self) -> Result<SlotPosition> {
        let lsn = match self.options.snapshot {
            SnapshotMode::Only => self.gather.at(),
            _ => flushed(&self.client).await?,
        };
        self.gather.await_position(lsn);
        let mut goal = self.position(Phase::Stream);
        goal.checkpoint.position.lsn = lsn;
        Ok(goal)
    }
}

/// Where that lies which begins with this message: a transaction's commit, a message of no transaction.
fn begins(message: &Message) -> Option<Lsn> {
    match message {
        Message::Begin(begin) => Some(begin.final_lsn),
        Message::Logical(logical) if !logical.transactional => Some(logical.lsn),
        _ => None,
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
