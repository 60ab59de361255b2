//! Which batches are on their way, and what may be said of them.
//!
//! ```text
//!  begin ─▶ open ──all records confirmed──▶ finished ──take──▶ under a marker ──marker confirmed──▶ durable
//! ```
//!
//! Batches leave in the order they came: one is taken only when every batch before it is finished, and markers are
//! confirmed in the order they were sent, because they lie in one partition of an idempotent producer.
//! A failure ends all of them: nothing after it is ever called durable.
//!
//! In transactions a marker's confirmation says nothing yet: its batches are durable when [`Ledger::committed`] is
//! called. A record that is refused there is not the end by itself, since what refused it may have come from a writer
//! that took over: it is kept for the one who commits, who finds out and says how it ends.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{Notify, oneshot};

use super::client::{classify, coded};
use super::producer::{Placed, Refused, Reports, Tag};
use crate::model::{ChangeId, Checkpoint, Class, Error, Result};

/// The route of progress markers; no topic of events has it.
const MARKERS: u32 = 0xFF_FFFF;
/// The route of records that their sender waits for.
const AWAITED: u32 = 0xFF_FFFE;

/// Where the events of one table version go, and how to speak of them.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The topic.
    pub(super) topic: String,
    /// `table public.orders (key id)`
    pub(super) table: String,
    /// The largest batch of records the topic takes, when known.
    pub(super) limit: Option<u64>,
}

/// How a batch ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// With complete transactions only.
    Complete(Checkpoint),
    /// Inside a transaction, after this change.
    Inside(ChangeId),
}

/// Finished batches that one marker can speak for.
pub(super) struct Due {
    /// How the last of them ends.
    pub(super) end: End,
    /// The next offset of each partition they wrote to.
    pub(super) offsets: Vec<(String, i32, i64)>,
    /// Bytes of their records.
    pub(super) bytes: usize,
    /// Who is told when the marker is confirmed.
    pub(super) waiting: Vec<oneshot::Sender<Result<()>>>,
}

/// Resolves when a batch, and each one before it, is durable.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<()>>);

impl Future for Delivery {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx).map(|outcome| match outcome {
            Ok(result) => result,
            Err(_) => Err(Error::transient("the Kafka sink ended before the batch was durable")),
        })
    }
}

struct Open {
    /// Records sent minus records confirmed; below zero while confirmations outrun the count.
    outstanding: i64,
    sealed: Option<(End, usize, oneshot::Sender<Result<()>>)>,
    offsets: HashMap<(u32, i32), i64>,
}

impl Open {
    fn finished(&self) -> bool {
        self.outstanding == 0 && self.sealed.is_some()
    }
}

/// What can be said again to each who waits: errors themselves can't be copied.
#[derive(Clone)]
struct Failure {
    class: Class,
    what: String,
    remedy: Option<String>,
}

impl Failure {
    fn error(&self) -> Error {
        let error = Error::new(self.class, self.what.clone());
        match &self.remedy {
            Some(remedy) => error.remedy(remedy.clone()),
            None => error,
        }
    }
}

#[derive(Default)]
struct State {
    /// The number of the first open batch.
    first: u64,
    open: VecDeque<Open>,
    /// Batches under each marker that is on its way.
    marked: VecDeque<Vec<oneshot::Sender<Result<()>>>>,
    awaited: HashMap<u64, oneshot::Sender<Result<(), Refused>>>,
    next_awaited: u64,
    routes: Vec<Route>,
    /// The next offset of each partition, as far as this process has written.
    next: HashMap<(u32, i32), i64>,
    failure: Option<Failure>,
    /// Whether markers count from the commit on.
    transactional: bool,
    /// In transactions: the first record that was refused.
    refused: Option<(u32, Refused)>,
}

