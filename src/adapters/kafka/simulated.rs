//! The transactions, their ledger and the order of a start in seeded schedules, against a model of brokers with
//! transactions: records that are refused, commits whose outcome nobody hears of or that arrive late, writers that die,
//! sleep and are replaced, and go on while they are.
//!
//! # The model's rules, and the tests against real brokers that show them (`tests/live`)
//!
//! | rule | shown by |
//! |---|---|
//! | who takes a transactional id over aborts what is open and shuts out the one before | `brokers::who_takes_over_aborts_what_is_open_and_shuts_out_the_one_before` |
//! | readers of committed records see a transaction whole or not at all, in the order of offsets | the same |
//! | a commit without an answer has happened or has not | `brokers::a_commit_whose_answer_stays_out_has_happened_or_has_not_and_the_successor_can_tell` |

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::control::Marked;
use super::ledger::{Delivery, End, Ledger, Route};
use super::marker::{self, Marker};
use super::options::Own;
use super::producer::{Placed, Reports, Tag};
use super::start::{Before, succeed};
use super::transaction::{Action, Event, Limits, Part, Transaction};
use crate::model::{ChangeId, Checkpoint, Lsn, Phase, Result, SourcePosition};

const LIMITS: Limits = Limits { bytes: 60, age: Duration::from_millis(50), small: 10, quiet: Duration::from_millis(5) };
/// Changes that the source has.
const CHANGES: u64 = 40;
/// Where markers lie; changes lie in those before it.
const MARKERS: usize = 2;
const SEEDS: u64 = 3000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
enum Value {
    Change(u64),
    Marker { upto: u64, offsets: Vec<(i32, i64)> },
}

/// Brokers with one transactional id.
#[derive(Default)]
struct Brokers {
    partitions: [Vec<(usize, Value)>; MARKERS + 1],
    fates: Vec<Fate>,
    epoch: u64,
    /// The transaction that is open.
    open: Option<usize>,
    /// Ends of transactions that are on their way.
    late: Vec<(u64, usize)>,
    commits: u64,
}

impl Brokers {
    /// Shuts out the writer before, whose open transaction is aborted.
    fn init(&mut self) -> u64 {
        self.end(Fate::Aborted);
        self.epoch += 1;
        self.epoch
    }

    fn end(&mut self, fate: Fate) {
        if let Some(open) = self.open.take() {
            self.fates[open] = fate;
        }
    }

    /// `None` for one that is shut out.
    fn append(&mut self, epoch: u64, partition: usize, value: Value) -> Option<i64> {
        if epoch != self.epoch {
            return None;
        }
        let open = *self.open.get_or_insert_with(|| {
            self.fates.push(Fate::Open);
            self.fates.len() - 1
        });
        self.partitions[partition].push((open, value));
        i64::try_from(self.partitions[partition].len() - 1).ok()
    }

    fn commit(&mut self, epoch: u64, transaction: usize) -> bool {
        let fits = epoch == self.epoch && self.open == Some(transaction);
        if fits {
            self.end(Fate::Committed);
            self.commits += 1;
        }
        fits
    }

    fn committed(&self, partition: usize) -> impl Iterator<Item = (i64, &Value)> {
        let all = (0..).zip(&self.partitions[partition]);
        all.filter(|(_, (of, _))| self.fates[*of] == Fate::Committed).map(|(offset, (_, value))| (offset, value))
    }

    /// The position of the last marker that a reader sees.
    fn position(&self) -> u64 {
        self.committed(MARKERS)
            .filter_map(|(_, v)| if let Value::Marker { upto, .. } = v { Some(*upto) } else { None })
            .last()
            .unwrap_or(0)
    }

    /// The last marker that a reader sees.
    fn marked(&self) -> Option<Marked> {
        let upto = Some(self.position()).filter(|upto| *upto > 0)?;
        let writer = marker::Writer { epoch: self.epoch, ..marker::Writer::default() };
        let marker = Marker { checkpoint: checkpoint(upto), inside: None, writer };
        Some(Marked { marker, offset: 0, pipeline: "shop".into() })
    }

    /// A reader that believes the markers has each change once, in order, and no more than they say.
    fn judge(&self) {
        let mut ends = [0; MARKERS];
        let mut before = 0;
        for (_, value) in self.committed(MARKERS) {
            let Value::Marker { upto, offsets } = value else { panic!("not a marker") };
            assert!(*upto > before, "a marker goes from {before} to {upto}");
            before = *upto;
            for (partition, next) in offsets {
                ends[*partition as usize] = *next;
            }
            let mut seen = Vec::new();
            for (partition, end) in ends.iter().enumerate() {
                let below = self.committed(partition).take_while(|(offset, _)| offset < end);
                let of: Vec<u64> =
                    below.filter_map(|(_, v)| if let Value::Change(n) = v { Some(*n) } else { None }).collect();
                assert!(of.is_sorted(), "{of:?}");
                seen.extend(of);
            }
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(1..=*upto), "up to {upto}: {seen:?}");
        }
        let count: usize = (0..MARKERS).map(|partition| self.committed(partition).count()).sum();
        assert_eq!(count as u64, before, "records that no marker speaks for");
    }
}

