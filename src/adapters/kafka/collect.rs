//! The events that a marker promises, out of their partitions and back to changes.
//!
//! Decoding costs more than anything else between Kafka and a warehouse, and partitions are independent of one another:
//! where a marker covers many records, several threads read a share of its partitions each. What they find is put in
//! order afterwards.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use super::partitions::{Event, Loan, Span};
use super::reader::{Choice, Reader, foreign, late, place, stamp, texts};
use super::source::Homes;
use crate::codecs::event::{Decoder, Format, Modes, Stamp, message_id};
use crate::model::{Change, ChangeId, Error, Result, Table};

/// Fewer records are not worth a thread.
const MANY: u64 = 4_000;
/// More threads would take from the warehouse what they give to the reading.
const HANDS: usize = 4;
/// How long one look into a queue waits when all are empty; another may fill meanwhile.
const LOOK: Duration = Duration::from_millis(2);

/// What is known of table versions, by their names.
pub(super) struct Versions {
    /// What the configuration says of the events, where it does.
    pub(super) format: Option<Format>,
    pub(super) known: HashMap<String, (Arc<Table>, Modes)>,
}

/// One of those that read side by side.
#[derive(Default)]
pub(super) struct Hand {
    /// With their versions' names.
    decoders: Vec<(String, Decoder)>,
    places: HashMap<String, usize>,
    /// The place of the last that was asked for: neighbours are mostly of one table.
    last: usize,
    changes: Vec<Change>,
    /// Events of unknown table versions, which wait until the reading is done.
    waiting: Vec<Waiting>,
}

/// An event of a table version that was not known when it was met.
struct Waiting {
    headers: OwnedHeaders,
    value: Vec<u8>,
    topic: String,
    place: String,
}

/// What is wanted of the records.
struct Window<'a> {
    versions: &'a Versions,
    choice: &'a Choice,
    /// The last change of the marker before, and of this one.
    after: ChangeId,
    last: ChangeId,
    /// The first change that may be met in a topic that is new to the warehouse.
    begun: ChangeId,
    /// The epoch of the marker's writer.
    epoch: u64,
}

/// A hand for every second processor.
pub(super) fn hands() -> Vec<Hand> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (0..(processors / 2).clamp(1, HANDS)).map(|_| Hand::default()).collect()
}

impl Reader {
    /// Reads the spans and keeps the changes after the last marker's and up to this one's.
    pub(super) fn collect(&mut self, spans: &[Span], last: ChangeId, changes: &mut Vec<Change>) -> Result<()> {
        let (mut fresh, mut starts) = (Vec::new(), Vec::new());
        for span in spans {
            let (topic, partition) = (span.topic.as_str(), span.partition);
            if !self.partitions.has(topic, partition) {
                let (from, new) = self.choice.from(topic, partition);
                starts.push((topic, partition, from));
                fresh.extend(new.then_some((topic, partition)));
                self.tell_later(topic, partition);
            }
        }
        self.partitions.join_all(&starts)?;
        let window = Window {
            versions: &self.tables.versions,
            choice: &self.choice,
            after: self.at.change,
            last,
            begun: self.begun,
            epoch: self.epoch,
        };
        let homes = self.only.is_some().then_some(&self.homes);
        let loans = self.partitions.lend(spans)?.into_iter().map(|loan| {
            let first = fresh.contains(&(loan.span.topic.as_str(), loan.span.partition));
            Share { loan, first }
        });
        side_by_side(loans.collect(), &mut self.hands, |hand, Share { loan, first }, wait| {
            let before = hand.changes.len();
            let (topic, partition) = (loan.span.topic.clone(), loan.span.partition);
            let moved = loan.some(wait, |event| hand.take(&window, (&topic, partition), first, event))?;
            homes.iter().for_each(|homes| at_home(homes, &topic, hand.changes.get(before..).unwrap_or_default()));
            Ok(moved)
        })?;
        let mut waiting = Vec::new();
        for hand in &mut self.hands {
            changes.append(&mut hand.changes);
            waiting.append(&mut hand.waiting);
        }
        for Waiting { headers, value, topic, place } in waiting {
            let stamp = stamp(headers.as_borrowed()).ok_or_else(|| foreign(&place))?;
            self.meet(stamp.table)?;
            let hand = self.hands.first_mut().ok_or_else(|| Error::bug("nobody reads"))?;
            let change = hand.decode(&self.tables.versions, &stamp, &value, || place.clone());
            let change = change.ok_or_else(|| self.tables.unknown(&place, stamp.table))??;
            self.home(&topic, change.as_slice());
            changes.extend(change);
        }
        Ok(())
    }
}

/// A partition that one of the hands reads.
struct Share<'a> {
    loan: Loan<'a>,
    /// Whether the next record is the first of a topic that is new to the warehouse.
    first: bool,
}

/// Each partition to one of the hands, those with the most records first and to the hand that has the least to do.
fn side_by_side(
    mut shares: Vec<Share<'_>>,
    hands: &mut [Hand],
    work: impl Fn(&mut Hand, &mut Share<'_>, Duration) -> Result<bool> + Sync,
) -> Result<()> {
    let records: u64 = shares.iter().map(|share| share.loan.length()).sum();
    let (Some((first, others)), work) = (hands.split_first_mut(), &work) else { return Ok(()) };
    if records < MANY || shares.len() < 2 || others.is_empty() {
        return in_turn(shares, first, work);
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.loan.length()));
    let mut lots: Vec<(u64, Vec<Share<'_>>)> = Vec::new();
    lots.resize_with((others.len() + 1).min(shares.len()), Default::default);
    for share in shares {
        if let Some((length, lot)) = lots.iter_mut().min_by_key(|(length, _)| *length) {
            *length += share.loan.length();
            lot.push(share);
        }
    }
    thread::scope(|scope| {
        let mut lots = lots.into_iter().map(|(_, lot)| lot);
        let own = lots.next().unwrap_or_default();
        let others = others.iter_mut().zip(lots);
        let others: Vec<_> = others.map(|(hand, lot)| scope.spawn(move || in_turn(lot, hand, work))).collect();
        let done = in_turn(own, first, work);
        let ends =
            others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(Error::bug("a reader panicked"))));
        ends.fold(done, Result::and)
    })
}

