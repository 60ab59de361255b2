//! The loop: what it acknowledges and when it ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tailwater::logic::pipeline::{Batch, Goal, Run, Sink, Source, run};
use tailwater::model::{ChangeId, Checkpoint, Error, Lsn, Meters, Phase, Position, Result, SourcePosition};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A position that is only its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct At(u64);

impl Position for At {
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            position: SourcePosition { system_id: 1, timeline: 1, lsn: Lsn::new(self.0) },
            change: ChangeId { commit: Lsn::new(self.0), seq: 0 },
            phase: Phase::Stream,
            offsets: Vec::new(),
            followed: None,
        }
    }

    fn reaches(&self, goal: &At) -> bool {
        self >= goal
    }
}

/// What both ends saw, in order.
#[derive(Default)]
struct Story {
    /// The number of batches handed over.
    applied: usize,
    /// The number of batches that became durable, always the oldest ones.
    durable: usize,
    /// For each acknowledgement: the position, and how many batches were durable then.
    acks: Vec<(At, usize)>,
    flushes: usize,
}

/// Yields a batch for each entry of its script, then waits for ever.
struct Script {
    batches: VecDeque<Option<At>>,
    current: At,
    story: Arc<Mutex<Story>>,
}

impl Source for Script {
    type Position = At;

    async fn next(&mut self) -> Result<Batch<At>> {
        match self.batches.pop_front() {
            Some(upto) => Ok(Batch { changes: Vec::new(), bytes: 1, upto }),
            None => std::future::pending().await,
        }
    }

    async fn ack(&mut self, upto: At) -> Result<()> {
        let mut story = self.story.lock().unwrap();
        let durable = story.durable;
        story.acks.push((upto, durable));
        Ok(())
    }

    async fn current(&mut self) -> Result<At> {
        Ok(self.current)
    }
}

/// Makes batches durable `lag` batches late, all of them at a flush, and fails where told to.
struct Late {
    lag: usize,
    fail_at: Option<usize>,
    waiting: VecDeque<oneshot::Sender<Result<()>>>,
    story: Arc<Mutex<Story>>,
}

impl Late {
    fn settle(&mut self, keep: usize) {
        while self.waiting.len() > keep {
            let mut story = self.story.lock().unwrap();
            let failed = self.fail_at == Some(story.durable);
            if !failed {
                story.durable += 1;
            }
            drop(story);
            let result = if failed { Err(Error::transient("told to fail")) } else { Ok(()) };
            let _ = self.waiting.pop_front().unwrap().send(result);
        }
    }
}

impl Sink<At> for Late {
    type Delivery = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    async fn apply(&mut self, _: Batch<At>) -> Result<Self::Delivery> {
        let (done, delivery) = oneshot::channel();
        self.waiting.push_back(done);
        self.story.lock().unwrap().applied += 1;
        self.settle(self.lag);
        Ok(Box::pin(async move { delivery.await.unwrap_or_else(|_| Err(Error::bug("the sink is gone"))) }))
    }

    async fn flush(&mut self) -> Result<()> {
        self.story.lock().unwrap().flushes += 1;
        self.settle(0);
        Ok(())
    }
}

struct Outcome {
    result: Result<()>,
    story: Story,
}

/// Runs a script to its end: the goal, a failure, or a stop when nothing is left to read.
fn play(batches: Vec<Option<At>>, current: Option<At>, lag: usize, fail_at: Option<usize>) -> Outcome {
    let story = Arc::new(Mutex::new(Story::default()));
    let mut source = Script { batches: batches.into(), current: current.unwrap_or(At(0)), story: Arc::clone(&story) };
    let mut sink = Late { lag, fail_at, waiting: VecDeque::new(), story: Arc::clone(&story) };
    let stop = CancellationToken::new();
    let settings = Run {
        goal: if current.is_some() { Goal::Current } else { Goal::Endless },
        stop: stop.clone(),
        grace: Duration::from_secs(5),
        meters: Meters::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let result = runtime.block_on(async {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            stop.cancel();
        });
        run(&mut source, &mut sink, &settings).await
    });
    drop((source, sink));
    let story = Arc::into_inner(story).unwrap().into_inner().unwrap();
    Outcome { result, story }
}

/// Positions that rise where a batch is complete: `complete[i]` says whether batch `i` is.
fn positions(complete: &[bool]) -> Vec<Option<At>> {
    (1u64..).zip(complete).map(|(at, &complete)| complete.then_some(At(at))).collect()
}

proptest! {
    #[test]
    fn acknowledgements_never_overtake_durability(
        mut complete in proptest::collection::vec(any::<bool>(), 1..40),
        lag in 0usize..6,
        fail_at in proptest::option::of(0usize..40),
    ) {
        // A source always ends the transaction that it has begun to hand on.
        complete.push(true);
        let Outcome { result, story } = play(positions(&complete), None, lag, fail_at);
        // The batch with position n is the n-th: at its acknowledgement at least n batches were durable.
        for &(At(at), durable) in &story.acks {
            prop_assert!(durable as u64 >= at, "{at} acknowledged with {durable} batches durable");
        }
        prop_assert!(story.acks.is_sorted_by(|a, b| a.0 < b.0));
        let failed = fail_at.is_some_and(|at| at < complete.len());
        prop_assert_eq!(result.is_err(), failed);
        if !failed {
            let all: Vec<At> = positions(&complete).into_iter().flatten().collect();
            prop_assert_eq!(story.acks.iter().map(|ack| ack.0).collect::<Vec<_>>(), all);
        }
    }
}

