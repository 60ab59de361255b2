//! The loop itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio_util::sync::CancellationToken;

use super::{Batch, Sink, Source};
use crate::model::meters::OpCounts;
use crate::model::{Change, Error, Meters, PgTimestamp, Position, Result, TableName};

/// When a run ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Never.
    Endless,
    /// When what the source held at the start is durable in the sink.
    Current,
}

/// How a run is to behave.
#[derive(Clone, Debug)]
pub struct Run {
    /// When it ends by itself.
    pub goal: Goal,
    /// Ends it; what was taken is flushed and acknowledged.
    pub stop: CancellationToken,
    /// How long that may take.
    pub grace: Duration,
    /// Where it reports.
    pub meters: Arc<Meters>,
}

/// Moves batches from `source` to `sink` and acknowledges what is durable, until stopped, done or failed.
///
/// Why no acknowledgement overtakes durability: deliveries are kept in the order of their batches, only the oldest is
/// awaited, and a position is acknowledged when its own batch, and so every batch before it, has resolved.
pub async fn run<S: Source, K: Sink<S::Position>>(source: &mut S, sink: &mut K, run: &Run) -> Result<()> {
    let goal = match run.goal {
        // The loop ends at once where it was stopped meanwhile.
        Goal::Current => tokio::select! {
            goal = source.current() => Some(goal?),
            () = run.stop.cancelled() => None,
        },
        Goal::Endless => None,
    };
    let mut ledger = Ledger { waiting: VecDeque::new(), meters: &run.meters };
    let mut deliveries = FuturesOrdered::new();
    // Whether the last batch ended a transaction, so that all that was taken can be made durable.
    let mut complete = true;
    loop {
        tokio::select! {
            biased;
            // 1: what is durable is acknowledged before more is read.
            Some(settled) = deliveries.next(), if !deliveries.is_empty() => {
                let entry: Entry<S::Position> = settled?;
                if let Some(upto) = ledger.settle(entry) {
                    let done = goal.as_ref().is_some_and(|goal| upto.reaches(goal));
                    source.ack(upto).await?;
                    if done {
                        return Ok(());
                    }
                }
            }
            // 2: stop before taking more.
            () = run.stop.cancelled() => break,
            // 3: what the sink has put off; it waits between two portions, so that batches are taken too.
            () = sink.due(), if complete => drop(sink.tend().await?),
            // 4: take and hand on.
            batch = source.next() => {
                let batch = batch?;
                let last = matches!((&goal, &batch.upto), (Some(goal), Some(upto)) if upto.reaches(goal));
                let entry = ledger.enter(&batch);
                complete = entry.upto.is_some();
                deliveries.push_back(settled(sink.apply(batch).await?, entry));
                run.meters.flowing.store(true, Ordering::Relaxed);
                if last {
                    while sink.tend().await? {}
                    sink.flush().await?;
                }
            }
        }
    }
    let rest = async {
        // A sink can't commit the half of a transaction: the other half is taken first.
        while !complete {
            let batch = source.next().await?;
            let entry = ledger.enter(&batch);
            complete = entry.upto.is_some();
            deliveries.push_back(settled(sink.apply(batch).await?, entry));
        }
        sink.flush().await?;
        while let Some(settled) = deliveries.next().await {
            if let Some(upto) = ledger.settle(settled?) {
                source.ack(upto).await?;
            }
        }
        Ok(())
    };
    match tokio::time::timeout(run.grace, rest).await {
        Ok(result) => result,
        Err(_) => Err(Error::transient("the sink did not finish within the grace time")
            .remedy("nothing is lost: what it had not confirmed comes again at the next start; or give it longer with pipeline.grace")),
    }
}

/// A batch on its way: what is to be said of it when it is durable.
struct Entry<P> {
    upto: Option<P>,
    tables: Vec<(TableName, OpCounts, PgTimestamp)>,
}

async fn settled<P>(delivery: impl Future<Output = Result<()>>, entry: Entry<P>) -> Result<Entry<P>> {
    delivery.await.map(|()| entry)
}

/// What is on its way, for the lag.
struct Ledger<'a> {
    /// For each batch on its way, when its oldest change was committed.
    waiting: VecDeque<Option<PgTimestamp>>,
    meters: &'a Meters,
}

impl Ledger<'_> {
    fn enter<P: Position>(&mut self, batch: &Batch<P>) -> Entry<P> {
        self.waiting.push_back(batch.changes.first().map(|change| change.origin.at));
        self.report();
        Entry { upto: batch.upto.clone(), tables: count(&batch.changes) }
    }

    /// Notes that the oldest batch is durable; returns the position to acknowledge.
    fn settle<P: Position>(&mut self, entry: Entry<P>) -> Option<P> {
        self.waiting.pop_front();
        for (table, counts, newest) in entry.tables {
            self.meters.table_durable(&table, counts, newest);
        }
        if let Some(upto) = &entry.upto {
            self.meters.durable.set(upto.checkpoint().position.lsn);
        }
        self.meters.last_progress.set(PgTimestamp::now().unix_micros());
        self.report();
        entry.upto
    }

    fn report(&self) {
        match self.waiting.iter().flatten().min() {
            Some(at) => self.meters.oldest_undurable.set(at.unix_micros()),
            None => self.meters.oldest_undurable.clear(),
        }
    }
}

/// Changes per table; neighbours are mostly of the same table.
fn count(changes: &[Change]) -> Vec<(TableName, OpCounts, PgTimestamp)> {
    let mut counts: Vec<(TableName, OpCounts, PgTimestamp)> = Vec::new();
    for run in changes.chunk_by(|a, b| Arc::ptr_eq(&a.table, &b.table)) {
        let Some(first) = run.first().filter(|first| !first.table.is_of_messages()) else { continue };
        let index = counts.iter().position(|(name, ..)| *name == first.table.name).unwrap_or_else(|| {
            counts.push((first.table.name.clone(), OpCounts::default(), first.origin.at));
            counts.len() - 1
        });
        if let Some((_, counts, newest)) = counts.get_mut(index) {
            run.iter().for_each(|change| {
                counts.count(&change.op);
                *newest = (*newest).max(change.origin.at);
            });
        }
    }
    counts
}