/// One hand reads its partitions to the end, of each what has arrived: while it works on one, the others' queues fill.
fn in_turn(
    mut shares: Vec<Share<'_>>,
    hand: &mut Hand,
    work: &impl Fn(&mut Hand, &mut Share<'_>, Duration) -> Result<bool>,
) -> Result<()> {
    shares.retain(|share| !share.loan.is_done());
    while !shares.is_empty() {
        let mut moved = false;
        for share in &mut shares {
            moved |= work(hand, share, Duration::ZERO)?;
        }
        shares.retain(|share| !share.loan.is_done());
        if !moved && let Some(share) = shares.first_mut() {
            work(hand, share, LOOK)?;
            shares.rotate_left(1);
        }
    }
    Ok(())
}

impl Hand {
    /// Keeps what the record says, where the window has it.
    fn take(
        &mut self,
        window: &Window<'_>,
        (topic, partition): (&str, i32),
        first: &mut bool,
        event: Event<'_>,
    ) -> Result<()> {
        let Some(value) = event.value else { return Ok(()) };
        let place = || place(topic, partition, event.offset);
        let Some(stamp) = event.headers.and_then(stamp) else {
            // A logical message is of no table.
            let message = event.headers.and_then(|headers| message_id(texts(headers)));
            return message.map(drop).ok_or_else(|| foreign(&place()));
        };
        // What its writer's own markers do not speak for, the one of this marker has written again.
        if stamp.epoch < window.epoch {
            return Ok(());
        }
        // An event that waited has been met where it did.
        if let Some(own) = stamp.waited.filter(|own| *own != topic && !window.choice.would(own)) {
            return Err(unmet(&place(), own));
        }
        if stamp.waited.is_none() && std::mem::take(first) && stamp.id <= window.begun {
            if !stamp.id.of_snapshot() {
                return Err(late(topic));
            }
            // What an interrupted snapshot left behind looks the same as a topic that was not asked for until now.
            tracing::warn!(
                topic,
                "begins with rows of a snapshot from before the warehouse's position; if `topics` \
                matches more than it did, this topic's older rows are missing: start over with an empty warehouse"
            );
        }
        if stamp.id <= window.after || stamp.id > window.last {
            return Ok(());
        }
        match self.decode(window.versions, &stamp, value, place) {
            Some(change) => self.changes.extend(change?),
            None => self.waiting.push(Waiting {
                headers: event.headers.map(BorrowedHeaders::detach).unwrap_or_default(),
                value: value.to_vec(),
                topic: topic.to_owned(),
                place: place(),
            }),
        }
        Ok(())
    }

    /// The change of an event; `None` when its table version is not known.
    fn decode(
        &mut self,
        versions: &Versions,
        stamp: &Stamp<'_>,
        value: &[u8],
        place: impl FnOnce() -> String,
    ) -> Option<Result<Option<Change>>> {
        if self.decoders.get(self.last).is_none_or(|(version, _)| version != stamp.table) {
            self.last = self.place(versions, stamp.table)?;
        }
        let (_, decoder) = self.decoders.get_mut(self.last)?;
        if versions.format.is_some_and(|format| format != decoder.format()) {
            let (place, found) = (place(), decoder.format().name());
            return Some(Err(Error::blocked(format!("{place}: an event of {} is in the format {found}", stamp.table))
                .remedy(format!(
                    "set source.kafka.format = \"{found}\", or remove it: each event's format is known"
                ))));
        }
        Some(decoder.decode(stamp, Some(value)).map_err(|error| {
            Error::corrupt(format!("{}: an event of {} can't be read: {error}", place(), stamp.table))
        }))
    }

    /// The place of a version's decoder, which is made at first sight.
    fn place(&mut self, versions: &Versions, version: &str) -> Option<usize> {
        if let Some(&place) = self.places.get(version) {
            return Some(place);
        }
        let (table, modes) = versions.known.get(version)?;
        self.decoders.push((version.to_owned(), Decoder::new(Arc::clone(table), modes)));
        self.places.insert(version.to_owned(), self.decoders.len() - 1);
        Some(self.decoders.len() - 1)
    }
}

/// Notes where the changes' tables have their events.
pub(super) fn at_home(homes: &Homes, topic: &str, changes: &[Change]) {
    let mut homes = homes.lock().unwrap_or_else(PoisonError::into_inner);
    for run in changes.chunk_by(|a, b| Arc::ptr_eq(&a.table, &b.table)) {
        let table = run.first().map(|change| &change.table.name);
        if let Some(table) = table.filter(|table| homes.get(*table).is_none_or(|home| home != topic)) {
            homes.insert(table.clone(), topic.to_owned());
        }
    }
}

/// The refusal of an event that waited as one of a topic that is not read.
fn unmet(place: &str, own: &str) -> Error {
    Error::blocked(format!("{place}: the event waited as one of topic {own}, which is not read"))
        .remedy(format!("add {own} to `topics`, and start over with an empty warehouse"))
}
