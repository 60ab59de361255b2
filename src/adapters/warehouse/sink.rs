//! The warehouse as a sink: hands batches to the worker that owns the connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::client::Client;
use super::options::Options;
use super::worker::Worker;
use crate::codecs::dialect::Dialect;
use crate::logic::pipeline::{Batch, Sink};
use crate::model::{Change, Checkpoint, Error, Position, Result};

/// What the worker is told.
pub(super) enum Command {
    /// Take these changes.
    Take(Taken),
    /// Commit as soon as a transaction is complete.
    Flush,
}

/// A batch on its way into the warehouse.
pub(super) struct Taken {
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    pub(super) upto: Option<Checkpoint>,
    pub(super) room: OwnedSemaphorePermit,
    pub(super) done: oneshot::Sender<()>,
}

/// Applies batches to a warehouse's tables, each flush in one transaction together with its position.
pub struct WarehouseSink {
    worker: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    limit: u32,
    failure: Arc<Mutex<Option<Error>>>,
    task: tokio::task::JoinHandle<()>,
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
        let (worker, stored) = Worker::start(client, dialect, options).await?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let failure = Arc::new(Mutex::new(None));
        let place = Arc::clone(&failure);
        let task = tokio::spawn(async move { worker.run(inbox, &place).await });
        let room = Arc::new(Semaphore::new(limit as usize));
        Ok((WarehouseSink { worker: commands, room, limit, failure, task }, stored))
    }

    /// Ends the worker: what is not committed is rolled back.
    pub async fn close(self) {
        let WarehouseSink { worker, task, .. } = self;
        drop(worker);
        if task.await.is_err() {
            tracing::error!("the warehouse's worker did not end properly");
        }
    }

    fn failure(&self) -> Error {
        reason(&self.failure)
    }
}

/// Why the worker ended; told once, to whoever asks first.
fn reason(failure: &Mutex<Option<Error>>) -> Error {
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.unwrap_or_else(|| Error::transient("the warehouse's worker has ended"))
}

impl<P: Position> Sink<P> for WarehouseSink {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    async fn apply(&mut self, batch: Batch<P>) -> Result<Self::Delivery> {
        let size = u32::try_from(batch.bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.limit);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(size) => room,
            () = self.worker.closed() => return Err(self.failure()),
        };
        let room = room.map_err(|_| Error::bug("the warehouse's room is closed"))?;
        let (done, delivery) = oneshot::channel();
        let upto = batch.upto.map(|upto| upto.checkpoint());
        let taken = Taken { changes: batch.changes, bytes: batch.bytes, upto, room, done };
        if self.worker.send(Command::Take(taken)).is_err() {
            return Err(self.failure());
        }
        let failure = Arc::clone(&self.failure);
        Ok(Box::pin(async move { delivery.await.map_err(|_| reason(&failure)) }))
    }

    async fn flush(&mut self) -> Result<()> {
        self.worker.send(Command::Flush).map_err(|_| self.failure())
    }
}
