//! Tables that are wanted and not followed: finds them, publishes them, takes their snapshot. The source's half is `join`.
//!
//! Why production is not harmed by a table that joins: its snapshot, which keeps vacuum from removing dead rows, is taken
//! only when the stream has nearly caught up; the stream stands still only while the temporary slot is made, which waits
//! for transactions that are open then, so those that are open before are waited for first; and all is given up, and
//! tried again later, when it takes longer than expected.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;

use super::catalog::{self, Facts, Found};
use super::join::{Hold, Join, Note};
use super::options::Options;
use super::partitions::Partitions;
use super::refusal::sql_error;
use super::snapshot::{Snapshot, Wanted};
use super::wire::Wire;
use super::{portion, publication, slot, sql};
use crate::model::{Class, Error, Followed, Membership, Meters, Result, TableName};

/// The stream has caught up when it is no further behind than this.
const NEARLY: u64 = 16 << 20;
/// How long the stream may stand still for a slot to be made, and a reader may wait for a table that is being altered.
const STILL: Duration = Duration::from_secs(5);
/// The first pause after an attempt that failed; each is twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Looks after the tables.
pub(super) struct Newcomers {
    options: Options,
    facts: Facts,
    meters: Arc<Meters>,
    notes: mpsc::UnboundedSender<Note>,
    /// What the source follows; `None` when rows are never read.
    followed: watch::Receiver<Option<Arc<Followed>>>,
    /// The memberships of the last look.
    known: Option<HashSet<Membership>>,
    /// The tables of the first look that were to be read, and those begun since: rows of theirs may have been delivered.
    begun: HashSet<Membership>,
    /// The tables that were followed once: rows of theirs have been delivered.
    delivered: HashSet<TableName>,
    partitions: Partitions,
    /// The tables that a warning has been given about.
    warned: HashSet<TableName>,
    /// The tables of the attempt that is under way; without a task when the source has their snapshot.
    joining: Option<(Followed, Option<JoinHandle<Result<()>>>)>,
    /// Attempts that failed since the last that did not, and when the next may begin.
    failed: (u32, Option<Instant>),
}

impl Newcomers {
    pub(super) fn new(
        options: Options,
        facts: Facts,
        meters: Arc<Meters>,
        notes: mpsc::UnboundedSender<Note>,
        followed: watch::Receiver<Option<Arc<Followed>>>,
    ) -> Newcomers {
        let delivered = followed.borrow().iter().flat_map(|followed| followed.keys()).cloned().collect();
        let (known, begun, warned) = (None, HashSet::new(), HashSet::new());
        let (joining, failed, partitions) = (None, (0, None), Partitions::default());
        Newcomers {
            options,
            facts,
            meters,
            notes,
            followed,
            known,
            begun,
            delivered,
            partitions,
            warned,
            joining,
            failed,
        }
    }

    /// Compares what is wanted with what is published and followed; begins to let tables join.
    pub(super) async fn look(&mut self, client: &Client) -> Result<()> {
        let (options, name) = (&self.options, &self.options.publication);
        let tables = catalog::matching(client, options).await.map_err(harmless)?;
        let mut published = publication::published(client, name).await?.ok_or_else(|| publication::dropped(name))?;
        let followed = self.followed.borrow_and_update().clone();
        self.partitions.look(client, name, &tables).await.map_err(harmless)?;
        if options.create && !self.facts.standby {
            let joined =
                publication::join(client, options, &self.facts, &published, &tables).await.map_err(harmless)?;
            for (table, error) in joined.refused {
                if self.warned.insert(table.clone()) {
                    tracing::warn!(%table, %error, "a table can't be published as it is wanted; the others go on");
                }
            }
            let changed = relist(client, options, &published, &tables).await.map_err(harmless)?;
            for (found, _) in publication::portions(options, &tables) {
                if let Err(error) = portion::harmless(client, name, found).await.map_err(harmless)
                    && self.warned.insert(found.name.clone())
                {
                    tracing::error!(table = %found.name, %error, "what is published of the table does harm now");
                }
            }
            if changed || joined.added > 0 {
                published = publication::published(client, name).await?.ok_or_else(|| publication::dropped(name))?;
            }
        } else if let Some(followed) = &followed {
            publication::complete(name, followed, &published, &tables)?;
        }
        let first = self.known.is_none();
        let before = self.known.replace(published.values().copied().collect());
        let Some(followed) = followed else {
            let new = |member: &Membership| before.as_ref().is_some_and(|before| !before.contains(member));
            for (table, _) in published.iter().filter(|(table, member)| options.wants(table) && new(member)) {
                tracing::warn!(%table, "a table joins: changes from now on are followed; rows written before are not read");
            }
            return self.tell(Note::Waiting(false, None));
        };
        self.delivered.extend(followed.keys().cloned());
        let left: Vec<TableName> = followed.keys().filter(|name| !published.contains_key(name)).cloned().collect();
        if !left.is_empty() {
            self.tell(Note::Left(left))?;
        }
        let wanted: Vec<Found> = self.wanted(tables, &published, &followed);
        if first {
            self.begun.extend(wanted.iter().filter_map(|found| published.get(&found.name)));
        }
        self.tell(Note::Waiting(!wanted.is_empty(), Some(Arc::clone(&followed))))?;
        self.begin(wanted, &published, &followed).await
    }

