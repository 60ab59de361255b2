//! One process of the product: its loop, its warehouse sink and its source, on the models.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tailwater::adapters::warehouse::{Client, Flush, Options, Reach, WarehouseSink};
use tailwater::logic::assemble::PIECE;
use tailwater::logic::merge::Stage;
use tailwater::logic::pipeline::{Goal, Run, run};
use tailwater::model::{ChangeId, Meters, Result};
use tokio_util::sync::CancellationToken;

use super::life::Life;
use super::server::HEAVIEST;
use super::source::ModelSource;
use super::warehouse::{Outcome, Words};
use super::world::{Shared, World};

/// A connection to the model warehouse.
struct ModelClient {
    shared: Shared,
    life: Arc<Life>,
    session: u64,
    /// Bytes of changes that may come to it at once: as much as makes a flush due, and what came last.
    bound: usize,
}

impl ModelClient {
    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.lock().unwrap()
    }

    fn run(&self, sql: &str) -> Outcome {
        let mut world = self.world();
        let world = &mut *world;
        let (faults, commits) = (world.faults, world.warehouse.commits);
        let outcome = world.warehouse.execute(self.session, sql, faults, &mut world.chance);
        if world.warehouse.commits > commits {
            world.check();
        }
        match &outcome {
            Outcome::Done(n) => world.tell(|| format!("warehouse {}: {sql} -> {n}", self.session)),
            Outcome::Failed(error) => world.tell(|| format!("warehouse {}: {sql} -> {error}", self.session)),
            Outcome::Locked => {
                // Whoever has the row is asked for a sign of life.
                let commits = world.warehouse.commits;
                world.warehouse.settle(&mut world.chance);
                if world.warehouse.commits > commits {
                    world.check();
                }
            }
        }
        outcome
    }
}

impl Client for ModelClient {
    async fn execute(&mut self, sql: &str) -> Result<u64> {
        self.life.step().await;
        loop {
            match self.run(sql) {
                Outcome::Done(count) => {
                    self.life.step().await;
                    return Ok(count);
                }
                Outcome::Failed(error) => return Err(error),
                Outcome::Locked => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.life.step().await;
        self.world().warehouse.query(self.session, sql)
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        self.life.step().await;
        let mut world = self.world();
        // A change of a key is two rows.
        let changes: BTreeSet<ChangeId> = stage.rows.iter().map(|row| row.id).collect();
        let held: usize = changes.iter().map(|id| world.server.weight(id.commit.get())).sum();
        if held > self.bound {
            world.broken(format!("the sink holds {held} bytes of {}, and {} are allowed", stage.name, self.bound));
        }
        world.warehouse.load(self.session, stage)
    }
}

/// What a process leaves behind for those outside.
pub struct Plan {
    pub life: Arc<Life>,
    pub goal: Goal,
    pub stop: CancellationToken,
    /// Its connection to the warehouse.
    pub session: u64,
    pub flush: Flush,
}

/// Runs a process to its end; the end never comes when it dies.
pub async fn process(shared: Shared, plan: Plan) -> Result<()> {
    let Plan { life, goal, stop, session, flush } = plan;
    let bound = flush.bytes + PIECE + HEAVIEST;
    let client = ModelClient { shared: Arc::clone(&shared), life: Arc::clone(&life), session, bound };
    let options = Options { stop: Reach::Pipeline, ..Options::new("p", flush) };
    let (mut sink, stored) = WarehouseSink::start(client, Words, options).await?;
    let settings = Run { goal, stop, grace: Duration::from_secs(30), meters: Meters::new() };
    let result = match ModelSource::start(shared, life, stored).await {
        Ok(mut source) => {
            let result = run(&mut source, &mut sink, &settings).await;
            source.close().await;
            result
        }
        Err(error) => Err(error),
    };
    sink.close().await;
    result
}
