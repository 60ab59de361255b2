//! The source: a snapshot if one is wanted, then the stream, as batches.
//!
//! A table that joins later is read while the stream stands still where its snapshot's point is; see `join`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::catalog;
use super::join::{Hold, Join};
use super::options::{Options, SnapshotMode};
use super::refusal::sql_error;
use super::snapshot::Snapshot;
use super::stream::Stream;
use super::watch::Watch;
use crate::codecs::pgoutput::{Decoder, Frame, Message, Relation};
use crate::logic::assemble::{Assembler, Step, shape};
use crate::logic::pipeline::{Batch, Source};
use crate::model::{
    Change, ChangeId, Checkpoint, Error, Followed, Lsn, Meters, Phase, Position, Result, SourcePosition,
};

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
    /// The last complete position, and the last change up to it.
    pub(super) at: SourcePosition,
    pub(super) last: ChangeId,
    pub(super) handed_on: (Lsn, Instant),
    /// The last change received, and whether pieces of its transaction have been handed on.
    pub(super) seen: ChangeId,
    pub(super) in_pieces: bool,
    /// A position that somebody waits for: handed on as soon as it is reached.
    pub(super) goal: Option<Lsn>,
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
    changes: Vec<Change>,
    bytes: usize,
    /// How many of the changes, and of their bytes, belong to complete transactions.
    complete: (usize, usize),
    boundary: bool,
}

impl PostgresSource {
    /// Tells the server the last durable position and lets go of the slot.
    pub async fn close(self) {
        self.watch.stop();
        self.stream.close().await;
    }

    fn position(&self, phase: Phase) -> SlotPosition {
        let followed = self.followed.clone();
        let checkpoint = Checkpoint { position: self.at, change: self.last, phase, offsets: Vec::new(), followed };
        SlotPosition { checkpoint, waiting: self.waiting }
    }

    /// The snapshot's next batch.
    async fn read(&mut self) -> Result<Batch<SlotPosition>> {
        let Some(reading) = &mut self.reading else { return Err(Error::bug("no snapshot to read")) };
        let pending = &mut self.pending;
        let done = reading.snapshot.read(&mut pending.changes, &mut pending.bytes).await?;
        let (changes, bytes) = (std::mem::take(&mut pending.changes), std::mem::take(&mut pending.bytes));
        let (point, initial) = (reading.snapshot.point(), reading.members.is_none());
        self.last = changes.last().map_or(self.last, |change| change.id);
        self.seen = self.last;
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
            Frame::Keepalive(keepalive) => {
                if !self.assembler.inside() && keepalive.end > self.at.lsn {
                    self.at.lsn = keepalive.end;
                    self.pending.boundary = true;
                }
            }
            Frame::XLogData(data) => {
                let message = self.decoder.decode(&data.body)?;
                if let (Some(begin), Some(join)) = (begins(&message), &self.join)
                    && begin >= join.point
                    && self.at.lsn < join.point
                {
                    // Everything before the point has come, though no transaction ended at it.
                    self.at.lsn = join.point;
                    self.pending.again = Some(payload.clone());
                    return Ok(());
                }
                let before = self.pending.changes.len();
                self.assembler.sent(data.at);
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
        let from = self.from(&table.name, table.oid);
        let table = self.assembler.define(relation, table, from);
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
        // While tables are still to be read, the position alone is not what is waited for.
        let awaited = !self.waiting && self.goal.is_some_and(|goal| self.at.lsn >= goal);
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
        self.goal = self.goal.filter(|&goal| self.waiting || goal > self.at.lsn);
        if let Some(newest) = changes.last() {
            self.meters.newest_received.set(newest.origin.at.unix_micros());
        }
        Batch { changes, bytes, upto: Some(self.position(Phase::Stream)) }
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
            SnapshotMode::Only => self.at.lsn,
            _ => flushed(&self.client).await?,
        };
        self.goal = Some(lsn);
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
