//! The warehouse as a sink: hands batches to the worker that owns the connection.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::client::Client;
use super::options::Options;
use super::worker::Worker;
use crate::codecs::dialect::Dialect;
use crate::logic::pipeline::{Batch, Sink};
use crate::model::{Change, Checkpoint, Error, Note, Position, Result};

/// What the worker is told.
pub(super) enum Command {
    /// Take these changes.
    Take(Taken),
    /// Commit as soon as a transaction is complete.
    Flush,
    /// The next batch waits for room: give back what is held, by a commit or as a piece of an open transaction.
    Room,
    /// Commit as soon as a transaction is complete, and try the tables that are stopped.
    Release(oneshot::Sender<()>),
}

/// A batch on its way into the warehouse.
pub(super) struct Taken {
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    pub(super) upto: Option<Checkpoint>,
    /// What is to be remembered with it.
    pub(super) notes: Vec<Note>,
    pub(super) room: OwnedSemaphorePermit,
    /// Told at the commit; let go when there is none.
    pub(super) done: oneshot::Sender<()>,
}

/// Why the worker ended, for everybody who asks.
#[derive(Default)]
pub(super) struct Failure(Mutex<Option<Error>>);

impl Failure {
    /// Must be told before any delivery is let go.
    pub(super) fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn tell(&self) -> Error {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => {
                let copy = Error::new(error.class(), error.what());
                error.advice().map(str::to_owned).into_iter().fold(copy, Error::remedy)
            }
            None => Error::transient("the warehouse's worker has ended"),
        }
    }
}

/// Applies batches to a warehouse's tables, each flush in one transaction together with its position.
pub struct WarehouseSink {
    worker: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    limit: u32,
    failure: Arc<Failure>,
    /// Ends where it stands when the sink is dropped instead of closed.
    task: AbortOnDropHandle<()>,
    notes: BTreeMap<String, String>,
}

impl WarehouseSink {
    /// Makes the control tables, takes the fence, and reads what is stored: where the source has to go on.
    pub async fn start<C: Client, D: Dialect>(
        client: C,
        dialect: D,
        options: Options,
    ) -> Result<(WarehouseSink, Option<Checkpoint>)> {
        // Room for what is being merged and as much again, counted in KiB.
        let limit = u32::try_from((options.flush.bytes / 512).clamp(16 * 1024, 4 * 1024 * 1024)).unwrap_or(u32::MAX);
        let (worker, (stored, notes)) = Worker::start(client, dialect, options).await?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let failure = Arc::new(Failure::default());
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run(inbox, Arc::clone(&failure))));
        let room = Arc::new(Semaphore::new(limit as usize));
        Ok((WarehouseSink { worker: commands, room, limit, failure, task, notes }, stored))
    }

    /// What the source wanted to be remembered, by name, as it was at the start.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// Ends the worker: what is not committed is rolled back.
    pub async fn close(self) {
        let WarehouseSink { worker, task, .. } = self;
        drop(worker);
        if task.await.is_err() {
            tracing::error!("the warehouse's worker did not end properly");
        }
    }

    /// Room for a batch. While it waits the worker is asked to give back what it holds: it might itself be waiting for
    /// the rest of a transaction, which can't come before this batch.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let size = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.limit);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(size) {
            return Ok(room);
        }
        self.worker.send(Command::Room).map_err(|_| self.failure.tell())?;
        tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(size) => {
                room.map_err(|_| Error::bug("the warehouse's room is closed"))
            }
            () = self.worker.closed() => Err(self.failure.tell()),
        }
    }
}

impl<P: Position> Sink<P> for WarehouseSink {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    async fn apply(&mut self, batch: Batch<P>) -> Result<Self::Delivery> {
        let room = self.room(batch.bytes).await?;
        let (done, delivery) = oneshot::channel();
        let notes = batch.upto.as_ref().map(Position::notes).unwrap_or_default();
        let upto = batch.upto.map(|upto| upto.checkpoint());
        let taken = Taken { changes: batch.changes, bytes: batch.bytes, upto, notes, room, done };
        if self.worker.send(Command::Take(taken)).is_err() {
            return Err(self.failure.tell());
        }
        let failure = Arc::clone(&self.failure);
        Ok(Box::pin(async move { delivery.await.map_err(|_| failure.tell()) }))
    }

    /// When the worker has ended: it may fail at what it does by itself, while no batch comes that would be told.
    async fn due(&mut self) {
        self.worker.closed().await;
    }

    /// Tries the tables that are stopped; at other times the worker does so by itself.
    async fn tend(&mut self) -> Result<bool> {
        let (done, tried) = oneshot::channel();
        self.worker.send(Command::Release(done)).map_err(|_| self.failure.tell())?;
        if tried.await.is_err() {
            // It is let go before the reason is told; what comes after that is the inbox.
            self.worker.closed().await;
            return Err(self.failure.tell());
        }
        Ok(false)
    }

    async fn flush(&mut self) -> Result<()> {
        self.worker.send(Command::Flush).map_err(|_| self.failure.tell())
    }
}