/// A process that writes.
struct Writer {
    epoch: u64,
    transaction: Transaction,
    ledger: Ledger,
    actions: VecDeque<Action>,
    parcel: Option<(u64, Vec<u64>)>,
    /// The batch that has begun: its number, how many changes were handed over, how many follow.
    batch: Option<(u64, usize, usize)>,
    /// The next change of the source.
    next: u64,
    unconfirmed: Vec<(Tag, Placed)>,
    deliveries: VecDeque<(u64, Delivery)>,
    now: Duration,
    over: bool,
}

/// A writer that begins, beside the one before.
struct Beginning<'a>(Mutex<(&'a mut Brokers, Option<&'a mut Writer>, &'a mut StdRng)>);

impl Beginning<'_> {
    /// The one before does a little.
    fn wait(&self) {
        let (brokers, before, random) = &mut *self.0.lock().unwrap();
        if let Some(before) = before {
            (0..random.random_range(0..6)).for_each(|_| before.step(brokers, random, true));
        }
    }
}

impl Before for Beginning<'_> {
    async fn marker(&self) -> Result<Option<Marked>> {
        self.wait();
        Ok(self.0.lock().unwrap().0.marked())
    }

    async fn shut_out(&self) -> Result<()> {
        self.wait();
        self.0.lock().unwrap().0.init();
        Ok(())
    }
}

impl Writer {
    /// Begins as the product does; the one before goes on wherever this one waits.
    fn start(brokers: &mut Brokers, before: Option<&mut Writer>, random: &mut StdRng) -> Writer {
        let shared = Beginning(Mutex::new((&mut *brokers, before, random)));
        let last = succeed(&Own::default(), "shop", &shared).now_or_never().expect("nobody is waited for").unwrap();
        let epoch = brokers.epoch;
        let ledger = Ledger::transactional();
        ledger.route(Route { topic: "t".into(), table: "table public.t (key id)".into(), limit: None });
        Writer {
            epoch,
            transaction: Transaction::new(LIMITS),
            ledger,
            actions: VecDeque::new(),
            parcel: None,
            batch: None,
            next: last.map_or(0, |marked| marked.marker.last().commit.get()) + 1,
            unconfirmed: Vec::new(),
            deliveries: VecDeque::new(),
            now: Duration::ZERO,
            over: false,
        }
    }

    /// One thing that it does.
    fn step(&mut self, brokers: &mut Brokers, random: &mut StdRng, faults: bool) {
        self.now += Duration::from_millis(random.random_range(0..10));
        let event = match self.actions.pop_front() {
            Some(action) => self.act(action, brokers, random, faults),
            None if self.next <= CHANGES && random.random_range(0..3) > 0 => Some(self.hand_over(random)),
            None => Some(Event::Due),
        };
        if let Some(event) = event {
            let actions = self.transaction.on(event, self.now);
            // What was to be done is not done when it fails.
            if event == Event::Failed {
                self.actions.clear();
            }
            self.over |= actions.contains(&Action::End);
            self.actions.extend(actions);
        }
        assert!(self.over || self.transaction.takes() || !self.actions.is_empty(), "neither open nor over");
        let position = brokers.position();
        while let Some((upto, delivery)) = self.deliveries.front_mut() {
            match delivery.now_or_never() {
                Some(Ok(())) => assert!(*upto <= position, "{upto} is acknowledged, {position} is durable"),
                _ => break,
            }
            self.deliveries.pop_front();
        }
    }

    /// Some of a batch, or all of it.
    fn hand_over(&mut self, random: &mut StdRng) -> Event {
        let left = (CHANGES + 1 - self.next) as usize;
        let (number, done, rest) =
            self.batch.take().unwrap_or_else(|| (self.ledger.begin(), 0, random.random_range(1..=left.min(6))));
        let count = random.random_range(1..=rest);
        let changes: Vec<u64> = (self.next..).take(count).collect();
        self.next += count as u64;
        self.parcel = Some((number, changes));
        let bytes = count * random.random_range(1..12);
        let part = if count < rest {
            self.batch = Some((number, done + count, rest - count));
            Part::Piece
        } else {
            let upto = self.next - 1;
            let delivery = self.ledger.seal(done + count, bytes, end(upto, random.random_range(0..4) > 0));
            self.deliveries.push_back((upto, delivery));
            Part::End(number)
        };
        Event::Parcel { bytes, part }
    }

