//! A stopped table goes on: what waited is told in its own topic, and then what comes.
//!
//! ```text
//! topic of what waits ─▶ changes of the table, once each ─▶ today's rules ─▶ encoder ─▶ its topic ─▶ marker ─▶ note
//! ```
//!
//! It goes portion by portion between batches: the other tables go on meanwhile, and what comes of this one waits
//! behind the rest. Only the last few are told without a batch between, and then the table is as any other.
//!
//! Why this is safe. Only what the last complete position covers is told: what lies behind it comes again from the
//! source. What was written twice, by a writer that began again, has the same ids, and ids rise. Each portion is a
//! batch under a marker that says the last complete position once more, so a reader takes notice of its offsets and
//! drops the events themselves, which it has had in their place. How far it has come is noted after each portion: a
//! crash repeats at most the last one, with the same ids; in Kafka transactions the note is of the portion's, and
//! nothing is repeated. Where a writer before has left a transaction of the source unfinished that goes on behind what
//! is there, that much of it is covered too, and the marker keeps saying so.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::Message;
use tokio::time::Instant;

use super::apart::Sent;
use super::control::Span;
use super::held::{Barred, Label, label};
use super::ledger::End;
use super::sink::{KafkaSink, Telling, Unsealed};
use super::topics::blocking;
use crate::codecs::event::{Cause, TableRecord, decode_held, decode_table, encode_hold, tables_topic, version_name};
use crate::logic::project::{Projection, Rule};
use crate::model::{Change, ChangeId, Error, PgTimestamp, Result, Table, TableName};

/// Bytes of what waits that are told at a time.
const PORTION: usize = 4 << 20;
/// With at most so many records left, they are told before the next batch is taken.
const FEW: i64 = 5_000;

/// A release under way.
pub(super) struct Release {
    /// The name the table is told under.
    told: TableName,
    /// The source's name.
    source: TableName,
    /// The next offset in the topic of what waits.
    next: i64,
    /// Where this round ends.
    upto: i64,
    /// The last change that may be told.
    bound: ChangeId,
    /// The last change that was told.
    last: ChangeId,
    /// The shapes of the table by their versions' names.
    versions: HashMap<String, Arc<Table>>,
    /// By version and by what had been masked.
    again: HashMap<(String, Vec<String>), (Arc<Table>, Projection)>,
    count: u64,
}

/// A change that waited.
struct Piece {
    offset: i64,
    id: ChangeId,
    version: String,
    /// The topic it was of then.
    topic: String,
    value: Bytes,
}

/// How a portion ended.
enum Ended {
    /// There is more.
    More,
    /// All is told.
    Done,
    /// The table stays stopped at this offset.
    Refused(i64, Cause, Error),
}

impl KafkaSink {
    /// Does a portion of what is due; whether more can be done at once.
    pub(super) async fn tend_tables(&mut self) -> Result<bool> {
        let mut release = match self.held.release.take() {
            Some(release) => release,
            None => match self.held.ripe() {
                Some(told) => self.begin_release(told).await?,
                None => return Ok(false),
            },
        };
        let began = Instant::now();
        match self.rounds(&mut release).await? {
            Ended::More => {
                self.held.release = Some(release);
                self.held.pause = Instant::now() + began.elapsed();
                return Ok(true);
            }
            Ended::Done => self.let_go(release).await?,
            Ended::Refused(offset, cause, error) => self.stay(release, offset, cause, error).await?,
        }
        Ok(self.held.ripe().is_some())
    }

