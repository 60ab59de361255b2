//! When a Kafka transaction begins, what it takes, and when it ends: a state machine without clock or client.
//!
//! ```text
//!            parcel                    full, or nothing more waits
//!   Idle ───────────▶ Open ─────────────────────────────────────────▶ Settling
//!    ▲    Begin, Send   │ Send                               Settle      │ all records confirmed
//!    │                                                                   ▼
//!    └──────────────── Committing ◀───────────────────────────────── Marking
//!       committed:          Commit    markers confirmed                 Mark
//!       Deliver
//!                 anything fails, whatever it was doing ──▶ Over
//! ```
//!
//! Why this is safe. Batches are told as delivered after a commit that was confirmed and at no other time. What fails
//! leaves the machine over for good: whether the transaction was committed is not known then and not guessed, the next
//! producer with the same id settles it and reads in the progress topic what came of it.

use std::time::Duration;

/// How long a transaction may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// It ends with the batch that reaches this many bytes.
    pub(super) bytes: usize,
    /// It ends with the batch that is complete after this long.
    pub(super) age: Duration,
    /// Up to this many bytes it ends as soon as nothing more waits.
    pub(super) small: usize,
    /// A larger one ends when nothing has come for this long: what is busy goes on in a moment.
    pub(super) quiet: Duration,
}

impl Limits {
    /// A commit costs some ten round trips whatever it holds: a fifth of a second of work makes that little. A reader
    /// that restores the order holds one transaction in memory, so it has a size as well.
    pub(super) const DEFAULT: Limits =
        Limits { bytes: 16 << 20, age: Duration::from_millis(200), small: 256 << 10, quiet: Duration::from_millis(20) };
}

/// How a parcel of records stands to the batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// More of its batch follows.
    Piece,
    /// The last of the batch with this number.
    End(u64),
    /// Of no batch.
    Apart,
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Records arrived.
    Parcel { bytes: usize, part: Part },
    /// The time of [`Transaction::due`] has come, and nothing waits.
    Due,
    /// Every record of the batches is confirmed.
    Settled,
    /// The markers are confirmed.
    Marked,
    /// The commit is.
    Committed,
    /// A call or a record failed, or nobody can say what came of it.
    Failed,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Begin a transaction.
    Begin,
    /// Send the parcel's records.
    Send,
    /// Take no more; wait until the records up to this batch are confirmed.
    Settle(Option<u64>),
    /// Send the markers that speak for the settled batches, and wait for them.
    Mark,
    /// Commit, and wait for the answer.
    Commit,
    /// Tell whoever waits for the batches.
    Deliver,
    /// Give the producer up.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Open { since: Duration, last: Duration, bytes: usize },
    Settling,
    Marking,
    Committing,
    Over,
}

/// See the module. Times are since any one moment.
#[derive(Debug)]
pub(super) struct Transaction {
    state: State,
    limits: Limits,
    /// Whether a batch has begun that has not ended.
    inside: bool,
    /// The last batch that has ended.
    batch: Option<u64>,
}

impl Transaction {
    pub(super) fn new(limits: Limits) -> Transaction {
        Transaction { state: State::Idle, limits, inside: false, batch: None }
    }

    /// Whether records are taken now.
    pub(super) fn takes(&self) -> bool {
        matches!(self.state, State::Idle | State::Open { .. })
    }

