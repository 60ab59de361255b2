//! The reading thread: lanes in turn, records to batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::Message;
use tokio::sync::{Semaphore, mpsc};

use super::ends::end;
use super::lanes::{Lanes, Place};
use super::source::{ForeignPosition, Handed};
use super::take::{Taken, Taker};
use crate::logic::pipeline::Batch;
use crate::model::{ChangeId, Checkpoint, Error, Lsn, Meters, Phase, Result, SourcePosition};

/// Batches are cut at about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// What a change takes beside its values.
const CHANGE_BYTES: usize = 160;
/// Records of one topic before the next one's turn.
const TURN: usize = 2000;
/// How long the reading rests where nothing came.
const REST: Duration = Duration::from_millis(20);

/// Where batches go.
pub(super) struct Outlet {
    pub(super) batches: mpsc::Sender<Handed>,
    pub(super) room: Arc<Semaphore>,
    pub(super) kbytes: u32,
    pub(super) runtime: tokio::runtime::Handle,
}

/// See the module.
pub(super) struct Reader {
    pub(super) lanes: Lanes,
    pub(super) taker: Taker,
    pub(super) meters: Arc<Meters>,
    /// The next offset of each partition that is read.
    pub(super) next: Arc<BTreeMap<Place, i64>>,
    pub(super) moved: BTreeMap<Place, i64>,
    /// The next record of each partition, with the offset behind it.
    pub(super) ahead: BTreeMap<Place, (Taken, i64)>,
}

/// What has been read since the last batch.
#[derive(Default)]
struct Piece {
    taken: Vec<Taken>,
    bytes: usize,
}

impl Reader {
    /// Reads until something fails or nobody takes the batches any more.
    pub(super) fn run(mut self, outlet: &Outlet) {
        loop {
            match self.round(outlet) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return drop(outlet.batches.blocking_send(Err(error))),
            }
        }
    }

    /// A turn for each topic; `false` when nobody wants it any more.
    fn round(&mut self, outlet: &Outlet) -> Result<bool> {
        for (place, from) in self.lanes.look()? {
            self.moved.insert(place, from);
        }
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
        if piece.taken.is_empty() && self.moved.is_empty() {
            self.lanes.serve(REST)?;
            return Ok(!outlet.batches.is_closed());
        }
        self.lanes.serve(Duration::ZERO)?;
        self.hand(piece, outlet)
    }

    /// Takes a topic's next record, if it is there: of its partitions' records the one that the source's log has first.
    fn step(&mut self, topic: &[Place], piece: &mut Piece) -> Result<bool> {
        for place in topic {
            // What was written long ago is read in its order, whichever partition arrives first.
            if !self.fill(place)? && topic.len() > 1 && !self.lanes.is_current(place) {
                return Ok(false);
            }
        }
        let Some(place) = self.first(topic).cloned() else { return Ok(false) };
        self.keep(&place, topic.len() > 1, piece)?;
        Ok(true)
    }

    /// Reads ahead to a partition's next record that says something; whether it is there.
    fn fill(&mut self, place: &Place) -> Result<bool> {
        for _ in 0..TURN {
            if self.ahead.contains_key(place) {
                return Ok(true);
            }
            let Some(message) = self.lanes.poll(place, Duration::ZERO)? else { return Ok(false) };
            let next = message.offset() + 1;
            match self.taker.read(&message)? {
                Some(taken) => drop(self.ahead.insert(place.clone(), (taken, next))),
                None => drop(self.moved.insert(place.clone(), next)),
            }
        }
        Ok(self.ahead.contains_key(place))
    }

    /// The partition whose record comes first.
    fn first<'a>(&self, topic: &'a [Place]) -> Option<&'a Place> {
        let found = topic.iter().filter_map(|place| Some((place, &self.ahead.get(place)?.0)));
        let ready = found.filter(|(_, taken)| topic.len() == 1 || !self.taker.waits(taken));
        ready.min_by_key(|(_, taken)| taken.turn()).map(|(place, _)| place)
    }

    /// Takes a partition's record that has been read ahead.
    fn keep(&mut self, place: &Place, several: bool, piece: &mut Piece) -> Result<()> {
        let Some((mut taken, next)) = self.ahead.remove(place) else { return Ok(()) };
        if taken.filed.truncates() {
            self.align(place, &taken, piece)?;
        }
        if self.taker.meet(&mut taken, several)? {
            piece.bytes += taken.filed.size() + CHANGE_BYTES;
            piece.taken.push(taken);
        }
        self.moved.insert(place.clone(), next);
        Ok(())
    }

    /// A truncate lies in one partition and is of all: what the others have from before it is read first.
    fn align(&mut self, place: &Place, truncate: &Taken, piece: &mut Piece) -> Result<()> {
        let Some(order) = truncate.filed.order else { return Ok(()) };
        for other in self.lanes.beside(place) {
            let Some(upto) = end(&self.lanes.control, &other.0, other.1)? else { continue };
            loop {
                if self.fill(&other)? {
                    let read = self.ahead.get(&other).and_then(|(taken, _)| taken.filed.order);
                    if read.is_some_and(|other| other.version > order.version) {
                        break;
                    }
                    self.keep(&other, true, piece)?;
                } else if self.moved.get(&other).or_else(|| self.next.get(&other)).is_some_and(|&at| at >= upto) {
                    break;
                } else {
                    self.lanes.serve(REST)?;
                }
            }
        }
        Ok(())
    }

    /// Makes changes of what was read and hands them over with their offsets.
    fn hand(&mut self, piece: Piece, outlet: &Outlet) -> Result<bool> {
        let mut changes = Vec::with_capacity(piece.taken.len());
        for taken in &piece.taken {
            changes.push(self.taker.change(taken)?);
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
            notes: self.taker.notes(),
        };
        let batch = Batch { changes, bytes: piece.bytes, upto: Some(upto) };
        let kbytes = u32::try_from(batch.bytes / 1024).unwrap_or(u32::MAX).clamp(1, outlet.kbytes);
        let room = outlet.runtime.block_on(Arc::clone(&outlet.room).acquire_many_owned(kbytes));
        Ok(room.is_ok_and(|room| outlet.batches.blocking_send(Ok((batch, room))).is_ok()))
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