    fn act(&mut self, action: Action, brokers: &mut Brokers, random: &mut StdRng, faults: bool) -> Option<Event> {
        let fails = faults && random.random_range(0..60) == 0;
        match action {
            // A client that still has one open can only abort it.
            Action::Begin if self.epoch == brokers.epoch => {
                brokers.end(Fate::Aborted);
                None
            }
            Action::Begin => None,
            Action::Send => {
                let (batch, changes) = self.parcel.take().expect("a parcel");
                for change in changes {
                    let partition = (change % MARKERS as u64) as i32;
                    let placed = brokers.append(self.epoch, partition as usize, Value::Change(change));
                    let Some(offset) = placed.filter(|_| !fails) else { return Some(Event::Failed) };
                    self.unconfirmed.push((Tag { route: 0, batch }, Placed { partition, offset }));
                }
                None
            }
            Action::Settle(batch) => {
                while !self.unconfirmed.is_empty() && !fails {
                    // In each partition they are confirmed in their order.
                    let partition = self.unconfirmed[random.random_range(0..self.unconfirmed.len())].1.partition;
                    let first = self.unconfirmed.iter().position(|(_, placed)| placed.partition == partition).unwrap();
                    let (tag, placed) = self.unconfirmed.remove(first);
                    self.ledger.settled(tag, Ok(placed));
                }
                let settled = batch.is_none_or(|batch| self.ledger.confirmed(batch).now_or_never().is_some());
                assert!(settled || fails, "all is confirmed, and the ledger waits");
                Some(if settled { Event::Settled } else { Event::Failed })
            }
            Action::Mark => {
                while let Some(due) = self.ledger.take() {
                    let upto = upto(&due.end);
                    let offsets = due.offsets.iter().map(|(_, partition, next)| (*partition, *next)).collect();
                    let tag = self.ledger.mark(due);
                    let placed = brokers.append(self.epoch, MARKERS, Value::Marker { upto, offsets });
                    let Some(offset) = placed.filter(|_| !fails) else { return Some(Event::Failed) };
                    self.ledger.settled(tag, Ok(Placed { partition: 0, offset }));
                }
                Some(Event::Marked)
            }
            Action::Commit => Some(self.commit(brokers, random, faults)),
            Action::Deliver => {
                self.ledger.committed();
                None
            }
            Action::End => None,
        }
    }

    fn commit(&self, brokers: &mut Brokers, random: &mut StdRng, faults: bool) -> Event {
        let Some(open) = brokers.open.filter(|_| self.epoch == brokers.epoch) else { return Event::Failed };
        match random.random_range(0..if faults { 12 } else { 1 }) {
            // It happened, it did not happen, it happens later: the answer stays out.
            1 => drop(brokers.commit(self.epoch, open)),
            2 => {}
            3 => brokers.late.push((self.epoch, open)),
            _ if brokers.commit(self.epoch, open) => return Event::Committed,
            _ => {}
        }
        Event::Failed
    }
}

fn end(change: u64, complete: bool) -> End {
    if complete {
        End::Complete(checkpoint(change))
    } else {
        End::Inside(ChangeId { commit: Lsn::new(change), seq: 0 })
    }
}

fn checkpoint(change: u64) -> Checkpoint {
    let position = SourcePosition { system_id: 1, timeline: 1, lsn: Lsn::new(change) };
    let change = ChangeId { commit: Lsn::new(change), seq: 0 };
    Checkpoint { position, change, phase: Phase::Stream, offsets: Vec::new(), followed: None }
}

fn upto(end: &End) -> u64 {
    match end {
        End::Complete(checkpoint) => checkpoint.change.commit.get(),
        End::Inside(id) => id.commit.get(),
    }
}

/// Plays a schedule; how many writers it took.
fn play(seed: u64) -> u64 {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut brokers = Brokers::default();
    let mut zombies: Vec<Writer> = Vec::new();
    let mut writer = Writer::start(&mut brokers, None, random);
    let mut judged = 0;
    for step in 0..4000 {
        let faults = step < 150;
        if let Some((epoch, transaction)) = brokers.late.pop_if(|_| random.random_range(0..8) == 0) {
            brokers.commit(epoch, transaction);
        }
        if let Some(zombie) = zombies.last_mut().filter(|_| random.random_range(0..4) == 0) {
            zombie.step(&mut brokers, random, faults);
        }
        // One that is over may do a little more before it is replaced, and one that lives may be killed or sleep.
        let replaced =
            if writer.over { random.random_range(0..3) == 0 } else { faults && random.random_range(0..50) == 0 };
        if replaced {
            let successor = Writer::start(&mut brokers, Some(&mut writer), random);
            zombies.push(std::mem::replace(&mut writer, successor));
        }
        writer.step(&mut brokers, random, faults);
        if std::mem::replace(&mut judged, brokers.commits) < brokers.commits {
            brokers.judge();
        }
        if !faults && brokers.position() == CHANGES && writer.deliveries.is_empty() {
            return brokers.epoch;
        }
    }
    panic!("{} of {CHANGES} changes have arrived", brokers.position());
}

#[test]
fn whatever_fails_a_reader_has_each_change_once_and_nothing_is_acknowledged_before() {
    let mut writers = 0;
    for seed in 0..SEEDS {
        let played = std::panic::catch_unwind(|| play(seed));
        writers += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(writers > SEEDS * 2, "{writers} writers: hardly any was replaced");
}
