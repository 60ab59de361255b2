//! Values that do not fit, where the table's policy says more than that it stops.
//!
//! ```text
//!  a table fails ─▶ ROLLBACK ─▶ its rows are examined ─┬─▶ its columns are altered ─▶ the next attempt
//!                                                      └─▶ suspected ─▶ the next attempt: examined first, NULL, marks
//! ```
//!
//! Nothing is looked at before something has failed; then the rows of that table alone, for as long as the process lives.
//! Where a failure leaves the transaction whole, rows are mended where they are.
//!
//! Why a repeated flush leaves the same: columns are altered outside of the transactions with rows, under the fence, and
//! what has been altered fits; NULL, its mark and the progress are of one transaction. Why no mark is lost: a staged row
//! that takes its value over from the target's gets that row's mark before the merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::fit;
use super::options::Options;
use super::views::around;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, MergeSpec, Target};
use crate::logic::merge::{Evolved, Marks, Misfit, NetRow, OnMisfit, replace, room};
use crate::model::{Class, Error, Result, TableName};

/// What a process remembers of values that did not fit, through its attempts.
#[derive(Clone, Debug, Default)]
pub struct Unfit(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Targets whose rows are examined before they are loaded.
    suspected: BTreeSet<TableName>,
    /// What the log has told of.
    told: BTreeSet<(TableName, String)>,
}

impl Unfit {
    fn known<T>(&self, what: impl FnOnce(&mut Known) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The marks of one connection to a warehouse.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Targets that have some.
    marked: BTreeSet<TableName>,
    /// Those of rows on their way.
    waiting: Vec<(TableName, Marks)>,
    /// Of what is not committed yet, by the told table and its column.
    counts: BTreeMap<(TableName, String), u64>,
}

impl Replaced {
    /// Reads which targets have marks. `fresh`: nothing is stored of the pipeline, so they are of a life before.
    pub(super) async fn open<C: Client>(
        client: &mut C,
        dialect: &impl Dialect,
        options: &Options,
        fresh: bool,
    ) -> Result<Replaced> {
        let misfits = dialect.misfits(&options.pipeline);
        if fresh {
            client.execute(&misfits.forget()).await?;
        }
        let rows = client.query(&misfits.targets()).await?.into_iter();
        let name = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(schema), Some(table)]) => Some(TableName::new(schema, table)),
            _ => None,
        };
        Ok(Replaced { marked: rows.filter_map(name).collect(), ..Replaced::default() })
    }
}

impl<C: Client, D: Dialect> Worker<C, D> {
    fn on_misfit(&self, target: &Target) -> OnMisfit {
        self.options.policies.of(&self.options.origins.of(&target.table.name)).misfit
    }

    /// Whether values may be to blame, and something is to be done about them.
    fn may_settle(&self, target: &Target, error: &Error) -> bool {
        error.class() == Class::Blocked && !error.is_systemic() && self.on_misfit(target) != OnMisfit::Stop
    }

    /// Brings rows near to the warehouse, those of them mended that are known not to fit.
    pub(super) async fn near(&mut self, target: &Target, rows: &mut [NetRow]) -> Result<()> {
        if self.options.unfit.known(|known| known.suspected.contains(&target.name)) {
            self.examine(target, rows).await?;
        }
        match self.client.ahead(target, rows, self.open).await {
            Err(error) if self.may_settle(target, &error) => {
                match self.examine(target, rows).await {
                    Ok(true) => self.client.ahead(target, rows, self.open).await,
                    Ok(false) => Err(error),
                    // Why a value does not fit is in the first.
                    Err(refused) if refused.class() == Class::Blocked => Err(refused.within(error.what())),
                    failed => failed.map(|_| ()),
                }
            }
            done => done,
        }
    }

    /// Looks for values that do not fit, and does what the policy says; whether rows were changed.
    async fn examine(&mut self, target: &Target, rows: &mut [NetRow]) -> Result<bool> {
        let policy = self.on_misfit(target);
        let mut changed = false;
        loop {
            let misfits = self.client.misfits(target, rows).await?;
            match policy {
                _ if misfits.is_empty() => return Ok(changed),
                OnMisfit::Stop => return Ok(changed),
                OnMisfit::Widen | OnMisfit::Text => return Err(self.make_room(target, rows, &misfits, policy).await?),
                OnMisfit::Null => {
                    let marks = replace(target, rows, &misfits)?;
                    self.tell(target, &marks);
                    self.replaced.waiting.push((target.name.clone(), marks));
                    changed = true;
                }
            }
        }
    }

