//! A source whose changes are projected before anybody else sees them.

use crate::logic::pipeline::{Batch, Source};
use crate::logic::project::{Origins, Projection, Rule};
use crate::model::Result;

/// A source whose changes are projected.
pub(super) struct Projected<S> {
    source: S,
    projection: Projection,
}

impl<S> Projected<S> {
    /// `source` under these rules; `origins` learns which table is which.
    pub(super) fn new(source: S, rules: Vec<Rule>, origins: Origins) -> Projected<S> {
        Projected { source, projection: Projection::new(rules, origins) }
    }

    /// The source itself.
    pub(super) fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Source for Projected<S> {
    type Position = S::Position;

    async fn next(&mut self) -> Result<Batch<S::Position>> {
        let mut batch = self.source.next().await?;
        self.projection.apply(&mut batch.changes)?;
        Ok(batch)
    }

    async fn ack(&mut self, upto: S::Position) -> Result<()> {
        self.source.ack(upto).await
    }

    async fn current(&mut self) -> Result<S::Position> {
        self.source.current().await
    }
}
