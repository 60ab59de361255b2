//! The one owner of a warehouse's connection: folds, merges, commits.
//!
//! ```text
//!  batches ──▶ fold per table ──limits──▶ DDL ──▶ BEGIN ── stage, merge each table ── progress ── COMMIT ──▶ deliveries
//!                                                   │                                   ▲
//!                                                   └── a piece of a large transaction ─┘  stays open until its end
//! ```
//!
//! Why each change is applied exactly once: the id of the last applied change is committed with the rows and compared
//! in the same statement that moves it, so a second writer, a repeated batch or an unknown outcome of COMMIT can only
//! lead to a rollback or to changes at or below that id, which are dropped here. Why a reader sees whole transactions:
//! COMMIT comes only when the last change taken ends its transaction.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::gathered::Gathered;
use super::layouts::Layouts;
use super::ledger::Ledger;
use super::misfits::Replaced;
use super::notes;
use super::options::Options;
use super::pace::Pace;
use super::reread::spelled;
use super::sink::{Command, Failure, Taken};
use super::stops::Stops;
use crate::codecs::dialect::Dialect;
use crate::logic::merge::Fold;
use crate::model::{Change, Checkpoint, Class, Error, Op, Result, Table, TableName};

pub(super) struct Worker<C, D> {
    pub(super) client: C,
    pub(super) dialect: D,
    pub(super) options: Options,
    pub(super) ledger: Ledger,
    /// What has been taken and is not in the warehouse.
    pub(super) gathered: Gathered,
    pub(super) pace: Pace,
    pub(super) wanted: bool,
    /// Whether a batch waits for room.
    pub(super) pressed: bool,
    /// Whether a target transaction is open.
    pub(super) open: bool,
    /// The table, as it is told, whose target it has made or altered last.
    pub(super) altered: Option<TableName>,
    /// How often new rows were brought straight into a target in it.
    pub(super) straight: usize,
    /// The shapes that the targets fit, as they are told and as they land there.
    pub(super) fitting: HashMap<TableName, (Arc<Table>, Arc<Table>)>,
    /// Those that the staging tables have.
    pub(super) staging: HashMap<TableName, Arc<Table>>,
    /// The tables that can't proceed.
    pub(super) stops: Stops,
    /// The table that is being merged, as it is told.
    pub(super) merging: Option<TableName>,
    pub(super) layouts: Layouts,
    /// The marks of values that did not fit.
    pub(super) replaced: Replaced,
    /// The last shape of each table that was folded, with nothing in it.
    pub(super) shapes: HashMap<TableName, Fold>,
    /// `None` while somebody gathers from it.
    pub(super) inbox: Option<mpsc::UnboundedReceiver<Command>>,
    /// What was heard during a flush and can be done only now, before anything else in the inbox.
    pub(super) rest: VecDeque<Command>,
}

/// What is stored: the checkpoint, and the source's notes.
pub(super) type Stored = (Option<Checkpoint>, BTreeMap<String, String>);

impl<C: Client, D: Dialect> Worker<C, D> {
    pub(super) async fn start(mut client: C, dialect: D, options: Options) -> Result<(Worker<C, D>, Stored)> {
        let (ledger, stored) = Ledger::open(&mut client, &dialect, &options).await?;
        let stops = Stops::open(&mut client, &dialect, &options, stored.is_none()).await?;
        let replaced = Replaced::open(&mut client, &dialect, &options, stored.is_none()).await?;
        let pace = Pace::new(options.flush.after, options.adaptive);
        let noted = notes::read(&mut client, &dialect, &options.pipeline).await?;
        let worker = Worker {
            client,
            dialect,
            gathered: Gathered::after(ledger.change(), None),
            ledger,
            options,
            pace,
            wanted: false,
            pressed: false,
            open: false,
            altered: None,
            straight: 0,
            fitting: HashMap::new(),
            staging: HashMap::new(),
            stops,
            merging: None,
            layouts: Layouts::default(),
            replaced,
            shapes: HashMap::new(),
            inbox: None,
            rest: VecDeque::new(),
        };
        Ok((worker, (stored, noted)))
    }