impl State {
    fn refusal(&self) -> Option<Error> {
        self.refused.map(|(route, refused)| refusal(self.routes.get(route as usize), refused))
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    /// Told when the first open batch is finished, and at a failure.
    pub(super) finished: Notify,
    settled: Notify,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ledger of batches that are durable when their transaction is committed.
    pub(super) fn transactional() -> Ledger {
        let ledger = Ledger::default();
        ledger.state().transactional = true;
        ledger
    }

    /// Adds a route; its index goes into tags.
    pub(super) fn route(&self, route: Route) -> u32 {
        let mut state = self.state();
        state.routes.push(route);
        u32::try_from(state.routes.len() - 1).unwrap_or(AWAITED - 1)
    }

    /// Opens a batch; its number goes into tags.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.open.push_back(Open { outstanding: 0, sealed: None, offsets: HashMap::new() });
        state.first + state.open.len() as u64 - 1
    }

    /// All `sent` records of the newest batch have been handed over.
    pub(super) fn seal(&self, sent: usize, bytes: usize, end: End) -> Delivery {
        let (done, delivery) = oneshot::channel();
        let mut state = self.state();
        match state.failure.clone() {
            Some(failure) => drop(done.send(Err(failure.error()))),
            None => {
                if let Some(batch) = state.open.back_mut() {
                    batch.outstanding += i64::try_from(sent).unwrap_or(i64::MAX);
                    batch.sealed = Some((end, bytes, done));
                }
                if state.open.front().is_some_and(Open::finished) {
                    self.finished.notify_one();
                }
                if state.transactional {
                    self.settled.notify_waiters();
                }
            }
        }
        Delivery(delivery)
    }

    /// The finished batches at the front, up to the last that ends complete where there is one: a marker that ends
    /// inside a transaction never hides a complete position before it.
    pub(super) fn take(&self) -> Option<Due> {
        let mut state = self.state();
        let complete = |batch: &Open| matches!(batch.sealed, Some((End::Complete(_), ..)));
        let finished = state.open.iter().take_while(|batch| batch.finished()).count();
        let last = state.open.iter().take(finished).rposition(complete);
        let count = last.map_or(finished, |last| last + 1);
        let mut offsets: HashMap<(u32, i32), i64> = HashMap::new();
        let (mut bytes, mut waiting, mut end) = (0, Vec::new(), None);
        for _ in 0..count {
            let Some(batch) = state.open.pop_front() else { break };
            state.first += 1;
            offsets.extend(batch.offsets);
            let Some((this, size, done)) = batch.sealed else { continue };
            bytes += size;
            waiting.push(done);
            end = Some(this);
        }
        let end = end?;
        // Versions of a table share a topic: the furthest counts.
        let mut by_topic: HashMap<(&str, i32), i64> = HashMap::new();
        for ((route, partition), next) in &offsets {
            if let Some(route) = state.routes.get(*route as usize) {
                let furthest = by_topic.entry((&route.topic, *partition)).or_default();
                *furthest = (*furthest).max(*next);
            }
        }
        let mut offsets: Vec<_> = by_topic.into_iter().map(|((t, p), next)| (t.to_owned(), p, next)).collect();
        offsets.sort();
        Some(Due { end, offsets, bytes, waiting })
    }

    /// The tag for the marker of `due`, which must be sent next.
    pub(super) fn mark(&self, due: Due) -> Tag {
        let mut state = self.state();
        match state.failure.clone() {
            Some(failure) => due.waiting.into_iter().for_each(|done| drop(done.send(Err(failure.error())))),
            None => state.marked.push_back(due.waiting),
        }
        Tag { route: MARKERS, batch: 0 }
    }

    /// The tag for a record whose sender waits for its confirmation.
    pub(super) fn awaited(&self) -> (Tag, oneshot::Receiver<Result<(), Refused>>) {
        let (done, confirmed) = oneshot::channel();
        let mut state = self.state();
        state.next_awaited += 1;
        let batch = state.next_awaited;
        state.awaited.insert(batch, done);
        (Tag { route: AWAITED, batch }, confirmed)
    }

