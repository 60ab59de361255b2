//! Looks at the slot and at the tables now and then, beside the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::catalog::Facts;
use super::join::Note;
use super::newcomers::Newcomers;
use super::options::Options;
use super::refusal::sql_error;
use super::{slot, sql};
use crate::model::{Class, Error, Followed, Lsn, Meters, Result};

/// How often the slot is looked at.
const SLOT: Duration = Duration::from_secs(5);
/// Every how many looks the tables are.
const TABLES: u64 = 2;

/// A task that reports the slot's safety, lets new tables join, and notices when one has left.
pub(super) struct Watch {
    task: JoinHandle<()>,
    failure: oneshot::Receiver<Error>,
    notes: mpsc::UnboundedReceiver<Note>,
    followed: watch::Sender<Option<Arc<Followed>>>,
}

impl Watch {
    pub(super) fn spawn(options: Options, facts: Facts, followed: Option<Arc<Followed>>, meters: Arc<Meters>) -> Watch {
        let (fail, failure) = oneshot::channel();
        let (note, notes) = mpsc::unbounded_channel();
        let (followed, mut changed) = watch::channel(followed);
        let newcomers = Newcomers::new(options.clone(), facts, Arc::clone(&meters), note, followed.subscribe());
        let mut watcher = Watcher { options, meters, client: None, limit: None, newcomers };
        let task = tokio::spawn(async move {
            let mut round = 0u64;
            loop {
                match watcher.look(round.is_multiple_of(TABLES)).await {
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
                tokio::select! {
                    () = tokio::time::sleep(SLOT) => round += 1,
                    Ok(()) = changed.changed() => round = 0,
                }
            }
        });
        Watch { task, failure, notes, followed }
    }

    /// What the source is told next; an error for what keeps the stream from being complete. Cancel-safe.
    pub(super) async fn note(&mut self) -> Result<Note> {
        tokio::select! {
            error = &mut self.failure, if !self.failure.is_terminated() => {
                Err(error.unwrap_or_else(|_| Error::bug("the task that looks after slot and tables has ended")))
            }
            Some(note) = self.notes.recv() => Ok(note),
            else => std::future::pending().await,
        }
    }

    /// What the source has been told already.
    pub(super) fn noted(&mut self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// Tells which tables are followed now.
    pub(super) fn follows(&self, followed: &Arc<Followed>) {
        self.followed.send_replace(Some(Arc::clone(followed)));
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Watcher {
    options: Options,
    meters: Arc<Meters>,
    client: Option<Client>,
    limit: Option<(Instant, i64)>,
    newcomers: Newcomers,
}

impl Watcher {
    async fn look(&mut self, tables: bool) -> Result<()> {
        let name = format!("{} watch", slot::tag(&self.options));
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(sql::connect(&self.options.endpoint, &name).await.map_err(unseen)?),
        };
        let row = client
            .query_opt(
                "SELECT w.lsn::text, pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn)::bigint, s.safe_wal_size,
                    pg_catalog.age(s.catalog_xmin)::bigint, t.spill_bytes, t.stream_bytes
                 FROM pg_catalog.pg_replication_slots s
                    LEFT JOIN pg_catalog.pg_stat_replication_slots t ON t.slot_name = s.slot_name,
                    (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) w
                 WHERE s.slot_name = $1",
                &[&self.options.slot],
            )
            .await
            .map_err(|error| unseen(sql_error(error, "reading the slot")))?;
        if let Some(row) = row {
            let meters = &self.meters;
            if let Some(end) = row.get::<_, Option<&str>>(0).and_then(|lsn| lsn.parse::<Lsn>().ok()) {
                meters.server.raise(end);
            }
            let retained: Option<i64> = row.get(1);
            let safe: Option<i64> = row.get(2);
            retained.map_or_else(|| meters.slot_retained.clear(), |bytes| meters.slot_retained.set(bytes));
            safe.map_or_else(|| meters.slot_safe.clear(), |bytes| meters.slot_safe.set(bytes));
            let age: Option<i64> = row.get(3);
            age.map_or_else(|| meters.slot_catalog_age.clear(), |age| meters.slot_catalog_age.set(age));
            for (gauge, column) in [(&meters.slot_spilled, 4), (&meters.slot_streamed, 5)] {
                let bytes: Option<i64> = row.get(column);
                bytes.map_or_else(|| gauge.clear(), |bytes| gauge.set(bytes));
            }
            limit(safe, meters, &mut self.limit);
        }
        if tables {
            self.newcomers.look(client).await?;
        }
        Ok(())
    }
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

/// What only keeps us from looking does not end the stream.
fn unseen(error: Error) -> Error {
    match error.class() {
        Class::Blocked => Error::transient(error.what()),
        _ => error,
    }
}
