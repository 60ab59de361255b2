//! Batches that were read, on their way from the reading thread to the pipeline.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::logic::pipeline::Batch;
use crate::model::{Error, Result};

/// Batches that may wait, however small they are.
const BATCHES: usize = 1024;

type Handed<P> = Result<(Batch<P>, OwnedSemaphorePermit)>;

/// The reading thread's end.
pub(super) struct Outlet<P> {
    batches: mpsc::Sender<Handed<P>>,
    /// Kilobytes that may wait.
    room: Arc<Semaphore>,
    kbytes: u32,
    runtime: Handle,
}

/// The pipeline's end. Once it is dropped nothing can be handed over.
pub(super) struct Inlet<P> {
    batches: mpsc::Receiver<Handed<P>>,
    room: Arc<Semaphore>,
}

/// With room for a quarter of the buffer: a sink takes what its next flush needs while it merges, and more would only
/// wait longer. Called on the runtime.
pub(super) fn handover<P>(buffer_bytes: usize) -> (Outlet<P>, Inlet<P>) {
    let kbytes = u32::try_from(buffer_bytes / 4 / 1024).unwrap_or(u32::MAX).max(1);
    let room = Arc::new(Semaphore::new(kbytes as usize));
    let (sender, batches) = mpsc::channel(BATCHES);
    let outlet = Outlet { batches: sender, room: Arc::clone(&room), kbytes, runtime: Handle::current() };
    (outlet, Inlet { batches, room })
}

impl<P> Outlet<P> {
    /// Hands a batch over when there is room; `false` when nobody wants it any more.
    pub(super) fn hand(&self, batch: Batch<P>) -> bool {
        let kbytes = u32::try_from(batch.bytes / 1024).unwrap_or(u32::MAX).clamp(1, self.kbytes);
        let room = self.runtime.block_on(Arc::clone(&self.room).acquire_many_owned(kbytes));
        room.is_ok_and(|room| self.batches.blocking_send(Ok((batch, room))).is_ok())
    }

    /// Why nothing more comes.
    pub(super) fn fail(&self, error: Error) {
        // Where nobody listens any more nobody has to know.
        let _ = self.batches.blocking_send(Err(error));
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.batches.is_closed()
    }
}

impl<P> Inlet<P> {
    /// The next batch.
    pub(super) async fn next(&mut self) -> Result<Batch<P>> {
        let handed = self.batches.recv().await;
        let (batch, _room) = handed.ok_or_else(|| Error::transient("the reading of Kafka has ended"))??;
        Ok(batch)
    }
}

impl<P> Drop for Inlet<P> {
    fn drop(&mut self) {
        self.room.close();
    }
}
