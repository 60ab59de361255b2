//! Whose rows a target holds: one pipeline's, or those of several that say in each row whose it is.
//!
//! It is stored, for another process may see the second one first; and where several processes write one warehouse, they
//! look and store one after the other.

use super::client::Client;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, Target};
use crate::model::{Error, Result, TableName};

impl<C: Client, D: Dialect> Worker<C, D> {
    /// Lets nobody else make tables until [`Worker::together`]. A failure ends the connection, and with it this.
    pub(super) async fn alone(&mut self) -> Result<()> {
        for statement in self.dialect.alone() {
            self.client.execute(&statement).await?;
        }
        Ok(())
    }

    /// Lets others make tables again.
    pub(super) async fn together(&mut self) -> Result<()> {
        for statement in self.dialect.together() {
            self.client.execute(&statement).await?;
        }
        Ok(())
    }

    /// Refuses a second source table for one target, and a second pipeline, whose positions say nothing of the first
    /// one's rows, unless each has a value of its own in a column of the key.
    pub(super) async fn own(&mut self, target: &Target) -> Result<()> {
        let owner = self.client.query(&self.dialect.owner(&target.name)).await?;
        let pipeline = self.options.pipeline.clone();
        let shared = self.share(target).await?;
        let source = &target.table.name;
        match owner.into_iter().next().map(<[Option<String>; 4]>::try_from) {
            None => self.client.execute(&self.dialect.own(&pipeline, target)).await.map(|_| ()),
            Some(Ok([Some(owner), ..])) if owner != pipeline && !shared => Err(Error::blocked(format!(
                "{} holds the rows of the pipeline {owner}: those of {pipeline} would be mixed with them",
                target.name
            ))
            .remedy("give this pipeline another `schema`, another warehouse, or the other one's name if it is the same; or start both over with a `source_column` for the table; if the other is gone for good, drop the table and delete its row from _tailwater.tables")),
            Some(Ok([_, Some(schema), Some(name), _])) if schema == source.schema && name == source.name => Ok(()),
            Some(Ok([_, Some(schema), Some(name), _])) => {
                let owner = TableName::new(schema, name);
                Err(Error::blocked(format!("the source tables {owner} and {source} would both become {}", target.name))
                    .remedy("exclude one of them or give this pipeline another `schema`; if the first is gone for good, delete its row from _tailwater.tables"))
            }
            Some(_) => Err(Error::blocked("a row of _tailwater.tables can't be read")
                .remedy("it was changed by hand: restore or delete it")),
        }
    }

    /// Whether the target is shared by sources of which this pipeline is one.
    async fn share(&mut self, target: &Target) -> Result<bool> {
        let sources = self.dialect.sources(&target.name);
        let rows = self.client.query(&sources.read()).await?;
        let pipeline = &self.options.pipeline;
        let Some((column, value)) = target.table.source() else {
            return match rows.is_empty() {
                true => Ok(false),
                false => Err(Error::blocked(format!(
                    "{} is shared by several sources, and this one has no value",
                    target.name
                ))
                .remedy("set `source_column` for the table as the others do, or give this pipeline another `schema`")),
            };
        };
        let mut ours = false;
        for row in rows {
            let Ok([Some(their_column), Some(their_value), Some(theirs)]) = <[Option<String>; 3]>::try_from(row) else {
                return Err(Error::blocked("a row of _tailwater.sources can't be read")
                    .remedy("it was changed by hand: restore or delete it"));
            };
            if their_column != column {
                return Err(Error::blocked(format!(
                    "{} tells its sources apart by the column {their_column}, not {column}",
                    target.name
                ))
                .remedy("name the same `source_column` in every pipeline"));
            }
            match (their_value == value, theirs == *pipeline) {
                (true, true) => ours = true,
                (true, false) => {
                    return Err(Error::blocked(format!(
                        "the pipeline {theirs} has the rows of {} with this source_value already",
                        target.name
                    ))
                    .remedy("give each pipeline a `source_value` of its own; if the other is gone for good, delete its row from _tailwater.sources"));
                }
                (false, true) => {
                    return Err(Error::blocked(format!(
                        "this pipeline has rows of {} with another source_value",
                        target.name
                    ))
                    .remedy("set it back; to change it, delete the pipeline's rows, its row of _tailwater.sources and its progress, so that the table is read again"));
                }
                (false, false) => {}
            }
        }
        if !ours {
            let add = sources.add(column, value, pipeline);
            self.client.execute(&add).await?;
        }
        Ok(true)
    }
}
