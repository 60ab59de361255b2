//! The reading thread: lanes in turn, records to batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::Message;

use super::super::handover::Outlet;
use super::super::partitions::check_range;
use super::ends::end;
use super::lanes::{Lanes, Place};
use super::source::ForeignPosition;
use super::stops::Stops;
use super::take::{Taken, Taker};
use crate::codecs::event::foreign::{Mark, Verdict};
use crate::logic::pipeline::Batch;
use crate::model::{ChangeId, Checkpoint, Class, Error, Lsn, Meters, Phase, Result, SourcePosition, TableName};

/// Batches are cut at about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// What a change takes beside its values.
const CHANGE_BYTES: usize = 160;
/// Records of one topic before the next one's turn.
const TURN: usize = 2000;
/// Records that are looked at first, where some are needed again.
const WINDOW: i64 = 1000;
/// How long the reading rests where nothing came.
const REST: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Reader {
    pub(super) lanes: Lanes,
    pub(super) taker: Taker,
    pub(super) stops: Stops,
    pub(super) meters: Arc<Meters>,
    /// The next offset of each partition that is read.
    pub(super) next: Arc<BTreeMap<Place, i64>>,
    pub(super) moved: BTreeMap<Place, i64>,
    /// The next records of each partition, with the offset behind them.
    pub(super) ahead: BTreeMap<Place, VecDeque<(Taken, i64)>>,
}

/// What has been read since the last batch.
#[derive(Default)]
struct Piece {
    taken: Vec<Taken>,
    bytes: usize,
}