    async fn begin_release(&mut self, told: TableName) -> Result<Release> {
        let stop = self.held.tables.get_mut(&told).expect("a table that is stopped");
        stop.again = None;
        let (source, next, last) = (stop.source.clone(), stop.hold.from, stop.hold.released);
        let (control, tables) = (Arc::clone(&self.held.control), tables_topic(&self.options.events.prefix));
        let versions = blocking(move || {
            let mut versions: HashMap<String, Arc<Table>> = HashMap::new();
            control.read(&tables, 0, |message| {
                let record = decode_table(message.payload().unwrap_or_default())
                    .map_err(|error| Error::corrupt(format!("{tables} at offset {}: {error}", message.offset())))?;
                if let TableRecord::Version(table, _) = record {
                    versions.insert(version_name(&table), Arc::new(table));
                }
                Ok(())
            })?;
            Ok(versions)
        })
        .await?;
        // The end of their transaction may not have reached the tables topic.
        let versions = versions.into_iter().chain(self.held.versions.clone()).collect();
        let again = HashMap::new();
        let (upto, bound) = self.covered().await?;
        Ok(Release { told, source, next, upto, bound, last, versions, again, count: 0 })
    }

    /// Where the topic of what waits ends, and the last change that may be told of what lies below.
    async fn covered(&self) -> Result<(i64, ChangeId)> {
        self.ledger.idle().await?;
        let complete = self.complete.as_ref().map_or(ChangeId::ZERO, |complete| complete.change);
        Ok((self.held.end().await?.max(self.held.written(&self.ledger)), complete.max(self.held.had)))
    }

    /// A portion, and all that is left when that is little.
    async fn rounds(&mut self, release: &mut Release) -> Result<Ended> {
        loop {
            if let Some((offset, cause, error)) = self.portion(release).await? {
                return Ok(Ended::Refused(offset, cause, error));
            }
            if release.next < release.upto {
                return Ok(Ended::More);
            }
            (release.upto, release.bound) = self.covered().await?;
            if release.next >= release.upto {
                return Ok(Ended::Done);
            }
            if release.upto - release.next > FEW {
                return Ok(Ended::More);
            }
        }
    }

    /// Tells a portion and notes how far it is; where and why it was refused, if it was.
    async fn portion(&mut self, release: &mut Release) -> Result<Option<(i64, Cause, Error)>> {
        let (pieces, next) = self.read_waiting(release).await?;
        let (mut sent, mut told, mut refused) = (Sent::default(), 0, None);
        let complete = self.complete.clone().filter(|complete| complete.change >= self.held.had);
        let end = match complete {
            Some(complete) => Some(End::Complete(complete)),
            None => Some(End::Inside(self.held.had)).filter(|_| self.held.had > ChangeId::ZERO),
        };
        if let Some(end) = end.filter(|_| !pieces.is_empty()) {
            let number = self.ledger.begin();
            let mut unsealed = Unsealed::of(&self.ledger);
            for piece in pieces {
                let (id, offset) = (piece.id, piece.offset);
                if id <= release.last || id > release.bound {
                    continue;
                }
                match self.tell_again(release, piece, number, &mut sent).await {
                    Ok(()) => (release.last, told) = (id, told + 1),
                    Err(Barred::One(cause, error)) => {
                        refused = Some((offset, cause, error));
                        break;
                    }
                    Err(Barred::All(error)) => {
                        self.ledger.fail(&error);
                        return Err(error);
                    }
                }
            }
            release.next = refused.as_ref().map_or(next, |(offset, ..)| *offset);
            let stop = self.held.tables.get_mut(&release.told).expect("a table that is stopped");
            (stop.hold.from, stop.hold.released) = (release.next, release.last);
            let record = encode_hold(&release.source, Some(&stop.hold));
            if told > 0 && self.outlet.transactional() {
                self.announce(&record, "").await?;
            }
            unsealed.sealed();
            let delivery = self.ledger.seal(sent.records, sent.bytes, end);
            self.outlet.end(number).await?;
            delivery.await?;
            if told > 0 && !self.outlet.transactional() {
                self.announce(&record, &format!("noting how far {} has gone on", release.source)).await?;
            }
            self.held.meters.table_held(&release.told, -i64::try_from(told).unwrap_or(0));
        }
        release.count += told;
        release.next = refused.as_ref().map_or(next, |(offset, ..)| *offset);
        Ok(refused)
    }

