//! A member's side of the shared work: folds its topics' changes and stages them for the leader.
//!
//! The staging tables of one cut and the rows of `_tailwater.stages` that speak of them are of one transaction: who sees
//! the rows sees complete tables. A table is never touched again by who made it; the leader drops it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::client::Client;
use super::layouts::Layouts;
use super::ledger;
use super::options::Options;
use super::reread::spelled;
use super::stops::Stops;
use crate::codecs::dialect::{Dialect, Layout, Share, StageRow, Target};
use crate::codecs::event::{Modes, encode_table};
use crate::logic::merge::{Fold, Stage};
use crate::logic::share::{Cut, Topics, View};
use crate::model::{Change, Checkpoint, Class, Error, Op, PgTimestamp, Result, Table, TableName};

/// Stages what is folded. See the module.
pub struct StageMember<C, D> {
    client: C,
    dialect: D,
    options: Options,
    /// Unlike any other's, also of this process's earlier attempts.
    name: String,
    /// With the topics they are of, in the order they came.
    folds: Vec<(String, Fold)>,
    rows: usize,
    bytes: usize,
    /// What is in the transaction that is open.
    parts: Vec<StageRow>,
    open: bool,
    serial: u64,
    layouts: Layouts,
    newest: Option<PgTimestamp>,
    /// The table that is being folded or staged.
    at: Option<TableName>,
    /// The leader's, as last seen.
    fence: u64,
}

impl<C: Client, D: Dialect> StageMember<C, D> {
    /// Makes the control tables where they are absent.
    pub async fn start(mut client: C, dialect: D, options: Options, name: String) -> Result<StageMember<C, D>> {
        for statement in dialect.create_control().into_iter().chain(dialect.create_share()) {
            client.execute(&statement).await.map_err(|error| error.within("making the control tables"))?;
        }
        let (folds, parts) = Default::default();
        Ok(StageMember {
            client,
            dialect,
            options,
            name,
            folds,
            rows: 0,
            bytes: 0,
            parts,
            open: false,
            serial: 0,
            layouts: Layouts::default(),
            newest: None,
            at: None,
            fence: 0,
        })
    }

    /// What the control tables say; `None` before there is a leader.
    pub async fn view(&mut self, progress_topic: &str) -> Result<Option<View>> {
        let share = Share { pipeline: &self.options.pipeline };
        let rows = self.client.query(&share.view(progress_topic)).await?;
        let number = |cell: &Option<String>| cell.as_ref().and_then(|text| text.parse::<i64>().ok());
        let mut view: Option<View> = None;
        for row in rows {
            let [fence, stored, cut, since, upto] =
                <[Option<String>; 5]>::try_from(row).map_err(|_| Error::bug("a view of other columns"))?;
            let fence = number(&fence).and_then(|fence| u64::try_from(fence).ok()).unwrap_or(0);
            let stored = number(&stored).unwrap_or(0);
            let view = view.get_or_insert(View { fence, stored, cuts: Vec::new(), shared: false });
            if let (Some(cut), Some(since), Some(upto)) = (number(&cut), number(&since), number(&upto)) {
                match u64::try_from(cut).unwrap_or(0) {
                    0 => view.shared = true,
                    number => view.cuts.push(Cut { number, since, upto }),
                }
            }
        }
        self.fence = view.as_ref().map_or(0, |view| view.fence);
        Ok(view)
    }

    /// Where the warehouse stands, all of one moment.
    pub async fn stored(&mut self) -> Result<Option<Checkpoint>> {
        self.forget().await?;
        self.client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let stored = ledger::stored(&mut self.client, &self.dialect, &self.options.pipeline).await?;
        self.client.execute("COMMIT").await?;
        Ok(stored)
    }

    /// Which topics of which cut are staged, by whomever.
    pub async fn staged(&mut self, fence: u64) -> Result<BTreeSet<(u64, String)>> {
        let share = Share { pipeline: &self.options.pipeline };
        let rows = self.client.query(&share.staged(fence)).await?;
        let staged = rows.into_iter().filter_map(|row| match row.as_slice() {
            [Some(cut), Some(topic), ..] => Some((cut.parse().ok()?, topic.clone())),
            _ => None,
        });
        Ok(staged.collect())
    }

    /// Folds a change of a topic.
    pub async fn take(&mut self, topic: &str, change: Change) -> Result<()> {
        match self.fold(topic, change).await {
            Err(error) => Err(self.stop_table(error).await),
            done => done,
        }
    }

    /// The table that was at hand is stopped, where the failure is its own. What came of it is read again by who does all
    /// the work until it goes on.
    async fn stop_table(&mut self, error: Error) -> Error {
        let Some(told) = self.at.take().filter(|_| self.options.stops_alone(&error)) else { return error };
        let note = async {
            self.forget().await?;
            let mut stops = Stops::open(&mut self.client, &self.dialect, &self.options, false).await?;
            stops.note(&mut self.client, &self.dialect, self.fence, (&told, &error)).await
        };
        match note.await {
            Ok(()) => Error::transient(format!("table {told} is stopped and the others go on")),
            // It is for the leader of now to find out.
            Err(other) if other.class() == Class::Transient => other,
            Err(other) => {
                tracing::warn!(error = %other, table = %told, "that the table is stopped can't be noted");
                error
            }
        }
    }

    /// Tells which tables are stopped, by whomever.
    pub async fn tell_stopped(&mut self) -> Result<()> {
        Stops::open(&mut self.client, &self.dialect, &self.options, false).await.map(|_| ())
    }

