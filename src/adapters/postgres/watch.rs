//! Looks at the slot and at the tables now and then, beside the stream.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use super::catalog::{self, Facts};
use super::options::Options;
use super::refusal::sql_error;
use super::{publication, slot, sql};
use crate::model::{Lsn, Meters, Result};

/// How often the slot is looked at.
const SLOT: Duration = Duration::from_secs(5);
/// Every how many looks the tables are.
const TABLES: u64 = 2;

/// A task that reports the slot's safety and lets new tables join.
pub(super) struct Watch(tokio::task::JoinHandle<()>);

impl Watch {
    pub(super) fn spawn(options: Options, facts: Facts, meters: Arc<Meters>) -> Watch {
        Watch(tokio::spawn(async move {
            let mut client: Option<Client> = None;
            let mut last: Option<(std::time::Instant, i64)> = None;
            for round in 0u64.. {
                // A failure here harms nothing: the stream tells its own, and the next round tries again.
                if let Err(error) = look(&mut client, &options, &facts, round, &meters, &mut last).await {
                    tracing::debug!(%error, "could not look at the slot");
                    client = None;
                }
                tokio::time::sleep(SLOT).await;
            }
        }))
    }

    pub(super) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn look(
    client: &mut Option<Client>,
    options: &Options,
    facts: &Facts,
    round: u64,
    meters: &Meters,
    last: &mut Option<(std::time::Instant, i64)>,
) -> Result<()> {
    if client.is_none() {
        *client = Some(sql::connect(&options.endpoint, &format!("{} watch", slot::tag(options))).await?);
    }
    let Some(client) = client else { return Ok(()) };
    let row = client
        .query_opt(
            "SELECT w.lsn::text, pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn)::bigint, s.safe_wal_size
             FROM pg_catalog.pg_replication_slots s,
                (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) w
             WHERE s.slot_name = $1",
            &[&options.slot],
        )
        .await
        .map_err(|error| sql_error(error, "reading the slot"))?;
    if let Some(row) = row {
        if let Some(end) = row.get::<_, Option<&str>>(0).and_then(|lsn| lsn.parse::<Lsn>().ok()) {
            meters.server.raise(end);
        }
        let retained: Option<i64> = row.get(1);
        let safe: Option<i64> = row.get(2);
        retained.map_or_else(|| meters.slot_retained.clear(), |bytes| meters.slot_retained.set(bytes));
        safe.map_or_else(|| meters.slot_safe.clear(), |bytes| meters.slot_safe.set(bytes));
        limit(safe, meters, last);
    }
    if round.is_multiple_of(TABLES) && options.create {
        let tables = catalog::matching(client, options).await?;
        for table in publication::ensure(client, options, &tables).await? {
            tracing::warn!(%table, version = facts.version, "a new table joins: changes from now on are followed; rows written before are not read");
        }
    }
    Ok(())
}

/// Seconds until the limit at the rate since the last look.
fn limit(safe: Option<i64>, meters: &Meters, last: &mut Option<(std::time::Instant, i64)>) {
    let now = std::time::Instant::now();
    let seconds = safe.zip(*last).and_then(|(safe, (at, before))| {
        let rate = (before - safe) as f64 / now.duration_since(at).as_secs_f64().max(0.001);
        (rate > 0.0).then(|| (safe.max(0) as f64 / rate) as i64)
    });
    seconds.map_or_else(|| meters.slot_seconds_to_limit.clear(), |seconds| meters.slot_seconds_to_limit.set(seconds));
    *last = safe.map(|safe| (now, safe));
}