#[test]
fn a_run_until_current_ends_when_the_goal_is_durable_and_reads_no_further_position() {
    let Outcome { result, story } = play(positions(&[true; 10]), Some(At(4)), 3, None);
    result.unwrap();
    assert_eq!(story.acks.last().map(|ack| ack.0), Some(At(4)));
    assert!(story.flushes >= 1, "the goal waits in the sink unless it is flushed");
}

#[test]
fn a_stop_flushes_and_acknowledges_what_was_taken() {
    let Outcome { result, story } = play(positions(&[true, false, true]), None, 9, None);
    result.unwrap();
    assert_eq!(story.applied, 3);
    assert_eq!(story.acks.last().map(|ack| ack.0), Some(At(3)));
}

#[test]
fn a_stop_inside_a_transaction_takes_the_rest_of_it() {
    // The stop comes when nothing is left to read, so the last piece has to be the one that ends the transaction.
    let story = Arc::new(Mutex::new(Story::default()));
    let mut source = Script {
        batches: vec![Some(At(1)), None, None, Some(At(4))].into(),
        current: At(0),
        story: Arc::clone(&story),
    };
    let mut sink = Late { lag: 9, fail_at: None, waiting: VecDeque::new(), story: Arc::clone(&story) };
    let stop = CancellationToken::new();
    let settings =
        Run { goal: Goal::Endless, stop: stop.clone(), grace: Duration::from_secs(5), meters: Meters::new() };
    let mut slow = Slow { inner: &mut source, stop, after: 2 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(&mut slow, &mut sink, &settings)).unwrap();
    let story = story.lock().unwrap();
    assert_eq!(story.applied, 4);
    assert_eq!(story.acks.last().map(|ack| ack.0), Some(At(4)));
}

/// Asks for a stop once `after` batches have been handed on.
struct Slow<'a> {
    inner: &'a mut Script,
    stop: CancellationToken,
    after: usize,
}

impl Source for Slow<'_> {
    type Position = At;

    async fn next(&mut self) -> Result<Batch<At>> {
        if self.after == 0 {
            self.stop.cancel();
        }
        self.after = self.after.wrapping_sub(1);
        self.inner.next().await
    }

    async fn ack(&mut self, upto: At) -> Result<()> {
        self.inner.ack(upto).await
    }

    async fn current(&mut self) -> Result<At> {
        self.inner.current().await
    }
}

/// Takes batches and never finishes one.
struct Stuck;

impl Sink<At> for Stuck {
    type Delivery = std::future::Pending<Result<()>>;

    async fn apply(&mut self, _: Batch<At>) -> Result<Self::Delivery> {
        Ok(std::future::pending())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_does_not_finish_ends_the_stop_after_the_grace_time_without_an_acknowledgement() {
    let story = Arc::new(Mutex::new(Story::default()));
    let mut source = Script { batches: positions(&[true]).into(), current: At(0), story: Arc::clone(&story) };
    let stop = CancellationToken::new();
    let settings =
        Run { goal: Goal::Endless, stop: stop.clone(), grace: Duration::from_secs(5), meters: Meters::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let error = runtime
        .block_on(async {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stop.cancel();
            });
            run(&mut source, &mut Stuck, &settings).await
        })
        .unwrap_err();
    assert!(error.to_string().contains("grace time"), "{error}");
    assert!(story.lock().unwrap().acks.is_empty());
}

/// Has three portions of work of its own, which it does not do in the middle of a transaction.
struct Busy {
    inner: Late,
    left: u32,
    complete: bool,
}

impl Sink<At> for Busy {
    type Delivery = <Late as Sink<At>>::Delivery;

    async fn apply(&mut self, batch: Batch<At>) -> Result<Self::Delivery> {
        self.complete = batch.upto.is_some();
        self.inner.apply(batch).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.inner.flush().await
    }

    async fn due(&mut self) {
        if self.left == 0 {
            std::future::pending().await
        }
    }

    async fn tend(&mut self) -> Result<bool> {
        assert!(self.complete, "asked for in the middle of a transaction");
        self.left = self.left.saturating_sub(1);
        Ok(self.left > 0)
    }
}

#[test]
fn what_a_sink_has_put_off_is_done_between_transactions_and_before_a_run_to_an_end_ends() {
    // None of it, and then all of it, has been done when the last batch comes.
    for (idle, script) in [(false, vec![Some(At(3))]), (true, vec![None, None, Some(At(1)), None, Some(At(3))])] {
        let story = Arc::new(Mutex::new(Story::default()));
        let mut source = Script { batches: script.into(), current: At(3), story: Arc::clone(&story) };
        let inner = Late { lag: 0, fail_at: None, waiting: VecDeque::new(), story: Arc::clone(&story) };
        let mut sink = Busy { inner, left: 3, complete: true };
        let goal = if idle { Goal::Endless } else { Goal::Current };
        let stop = CancellationToken::new();
        let settings = Run { goal, stop: stop.clone(), grace: Duration::from_secs(5), meters: Meters::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime
            .block_on(async {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    stop.cancel();
                });
                run(&mut source, &mut sink, &settings).await
            })
            .unwrap();
        assert_eq!(sink.left, 0);
        assert_eq!(story.lock().unwrap().acks.last().unwrap().0, At(3));
    }
}
