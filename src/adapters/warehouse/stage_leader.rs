//! The leader's side of the shared work: announces cuts, and merges what the members have staged.
//!
//! One target transaction for each cut: every topic's stages, the position at the cut's end, and the end of what is not
//! needed any more. The progress row's fence decides whether it commits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::client::Client;
use super::options::Options;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, Layout, MergeSpec, Share, StageRow, Target};
use crate::codecs::event::{TableRecord, decode_table};
use crate::logic::share::{Cut, Report};
use crate::model::{ChangeId, Checkpoint, Error, PgTimestamp, Result, Table, TableName};

/// Merges what members have staged. See the module.
pub struct StageLeader<C, D> {
    worker: Worker<C, D>,
    pipeline: String,
}

impl<C: Client, D: Dialect> StageLeader<C, D> {
    /// Takes the fence, removes what earlier leaders left, and reads where the warehouse stands. `None` where tables are
    /// stopped: the work can't be shared until they go on.
    pub async fn start(
        client: C,
        dialect: D,
        options: Options,
    ) -> Result<Option<(StageLeader<C, D>, Option<Checkpoint>)>> {
        let pipeline = options.pipeline.clone();
        let (worker, stored) = Worker::start(client, dialect, options).await?;
        let shares = !worker.stops.any();
        let mut leader = StageLeader { worker, pipeline };
        for statement in leader.worker.dialect.create_share() {
            leader.worker.client.execute(&statement).await?;
        }
        leader.worker.begin().await?;
        leader.sweep(0).await?;
        if shares {
            let begun = Share { pipeline: &leader.pipeline }.begin(leader.fence());
            leader.worker.client.execute(&begun).await?;
        }
        leader.worker.client.execute("COMMIT").await?;
        leader.worker.open = false;
        Ok(shares.then_some((leader, stored.0)))
    }

    /// Whether a table has been stopped, by whomever.
    pub async fn stopped(&mut self) -> Result<bool> {
        let stops = self.worker.dialect.stops(&self.pipeline).read();
        Ok(!self.worker.client.query(&stops).await?.is_empty())
    }

    /// The fence, which is the number of this leader.
    pub fn fence(&self) -> u64 {
        self.worker.ledger.fence()
    }

    /// Tells the members of a cut.
    pub async fn announce(&mut self, cut: Cut) -> Result<()> {
        let share = Share { pipeline: &self.pipeline };
        let announced = share.announce(self.fence(), cut.number, cut.since, cut.upto);
        match self.worker.client.execute(&announced).await? {
            1 => Ok(()),
            _ => Err(self.worker.ledger.replaced()),
        }
    }

    /// All stages that are complete; fails when the fence is another's.
    pub async fn reports(&mut self) -> Result<Vec<Report>> {
        let fence = self.fence();
        let rows = self.worker.client.query(&Share { pipeline: &self.pipeline }.reports(fence)).await?;
        let mut reports = Vec::new();
        for row in rows {
            let [now, cut, topic, member] = <[Option<String>; 4]>::try_from(row).map_err(|_| unreadable())?;
            if now != Some(fence.to_string()) {
                return Err(self.worker.ledger.replaced());
            }
            let cut = cut.and_then(|cut| cut.parse().ok());
            if let (Some(cut), Some(topic), Some(member)) = (cut, topic, member) {
                reports.push(Report { fence, cut, topic, member });
            }
        }
        Ok(reports)
    }

    /// Merges each topic's stages as this member made them, and moves the position to the cut's end. A table that can't be
    /// merged is noted as stopped.
    pub async fn merge(&mut self, cut: Cut, from: &BTreeMap<String, String>, end: Checkpoint) -> Result<()> {
        match self.merge_all(cut, from, end).await {
            Err(error) => Err(self.worker.stop_table(error).await),
            done => done,
        }
    }

    async fn merge_all(&mut self, cut: Cut, from: &BTreeMap<String, String>, end: Checkpoint) -> Result<()> {
        let share = Share { pipeline: &self.pipeline };
        let rows = self.worker.client.query(&share.stages(self.fence(), cut.number)).await?;
        let rows = rows.into_iter().map(StageRow::read).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
        let chosen: Vec<StageRow> =
            rows.into_iter().filter(|row| from.get(&row.topic).is_some_and(|member| *member == row.member)).collect();
        let newest = chosen.iter().filter_map(|row| row.newest).max();
        let parts = self.parts(chosen).await?;
        let mut fitted = BTreeSet::new();
        for part in &parts {
            // The first shape of each table outside of the transaction, as always; later ones where their rows begin.
            if fitted.insert(part.target.name.to_string()) {
                self.worker.merging = Some(part.target.table.name.clone());
                self.worker.fit(part.target.clone()).await?;
            }
        }
        self.worker.begin().await?;
        for mut part in parts {
            let name = part.target.name.clone();
            let told = Arc::clone(&part.target.table);
            self.worker.merging = Some(told.name.clone());
            part.target = self.worker.fit(part.target).await?;
            self.merge_part(part, &told).await.map_err(|error| error.within(format!("merging into {name}")))?;
        }
        self.worker.merging = None;
        self.sweep(cut.number).await?;
        self.worker.gathered.at = newest.or(self.worker.gathered.at);
        let end = self.worker.ledger.forward(end, ChangeId::ZERO);
        self.worker.commit(&end).await
    }