    /// Whether records lie in a transaction that has not been committed.
    pub(super) fn open(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// When it ends if nothing more arrives; `None` while it can't.
    pub(super) fn due(&self) -> Option<Duration> {
        match self.state {
            State::Open { last, bytes, .. } if !self.inside && bytes <= self.limits.small => Some(last),
            State::Open { since, last, .. } if !self.inside => {
                Some((last + self.limits.quiet).min(since + self.limits.age))
            }
            _ => None,
        }
    }

    /// What follows from an event.
    pub(super) fn on(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match (self.state, event) {
            (State::Over, _) => Vec::new(),
            (State::Idle, Event::Parcel { bytes, part }) => {
                self.state = State::Open { since: now, last: now, bytes };
                let mut actions = vec![Action::Begin, Action::Send];
                actions.extend(self.take(part, now));
                actions
            }
            (State::Open { since, bytes: before, .. }, Event::Parcel { bytes, part }) => {
                self.state = State::Open { since, last: now, bytes: before + bytes };
                let mut actions = vec![Action::Send];
                actions.extend(self.take(part, now));
                actions
            }
            (State::Open { .. }, Event::Due) if self.due().is_some_and(|due| due <= now) => vec![self.settle()],
            (State::Idle | State::Open { .. }, Event::Due) => Vec::new(),
            (State::Settling, Event::Settled) => {
                self.state = State::Marking;
                vec![Action::Mark]
            }
            (State::Marking, Event::Marked) => {
                self.state = State::Committing;
                vec![Action::Commit]
            }
            (State::Committing, Event::Committed) => {
                self.state = State::Idle;
                vec![Action::Deliver]
            }
            // A failure, or what can't be at this place: nothing is known any more.
            _ => {
                self.state = State::Over;
                vec![Action::End]
            }
        }
    }

    /// Notes what a parcel ends; ends the transaction when that makes it full.
    fn take(&mut self, part: Part, now: Duration) -> Option<Action> {
        match part {
            Part::Piece => self.inside = true,
            Part::End(batch) => (self.inside, self.batch) = (false, Some(batch)),
            Part::Apart => {}
        }
        let State::Open { since, bytes, .. } = self.state else { return None };
        let full = bytes >= self.limits.bytes || now.saturating_sub(since) >= self.limits.age;
        (full && !self.inside).then(|| self.settle())
    }

    fn settle(&mut self) -> Action {
        self.state = State::Settling;
        Action::Settle(self.batch.take())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { bytes: 1000, age: Duration::from_millis(200), small: 10, quiet: Duration::from_millis(20) };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn parcel(bytes: usize, part: Part) -> Event {
        Event::Parcel { bytes, part }
    }

    /// Takes the machine from a settled transaction to the next one.
    fn finish(transaction: &mut Transaction, now: Duration) {
        assert_eq!(transaction.on(Event::Settled, now), [Action::Mark]);
        assert_eq!(transaction.on(Event::Marked, now), [Action::Commit]);
        assert_eq!(transaction.on(Event::Committed, now), [Action::Deliver]);
        assert!(!transaction.open());
    }

    #[test]
    fn a_lone_change_is_committed_at_once() {
        let mut transaction = Transaction::new(LIMITS);
        assert_eq!(transaction.due(), None);
        assert_eq!(transaction.on(parcel(5, Part::End(0)), at(7)), [Action::Begin, Action::Send]);
        assert_eq!(transaction.due(), Some(at(7)));
        assert_eq!(transaction.on(Event::Due, at(7)), [Action::Settle(Some(0))]);
        assert!(!transaction.takes());
        finish(&mut transaction, at(9));
    }

    #[test]
    fn what_is_busy_ends_after_a_silence_by_age_or_by_size_and_only_between_batches() {
        let mut transaction = Transaction::new(LIMITS);
        transaction.on(parcel(100, Part::End(0)), at(0));
        assert_eq!(transaction.due(), Some(at(20)));
        assert_eq!(transaction.on(parcel(100, Part::Piece), at(15)), [Action::Send]);
        assert_eq!(transaction.due(), None, "the batch goes on");
        assert_eq!(transaction.on(parcel(1, Part::Apart), at(16)), [Action::Send]);
        assert_eq!(transaction.due(), None, "what is of no batch ends none");
        assert_eq!(transaction.on(parcel(1000, Part::Piece), at(190)), [Action::Send], "however large it is");
        assert_eq!(transaction.on(Event::Due, at(500)), []);
        assert_eq!(transaction.on(parcel(1, Part::End(1)), at(191)), [Action::Send, Action::Settle(Some(1))]);
        finish(&mut transaction, at(192));
        transaction.on(parcel(100, Part::End(2)), at(300));
        assert_eq!(transaction.on(parcel(100, Part::End(3)), at(499)), [Action::Send]);
        assert_eq!(transaction.due(), Some(at(500)), "it gets no older than its limit");
        assert_eq!(transaction.on(parcel(1, Part::End(4)), at(500)), [Action::Send, Action::Settle(Some(4))]);
    }

    #[test]
    fn what_is_of_no_batch_is_committed_without_one() {
        let mut transaction = Transaction::new(LIMITS);
        transaction.on(parcel(5, Part::Apart), at(0));
        assert_eq!(transaction.on(Event::Due, at(0)), [Action::Settle(None)]);
        finish(&mut transaction, at(1));
    }

    fn event() -> impl Strategy<Value = Event> {
        let part = prop_oneof![Just(Part::Piece), (0u64..9).prop_map(Part::End), Just(Part::Apart)];
        prop_oneof![
            8 => (0usize..700, part).prop_map(|(bytes, part)| parcel(bytes, part)),
            4 => Just(Event::Due),
            4 => Just(Event::Settled),
            4 => Just(Event::Marked),
            4 => Just(Event::Committed),
            1 => Just(Event::Failed),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_nothing_is_delivered_without_a_commit_and_nothing_follows_a_failure(
            events in proptest::collection::vec((event(), 0u64..100), 0..60),
        ) {
            let mut transaction = Transaction::new(LIMITS);
            let (mut now, mut done, mut over) = (0, Vec::new(), false);
            for (event, later) in events {
                now += later;
                let actions = transaction.on(event, at(now));
                prop_assert!(!over || actions.is_empty(), "{actions:?} after the end");
                over |= actions.contains(&Action::End);
                for action in actions {
                    match action {
                        Action::Deliver => {
                            prop_assert_eq!(event, Event::Committed);
                            prop_assert_eq!(done.last(), Some(&Action::Commit));
                        }
                        Action::Commit => prop_assert_eq!(done.last(), Some(&Action::Mark)),
                        Action::Mark => prop_assert!(matches!(done.last(), Some(Action::Settle(_)))),
                        Action::Send => prop_assert!(matches!(done.last(), Some(Action::Begin | Action::Send))),
                        Action::Settle(_) => prop_assert_eq!(done.last(), Some(&Action::Send)),
                        Action::Begin => prop_assert!(matches!(done.last(), None | Some(Action::Deliver))),
                        Action::End => {}
                    }
                    done.push(action);
                }
                prop_assert_eq!(transaction.takes() && transaction.open(), matches!(done.last(), Some(Action::Send)));
            }
        }
    }
}
