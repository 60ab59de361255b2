//! The progress row: what is in the tables, and who may write them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::options::Options;
use crate::codecs::dialect::{Dialect, Progress};
use crate::model::{
    ChangeId, Checkpoint, Error, Followed, Lsn, Membership, Oid, PgTimestamp, Phase, Result, SourcePosition, TableName,
};

/// What the progress row holds, as far as this process knows.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pipeline: String,
    fence: u64,
    stored: Option<Checkpoint>,
    /// The system and timeline that changes come from, once a position has told it.
    read_on: Option<(u64, u32)>,
}

impl Ledger {
    /// Makes the control tables, takes the fence, reads what is stored. A process that had the fence before does not
    /// take it back from another one.
    pub(super) async fn open<C: Client>(
        client: &mut C,
        dialect: &impl Dialect,
        options: &Options,
    ) -> Result<(Ledger, Option<Checkpoint>)> {
        let pipeline = &options.pipeline;
        // Several processes may start at one moment.
        for statement in dialect.alone().into_iter().chain(dialect.create_control()) {
            client.execute(&statement).await.map_err(|error| error.within("making the control tables"))?;
        }
        for (table, column, add) in
            [("progress", "committed_at", dialect.add_committed_at()), ("tables", "mode", dialect.add_mode())]
        {
            complete(client, dialect, table, column, &add).await?;
        }
        for statement in dialect.together() {
            client.execute(&statement).await?;
        }
        let row = dialect.progress(pipeline);
        // In one transaction: the fence that is read is the one that was taken.
        for statement in ["BEGIN".to_owned(), row.create(), row.take_fence()] {
            client.execute(&statement).await?;
        }
        let (fence, stored) = read(client, row).await?;
        let ledger = Ledger { pipeline: pipeline.to_owned(), fence, stored: stored.clone(), read_on: None };
        if let Some(own) = &options.fence {
            let before = own.load(Ordering::Relaxed);
            if before > 0 && fence > before + 1 {
                client.execute("ROLLBACK").await?;
                return Err(ledger.replaced());
            }
            // Before it is certain: whether a commit that fails was done is not known.
            own.store(fence, Ordering::Relaxed);
        }
        client.execute("COMMIT").await?;
        Ok((ledger, stored))
    }

    /// The last change that is in the tables.
    pub(super) fn change(&self) -> ChangeId {
        self.stored.as_ref().map_or(ChangeId::ZERO, |stored| stored.change)
    }

    /// Whether no position is stored yet.
    pub(super) fn is_new(&self) -> bool {
        self.stored.is_none()
    }

    /// Notes where the changes come from that follow this position.
    pub(super) fn hear(&mut self, position: SourcePosition) {
        self.read_on = Some((position.system_id, position.timeline));
    }

    /// A checkpoint that only says that the changes up to `change` are in: the position to go on from stays.
    ///
    /// It is of the timeline that the changes are of: after a failover the position lies on both, they do not.
    ///
    /// `None` before the first position is stored.
    pub(super) fn partial(&self, change: ChangeId) -> Option<Checkpoint> {
        let mut partial = Checkpoint { change, offsets: Vec::new(), ..self.stored.clone()? };
        if let Some((system_id, timeline)) = self.read_on {
            partial.position = SourcePosition { system_id, timeline, ..partial.position };
        }
        Some(partial)
    }

    /// The checkpoint as it may be stored once every change up to `seen` is in: one that comes again after a restart
    /// takes back neither the last change nor the position.
    pub(super) fn forward(&self, mut checkpoint: Checkpoint, seen: ChangeId) -> Checkpoint {
        if let Some(stored) = &self.stored {
            let (new, old) = (&checkpoint.position, &stored.position);
            if (new.system_id, new.timeline) == (old.system_id, old.timeline) && new.lsn < old.lsn {
                checkpoint = Checkpoint { offsets: Vec::new(), ..stored.clone() };
            }
        }
        checkpoint.change = checkpoint.change.max(seen);
        checkpoint
    }

    /// Moves the row, inside the transaction that is open.
    pub(super) async fn advance<C: Client>(
        &self,
        client: &mut C,
        dialect: &impl Dialect,
        to: &Checkpoint,
        at: Option<PgTimestamp>,
    ) -> Result<()> {
        let row = dialect.progress(&self.pipeline);
        let changed = client.execute(&row.advance(self.fence, self.change(), to, at)).await?;
        if changed != 1 {
            return Err(self.replaced());
        }
        for statement in dialect.offsets(&self.pipeline, to) {
            client.execute(&statement).await?;
        }
        for statement in self.follow(dialect, to) {
            client.execute(&statement).await?;
        }
        Ok(())
    }

    /// Makes sure, inside the transaction that is open, that no other process has the fence, nor gets it before the end.
    pub(super) async fn guard<C: Client>(&self, client: &mut C, dialect: &impl Dialect) -> Result<()> {
        match client.execute(&dialect.progress(&self.pipeline).guard(self.fence)).await? {
            1 => Ok(()),
            _ => Err(self.replaced()),
        }
    }

    /// The fence that was taken.
    pub(super) fn fence(&self) -> u64 {
        self.fence
    }

    /// The error of who has the fence no more.
    pub(super) fn replaced(&self) -> Error {
        Error::blocked(format!("another process writes this warehouse as pipeline {}", self.pipeline))
            .remedy("run each pipeline once; give the other one another name")
            .systemic()
    }