    /// Reads what waits of the table, about a portion of it; and where to go on.
    async fn read_waiting(&self, release: &Release) -> Result<(Vec<Piece>, i64)> {
        let (control, topic) = (Arc::clone(&self.held.control), self.held.topic.clone());
        let (next, upto, name) = (release.next, release.upto, release.source.to_string());
        let sure = self.held.written(&self.ledger);
        if next >= upto {
            return Ok((Vec::new(), next));
        }
        blocking(move || {
            let mut pieces = Vec::new();
            let next = control.read_some(&topic, Span { from: next, sure, upto }, PORTION, |message| {
                let offset = message.offset();
                let Label { id, version, topic: own, key } = label(message).ok_or_else(|| {
                    Error::blocked(format!("{topic} at offset {offset} holds a record of another program"))
                        .remedy("nothing else may write to it")
                })?;
                if key == name {
                    let value = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    pieces.push(Piece { offset, id, version, topic: own, value });
                }
                Ok(())
            })?;
            Ok((pieces, next))
        })
        .await
    }

    /// Tells a change that waited, under the rules of now.
    async fn tell_again(
        &mut self,
        release: &mut Release,
        piece: Piece,
        number: u64,
        sent: &mut Sent,
    ) -> Result<(), Barred> {
        let place = || format!("{} at offset {}", self.held.topic, piece.offset);
        let waiting = decode_held(&piece.value).map_err(|error| Error::corrupt(format!("{}: {error}", place())))?;
        let kind = (piece.version, waiting.masked);
        if !release.again.contains_key(&kind) {
            let shape = release.versions.get(&kind.0).ok_or_else(|| {
                Error::blocked(format!("{}: there is no table version {}", place(), kind.0))
                    .remedy("the tables topic lost records: start over under another prefix, with a new snapshot")
            })?;
            let table = Arc::new(Table { name: release.source.clone(), ..Table::clone(shape) });
            let rules = Rule::of(&self.options.rules, &release.source).map(|rule| rule.again(&table, &kind.1));
            let rules = rules.into_iter().collect();
            let projection = Projection::new(rules, self.options.origins.clone());
            release.again.insert(kind.clone(), (table, projection));
        }
        let (table, projection) = release.again.get_mut(&kind).expect("it has just been made");
        let (id, origin, op) = (piece.id, waiting.origin, waiting.op);
        let mut change = Change { id, origin, table: Arc::clone(table), op };
        projection.apply(std::slice::from_mut(&mut change)).map_err(Barred::one(Cause::Rule))?;
        self.tell(&change, number, PgTimestamp::now(), Telling::Waited(&piece.topic), sent).await
    }

    /// The table stays stopped where it stands.
    async fn stay(&mut self, release: Release, offset: i64, cause: Cause, error: Error) -> Result<()> {
        let retry = self.held.retry;
        let stop = self.held.tables.get_mut(&release.told).expect("a table that is stopped");
        let (what, remedy) = (error.what(), error.advice().unwrap_or("see the log").to_owned());
        let other = stop.hold.what != what || stop.hold.remedy != remedy || stop.hold.cause != cause;
        (stop.hold.cause, stop.hold.what, stop.hold.remedy) = (cause, what, remedy);
        stop.hold.from = offset;
        stop.again = cause.may_heal().then(|| Instant::now() + retry);
        stop.said &= !other;
        let hold = stop.hold.clone();
        if other || release.count > 0 {
            self.note(&release.source, Some(&hold)).await?;
        }
        self.held.meters.table_because(&release.told, hold.what, hold.remedy);
        self.held.say(&release.told);
        Ok(())
    }

    /// The table is as any other from here on.
    async fn let_go(&mut self, release: Release) -> Result<()> {
        let Release { told, source, count, .. } = release;
        self.note(&source, None).await?;
        self.held.tables.remove(&told);
        self.held.meters.table_goes_on(&told);
        tracing::info!(table = %told, changes = count, "goes on: what waited has been told");
        Ok(())
    }
}
