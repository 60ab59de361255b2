//! Makes a target fit a table's shape, before any row of that shape goes into it.
//!
//! The statements and the note of what the columns hold are one transaction, apart from those with rows; only where a
//! large source transaction is open already they are a part of that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::views::around;
use super::worker::Worker;
use crate::codecs::dialect::{Dialect, Held, Target};
use crate::logic::merge::{Evolved, TargetColumn, evolve};
use crate::model::{Error, Oid, Result, TableName};

impl<C: Client, D: Dialect> Worker<C, D> {
    /// The target, which then has the names and types that rows land under.
    pub(super) async fn fit(&mut self, target: Target) -> Result<Target> {
        if let Some((told, landed)) = self.fitting.get(&target.name)
            && told.same_shape(&target.table)
        {
            return Ok(Target { table: Arc::clone(landed), ..target });
        }
        self.alone().await?;
        self.own(&target).await?;
        let evolved = self.evolved(&target).await;
        if evolved.is_err() {
            if self.open {
                self.may_alter(&target.table.name)?;
            }
            // Its table stops, and nothing is altered.
            self.options.one_by_one.store(false, Ordering::Relaxed);
        }
        let (evolved, held) = evolved?;
        let around = around(&mut self.client, &self.dialect, &self.options, &target, &evolved, true).await?;
        let Evolved { table, statements, held: now, notes, .. } = evolved;
        let (alters, apart) = (!statements.is_empty(), !self.open);
        if alters && !apart {
            self.altered = Some(target.table.name.clone());
        }
        let mut note = if now == held || target.table.source().is_some() {
            Vec::new()
        } else {
            self.dialect.hold(&self.options.pipeline, &target.name, &now)
        };
        note.extend(around.note);
        let statements: Vec<String> = around.before.into_iter().chain(statements).chain(around.after).collect();
        if !statements.is_empty() || !note.is_empty() {
            if apart {
                self.begin().await?;
                // Another process may have taken over, and know a later shape.
                self.ledger.guard(&mut self.client, &self.dialect).await?;
            }
            for statement in statements {
                tracing::info!(table = %target.name, "{}", without_values(&statement));
                self.client
                    .execute(&statement)
                    .await
                    .map_err(|error| error.within(format!("altering {}", target.name)))?;
            }
            for statement in note {
                self.client.execute(&statement).await?;
            }
            if apart {
                self.client.execute("COMMIT").await?;
                self.open = false;
            }
        }
        self.together().await?;
        if alters && apart {
            self.options.one_by_one.store(false, Ordering::Relaxed);
        }
        notes.iter().for_each(|note| tracing::warn!(table = %target.name, "{note}"));
        self.fitting.insert(target.name.clone(), (Arc::clone(&target.table), Arc::clone(&table)));
        Ok(Target { table, ..target })
    }

    /// What has to be done, and what the target's columns hold before it.
    async fn evolved(&mut self, target: &Target) -> Result<(Evolved, Vec<Held>)> {
        let present = present(&mut self.client, &self.dialect, &target.name).await?;
        // Where several sources share a target its columns are their names: none may rename what others write.
        let held = match target.table.source() {
            Some(_) => Vec::new(),
            None => held(&mut self.client, &self.dialect, &self.options.pipeline, &target.name).await?,
        };
        let policy = self.options.policies.of(&self.options.origins.of(&target.table.name));
        let inside = self.open.then(|| self.dialect.inside());
        let dialect = inside.as_ref().unwrap_or(&self.dialect);
        Ok((evolve(dialect, target, present.as_deref(), &held, policy)?, held))
    }

    /// Whether the target fits, or would with nothing but empty columns more.
    pub(super) async fn only_adds(&mut self, target: &Target) -> Result<bool> {
        let fits = self.fitting.get(&target.name).is_some_and(|(told, _)| told.same_shape(&target.table));
        Ok(fits || self.evolved(target).await?.0.only_adds)
    }
}

/// A statement up to the value that it gives to rows.
fn without_values(statement: &str) -> &str {
    let ends = [" DEFAULT ", " SET \""].map(|word| statement.find(word));
    ends.into_iter().flatten().min().and_then(|end| statement.get(..end)).unwrap_or(statement)
}

/// The columns that a target has; `None` when there is no such table.
pub(super) async fn present<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    target: &TableName,
) -> Result<Option<Vec<TargetColumn>>> {
    let columns = client.query(&dialect.columns(target)).await?.into_iter();
    let columns: Vec<TargetColumn> = columns
        .filter_map(|row| match <[Option<String>; 3]>::try_from(row) {
            Ok([Some(name), Some(type_name), Some(part)]) => Some(TargetColumn { name, type_name, key: part == "key" }),
            _ => None,
        })
        .collect();
    Ok((!columns.is_empty()).then_some(columns))
}

/// What a target's columns hold.
pub(super) async fn held<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
    target: &TableName,
) -> Result<Vec<Held>> {
    let rows = client.query(&dialect.held(pipeline, target)).await?.into_iter();
    let read = |row: Vec<Option<String>>| {
        let [Some(relation), Some(number), Some(source), Some(column)] = <[Option<String>; 4]>::try_from(row).ok()?
        else {
            return None;
        };
        Some(Held { relation: Oid(relation.parse().ok()?), number: number.parse().ok()?, source, column })
    };
    rows.map(read).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::blocked("a row of _tailwater.columns can't be read")
            .remedy("it was changed by hand: restore it, or delete the table's rows there")
    })
}