    /// What comes of a failure to merge rows: where values are to blame, the attempt ends and the next one does better.
    pub(super) async fn unfit(&mut self, target: &Target, rows: &[NetRow], error: Error) -> Error {
        if !self.may_settle(target, &error) {
            return error;
        }
        match self.settle(target, rows).await {
            Ok(Some(instead)) => instead,
            Err(instead) => instead,
            Ok(None) => error,
        }
    }

    async fn settle(&mut self, target: &Target, rows: &[NetRow]) -> Result<Option<Error>> {
        let target = &self.afresh(target).await?;
        let misfits = self.client.misfits(target, rows).await?;
        let policy = self.on_misfit(target);
        if misfits.is_empty() {
            return Ok(None);
        }
        if policy != OnMisfit::Null {
            return self.make_room(target, rows, &misfits, policy).await.map(Some);
        }
        // Refused at once, where it is the key's.
        replace(target, &mut rows.to_vec(), &misfits)?;
        self.options.unfit.known(|known| known.suspected.insert(target.name.clone()));
        Ok(Some(Error::transient(format!("values of {} do not fit and are replaced by NULL", target.table.name))))
    }

    /// The target as it is when nothing is open: what was made or altered in the open transaction is undone.
    async fn afresh(&mut self, target: &Target) -> Result<Target> {
        if !std::mem::take(&mut self.open) {
            return Ok(target.clone());
        }
        self.client.execute("ROLLBACK").await?;
        let told =
            self.fitting.get(&target.name).map_or_else(|| Arc::clone(&target.table), |(told, _)| Arc::clone(told));
        self.fitting.clear();
        self.staging.clear();
        self.fit(Target { table: told, ..target.clone() }).await
    }

    /// Alters columns so that values fit, in a transaction of its own under the fence.
    async fn make_room(
        &mut self,
        target: &Target,
        rows: &[NetRow],
        misfits: &[Misfit],
        policy: OnMisfit,
    ) -> Result<Error> {
        let target = &self.afresh(target).await?;
        let present = fit::present(&mut self.client, &self.dialect, &target.name).await?.unwrap_or_default();
        let (statements, words) = room(&self.dialect, target, &present, rows, misfits, policy)?;
        let evolved = Evolved {
            table: Arc::clone(&target.table),
            statements,
            held: Vec::new(),
            notes: Vec::new(),
            only_adds: false,
            columns: present.into_iter().map(|column| column.name).collect(),
            renames: Vec::new(),
            retypes: true,
        };
        let around = around(&mut self.client, &self.dialect, &self.options, target, &evolved, true).await?;
        self.begin().await?;
        self.ledger.guard(&mut self.client, &self.dialect).await?;
        let statements = around.before.into_iter().chain(evolved.statements).chain(around.after);
        for statement in statements.chain(around.note) {
            let altered = self.client.execute(&statement).await;
            altered.map_err(|error| error.within(format!("altering {}", target.name)))?;
        }
        self.client.execute("COMMIT").await?;
        self.open = false;
        let words = words.join(", ");
        tracing::warn!(table = %target.name, "columns are altered, for values that do not fit: {words}");
        Ok(Error::transient(format!("columns of {} were altered for values that do not fit: {words}", target.name)))
    }

    /// Tells of values that are replaced, once for each column.
    fn tell(&mut self, target: &Target, marks: &Marks) {
        let table = &target.table.name;
        for (column, rows) in marks {
            let place = (table.clone(), column.clone());
            *self.replaced.counts.entry(place.clone()).or_default() += rows.len() as u64;
            if self.options.unfit.known(|known| known.told.insert(place)) {
                tracing::warn!(
                    table = %table, column,
                    "values have no place in this column: NULL is written for them, and _tailwater.misfits says in which rows"
                );
            }
        }
    }

    /// Brings the marks that wait into the warehouse, inside the open transaction.
    pub(super) async fn write_marks(&mut self) -> Result<()> {
        for (target, marks) in std::mem::take(&mut self.replaced.waiting) {
            for (column, rows) in &marks {
                for statement in self.dialect.misfits(&self.options.pipeline).mark(&target, column, rows) {
                    self.client.execute(&statement).await?;
                }
            }
            self.replaced.marked.insert(target);
        }
        Ok(())
    }

    /// Gives staged rows the marks of those whose values they take over.
    pub(super) async fn keep_marks(&mut self, spec: &MergeSpec<'_>) -> Result<()> {
        if spec.staged && self.replaced.marked.contains(&spec.target.name) {
            for statement in self.dialect.keep_marks(&self.options.pipeline, spec) {
                self.client.execute(&statement).await?;
            }
        }
        Ok(())
    }

    /// Counts what has been committed.
    pub(super) fn count_marks(&mut self) {
        for ((table, column), count) in std::mem::take(&mut self.replaced.counts) {
            self.options.meters.replaced(&table, &column, count);
        }
    }
}