    /// Ends everything on its way with this error. Only the first failure counts.
    pub(super) fn fail(&self, error: &Error) {
        let mut state = self.state();
        if state.failure.is_some() {
            return;
        }
        let failure = Failure { class: error.class(), what: error.what(), remedy: error.advice().map(str::to_owned) };
        let open = std::mem::take(&mut state.open).into_iter().filter_map(|batch| batch.sealed).map(|sealed| sealed.2);
        let marked = std::mem::take(&mut state.marked).into_iter().flatten();
        for done in open.chain(marked) {
            let _ = done.send(Err(failure.error()));
        }
        state.awaited.clear();
        state.failure = Some(failure);
        drop(state);
        self.finished.notify_one();
        self.settled.notify_waiters();
    }

    /// Resolves when nothing is on its way, or at a failure.
    pub(super) async fn idle(&self) -> Result<()> {
        self.until(|state| (state.open.is_empty() && state.marked.is_empty()).then_some(Ok(()))).await
    }

    /// Resolves when every marker that was sent is confirmed, or at a failure.
    pub(super) async fn marked(&self) -> Result<()> {
        self.until(|state| state.marked.is_empty().then_some(Ok(()))).await
    }

    /// Resolves when all records of the batches up to this one are confirmed, or one is refused, or at a failure.
    pub(super) async fn confirmed(&self, batch: u64) -> Result<()> {
        self.until(|state| {
            if let Some(error) = state.refusal() {
                return Some(Err(error));
            }
            let count = usize::try_from((batch + 1).saturating_sub(state.first)).unwrap_or(usize::MAX);
            state.open.iter().take(count).all(Open::finished).then_some(Ok(()))
        })
        .await
    }

    /// Resolves when a record is refused, and at a failure.
    pub(super) async fn trouble(&self) -> Error {
        let trouble = self.until(|state| state.refusal().map(Err)).await;
        trouble.err().unwrap_or_else(|| Error::bug("trouble without an error"))
    }

    /// The error of the record that was refused, if one was.
    pub(super) fn refused(&self) -> Result<()> {
        self.state().refusal().map_or(Ok(()), Err)
    }

    async fn until(&self, reached: impl Fn(&State) -> Option<Result<()>>) -> Result<()> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let state = self.state();
                if let Some(failure) = &state.failure {
                    return Err(failure.error());
                }
                if let Some(outcome) = reached(&state) {
                    return outcome;
                }
            }
            settled.await;
        }
    }

    /// The offset after the last record of this route in a partition that is confirmed; 0 where this process has none.
    pub(super) fn next(&self, route: u32, partition: i32) -> i64 {
        self.state().next.get(&(route, partition)).copied().unwrap_or(0)
    }

    /// The error for a record of this route that was refused.
    pub(super) fn refusal(&self, route: u32, refused: Refused) -> Error {
        refusal(self.state().routes.get(route as usize), refused)
    }

    fn placed(&self, tag: Tag, placed: Placed) -> Result<()> {
        let mut state = self.state();
        let state = &mut *state;
        if placed.offset < 0 {
            return Err(Error::transient("a broker confirmed a record without saying where it is")
                .remedy("nothing is lost: what was not marked is written again"));
        }
        let next = state.next.entry((tag.route, placed.partition)).or_insert(0);
        if placed.offset < *next {
            let topic = state.routes.get(tag.route as usize).map_or("a topic", |route| &route.topic);
            return Err(Error::blocked(format!("{topic} was deleted and created anew while it was written to"))
                .remedy("what it held is gone: start over under another prefix, with a new snapshot"));
        }
        *next = placed.offset + 1;
        let index = tag.batch.checked_sub(state.first).and_then(|index| usize::try_from(index).ok());
        if let Some(batch) = index.and_then(|index| state.open.get_mut(index)) {
            batch.outstanding -= 1;
            batch.offsets.insert((tag.route, placed.partition), placed.offset + 1);
            if batch.finished() {
                if state.transactional {
                    self.settled.notify_waiters();
                } else if index == Some(0) {
                    self.finished.notify_one();
                }
            }
        }
        Ok(())
    }

    fn marker_confirmed(&self) {
        let batches = {
            let mut state = self.state();
            if state.transactional { Vec::new() } else { state.marked.pop_front().unwrap_or_default() }
        };
        for done in batches {
            let _ = done.send(Ok(()));
        }
        self.settled.notify_waiters();
    }

    /// The transaction with all markers that were sent is committed.
    pub(super) fn committed(&self) {
        let marked = std::mem::take(&mut self.state().marked);
        for done in marked.into_iter().flatten() {
            let _ = done.send(Ok(()));
        }
        self.settled.notify_waiters();
    }
}

