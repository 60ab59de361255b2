//! What comes in while a flush is under way is folded beside it, so that the next flush begins when this one ends.
//!
//! ```text
//!  worker    ── merge, COMMIT ─────────────▶ adopts what was folded
//!  gatherer  ── inbox ──▶ folds of their own ──┘   and does the rest in its order
//! ```
//!
//! When as much is there as a flush takes, its rows are put in order too.
//!
//! Only what can't need the warehouse is done beside a flush: changes of tables whose last shape they have, while no
//! table is stopped and no transaction has to be committed alone. The first batch with anything else ends it; that one
//! and all behind it are taken after the flush, in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::gathered::Gathered;
use super::options::Flush;
use super::sink::{Command, Taken};
use super::worker::Worker;
use crate::codecs::dialect::Dialect;
use crate::logic::merge::Fold;
use crate::model::{Change, Checkpoint, Error, Op, Result, TableName};

/// See the module.
struct Ahead {
    shapes: HashMap<TableName, Fold>,
    limits: Flush,
    gathered: Gathered,
    wanted: bool,
    pressed: bool,
    rest: VecDeque<Command>,
    failed: Option<Error>,
}

type Inbox = mpsc::UnboundedReceiver<Command>;

/// A gatherer at work.
struct Gathering {
    stop: CancellationToken,
    task: AbortOnDropHandle<(Ahead, Inbox)>,
}

impl Gathering {
    async fn end(self) -> Result<(Ahead, Inbox)> {
        self.stop.cancel();
        self.task.await.map_err(|_| Error::bug("who gathers batches has panicked"))
    }
}

impl<C: Client, D: Dialect> Worker<C, D> {
    /// A flush, and the taking of what comes meanwhile.
    pub(super) async fn flush_and_gather(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let Some(gathering) = self.gather() else { return self.flush(checkpoint).await };
        let flushed = self.flush(checkpoint).await;
        let (mut ahead, inbox) = gathering.end().await?;
        self.inbox = Some(inbox);
        let failed = ahead.failed.take();
        self.adopt(ahead);
        flushed.and(failed.map_or(Ok(()), Err))
    }

    /// Begins to take batches beside a flush; `None` where they have to wait for it.
    fn gather(&mut self) -> Option<Gathering> {
        if self.stops.any() || self.options.one_by_one.load(Ordering::Relaxed) || !self.rest.is_empty() {
            return None;
        }
        let ahead = Ahead {
            shapes: std::mem::take(&mut self.shapes),
            limits: self.options.flush,
            gathered: Gathered::after(self.gathered.seen, self.gathered.at),
            wanted: false,
            pressed: false,
            rest: VecDeque::new(),
            failed: None,
        };
        let (inbox, stop) = (self.inbox.take()?, CancellationToken::new());
        let task = AbortOnDropHandle::new(tokio::spawn(ahead.run(inbox, stop.clone())));
        Some(Gathering { stop, task })
    }

    /// What was taken beside a flush is the next one's.
    fn adopt(&mut self, ahead: Ahead) {
        self.shapes.extend(ahead.shapes);
        self.gathered.append(ahead.gathered);
        self.hear();
        self.wanted |= ahead.wanted;
        self.pressed |= ahead.pressed;
        self.rest = ahead.rest;
    }
}

impl Ahead {
    /// Until the flush is done, the sink is gone, or something comes that has to wait.
    async fn run(mut self, mut inbox: Inbox, stop: CancellationToken) -> (Ahead, Inbox) {
        while self.rest.is_empty() && self.failed.is_none() && self.gathered.ready.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = inbox.recv() => match command {
                    None => break,
                    Some(Command::Flush) => self.wanted = true,
                    Some(Command::Room) => self.pressed = true,
                    Some(Command::Take(taken)) if self.knows(&taken.changes) => {
                        self.take(taken);
                        if self.gathered.fills(&self.limits) {
                            self.gathered.ready = self.gathered.folds.drain(..).map(Fold::finish).collect();
                        }
                    }
                    Some(other) => self.rest.push_back(other),
                },
            }
        }
        (self, inbox)
    }

    /// Whether the changes are of tables with their last shape.
    fn knows(&self, changes: &[Change]) -> bool {
        changes.chunk_by(|a, b| Arc::ptr_eq(&a.table, &b.table)).filter_map(|run| run.first()).all(|first| {
            let shape = self.shapes.get(&first.table.name).map(Fold::table);
            first.table.is_of_messages()
                || shape.is_some_and(|shape| Arc::ptr_eq(shape, &first.table) || shape.same_shape(&first.table))
        })
    }

    fn take(&mut self, taken: Taken) {
        let (changes, upto) = self.gathered.begin(taken);
        for change in changes {
            if self.gathered.is_new(&change) {
                let (id, at) = (change.id, change.origin.at);
                if let Err(error) = self.fold(change) {
                    self.failed = Some(error);
                    return;
                }
                self.gathered.passed(id, at);
            }
        }
        self.gathered.end(upto);
    }

    fn fold(&mut self, change: Change) -> Result<()> {
        if matches!(change.op, Op::Message(_) | Op::Commit { .. }) {
            return Ok(());
        }
        let place = self.gathered.folds.iter().rposition(|fold| fold.table().name == change.table.name);
        let place = match place {
            Some(place) => place,
            None => {
                let shape = self.shapes.get(&change.table.name).ok_or_else(|| Error::bug("a table's shape is gone"))?;
                self.gathered.add(shape.another())
            }
        };
        self.gathered.fold(place, change)
    }
}
