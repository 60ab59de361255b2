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
use super::streamed::{Committed, Streamed, Taken};
use super::texts::Texts;
use super::watch::Watch;
use crate::codecs::pgoutput::{Decoder, Frame, Message, Relation, XLogData};
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
    /// The transactions that are sent while they are open; `None` where none is.
    pub(super) streamed: Option<Streamed>,
    /// Whether a transaction of which nothing is published is sent all the same, where it is not streamed.
    pub(super) tells_empty: bool,
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
    again: Option<XLogData>,
    /// A transaction that was sent while it was open; it comes before the payloads.
    committed: Option<Box<Committed>>,
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
            if let Some(batch) = self.due(false) {
                return Ok(batch);
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
            if self.pending.committed.is_some() {
                self.replay()?;
            } else if let Some(data) = self.pending.again.take() {
                self.take(data)?;
            } else if let Some(payload) = self.pending.payloads.next() {
                self.payload(&payload)?;
            } else {
                return Ok(None);
            }
            if self.pending.describe.is_some() || self.pending.again.is_some() {
                return Ok(None);
            }
            if let Some(batch) = self.due(false) {
                return Ok(Some(batch));
            }
        }
    }

    fn payload(&mut self, payload: &bytes::Bytes) -> Result<()> {
        match Frame::decode(payload)? {
            Frame::Keepalive(keepalive) => {
                self.gather.keepalive(keepalive.end, self.assembler.inside());
                Ok(())
            }
            Frame::XLogData(data) => self.take(data),
        }
    }

    fn take(&mut self, data: XLogData) -> Result<()> {
        let before = self.decoder;
        let taken = match &mut self.streamed {
            Some(streamed) => streamed.take(&mut self.decoder, data.start, &data.body)?,
            None => Taken::Message(self.decoder.decode(&data.body)?),
        };
        match taken {
            Taken::Kept => Ok(()),
            Taken::Before(relation) => {
                self.decoder = before;
                self.pending.again = Some(data);
                self.feed(Message::Relation(relation), Lsn::ZERO, 0)
            }
            Taken::Message(message) => {
                if begins(&message).is_some_and(|begin| self.passes_point(begin)) {
                    self.decoder = before;
                    self.pending.again = Some(data);
                    return Ok(());
                }
                self.assembler.sent(data.at);
                self.feed(message, data.start, data.body.len())
            }
            Taken::Committed(committed) => {
                let begin = committed.commit.commit_lsn;
                self.pending.committed = Some(committed);
                self.passes_point(begin);
                Ok(())
            }
        }
    }

    /// Whether everything before a join's point has come, though no transaction ended at it: the next begins behind it.
    fn passes_point(&mut self, begin: Lsn) -> bool {
        let point =
            self.join.as_ref().map(|join| join.point).filter(|&point| begin >= point && self.gather.at() < point);
        point.inspect(|&point| self.gather.reach(point)).is_some()
    }

    /// The next message of a transaction that was sent while it was open, or its end.
    fn replay(&mut self) -> Result<()> {
        let (Some(mut committed), Some(streamed)) = (self.pending.committed.take(), &mut self.streamed) else {
            return Err(Error::bug("no transaction to replay"));
        };
        let (xid, commit) = (committed.xid, committed.commit);
        let end = commit.end_lsn;
        if committed.empty && !self.tells_empty {
            self.gather.take(0, |_| self.assembler.pass(end, xid, commit))?;
            return Ok(());
        }
        if !self.assembler.inside() {
            self.assembler.begin_streamed(end, xid, commit)?;
            self.texts.iter_mut().for_each(Texts::begin_streamed);
        }
        match committed.replay.record()? {
            Some(record) => {
                let message = committed.decode(self.decoder, &record.body)?;
                self.pending.committed = Some(committed);
                self.feed(message, record.lsn, record.body.len())
            }
            None => {
                let newer = streamed.settle(&committed);
                self.texts.iter_mut().for_each(|texts| texts.commit_streamed(&newer));
                self.gather.take(0, |changes| self.assembler.commit_streamed(end, commit, newer, changes))?;
                Ok(())
            }
        }
    }

    fn feed(&mut self, mut message: Message, lsn: Lsn, mut bytes: usize) -> Result<()> {
        if let Some(texts) = &mut self.texts {
            bytes = bytes.max(texts.print(&mut message)?);
        }
        if let Step::Describe(relation) = self.gather.feed(&mut self.assembler, message, lsn, bytes)? {
            self.pending.describe = Some(relation);
        }
        Ok(())
    }

    /// Where the next message that lies anywhere does; waits until it is here. A relation is followed by its row. Cancel-safe.
    async fn upcoming(&mut self) -> Result<Lsn> {
        if let Some(committed) = &mut self.pending.committed {
            let upcoming = committed.replay.upcoming()?;
            return upcoming
                .ok_or_else(|| Error::corrupt("a streamed transaction names a relation without a row of it"));
        }
        if let Some(again) = self.pending.again.as_ref().filter(|again| again.start != Lsn::ZERO) {
            return Ok(again.start);
        }
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
            let durable = upto.checkpoint.position.lsn;
            self.stream.confirm(self.streamed.as_mut().map_or(durable, |streamed| streamed.bound(durable)));
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
