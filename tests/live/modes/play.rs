//! Plays a history in several lives, each of which ends without notice and begins somewhere before its end.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tailwater::adapters::warehouse::WarehouseSink;
use tailwater::codecs::dialect::Mode;
use tailwater::logic::pipeline::{Batch, Sink};
use tailwater::model::{Checkpoint, Class, Error, Result};

use super::story::Transaction;
use super::{History, Look, options};
use crate::history::{At, batch};
use crate::warehouse::{Warehouse, apply, durable, runtime};

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// All is in the tables.
    Last,
    /// Between two statements: what is not committed is rolled back.
    Closed,
    /// Wherever it stands, with its connections, as when the process is killed.
    Killed,
    /// By a successor, while it goes on.
    Replaced,
    /// The warehouse fails, once, at the next statement that begins so.
    #[cfg(feature = "redshift")]
    Failed(&'static str, crate::support::redshift::Mishap),
}

impl End {
    /// One that this warehouse can have.
    fn some(warehouse: &Warehouse<'_>, random: &mut StdRng) -> End {
        match (random.random_range(0..10), warehouse) {
            (0..3, _) => End::Closed,
            (3..7, _) => End::Killed,
            #[cfg(feature = "duckdb")]
            (_, Warehouse::Duckdb(_)) => End::Killed,
            #[cfg(feature = "redshift")]
            (_, Warehouse::Redshift(..)) => End::failed(random),
            _ => End::Replaced,
        }
    }

    #[cfg(feature = "redshift")]
    fn failed(random: &mut StdRng) -> End {
        use crate::support::redshift::Mishap;
        let all = [
            ("COPY>COMMIT", Mishap::CutAfter),
            ("COPY>COMMIT", Mishap::CutBefore),
            ("COPY", Mishap::CutBefore),
            ("COPY", Mishap::Unseen),
            ("COPY", Mishap::Miscount),
            ("DELETE FROM", Mishap::Conflict),
            ("INSERT INTO", Mishap::Conflict),
            ("INSERT INTO", Mishap::CutAfter),
            ("LOCK", Mishap::Conflict),
        ];
        let (statement, mishap) = all[random.random_range(0..all.len())];
        End::Failed(statement, mishap)
    }
}

/// How many seeds, or the one to play again.
pub fn seeds(count: u32) -> Vec<u64> {
    let one = std::env::var("TAILWATER_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(count);
    one.map_or_else(|| (0..count).map(|_| u64::from(rand::random::<u32>())).collect(), |seed| vec![seed])
}

/// Plays so many histories, each in a schema of its own.
pub fn play_all<'a>(count: u32, stage: impl Fn(u64) -> (Warehouse<'a>, Look<'a>)) {
    let (begin, seeds) = (Instant::now(), seeds(count));
    for &seed in &seeds {
        let played = || {
            let (warehouse, look) = stage(seed);
            play(&warehouse, &look, seed);
        };
        if let Err(failed) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(played)) {
            eprintln!("TAILWATER_SEED={seed}");
            std::panic::resume_unwind(failed);
        }
    }
    println!("{} histories in {:.1} s", seeds.len(), begin.elapsed().as_secs_f64());
}

fn play(warehouse: &Warehouse<'_>, look: &Look<'_>, seed: u64) {
    let history = History::some(seed, look.kept(), look.alters_inside());
    let mut random = StdRng::seed_from_u64(seed ^ 2);
    let rows = random.random_range(5..200);
    let live = Live { warehouse, look, history: &history, seed, rows };
    for _ in 0..random.random_range(1..4) {
        live.run(End::some(warehouse, &mut random), &mut random);
    }
    // One that was killed may still be about its last statement, which whoever comes next has to bear.
    let ended = (0..50).any(|_| live.run(End::Last, &mut random));
    assert!(ended, "it gets nowhere");
}

/// What all lives of one pipeline have.
struct Live<'a> {
    warehouse: &'a Warehouse<'a>,
    look: &'a Look<'a>,
    history: &'a History,
    seed: u64,
    /// How many rows make a flush.
    rows: usize,
}