    /// The stages with their targets, in the order in which they are merged.
    async fn parts(&mut self, chosen: Vec<StageRow>) -> Result<Vec<Part>> {
        let mut shapes: HashMap<String, Arc<Table>> = HashMap::new();
        let mut topics: HashMap<TableName, String> = HashMap::new();
        let mut parts = Vec::new();
        for row in chosen {
            let Some(shape) = row.shape else { continue };
            let table = match shapes.get(&shape) {
                Some(table) => Arc::clone(table),
                None => match decode_table(shape.as_bytes()) {
                    Ok(TableRecord::Version(table, _)) => Arc::clone(shapes.entry(shape).or_insert(Arc::new(table))),
                    _ => return Err(unreadable()),
                },
            };
            let target = self.worker.target(&table).await?;
            if row.layout.as_deref() != Some(target.layout.name()) {
                return Err(Error::blocked(format!("the members do not keep {} alike", target.name))
                    .remedy("give all of them the same file, as far as tables are concerned"));
            }
            let topic = topics.entry(target.name.clone()).or_insert_with(|| row.topic.clone());
            if *topic != row.topic {
                // Who does all the work passes this place.
                self.worker.merging = Some(table.name.clone());
                return Err(Error::blocked(format!(
                    "{} gets changes of two topics at once ({topic} and {}), whose order is not known where they are shared",
                    target.name, row.topic
                ))
                .remedy("this heals by itself: one process does all the work until the reader has passed this place"));
            }
            parts.push(Part {
                target: Target { shared_stage: row.stage, ..target },
                horizon: row.horizon,
                at: row.at,
                deletes: row.deletes,
                missing: row.missing,
                rows: row.rows,
            });
        }
        Ok(parts)
    }

    async fn merge_part(&mut self, part: Part, told: &Table) -> Result<()> {
        if let Some(stage) = &part.target.shared_stage {
            let counted = self.worker.client.query(&Share::count(stage)).await?;
            let counted = counted.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
            if counted != part.rows.to_string() {
                return Err(Error::transient(format!("a staging table has {counted} rows, and had {}", part.rows)));
            }
            // A member stages under the names that are told, and knows nothing of those that rows land under.
            let columns = told.columns.iter().zip(&part.target.table.columns);
            let names = columns.map(|(told, landed)| (told.name.as_str(), landed.name.as_str()));
            let names: Vec<_> = names.filter(|(from, to)| from != to).collect();
            // Some may have changed places.
            let between = |place: usize| format!("_tw_moved_{place}");
            for (place, (from, _)) in names.iter().enumerate() {
                self.worker.client.execute(&Share::rename(stage, from, &between(place))).await?;
            }
            for (place, (_, to)) in names.iter().enumerate() {
                self.worker.client.execute(&Share::rename(stage, &between(place), to)).await?;
            }
            if part.target.layout == Layout::Append && !names.is_empty() {
                self.worker.client.execute(&Share::respell(stage, &names)).await?;
            }
        }
        let spec = MergeSpec {
            target: &part.target,
            horizon: part.horizon,
            at: part.at,
            deletes: part.deletes,
            missing: part.missing,
            staged: part.target.shared_stage.is_some(),
            since: None,
        };
        self.worker.refuse_orphans(&spec).await?;
        self.worker.merge_staged(&spec).await
    }

    /// Drops what is of no use any more, inside the open transaction.
    async fn sweep(&mut self, cut: u64) -> Result<()> {
        let (share, fence) = (Share { pipeline: &self.pipeline }, self.fence());
        for row in self.worker.client.query(&share.useless(fence, cut)).await? {
            if let Some(Some(stage)) = row.first() {
                self.worker.client.execute(&format!("DROP TABLE IF EXISTS {stage}")).await?;
            }
        }
        for statement in share.forget(fence, cut) {
            self.worker.client.execute(&statement).await?;
        }
        Ok(())
    }
}

/// One stage on its way into a target.
struct Part {
    target: Target,
    horizon: Option<ChangeId>,
    at: Option<PgTimestamp>,
    deletes: bool,
    missing: Vec<usize>,
    rows: u64,
}

fn unreadable() -> Error {
    Error::blocked("a row of _tailwater.stages can't be read")
        .remedy("it was changed by hand, or written by another version: run the same version in all processes")
}