    /// What is to be stored of the tables that are followed: only what has changed.
    fn follow(&self, dialect: &impl Dialect, to: &Checkpoint) -> Vec<String> {
        let Some(now) = to.followed.as_ref().filter(|_| to.phase == Phase::Stream) else { return Vec::new() };
        let nothing = Followed::new();
        let streaming = self.stored.as_ref().filter(|stored| stored.phase == Phase::Stream);
        let mut statements = Vec::new();
        let before = match streaming.and_then(|stored| stored.followed.as_ref()) {
            Some(before) if Arc::ptr_eq(before, now) => return statements,
            Some(before) => before,
            None => {
                // What is there belongs to progress that was cleared, or to a snapshot that was interrupted.
                statements.push(dialect.forget_followed(&self.pipeline));
                &nothing
            }
        };
        let gone = before.keys().filter(|name| !now.contains_key(name)).map(|name| (name, None));
        let come = now.iter().filter(|(name, m)| before.get(name) != Some(m)).map(|(name, m)| (name, Some(*m)));
        let changed = gone.chain(come).flat_map(|(name, membership)| dialect.follow(&self.pipeline, name, membership));
        statements.extend(changed);
        statements
    }

    /// The transaction that moved the row is committed.
    pub(super) fn committed(&mut self, to: &Checkpoint) {
        let before = self.stored.take().and_then(|stored| stored.followed);
        self.stored = Some(Checkpoint { followed: to.followed.clone().or(before), ..to.clone() });
    }
}

/// Adds a column to a control table of an earlier version, which lacks it.
async fn complete<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    table: &str,
    column: &str,
    add: &str,
) -> Result<()> {
    let columns = client.query(&dialect.columns(&dialect.control_table(table))).await?;
    let has = columns.iter().any(|row| row.first().is_some_and(|name| name.as_deref() == Some(column)));
    if !columns.is_empty() && !has {
        client.execute(add).await.map_err(|error| error.within("completing the control tables"))?;
    }
    Ok(())
}

/// The stored checkpoint of a pipeline, without changing anything; `None` when nothing has been stored.
pub async fn stored<C: Client>(client: &mut C, dialect: &impl Dialect, pipeline: &str) -> Result<Option<Checkpoint>> {
    let control = dialect.control_table("progress");
    let row = dialect.progress(pipeline);
    if client.query(&dialect.columns(&control)).await?.is_empty() || client.query(&row.read()).await?.is_empty() {
        return Ok(None);
    }
    read(client, row).await.map(|(_, stored)| stored)
}

/// Reads the fence and the stored checkpoint of a pipeline.
async fn read<C: Client>(client: &mut C, row: Progress<'_>) -> Result<(u64, Option<Checkpoint>)> {
    let broken = || {
        Error::blocked("the row of _tailwater.progress can't be read")
            .remedy("it was changed by hand: restore or delete it")
    };
    let rows = client.query(&row.read()).await?;
    let fields = rows.into_iter().next().ok_or_else(broken)?;
    let [fence, system, timeline, lsn, commit, seq, phase] =
        <[Option<String>; 7]>::try_from(fields).map_err(|_| broken())?;
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
    let fence = number(&fence).ok_or_else(broken)?;
    if system.is_none() {
        return Ok((fence, None));
    }
    let offsets = client.query(&row.read_offsets()).await?;
    let offsets = offsets.into_iter().map(|row| match <[Option<String>; 3]>::try_from(row) {
        Ok([Some(topic), Some(part), Some(next)]) => Some((topic, part.parse().ok()?, next.parse().ok()?)),
        _ => None,
    });
    let position = SourcePosition {
        system_id: number(&system).ok_or_else(broken)?,
        timeline: number(&timeline).and_then(|timeline| u32::try_from(timeline).ok()).ok_or_else(broken)?,
        lsn: Lsn::new(number(&lsn).ok_or_else(broken)?),
    };
    let change =
        ChangeId { commit: Lsn::new(number(&commit).ok_or_else(broken)?), seq: number(&seq).ok_or_else(broken)? };
    let phase = match phase.as_deref() {
        Some("snapshot") => Phase::Snapshot,
        Some("stream") => Phase::Stream,
        _ => return Err(broken()),
    };
    let offsets = offsets.collect::<Option<Vec<_>>>().ok_or_else(broken)?;
    let followed = client.query(&row.read_followed()).await?;
    let followed = followed.into_iter().map(member).collect::<Option<Followed>>().ok_or_else(broken)?;
    let followed = Some(Arc::new(followed)).filter(|followed| !followed.is_empty());
    Ok((fence, Some(Checkpoint { position, change, phase, offsets, followed })))
}

/// A row of the tables that are followed.
fn member(row: Vec<Option<String>>) -> Option<(TableName, Membership)> {
    let [Some(schema), Some(name), Some(table), Some(publication), Some(entry)] =
        <[Option<String>; 5]>::try_from(row).ok()?
    else {
        return None;
    };
    let oid = |text: String| text.parse().ok().map(Oid);
    let membership = Membership { table: oid(table)?, publication: oid(publication)?, entry: oid(entry)? };
    Some((TableName::new(schema, name), membership))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_of_a_part_is_of_the_timeline_that_the_part_is_of() {
        let at = |timeline, lsn| SourcePosition { system_id: 7, timeline, lsn: Lsn::new(lsn) };
        let change = |commit| ChangeId { commit: Lsn::new(commit), seq: 1 };
        let stored = Checkpoint {
            position: at(1, 0x50),
            change: change(0x4F),
            phase: Phase::Stream,
            offsets: Vec::new(),
            followed: None,
        };
        let mut ledger = Ledger { pipeline: "shop".into(), fence: 1, stored: Some(stored), read_on: None };
        ledger.hear(at(2, 0x50));
        let partial = ledger.partial(change(0x90)).unwrap();
        assert_eq!((partial.position, partial.change), (at(2, 0x50), change(0x90)));
    }
}
