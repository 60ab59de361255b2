//! What is folded comes into the targets, inside one transaction of the warehouse.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, Layout, MergeSpec, Target};
use crate::logic::merge::{Fold, Folded, NetRow};
use crate::model::{Checkpoint, Error, Result, Table, TableName};

/// Past 64 of them in one transaction every reader of a PostgreSQL pays for them, also when they are released.
const SAVEPOINTS: usize = 60;

impl<C: Client, D: Dialect> Worker<C, D> {
    /// Brings what is folded into the targets, inside the open transaction.
    pub(super) async fn merge(&mut self) -> Result<()> {
        let later = std::mem::take(&mut self.gathered.folds).into_iter().map(Fold::finish);
        let folds: Vec<Folded> = std::mem::take(&mut self.gathered.ready).into_iter().chain(later).collect();
        let mut work: Vec<(Target, Folded)> = Vec::new();
        for folded in folds {
            self.merging = Some(folded.table.name.clone());
            let target = self.target(&folded.table).await?;
            // Rows of an earlier shape of the same transaction come first where columns get values or other names.
            if work.iter().any(|(earlier, _)| earlier.name == target.name) && !self.only_adds(&target).await? {
                self.may_alter(&target.table.name)?;
                self.merge_all(std::mem::take(&mut work)).await?;
                self.merging = Some(folded.table.name.clone());
            }
            work.push((self.fit(target).await?, folded));
        }
        self.merge_all(work).await?;
        self.merging = None;
        if self.stops.in_hand() {
            self.begin().await?;
        }
        self.stops.store(&mut self.client, &self.dialect).await?;
        self.gathered.merged();
        Ok(())
    }

    /// Rows of several transactions may wait together, and the last of them have another shape in a transaction that had
    /// begun with other tables. Where no open transaction can alter their table, the next attempt keeps them apart.
    pub(super) fn may_alter(&self, told: &TableName) -> Result<()> {
        if self.dialect.alters_with_rows() || self.options.one_by_one.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::transient(format!("{told} changed between transactions that waited together: they come one by one")))
    }

    /// What is brought near is for the transaction that comes next: after those that alter tables.
    async fn merge_all(&mut self, mut work: Vec<(Target, Folded)>) -> Result<()> {
        for (target, folded) in work.iter_mut().filter(|(_, folded)| !folded.rows.is_empty()) {
            self.merging = Some(target.table.name.clone());
            self.near(target, &mut folded.rows).await?;
        }
        self.merging = None;
        self.client.arrived().await?;
        if !work.is_empty() {
            self.begin().await?;
            self.write_marks().await?;
        }
        for (target, folded) in work {
            let name = target.name.clone();
            self.merging = Some(target.table.name.clone());
            self.merge_table(target, folded).await.map_err(|error| error.within(format!("merging into {name}")))?;
        }
        Ok(())
    }

    /// New rows go straight into the target where it can take them back: staging and looking for each costs twice that.
    async fn merge_table(&mut self, target: Target, mut folded: Folded) -> Result<()> {
        let can = target.layout == Layout::Mirror && self.straight < SAVEPOINTS && self.client.takes_new(&target);
        let new = if can { folded.take_new(self.options.straight) } else { None };
        let Some(new) = new else { return self.merge_folded(&target, folded).await };
        if !folded.rows.is_empty() {
            self.merge_folded(&target, folded).await?;
        }
        self.straight += 1;
        match self.client.load_new(&target, &new.rows).await? {
            true => Ok(()),
            false => self.merge_folded(&target, new).await,
        }
    }

    async fn merge_folded(&mut self, target: &Target, folded: Folded) -> Result<()> {
        let (missing, since) = (folded.missing(), folded.since());
        let (horizon, at) = (folded.horizon, folded.at);
        let staged = !folded.rows.is_empty();
        let deletes = folded.deletes();
        let mut spec = MergeSpec { target, horizon, at, deletes, missing, staged, since };
        let mut rows = Arc::new(folded.rows);
        let mut done = self.stage(&mut spec, &rows).await;
        if done.is_ok() {
            if self.dialect.stages_as_kept() {
                rows = Arc::default();
            }
            done = self.merge_staged(&spec).await;
        }
        match done {
            Err(error) => Err(self.unfit(target, &rows, error).await),
            done => done,
        }
    }

    async fn stage(&mut self, spec: &mut MergeSpec<'_>, rows: &Arc<Vec<NetRow>>) -> Result<()> {
        if spec.missing.is_empty() && spec.staged {
            self.load(spec.target, Arc::clone(rows)).await?;
        } else if spec.staged {
            spec.deletes = self.load_mended(spec.target, Arc::clone(rows)).await?;
        }
        Ok(())
    }

    /// Brings what is in a target's staging table into the target.
    pub(super) async fn merge_staged(&mut self, spec: &MergeSpec<'_>) -> Result<()> {
        self.keep_marks(spec).await?;
        for statement in self.dialect.merge(spec) {
            self.client.execute(&statement).await?;
        }
        Ok(())
    }

    pub(super) async fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.client.execute("BEGIN").await?;
            (self.open, self.altered, self.straight) = (true, None, 0);
            for statement in self.dialect.prepare() {
                self.client.execute(&statement).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.begin().await?;
        self.ledger.advance(&mut self.client, &self.dialect, checkpoint, self.gathered.at).await?;
        self.client.execute("COMMIT").await?;
        self.open = false;
        self.ledger.committed(checkpoint);
        if self.altered.take().is_some() {
            self.options.one_by_one.store(false, Ordering::Relaxed);
        }
        self.count_marks();
        self.options.reread.iter().for_each(|reread| reread.forget(checkpoint.position.lsn));
        Ok(())
    }

    /// Makes the staging table empty and of this shape.
    pub(super) async fn fit_stage(&mut self, target: &Target) -> Result<()> {
        let fits = self.staging.get(&target.name).is_some_and(|fits| fits.same_shape(&target.table));
        if fits && self.dialect.keeps_stage() {
            return self.client.execute(&self.dialect.clear_stage(target)).await.map(|_| ());
        }
        for statement in self.dialect.create_stage(target) {
            self.client.execute(&statement).await?;
        }
        self.staging.insert(target.name.clone(), Arc::clone(&target.table));
        Ok(())
    }

    /// Where a source table's rows go, and how they are kept there.
    pub(super) async fn target(&mut self, table: &Arc<Table>) -> Result<Target> {
        let name = self.options.target_name(&table.name);
        let mode = self.options.mode(&table.name);
        let layout = self.layouts.of(&mut self.client, &self.dialect, &name, table, mode).await?;
        Ok(Target { layout, ..Target::new(name, Arc::clone(table)) })
    }
}