    /// The tables to be read.
    fn wanted(&mut self, tables: Vec<Found>, published: &Followed, followed: &Followed) -> Vec<Found> {
        let behind =
            |found: &Found| published.get(&found.name).is_some_and(|member| followed.get(&found.name) != Some(member));
        let (readable, unreadable): (Vec<Found>, _) =
            tables.into_iter().filter(behind).partition(|found| found.readable);
        for found in unreadable {
            if self.warned.insert(found.name.clone()) {
                tracing::warn!(table = %found.name, error = %found.unreadable(), "a table can't join yet; the others go on");
            }
        }
        readable
    }

    /// Begins to let the tables join, unless others are doing so, or the stream is far behind.
    async fn begin(&mut self, wanted: Vec<Found>, published: &Followed, followed: &Followed) -> Result<()> {
        if self.under_way(followed).await {
            return Ok(());
        }
        if wanted.is_empty() || self.failed.1.is_some_and(|next| Instant::now() < next) {
            return Ok(());
        }
        let (received, server) = (self.meters.received.get(), self.meters.server.get());
        let names = wanted.iter().map(|found| found.name.to_string()).collect::<Vec<_>>().join(", ");
        if server.bytes_since(received) > NEARLY {
            tracing::info!(tables = names, "tables wait to join until the stream has caught up");
            return Ok(());
        }
        tracing::info!(tables = names, "tables join: their rows are read");
        let members: Followed =
            wanted.iter().filter_map(|found| Some((found.name.clone(), *published.get(&found.name)?))).collect();
        let again = wanted.iter().map(|found| found.name.clone());
        let again: HashSet<TableName> = again
            .filter(|name| self.delivered.contains(name) || members.get(name).is_some_and(|m| self.begun.contains(m)))
            .collect();
        self.begun.extend(members.values());
        let attempt = Attempt {
            options: self.options.clone(),
            facts: self.facts.clone(),
            meters: Arc::clone(&self.meters),
            notes: self.notes.clone(),
            tables: wanted,
            again,
            members: members.clone(),
        };
        self.joining = Some((members, Some(tokio::spawn(attempt.run()))));
        Ok(())
    }

    /// Whether an attempt is under way, or its tables are being read.
    async fn under_way(&mut self, followed: &Followed) -> bool {
        let Some((members, task)) = &mut self.joining else { return false };
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return true;
        }
        if let Some(task) = task.take() {
            // A panic is a failure like any other: what it was doing is begun anew.
            let result = task.await.unwrap_or_else(|error| Err(Error::bug("an attempt to join ended").because(error)));
            if let Err(error) = result {
                let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failed.0)).min(LONGEST_PAUSE);
                self.failed = (self.failed.0 + 1, Some(Instant::now() + pause));
                tracing::warn!(%error, again_in = ?pause, "tables could not join");
                self.joining = None;
                return false;
            }
            self.failed = (0, None);
        }
        let reading = members.iter().any(|(name, member)| followed.get(name) != Some(member));
        self.joining = self.joining.take_if(|_| reading);
        reading
    }

    fn tell(&self, note: Note) -> Result<()> {
        self.notes.send(note).map_err(|_| Error::transient("the source has ended"))
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        if let Some((_, Some(task))) = &self.joining {
            task.abort();
        }
    }
}