    async fn fold(&mut self, topic: &str, change: Change) -> Result<()> {
        if matches!(change.op, Op::Message(_) | Op::Commit { .. }) {
            return Ok(());
        }
        let bytes = change.size();
        self.newest = self.newest.max(Some(change.origin.at));
        let place = self.folds.iter().rposition(|(_, fold)| fold.table().name == change.table.name);
        let fits = |fold: &Fold| Arc::ptr_eq(fold.table(), &change.table) || fold.table().same_shape(&change.table);
        let place = match place {
            Some(place) if self.folds.get(place).is_some_and(|(_, fold)| fits(fold)) => place,
            _ => {
                self.at = Some(change.table.name.clone());
                let target = self.target(&change.table).await?;
                self.at = None;
                let spelled = spelled(&self.dialect, &change.table);
                self.folds.push((topic.to_owned(), Fold::new(&target, spelled)));
                self.folds.len() - 1
            }
        };
        self.folds.get_mut(place).ok_or_else(|| Error::bug("a fold is gone"))?.1.push(change)?;
        self.rows += 1;
        self.bytes += bytes;
        if self.bytes >= self.options.flush.bytes || self.rows >= self.options.flush.rows {
            self.put().await?;
        }
        Ok(())
    }

    /// Stages what is folded, inside the open transaction.
    async fn put(&mut self) -> Result<()> {
        (self.rows, self.bytes) = (0, 0);
        for (topic, fold) in std::mem::take(&mut self.folds) {
            let folded = fold.finish();
            self.at = Some(folded.table.name.clone());
            let (missing, deletes) = (folded.missing(), folded.deletes());
            let layout = self.target(&folded.table).await?.layout;
            let rows = folded.rows.len() as u64;
            let mut stage = None;
            if rows > 0 {
                self.begin().await?;
                let target = self.own_stage(&folded.table, layout);
                for statement in self.dialect.create_stage(&target) {
                    self.client.execute(&statement).await?;
                }
                let name = self.dialect.stage(&target);
                let loaded =
                    self.client.load(Stage { name: name.clone(), target, rows: Arc::new(folded.rows) }).await?;
                if loaded != rows {
                    return Err(Error::transient(format!("{loaded} rows were staged of {rows}")));
                }
                stage = Some(name);
            }
            let (_, shape) = encode_table(&folded.table, &Modes::default());
            let shape = String::from_utf8(shape).map_err(|_| Error::bug("a shape is no text"))?;
            self.parts.push(StageRow {
                topic,
                member: self.name.clone(),
                part: self.parts.len() + 1,
                stage,
                shape: Some(shape),
                layout: Some(layout.name().to_owned()),
                horizon: folded.horizon,
                at: folded.at,
                deletes,
                missing,
                rows,
                newest: self.newest,
            });
        }
        self.at = None;
        Ok(())
    }

    /// A staging table that is nobody else's: its name follows from ours and a count.
    fn own_stage(&mut self, table: &Arc<Table>, layout: Layout) -> Target {
        self.serial += 1;
        let place = format!("{} {} {}", self.options.pipeline, self.name, self.serial);
        let target = Target { layout, ..Target::new(TableName::new(place, &table.name.name), Arc::clone(table)) };
        Target { shared_stage: Some(Share::stage(&target)), ..target }
    }

    /// Where a source table's rows will go, and how they are kept there.
    async fn target(&mut self, table: &Arc<Table>) -> Result<Target> {
        let (name, mode) = (self.options.target_name(&table.name), self.options.mode(&table.name));
        let layout = self.layouts.of(&mut self.client, &self.dialect, &name, table, mode).await?;
        Ok(Target { layout, ..Target::new(name, Arc::clone(table)) })
    }

    /// Makes the stages of these topics visible, if the cut still stands; of the others nothing stays.
    pub async fn report(&mut self, fence: u64, cut: Cut, topics: &Topics) -> Result<()> {
        if let Err(error) = self.put().await {
            return Err(self.stop_table(error).await);
        }
        let mut rows = Vec::new();
        for part in std::mem::take(&mut self.parts) {
            match (topics.contains(&part.topic), &part.stage) {
                (true, _) => rows.push(part),
                (false, Some(stage)) => _ = self.client.execute(&format!("DROP TABLE {stage}")).await?,
                (false, None) => {}
            }
        }
        for topic in topics {
            if !rows.iter().any(|row| row.topic == *topic) {
                rows.push(self.nothing(topic));
            }
        }
        self.newest = None;
        if rows.is_empty() {
            return self.end(true).await;
        }
        self.begin().await?;
        let share = Share { pipeline: &self.options.pipeline };
        let mut stands = true;
        for row in &rows {
            stands &= self.client.execute(&share.report(fence, cut.number, row)).await? == 1;
        }
        self.end(stands).await
    }

    /// The word that nothing came of a topic.
    fn nothing(&self, topic: &str) -> StageRow {
        StageRow {
            topic: topic.to_owned(),
            member: self.name.clone(),
            part: 0,
            stage: None,
            shape: None,
            layout: None,
            horizon: None,
            at: None,
            deletes: false,
            missing: Vec::new(),
            rows: 0,
            newest: None,
        }
    }

    /// Forgets what has been taken since the last report.
    pub async fn forget(&mut self) -> Result<()> {
        self.folds.clear();
        self.parts.clear();
        (self.rows, self.bytes, self.newest) = (0, 0, None);
        self.end(false).await
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.open {
            self.client.execute("BEGIN").await?;
            self.open = true;
        }
        Ok(())
    }

    async fn end(&mut self, commits: bool) -> Result<()> {
        if std::mem::take(&mut self.open) {
            self.client.execute(if commits { "COMMIT" } else { "ROLLBACK" }).await?;
        }
        Ok(())
    }
}