impl Reader {
    /// Reads until something fails or nobody takes the batches any more.
    pub(super) fn run(mut self, outlet: &Outlet<ForeignPosition>) {
        loop {
            match self.round(outlet) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return outlet.fail(error),
            }
        }
    }

    /// A turn for each topic; `false` when nobody wants it any more.
    fn round(&mut self, outlet: &Outlet<ForeignPosition>) -> Result<bool> {
        self.join()?;
        let mut piece = Piece::default();
        for topic in self.lanes.topics() {
            for _ in 0..TURN {
                if !self.step(&topic, &mut piece)? {
                    break;
                }
                if piece.bytes >= BATCH_BYTES && !self.hand(std::mem::take(&mut piece), outlet)? {
                    return Ok(false);
                }
            }
        }
        let (lanes, ahead) = (&self.lanes, &self.ahead);
        let at = |place: &Place| self.moved.get(place).or_else(|| self.next.get(place)).copied();
        // Where nothing is left to be read, the record has been removed.
        let ended = |place: &Place| lanes.is_current(place) && ahead.get(place).is_none_or(VecDeque::is_empty);
        self.stops.go_on(|place, offset| at(place).is_some_and(|next| next > offset) || ended(place));
        if piece.taken.is_empty() && self.moved.is_empty() && !self.stops.has_news() {
            self.lanes.serve(REST)?;
            return Ok(outlet.is_wanted());
        }
        self.lanes.serve(Duration::ZERO)?;
        self.hand(piece, outlet)
    }

    /// Begins with partitions that have appeared, and goes on with those that may be read again.
    fn join(&mut self) -> Result<()> {
        for (place, offset) in self.stops.ripe() {
            // All of its partitions, or their order would be lost; the others may have refused, too.
            self.lanes.look_again();
            for other in self.lanes.of(&place.0) {
                let from = if other == place { Some(offset) } else { self.behind(&other) };
                match self.range(&other, from) {
                    Ok(Some(from)) => self.lanes.join(&other, from)?,
                    Ok(None) => break,
                    // What is read goes on.
                    Err(error) if error.class() == Class::Transient => {
                        self.stops.put_off(&place.0);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let held = self.stops.held();
        for (place, from) in self.lanes.look()? {
            if !held.contains(&place.0)
                && let Some(from) = self.range(&place, from)?
            {
                self.lanes.join(&place, from)?;
                self.moved.insert(place, from);
            }
        }
        self.stops.leave_out(|topic| !self.lanes.wants(topic));
        for topic in self.stops.due() {
            self.count(&topic);
        }
        Ok(())
    }

    /// The offset behind what has been read of a partition.
    fn behind(&self, place: &Place) -> Option<i64> {
        let ahead = self.ahead.get(place).and_then(VecDeque::back).map(|(_, next)| *next);
        ahead.or_else(|| self.moved.get(place).or_else(|| self.next.get(place)).copied())
    }

    /// Where a partition is read from, an offset or its beginning; nowhere where its topic stops for that.
    fn range(&mut self, place: &Place, from: Option<i64>) -> Result<Option<i64>> {
        let range = match self.lanes.control.range_of(&place.0, place.1) {
            Ok(range) => range,
            Err(error) => return self.wait_before(place, from.unwrap_or(0), error, true).map(|()| None),
        };
        let from = from.unwrap_or(range.0);
        if let Err(error) = check_range(&place.0, place.1, from, range) {
            // A topic that was made anew may come to have this offset: that is for a person to decide.
            return self.wait_before(place, from, error, false).map(|()| None);
        }
        Ok(Some(from))
    }

    /// The topic stops before a record that can't be read, where that is of this topic alone.
    fn wait_before(&mut self, place: &Place, offset: i64, error: Error, soon: bool) -> Result<()> {
        if !self.stops.concerns(&error) {
            return Err(error);
        }
        if self.stops.holds(&place.0) {
            // Another partition has stopped it.
            return Ok(());
        }
        self.stops.stop(place, offset, &error, soon);
        self.hold(&place.0);
        Ok(())
    }

    /// Nothing more of a topic is taken.
    fn hold(&mut self, topic: &str) {
        self.stops.hold(topic);
        self.count(topic);
    }

    fn count(&mut self, topic: &str) {
        let at = |place: &Place| self.moved.get(place).or_else(|| self.next.get(place)).copied();
        if let Some(records) = self.lanes.behind(topic, at) {
            self.stops.count(topic, records);
        }
    }

    /// What ends the attempt where a record that was taken can't become a row: the next one stops before it.
    fn apart(&mut self, place: &Place, offset: i64, error: Error) -> Error {
        if !self.stops.concerns(&error) {
            return error;
        }
        self.stops.stop(place, offset, &error, false);
        Error::transient(format!("topic {} is stopped and the others go on", place.0))
    }

    /// Takes a topic's next record, if it is there: of its partitions' records the one that the source's log has first.
    fn step(&mut self, topic: &[Place], piece: &mut Piece) -> Result<bool> {
        for place in topic {
            // Nor after one of its partitions stopped.
            if self.stops.holds(&place.0) {
                return Ok(false);
            }
            // What was written long ago is read in its order, whichever partition arrives first.
            if !self.fill(place)? && topic.len() > 1 && !self.lanes.is_current(place) {
                return Ok(false);
            }
        }
        if topic.first().is_some_and(|place| self.stops.holds(&place.0)) {
            return Ok(false);
        }
        let Some(place) = self.first(topic).cloned() else { return Ok(false) };
        self.keep(topic, &place, piece)?;
        Ok(true)
    }

    /// Reads ahead to a partition's next record that says something; whether it is there. Where it is the end of a key,
    /// also to the one behind it.
    fn fill(&mut self, place: &Place) -> Result<bool> {
        for _ in 0..TURN {
            let ahead = self.ahead.entry(place.clone()).or_default();
            let wanted = if ahead.front().is_some_and(|(taken, _)| taken.filed.parts()) { 2 } else { 1 };
            if ahead.len() >= wanted {
                break;
            }
            let message = match self.lanes.poll(place, Duration::ZERO) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    let at = self.behind(place).unwrap_or(0);
                    self.wait_before(place, at, error, true)?;
                    break;
                }
            };
            let offset = message.offset();
            if self.stops.bars(place, offset) {
                self.hold(&place.0);
                break;
            }
            let next = offset + 1;
            let read = match self.taker.read(&message) {
                Ok(read) => read,
                Err(error) => {
                    self.wait_before(place, offset, error, true)?;
                    break;
                }
            };
            match (read, ahead.back_mut()) {
                (Some(taken), _) => ahead.push_back((taken, next)),
                (None, Some((_, behind))) => *behind = next,
                (None, None) => drop(self.moved.insert(place.clone(), next)),
            }
        }
        Ok(self.head(place).is_some())
    }

    fn head(&self, place: &Place) -> Option<&Taken> {
        self.ahead.get(place)?.front().map(|(taken, _)| taken)
    }

    /// The partition whose record comes first.
    fn first<'a>(&self, topic: &'a [Place]) -> Option<&'a Place> {
        let found = topic.iter().filter_map(|place| Some((place, self.head(place)?)));
        let ready = found.filter(|(place, taken)| topic.len() == 1 || self.is_ready(topic, place, taken));
        ready.min_by_key(|(_, taken)| taken.turn()).map(|(place, _)| place)
    }

    /// Whether a partition's next record may be taken: half of a key change waits for the other half, where that may come.
    fn is_ready(&self, topic: &[Place], place: &Place, taken: &Taken) -> bool {
        if !self.taker.needs(taken) || taken.is_overdue() {
            return true;
        }
        let behind = self.ahead.get(place).and_then(|ahead| ahead.get(1)).map(|(behind, _)| behind);
        if behind.is_some_and(|behind| behind.is_other_half(taken)) {
            return true;
        }
        let mut others = topic.iter().filter(|other| *other != place);
        if !taken.filed.parts() && others.clone().any(|other| self.is_beside(other, taken)) {
            return true;
        }
        // Partitions that are further have none for it.
        let past = |other: &Place| {
            let later = self.head(other).is_some_and(|head| head.version() > taken.version());
            later || self.taker.is_past(other, taken)
        };
        (behind.is_some() || !taken.filed.parts()) && others.all(past)
    }

    /// Whether another partition's next record is the other half.
    fn is_beside(&self, other: &Place, taken: &Taken) -> bool {
        self.head(other).is_some_and(|head| head.is_other_half(taken))
    }

    /// Takes a partition's record that has been read ahead.
    fn keep(&mut self, topic: &[Place], place: &Place, piece: &mut Piece) -> Result<()> {
        let Some((taken, next)) = self.ahead.get_mut(place).and_then(VecDeque::pop_front) else { return Ok(()) };
        let (place, offset) = taken.at();
        let kept = self.keep_this(topic, &place, taken, next, piece);
        kept.map_err(|error| self.apart(&place, offset, error))
    }

    fn keep_this(
        &mut self,
        topic: &[Place],
        place: &Place,
        mut taken: Taken,
        next: i64,
        piece: &mut Piece,
    ) -> Result<()> {
        let several = topic.len() > 1;
        if !self.taker.is_new(&taken)? {
            self.moved.insert(place.clone(), next);
            return Ok(());
        }
        let behind = self.ahead.get_mut(place).and_then(VecDeque::front_mut).map(|(behind, _)| behind);
        if let Some(behind) = behind.filter(|behind| taken.filed.parts() && behind.is_other_half(&taken)) {
            // The other half says it all; the offset moves with that.
            behind.paired = true;
            return Ok(());
        }
        if several {
            let beside = topic.iter().any(|other| other != place && self.is_beside(other, &taken));
            self.taker.part(&mut taken, beside);
        }
        let truncates = taken.filed.truncates() && several && taken.version().is_some();
        if truncates {
            self.align(topic, place, &taken, piece)?;
        }
        let late = taken.version().filter(|_| truncates && self.taker.is_late(&taken));
        let table = taken.filed.table().clone();
        self.push(taken, several, piece)?;
        self.moved.insert(place.clone(), next);
        late.map_or(Ok(()), |version| self.bring_again(place, &table, version, piece))
    }

    fn push(&mut self, taken: Taken, several: bool, piece: &mut Piece) -> Result<()> {
        if self.taker.meet(&taken, several)? {
            piece.bytes += taken.filed.size() + CHANGE_BYTES;
            piece.taken.push(taken);
        }
        Ok(())
    }

    /// What other partitions have brought from after a truncate goes with it, and is brought again behind it.
    fn bring_again(&mut self, place: &Place, table: &TableName, version: (u64, u64), piece: &mut Piece) -> Result<()> {
        for (topic, partition) in self.lanes.beside(place) {
            let other = (topic, partition);
            let Some(&upto) = self.moved.get(&other).or_else(|| self.next.get(&other)) else { continue };
            let (low, _) = self.lanes.control.range_of(&other.0, partition)?;
            let mut window = WINDOW;
            let again = loop {
                let from = upto.saturating_sub(window).max(low);
                let (mut again, mut whole, mut mark) = (Vec::new(), from == 0, Mark::default());
                self.lanes.control.read_partition(&other.0, partition, from, |message| {
                    let taken = if message.offset() < upto { self.taker.read(message)? } else { None };
                    match taken.as_ref().and_then(|taken| taken.filed.order) {
                        Some(order) if order.version > version && mark.meet(order) != Verdict::Take => {}
                        Some(order) if order.version > version => again.extend(taken),
                        Some(_) => whole = true,
                        None => {}
                    }
                    Ok(())
                })?;
                if whole {
                    break again;
                }
                if from <= low {
                    return Err(Error::blocked(format!(
                        "rows of {table} that came after all others went are needed again, and {}[{partition}] begins \
                         behind them, at offset {low}",
                        other.0
                    ))
                    .remedy("drop the table and have it read again by its connector: a new snapshot of it"));
                }
                window = window.saturating_mul(8);
            };
            for taken in again.into_iter().filter(|taken| taken.filed.table() == table) {
                self.push(taken, true, piece)?;
            }
        }
        Ok(())
    }

    /// A truncate lies in one partition and is of all: what the others have from before it is read first.
    fn align(&mut self, topic: &[Place], place: &Place, truncate: &Taken, piece: &mut Piece) -> Result<()> {
        for other in topic.iter().filter(|other| *other != place) {
            let Some(upto) = end(&self.lanes.control, &other.0, other.1)? else { continue };
            loop {
                if self.fill(other)? {
                    if self.head(other).is_some_and(|head| head.version() > truncate.version()) {
                        break;
                    }
                    self.keep(topic, other, piece)?;
                } else if self.stops.holds(&other.0) {
                    // What it would bring from before can't be waited for; the next attempt holds the topic before this.
                    return Err(Error::transient(format!("topic {} is stopped and the others go on", other.0)));
                } else if self.moved.get(other).or_else(|| self.next.get(other)).is_some_and(|&at| at >= upto) {
                    break;
                } else {
                    self.lanes.serve(REST)?;
                }
            }
        }
        Ok(())
    }

    /// Makes changes of what was read and hands them over with their offsets.
    fn hand(&mut self, piece: Piece, outlet: &Outlet<ForeignPosition>) -> Result<bool> {
        let mut changes = Vec::with_capacity(piece.taken.len());
        for taken in &piece.taken {
            match self.taker.change(taken) {
                Ok(change) => changes.push(change),
                Err(error) => {
                    let (place, offset) = taken.at();
                    return Err(self.apart(&place, offset, error));
                }
            }
        }
        if let Some(change) = changes.last() {
            self.meters.newest_received.set(change.origin.at.unix_micros());
        }
        let moved = std::mem::take(&mut self.moved);
        Arc::make_mut(&mut self.next).extend(moved.iter().map(|(place, next)| (place.clone(), *next)));
        let offsets = moved.into_iter().map(|((topic, partition), next)| (topic, partition, next)).collect();
        let upto = ForeignPosition {
            checkpoint: checkpoint(self.taker.number, offsets),
            next: Arc::clone(&self.next),
            notes: self.taker.notes().into_iter().chain(self.stops.notes()).collect(),
            held: self.stops.held(),
            stopped: self.stops.shown(),
        };
        let batch = Batch { changes, bytes: piece.bytes, upto: Some(upto) };
        Ok(outlet.hand(batch))
    }
}

/// What the warehouse stores: the number of the last change, and the offsets.
pub(super) fn checkpoint(number: u64, offsets: Vec<(String, i32, i64)>) -> Checkpoint {
    let lsn = Lsn::new(number);
    Checkpoint {
        position: SourcePosition { system_id: 0, timeline: 0, lsn },
        change: ChangeId { commit: lsn, seq: 0 },
        phase: Phase::Stream,
        offsets,
        followed: None,
    }
}

/// Refuses a warehouse that was filled from elsewhere; the number to go on from.
pub(super) fn resume(stored: Option<&Checkpoint>) -> Result<u64> {
    match stored {
        None => Ok(0),
        Some(stored) if stored.position.system_id == 0 => Ok(stored.change.commit.get()),
        Some(_) => Err(Error::blocked("the warehouse has progress of this pipeline that is no reading of such topics")
            .remedy("it was filled from elsewhere: give the pipeline another name")),
    }
}