/// One attempt to take the snapshot of tables that join.
struct Attempt {
    options: Options,
    facts: Facts,
    meters: Arc<Meters>,
    notes: mpsc::UnboundedSender<Note>,
    tables: Vec<Found>,
    /// Those of which rows may have been delivered before.
    again: HashSet<TableName>,
    members: Followed,
}

impl Attempt {
    async fn run(self) -> Result<()> {
        let Attempt { options, facts, meters, notes, tables, again, members } = self;
        let mut tag = format!("{} join", slot::tag(&options));
        tag.truncate(NAME);
        let reader = sql::connect(&options.endpoint, &tag).await?;
        let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        // Of an attempt that was cut off: the server would go on with it until the transactions it waits for have ended.
        end(&reader, &tag).await?;
        let mut wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
        settled(&reader).await?;
        let ended = || Error::transient("the source has ended");
        let (still, stands) = oneshot::channel();
        let (release, go_on) = oneshot::channel();
        notes.send(Note::Hold(Hold { still: Some(still), go_on })).map_err(|_| ended())?;
        stands.await.map_err(|_| ended())?;
        let exported = match timeout(STILL, slot::snapshot(&mut wire)).await {
            Ok(exported) => exported?,
            Err(_) => {
                drop((release, wire));
                end(&reader, &tag).await?;
                return Err(Error::transient(
                    "making a temporary slot waits for transactions that are open on the server",
                ));
            }
        };
        let (hand_over, snapshot) = oneshot::channel();
        release.send(Join { point: exported.point, members, snapshot }).map_err(|_| ended())?;
        let wanted = Wanted {
            exported: &exported,
            tables: &tables,
            version: facts.version,
            publication: &options.publication,
            clear: &|table| again.contains(table),
            only: None,
            lock_timeout: STILL,
        };
        let taken = Snapshot::begin(reader, wanted, meters).await?;
        hand_over.send(Box::new(taken)).map_err(|_| ended())
    }
}

/// PostgreSQL cuts application names at this many bytes.
const NAME: usize = 63;

/// Ends our walsender of this name, which may wait for other transactions and hold a temporary slot meanwhile.
async fn end(client: &Client, tag: &str) -> Result<()> {
    let query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
        WHERE application_name = $1 AND backend_type = 'walsender' AND datname = current_database()";
    client.query(query, &[&tag]).await.map(drop).map_err(|error| sql_error(error, "ending an earlier attempt"))
}

/// Waits for the transactions that are open now.
async fn settled(client: &Client) -> Result<()> {
    let failed = |error| sql_error(error, "waiting for open transactions");
    let now = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";
    let xmax: String = client.query_one(now, &[]).await.map_err(failed)?.get(0);
    let reached = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) >= $1::text::xid8";
    let mut rounds = 0u32;
    while !client.query_one(reached, &[&xmax]).await.map_err(failed)?.get::<_, bool>(0) {
        rounds += 1;
        if rounds.is_multiple_of(50) {
            tracing::warn!("tables that join wait for transactions that are open on the server");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Lists the columns of tables that have got others, so that all but those which are not wanted are published.
async fn relist(client: &Client, options: &Options, published: &Followed, tables: &[Found]) -> Result<bool> {
    let mut changed = false;
    for (found, portion) in publication::portions(options, tables) {
        let listed = published.contains_key(&found.name) && !portion.without.is_empty();
        if listed && portion::outdated(client, &options.publication, found, portion).await? {
            tracing::info!(table = %found.name, "has other columns: they are published, and its rows are read again");
            changed |= portion::align(client, options, found, portion).await?;
        }
    }
    Ok(changed)
}

/// What only keeps us from looking, or from letting a table join, does not end the stream.
fn harmless(error: Error) -> Error {
    if error.class() == Class::Blocked {
        tracing::warn!(%error, "the tables can't be looked after");
        return Error::transient(error.what());
    }
    error
}