impl Reports for Ledger {
    fn settled(&self, tag: Tag, outcome: Result<Placed, Refused>) {
        let result = match (tag.route, outcome) {
            (AWAITED, outcome) => {
                if let Some(done) = self.state().awaited.remove(&tag.batch) {
                    let _ = done.send(outcome.map(|_| ()));
                }
                Ok(())
            }
            (MARKERS, Ok(_)) => {
                self.marker_confirmed();
                Ok(())
            }
            (_, Ok(placed)) => self.placed(tag, placed),
            (route, Err(refused)) => {
                let mut state = self.state();
                if state.transactional {
                    state.refused.get_or_insert((route, refused));
                    drop(state);
                    self.settled.notify_waiters();
                    return;
                }
                Err(refusal(state.routes.get(route as usize), refused))
            }
        };
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    fn given_up(&self, error: &Error) {
        self.fail(error);
    }

    fn failure(&self) -> Option<Error> {
        self.state().failure.as_ref().map(Failure::error)
    }
}

/// Says which record of what was refused and why; never what is in it.
fn refusal(route: Option<&Route>, refused: Refused) -> Error {
    let Refused { code, size } = refused;
    let Some(Route { topic, table, limit }) = route else {
        return coded(format!("a progress marker or table version was not written: {code}"), code);
    };
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            let limit = limit.map_or_else(String::new, |limit| format!(" of {limit} bytes"));
            Error::blocked(format!("a record of {size} bytes of {table} is beyond the limit{limit} of topic {topic}"))
                .remedy("raise max.message.bytes of the topic (records are compressed before they are measured)")
        }
        Code::MessageTimedOut => Error::transient(format!("Kafka has not confirmed records of {topic} for minutes"))
            .remedy("check that its partitions have leaders and enough replicas in sync"),
        _ if classify(code) == Class::Transient => coded(format!("writing to {topic}: {code}"), code),
        _ => coded(format!("a record of {size} bytes of {table} was refused by topic {topic}: {code}"), code),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Lsn, Phase, SourcePosition};

    fn end(complete: bool, commit: u64) -> End {
        let change = ChangeId { commit: Lsn::new(commit), seq: 0 };
        let position = SourcePosition { system_id: 1, timeline: 1, lsn: Lsn::new(commit + 1) };
        match complete {
            true => End::Complete(Checkpoint {
                position,
                change,
                phase: Phase::Stream,
                offsets: Vec::new(),
                followed: None,
            }),
            false => End::Inside(change),
        }
    }

    fn commit(end: &End) -> u64 {
        match end {
            End::Complete(checkpoint) => checkpoint.change.commit.get(),
            End::Inside(change) => change.commit.get(),
        }
    }

    fn resolved(delivery: &mut Delivery) -> Option<Result<()>> {
        match Pin::new(delivery).poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.route(Route { topic: "t".into(), table: "table public.t (key id)".into(), limit: Some(10) });
        ledger
    }

    proptest! {
        #[test]
        fn a_marker_speaks_only_for_confirmed_batches_and_only_then_they_are_durable(
            batches in proptest::collection::vec((0usize..4, any::<bool>()), 1..30),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let ledger = ledger();
            let mut deliveries = Vec::new();
            let mut unconfirmed: Vec<u64> = Vec::new();
            for (n, &(records, complete)) in batches.iter().enumerate() {
                let number = ledger.begin();
                unconfirmed.extend(std::iter::repeat_n(number, records));
                deliveries.push(ledger.seal(records, records, end(complete, n as u64)));
            }
            let (mut offset, mut marked) = (0, None);
            for pick in order {
                if !unconfirmed.is_empty() {
                    // Partitions confirm independently of one another, so any order may come.
                    let batch = unconfirmed.remove(pick.index(unconfirmed.len()));
                    ledger.settled(Tag { route: 0, batch }, Ok(Placed { partition: 0, offset }));
                    offset += 1;
                }
                while let Some(due) = ledger.take() {
                    let upto = commit(&due.end);
                    prop_assert!(unconfirmed.iter().all(|&batch| batch > upto), "{upto}: {unconfirmed:?}");
                    prop_assert!(marked.is_none_or(|last| last < upto));
                    let hidden = (marked.map_or(0, |last| last + 1)..upto).any(|n| batches[n as usize].1);
                    prop_assert!(!hidden || matches!(due.end, End::Complete(_)), "a complete position is hidden");
                    let tag = ledger.mark(due);
                    prop_assert!(resolved(&mut deliveries[upto as usize]).is_none(), "durable before its marker");
                    ledger.settled(tag, Ok(Placed { partition: 0, offset: 0 }));
                    prop_assert!(matches!(resolved(&mut deliveries[upto as usize]), Some(Ok(()))));
                    marked = Some(upto);
                }
            }
        }
    }

    #[test]
    fn a_failure_ends_everything_on_its_way_and_everything_after() {
        let ledger = ledger();
        let number = ledger.begin();
        let mut first = ledger.seal(1, 1, end(true, 1));
        let refused = Refused { code: Code::MessageSizeTooLarge, size: 99 };
        ledger.settled(Tag { route: 0, batch: number }, Err(refused));
        let error = resolved(&mut first).unwrap().unwrap_err();
        assert_eq!(error.class(), Class::Blocked);
        for part in ["99 bytes", "public.t (key id)", "10 bytes"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        ledger.begin();
        assert!(resolved(&mut ledger.seal(0, 0, end(true, 2))).unwrap().is_err());
        assert!(ledger.failure().is_some());
    }

    #[test]
    fn a_topic_that_begins_anew_stops_the_writing() {
        let ledger = ledger();
        for offset in [5, 0] {
            let batch = ledger.begin();
            drop(ledger.seal(1, 1, end(true, 1)));
            ledger.settled(Tag { route: 0, batch }, Ok(Placed { partition: 0, offset }));
        }
        let error = ledger.failure().unwrap();
        assert!(error.to_string().contains("deleted and created anew"), "{error}");
    }

    #[test]
    fn in_transactions_the_commit_and_not_the_marker_makes_durable() {
        let ledger = Ledger::transactional();
        let batch = ledger.begin();
        let mut delivery = ledger.seal(1, 1, end(true, 1));
        let confirmed = |ledger: &Ledger| {
            let future = std::pin::pin!(ledger.confirmed(batch));
            future.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert!(!confirmed(&ledger));
        ledger.settled(Tag { route: 0, batch }, Ok(Placed { partition: 0, offset: 0 }));
        assert!(confirmed(&ledger));
        let tag = ledger.mark(ledger.take().unwrap());
        ledger.settled(tag, Ok(Placed { partition: 0, offset: 0 }));
        assert!(resolved(&mut delivery).is_none(), "durable before the commit");
        ledger.committed();
        assert!(matches!(resolved(&mut delivery), Some(Ok(()))));
    }

    #[test]
    fn in_transactions_what_is_refused_is_kept_for_the_one_who_commits() {
        let ledger = Ledger::transactional();
        ledger.route(Route { topic: "t".into(), table: "table public.t (key id)".into(), limit: None });
        let batch = ledger.begin();
        let mut delivery = ledger.seal(1, 1, end(true, 1));
        let refused = Refused { code: Code::MessageSizeTooLarge, size: 99 };
        ledger.settled(Tag { route: 0, batch }, Err(refused));
        assert!(ledger.failure().is_none() && resolved(&mut delivery).is_none(), "it ended before it was judged");
        let error = ledger.refused().unwrap_err();
        assert!(error.to_string().contains("public.t (key id)"), "{error}");
        ledger.fail(&Error::blocked("another process"));
        assert!(resolved(&mut delivery).unwrap().unwrap_err().to_string().contains("another process"));
    }
}
