//! Looks at the slot and at the tables now and then, beside the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::catalog::{self, Facts};
use super::options::Options;
use super::publication::Members;
use super::refusal::sql_error;
use super::{publication, slot, sql};
use crate::model::{Class, Error, Lsn, Meters, Result, TableName};

/// How often the slot is looked at.
const SLOT: Duration = Duration::from_secs(5);
/// Every how many looks the tables are.
const TABLES: u64 = 2;

/// A task that reports the slot's safety, lets new tables join, and notices when one has left.
pub(super) struct Watch {
    task: JoinHandle<()>,
    failure: oneshot::Receiver<Error>,
}

impl Watch {
    pub(super) fn spawn(options: Options, facts: Facts, meters: Arc<Meters>) -> Watch {
        let (fail, failure) = oneshot::channel();
        let mut watcher = Watcher { options, facts, meters, client: None, limit: None, members: None };
        let task = tokio::spawn(async move {
            for round in 0u64.. {
                match watcher.look(round).await {
                    Ok(()) => {}
                    Err(error) if error.class() == Class::Blocked => {
                        // The source is gone when nobody listens.
                        let _ = fail.send(error);
                        return;
                    }
                    // A failure here harms nothing: the stream tells its own, and the next round tries again.
                    Err(error) => {
                        tracing::debug!(%error, "could not look at the slot");
                        watcher.client = None;
                    }
                }
                tokio::time::sleep(SLOT).await;
            }
        });
        Watch { task, failure }
    }

    /// What keeps the stream from being complete, when that happens. Cancel-safe.
    pub(super) async fn failure(&mut self) -> Error {
        match (&mut self.failure).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

/// Says that a table is followed whose earlier rows nobody has read.
pub(super) fn announce(table: &TableName) {
    tracing::warn!(%table, "a table joins: changes from now on are followed; rows written before are not read");
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Watcher {
    options: Options,
    facts: Facts,
    meters: Arc<Meters>,
    client: Option<Client>,
    limit: Option<(Instant, i64)>,
    /// What the publication held at the last look.
    members: Option<Members>,
}

impl Watcher {
    async fn look(&mut self, round: u64) -> Result<()> {
        let name = format!("{} watch", slot::tag(&self.options));
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(sql::connect(&self.options.endpoint, &name).await.map_err(harmless)?),
        };
        let row = client
            .query_opt(
                "SELECT w.lsn::text, pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn)::bigint, s.safe_wal_size
                 FROM pg_catalog.pg_replication_slots s,
                    (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) w
                 WHERE s.slot_name = $1",
                &[&self.options.slot],
            )
            .await
            .map_err(|error| harmless(sql_error(error, "reading the slot")))?;
        if let Some(row) = row {
            let meters = &self.meters;
            if let Some(end) = row.get::<_, Option<&str>>(0).and_then(|lsn| lsn.parse::<Lsn>().ok()) {
                meters.server.raise(end);
            }
            let retained: Option<i64> = row.get(1);
            let safe: Option<i64> = row.get(2);
            retained.map_or_else(|| meters.slot_retained.clear(), |bytes| meters.slot_retained.set(bytes));
            safe.map_or_else(|| meters.slot_safe.clear(), |bytes| meters.slot_safe.set(bytes));
            limit(safe, meters, &mut self.limit);
        }
        if round.is_multiple_of(TABLES) {
            tables(client, &self.options, &self.facts, &mut self.members).await?;
        }
        Ok(())
    }
}

/// Compares the publication with the last look; then lets new tables join.
async fn tables(client: &Client, options: &Options, facts: &Facts, members: &mut Option<Members>) -> Result<()> {
    let name = &options.publication;
    let tables = catalog::matching(client, options).await.map_err(harmless)?;
    let now = publication::published(client, name).await?;
    if let Some(before) = members {
        publication::unbroken(name, before, now.as_ref(), &tables)?;
    }
    if let Some(published) = now.as_ref().filter(|_| options.create && !facts.standby) {
        for table in publication::join(client, options, published, &tables).await.map_err(harmless)? {
            announce(&table);
        }
    }
    *members = publication::published(client, name).await?;
    Ok(())
}

/// What only keeps us from looking, or from letting a table join, does not end the stream.
fn harmless(error: Error) -> Error {
    if error.class() == Class::Blocked {
        tracing::warn!(%error, "the tables can't be looked after");
        return Error::transient(error.what());
    }
    error
}

/// Seconds until the limit at the rate since the last look.
fn limit(safe: Option<i64>, meters: &Meters, last: &mut Option<(Instant, i64)>) {
    let now = Instant::now();
    let seconds = safe.zip(*last).and_then(|(safe, (at, before))| {
        let rate = (before - safe) as f64 / now.duration_since(at).as_secs_f64().max(0.001);
        (rate > 0.0).then(|| (safe.max(0) as f64 / rate) as i64)
    });
    seconds.map_or_else(|| meters.slot_seconds_to_limit.clear(), |seconds| meters.slot_seconds_to_limit.set(seconds));
    *last = safe.map(|safe| (now, safe));
}