    /// Until the sink is gone or a flush fails; then every delivery that waits is let go.
    pub(super) async fn run(mut self, inbox: mpsc::UnboundedReceiver<Command>, failure: Arc<Failure>) {
        self.inbox = Some(inbox);
        let result = match self.work().await {
            Err(error) => Err(self.stop_table(error).await),
            done => done,
        };
        let failed = result.is_err();
        if let Err(error) = result {
            failure.set(error);
        }
        drop(self.inbox.take());
        self.rest.clear();
        self.gathered.waiting.clear();
        let end = async {
            if self.open || failed {
                // The connection may be gone; then the warehouse rolls back by itself.
                let _ = self.client.execute("ROLLBACK").await;
            }
            if let Err(error) = self.client.close().await {
                tracing::debug!(%error, "the warehouse was not left in its best order");
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), end).await.is_err() {
            tracing::warn!("the warehouse does not answer a rollback; its connection is dropped");
        }
    }

    /// The table that was being merged is stopped, where the failure is its own; the next attempt knows of it.
    pub(super) async fn stop_table(&mut self, error: Error) -> Error {
        let refused = self.open && error.class() == Class::Blocked && !error.is_systemic();
        let altered = self.altered.take().filter(|_| refused && !self.dialect.alters_with_rows());
        // A transaction that alters targets may be of several of the source's, none of them too large to be apart.
        if let Some(told) = &altered {
            if let Err(apart) = self.may_alter(told) {
                return apart;
            }
            self.options.one_by_one.store(false, Ordering::Relaxed);
        }
        // That it was altered may count against it only when all is committed.
        let told = self.merging.take().or(altered);
        let Some(told) = told.filter(|_| self.stops.concerns(&error)) else { return error };
        let note = async {
            if std::mem::take(&mut self.open) {
                self.client.execute("ROLLBACK").await?;
            }
            self.stops.note(&mut self.client, &self.dialect, self.ledger.fence(), (&told, &error)).await
        };
        match tokio::time::timeout(Duration::from_secs(10), note).await {
            Ok(Ok(())) => Error::transient(format!("table {told} is stopped and the others go on")),
            // That another process has the fence is found out by the next attempt.
            Ok(Err(other)) if other.class() == Class::Transient => other,
            // Where this can't be noted, more is amiss than the table.
            Ok(Err(other)) => {
                tracing::warn!(error = %other, table = %told, "that the table is stopped can't be noted");
                error
            }
            Err(_) => Error::transient("the warehouse does not answer").because(error),
        }
    }

    async fn work(&mut self) -> Result<()> {
        loop {
            if let Some(command) = self.rest.pop_front() {
                self.obey(command).await?;
                self.flush_while_due().await?;
                continue;
            }
            let due = self.gathered.due(self.pace.pause()).filter(|_| !self.wanted);
            let again = self.stops.when().filter(|_| self.idle());
            let inbox = self.inbox.as_mut().ok_or_else(|| Error::bug("the worker's inbox is gone"))?;
            tokio::select! {
                biased;
                // First, or a busy inbox would keep it waiting.
                () = sleep_until(due.unwrap_or_else(far)), if due.is_some() => self.wanted = true,
                command = inbox.recv() => match command {
                    None => return Ok(()),
                    Some(command) => self.obey(command).await?,
                },
                () = sleep_until(again.unwrap_or_else(far)), if again.is_some() => self.release().await?,
            }
            self.flush_while_due().await?;
        }
    }

