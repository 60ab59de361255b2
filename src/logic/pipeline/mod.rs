//! The loop that joins a source to a sink.
//!
//! ```text
//!            next()                 apply(batch)
//!  Source ───────────▶  run  ─────────────────────▶  Sink
//!         ◀───────────   ▲                             │
//!          ack(position)  └── delivery: durable ───────┘
//! ```
//!
//! A source knows positions and nothing of sinks; a sink knows batches and, of a position, only what it stores beside
//! the data. The loop alone joins them: a position is acknowledged when every batch up to it is durable.

use std::future::Future;

use crate::model::{Change, Position, Result};

mod run;

pub use run::{Goal, Run, run};

/// Changes that travel together, in the order they happened.
#[derive(Debug)]
pub struct Batch<P> {
    /// The changes; may be empty when only the position moves.
    pub changes: Vec<Change>,
    /// Bytes of memory they keep.
    pub bytes: usize,
    /// The source's position when all changes are complete transactions.
    ///
    /// `None` for a piece of a transaction (or of a snapshot) that goes on in the next batch: such a piece may be made
    /// durable, but never visible without the rest where the sink has transactions.
    pub upto: Option<P>,
}

/// Where changes come from.
pub trait Source: Send {
    /// How it counts.
    type Position: Position;

    /// The next batch. Cancel-safe: a call that is dropped loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Batch<Self::Position>>> + Send;

    /// Everything up to `upto` is durable in the sink and need not be kept.
    fn ack(&mut self, upto: Self::Position) -> impl Future<Output = Result<()>> + Send;

    /// The position that counts as current now: what the source holds at this moment lies before it.
    fn current(&mut self) -> impl Future<Output = Result<Self::Position>> + Send;
}

/// Where changes go.
pub trait Sink<P: Position>: Send {
    /// Resolves when the batch, and each one before it, is durable.
    type Delivery: Future<Output = Result<()>> + Send + 'static;

    /// Takes a batch; waits while it has too many bytes in hand. Deliveries resolve in the order of the calls.
    fn apply(&mut self, batch: Batch<P>) -> impl Future<Output = Result<Self::Delivery>> + Send;

    /// Makes what has been taken durable without waiting for more. Batches may follow.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Resolves when the sink has work of its own for [`Sink::tend`]. Cancel-safe.
    fn due(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Does a portion of the work that is due, between two batches that are complete; whether more of it can be done.
    fn tend(&mut self) -> impl Future<Output = Result<bool>> + Send {
        std::future::ready(Ok(false))
    }
}