impl Live<'_> {
    /// One life; says whether nothing failed. What it leaves behind goes with its runtime, at once.
    fn run(&self, end: End, random: &mut StdRng) -> bool {
        let runtime = runtime();
        let lived = runtime.block_on(self.live(end, random));
        drop(runtime);
        self.heal();
        match lived {
            Ok(()) => true,
            Err(error) => {
                // What DuckDB has open when a table changes is less next time.
                let open = !self.look.alters_inside() && error.to_string().contains("too large for one flush");
                assert!(open || error.class() == Class::Transient, "{end:?}: {error}");
                false
            }
        }
    }

    async fn live(&self, end: End, random: &mut StdRng) -> Result<()> {
        let (mut sink, stored) = self.start().await?;
        self.look.settle();
        let done = self.history.done(stored.as_ref());
        if done > 0 {
            // With another key rows that are gone may have been taken away, before the first change that is told with it.
            let truth = &self.history.truths[done - 1];
            let rekeyed = |next: &Transaction| next.after().by_uid != truth.told.by_uid;
            let rekeyed = self.history.transactions.get(done).is_some_and(rekeyed);
            let keyed = self.history.tables.keyed.iter().filter(|(_, mode)| *mode != Mode::SoftDelete || !rekeyed);
            self.look.compare(self.seed, truth, &keyed.copied().collect::<Vec<_>>());
        }
        let mut pieces = self.history.batches(random.random_range(done.saturating_sub(5)..=done), random);
        let stop = if end == End::Last { pieces.len() } else { random.random_range(0..=pieces.len()) };
        let rest = pieces.split_off(stop);
        let open = pieces.last().is_some_and(|piece| piece.upto.is_none());
        self.meet(end);
        let mut deliveries = Vec::new();
        for piece in pieces {
            deliveries.push(apply(&mut sink, piece).await?);
            if random.random_bool(0.3) {
                Sink::<At>::flush(&mut sink).await?;
            }
        }
        match end {
            End::Killed => {
                tokio::time::sleep(Duration::from_micros(random.random_range(0..8_000))).await;
                let delivery = apply(&mut sink, batch(Vec::new(), None)).await?;
                drop(sink);
                // The worker is gone, its connection not yet.
                let _ = durable(delivery).await;
            }
            // A transaction that is open holds Redshift's lock, and a successor waits for its end.
            End::Replaced if !(open && self.locks()) => self.replace(sink, rest).await?,
            End::Last => {
                Sink::<At>::flush(&mut sink).await?;
                for delivery in deliveries {
                    durable(delivery).await?;
                }
                let (truth, keyed) = (self.history.truths.last().unwrap(), &self.history.tables.keyed);
                self.look.compare(self.seed, truth, keyed);
                self.look.compare_columns(self.seed, truth, keyed);
                sink.close().await;
            }
            _ => sink.close().await,
        }
        Ok(())
    }

    async fn start(&self) -> Result<(WarehouseSink, Option<Checkpoint>)> {
        let started = self.warehouse.start(options(self.seed, self.rows));
        tokio::time::timeout(crate::support::patient(Duration::from_secs(60)), started)
            .await
            .expect("a sink starts in time")
    }

    /// Another process takes over; what this one still brings is refused, and nothing of it is seen.
    async fn replace(&self, mut sink: WarehouseSink, rest: Vec<Batch<At>>) -> Result<()> {
        // What it has taken may be in the tables or not.
        Sink::<At>::flush(&mut sink).await?;
        let (newer, _) = self.start().await?;
        let refused = |error: Error| assert!(matches!(error.class(), Class::Blocked | Class::Transient), "{error}");
        for piece in rest {
            let complete = piece.upto.is_some();
            let delivery = match apply(&mut sink, piece).await {
                Ok(delivery) => delivery,
                Err(error) => {
                    refused(error);
                    break;
                }
            };
            if complete {
                // It may have failed with an earlier piece.
                let _ = Sink::<At>::flush(&mut sink).await;
                refused(durable(delivery).await.expect_err("the older of two writers is refused"));
                break;
            }
        }
        sink.close().await;
        newer.close().await;
        Ok(())
    }

    /// Lets the warehouse fail, if it is to.
    fn meet(&self, end: End) {
        #[cfg(feature = "redshift")]
        if let (End::Failed(statement, mishap), Warehouse::Redshift(_, cluster, _)) = (end, self.warehouse) {
            cluster.redshift.mishap(statement, mishap);
        }
        let _ = end;
    }

    fn heal(&self) {
        #[cfg(feature = "redshift")]
        if let Warehouse::Redshift(_, cluster, _) = self.warehouse {
            cluster.redshift.heal();
        }
    }

    fn locks(&self) -> bool {
        #[cfg(feature = "redshift")]
        return matches!(self.warehouse, Warehouse::Redshift(..));
        #[cfg(not(feature = "redshift"))]
        return false;
    }
}