    async fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Flush => self.wanted = true,
            Command::Room => self.pressed = true,
            Command::Take(taken) => self.take(taken).await?,
            Command::Release(done) => {
                self.wanted = true;
                self.flush_while_due().await?;
                self.release_all().await?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    async fn take(&mut self, taken: Taken) -> Result<()> {
        // What came before a new shape is committed with its own position. So is the first: what is committed between
        // two transactions of one batch says where to go on from by a position that is stored.
        let apart = self.part_ways(&taken.changes) || self.ledger.is_new() && !self.dialect.alters_with_rows();
        if let Some(checkpoint) = self.gathered.upto.clone().filter(|_| !self.gathered.waiting.is_empty() && apart) {
            self.flush(checkpoint).await?;
        }
        let (changes, upto) = self.gathered.begin(taken);
        for change in changes {
            if self.gathered.is_new(&change) {
                let (id, at) = (change.id, change.origin.at);
                self.fold(change).await?;
                self.gathered.passed(id, at);
            }
        }
        self.gathered.end(upto);
        self.hear();
        Ok(())
    }

    /// What is said of the source's position counts as soon as the worker knows it.
    pub(super) fn hear(&mut self) {
        self.gathered.heard.take().into_iter().for_each(|position| self.ledger.hear(position));
    }

    async fn fold(&mut self, change: Change) -> Result<()> {
        if matches!(change.op, Op::Message(_) | Op::Commit { .. }) {
            // Tables have no place for it.
            return Ok(());
        }
        if self.stops.has(&change.table.name) {
            self.stops.keep(&change);
            self.gathered.rows += 1;
            return Ok(());
        }
        self.add(change).await
    }

    /// Folds a change of a table that is not stopped.
    pub(super) async fn add(&mut self, change: Change) -> Result<()> {
        let apart = !self.gathered.folds.is_empty() && self.options.one_by_one.load(Ordering::Relaxed);
        if apart && self.gathered.seen.commit != change.id.commit {
            self.barrier().await?;
        }
        let place = self.gathered.folds.iter().rposition(|fold| fold.table().name == change.table.name);
        let fits = |fold: &Fold| Arc::ptr_eq(fold.table(), &change.table) || fold.table().same_shape(&change.table);
        let place = match place {
            Some(place) if self.gathered.folds.get(place).is_some_and(fits) => place,
            other => {
                // An open transaction holds pieces of one that is complete now.
                if (other.is_some() || self.open) && self.gathered.seen.commit != change.id.commit {
                    self.barrier().await?;
                }
                self.merging = Some(change.table.name.clone());
                let target = self.target(&change.table).await?;
                self.merging = None;
                let limits = self.options.limits(&change.table.name);
                let fold = Fold::new(&target, spelled(&self.dialect, &change.table)).within(limits);
                self.shapes.insert(change.table.name.clone(), fold.another());
                self.gathered.add(fold)
            }
        };
        self.gathered.fold(place, change)
    }

    /// A table's shape changes between two transactions: what came before is committed under the old one, so that the
    /// target is altered outside of any transaction with data. A change of shape inside a transaction becomes one more
    /// fold of the table, and the target is altered before the first of them is merged.
    async fn barrier(&mut self) -> Result<()> {
        self.merge().await?;
        match self.ledger.partial(self.gathered.seen) {
            Some(checkpoint) => {
                // Notes belong to positions, and may be of one that is not reached: offsets wait with them.
                let told = self.gathered.notes.is_empty();
                let offsets = if told { self.gathered.take_offsets() } else { Vec::new() };
                self.commit(&Checkpoint { offsets, ..checkpoint }).await
            }
            None => Ok(()),
        }
    }

    /// What was gathered beside a flush may be due when that ends.
    async fn flush_while_due(&mut self) -> Result<()> {
        while self.flush_if_due().await? {}
        Ok(())
    }

    /// Whether there was a flush.
    async fn flush_if_due(&mut self) -> Result<bool> {
        let over = std::mem::take(&mut self.pressed) || self.gathered.fills(&self.options.flush);
        if let Some(checkpoint) = self.gathered.upto.clone() {
            let ripe = self.stops.ripe().is_some();
            if (self.wanted || over || ripe || self.open) && !self.gathered.waiting.is_empty() {
                self.flush_and_gather(checkpoint).await?;
                self.release().await?;
                return Ok(true);
            }
        } else if over {
            self.merge().await?;
        }
        if self.gathered.waiting.is_empty() {
            self.wanted = false;
        }
        Ok(false)
    }

    /// Merges what is folded and commits it with its position.
    pub(super) async fn flush(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        checkpoint.offsets = self.gathered.take_offsets();
        let (begin, changed) = (Instant::now(), self.gathered.rows > 0);
        self.note_early().await?;
        self.merge().await?;
        self.note().await?;
        let checkpoint = self.ledger.forward(checkpoint, self.gathered.seen);
        self.commit(&checkpoint).await?;
        if changed {
            self.pace.took(begin.elapsed());
        }
        for done in self.gathered.waiting.drain(..) {
            // Nobody waits any more when the loop has ended.
            let _ = done.send(());
        }
        self.gathered.since = None;
        self.wanted = false;
        Ok(())
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
