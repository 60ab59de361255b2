//! How a source begins: what is checked, made and adopted, and from where it goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::ack::Ledger;
use super::catalog::{self, Facts, Found};
use super::forms;
use super::history;
use super::identity::{identify, same_cluster};
use super::options::{Options, SnapshotMode};
use super::publication;
use super::refusal::sql_error;
use super::slot::{self, Exported, RESNAPSHOT, Slot};
use super::snapshot::{Snapshot, Wanted};
use super::source::{Pending, PostgresSource, Reading};
use super::spool::Spool;
use super::stream::Stream;
use super::streamed::Streamed;
use super::texts::Texts;
use super::watch::Watch;
use super::wire::Wire;
use super::{resnapshot, server, sql};
use crate::codecs::pgoutput::{Decoder, Streaming};
use crate::logic::assemble::{Assembler, Gather};
use crate::model::{ChangeId, Checkpoint, Error, Followed, Lsn, Meters, Phase, Result};

/// How long making a slot may take before it is said what it waits for, and how often it is said again.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

impl PostgresSource {
    /// Checks the server, the publication and the slot, and goes on from `resume`, what the sink has stored.
    pub async fn start(options: Options, resume: Option<Checkpoint>, meters: Arc<Meters>) -> Result<PostgresSource> {
        let tag = slot::tag(&options);
        let client = sql::connect(&options.endpoint, &tag).await?;
        let facts = catalog::facts(&client).await?;
        if let Some(problem) = server::unfit(&facts).into_iter().next() {
            return Err(problem);
        }
        slot::able(&options, &facts)?;
        for note in server::doubts(&facts) {
            tracing::warn!("{}; {}", note.what(), note.advice().unwrap_or_default());
        }
        let again = resnapshot::wanted(&options, resume.as_ref())?;
        if options.schema_history {
            history::kept(&client).await?;
            history::prune(&client).await;
        }
        let tables = catalog::matching(&client, &options).await?;
        let mut found = slot::find(&client, &options.slot, &facts).await?;
        let published = publication::ensure(&client, &options, &facts, &tables).await?;
        let in_binary = options.form.in_binary();
        if in_binary
            && let Some(refused) = forms::refused(&client, &options, facts.version, &tables).await?.into_iter().next()
        {
            return Err(refused);
        }
        let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let mut wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
        let identity = identify(&mut wire).await?;
        let again = resume.as_ref().filter(|_| again);
        match (&resume, again) {
            (_, Some(stored)) => resnapshot::pass(&client, stored).await?,
            (Some(stored), None) => same_cluster(&mut wire, stored, identity).await?,
            (None, None) => {}
        }
        if let Some(slot) = found.take_if(|slot| again.is_some() && slot.lost.is_some()) {
            resnapshot::drop_lost(&client, &options.slot, &slot).await?;
        }
        if let Some(slot) = &found {
            slot.usable(&options, &facts)?;
            slot::take_over(&client, &options, slot).await?;
            if slot.active_pid.is_some() {
                // A slot that our predecessor was still making went with it.
                found = slot::find(&client, &options.slot, &facts).await?;
            }
        }
        let streaming = resume.as_ref().filter(|stored| stored.phase == Phase::Stream && again.is_none());
        let exported = exported(&mut wire, &client, &options, &facts, found.as_ref(), streaming).await?;
        let start = match (&exported, streaming, &found) {
            (Some(exported), ..) => exported.point,
            (None, Some(stored), _) => stored.position.lsn,
            (None, None, found) => found.as_ref().map_or(Lsn::ZERO, |slot| slot.confirmed),
        };
        let mut assembler = Assembler::new(start).with_messages(options.messages.clone()).with_commits(options.commits);
        let wanted = exported.filter(|_| options.snapshot != SnapshotMode::Never && streaming.is_none());
        let reading = match &wanted {
            Some(exported) => {
                let snapshot = initial(&options, &facts, exported, &tables, resume.as_ref(), &meters).await?;
                assembler.begin_at_snapshot();
                Some(Reading::initial(snapshot, &mut assembler))
            }
            None => None,
        };
        // The exporter is done with: the same connection goes on as the stream's, unless it holds a temporary slot.
        if found.is_some() && wanted.is_some() {
            wire = Wire::connect(&options.endpoint, &tag, encoding, options.connect_timeout).await?;
        }
        let status = sender_timeout(&client).await? / 3;
        let (sends, spool) = open_transactions(&options, &facts, &meters)?;
        // What is prepared comes once: from where the slot stands, which is before the oldest that is not durable yet.
        let from = found.as_ref().filter(|_| options.two_phase).map_or(start, |slot| slot.confirmed);
        wire.copy_both(&slot::start(&options, from, sends), "starting the stream").await?;
        let ledger = if reading.is_some() { Ledger::at_snapshot(from) } else { Ledger::new(from) };
        let stream = Stream::spawn(wire, ledger, status, &options, Arc::clone(&meters));
        tracing::info!(slot = options.slot, from = %start, tables = tables.len(), "following the log");
        let last = streaming.map_or(ChangeId::snapshot(start, 0), |stored| stored.change);
        let mut gather = Gather::new(start, last, Instant::now());
        let elsewhere = streaming.is_some_and(|stored| stored.position.timeline != identity.timeline);
        if elsewhere || resume.is_none() && reading.is_none() {
            gather.say_first();
        }
        let followed = followed(&options, published, streaming);
        let version = facts.version;
        let watch = Watch::spawn(options.clone(), facts, followed.clone(), Arc::clone(&meters));
        Ok(PostgresSource {
            client,
            stream,
            reading,
            decoder: Decoder::new(sends),
            streamed: spool.map(|spool| Streamed::new(spool, options.two_phase)),
            tells_empty: version < 150_000,
            assembler,
            texts: in_binary.then(Texts::default),
            gather,
            identity,
            pending: Pending::default(),
            // Until the watch has looked, tables may be waiting that nobody knows of.
            waiting: followed.is_some() && streaming.is_some(),
            followed,
            hold: None,
            join: None,
            watch,
            options,
            meters,
        })
    }
}

/// Whether the server is to send transactions while they are open, and what keeps them until they have committed.
///
/// Without a spool, and once after it could not keep them, the server sends what has committed. Nothing else changes.
/// Those that are prepared need a spool.
fn open_transactions(options: &Options, facts: &Facts, meters: &Arc<Meters>) -> Result<(Streaming, Option<Spool>)> {
    meters.spool_bytes.clear();
    let tells_aborts = facts.version >= 160_000;
    let streams =
        match options.streaming.unwrap_or(tells_aborts) && !options.spool.given_up.swap(false, Ordering::Relaxed) {
            false => Streaming::Off,
            true if tells_aborts => Streaming::Parallel,
            true => Streaming::On,
        };
    if streams == Streaming::Off && !options.two_phase {
        return Ok((streams, None));
    }
    match Spool::new(options.spool.clone(), Arc::clone(meters)) {
        Ok(spool) if streams == Streaming::Off => Ok((streams, Some(spool.needed()))),
        Ok(spool) => Ok((streams, Some(spool))),
        Err(error) if options.two_phase => Err(error),
        Err(error) => {
            tracing::warn!(%error, "large transactions come when they have committed");
            Ok((Streaming::Off, None))
        }
    }
}

/// The tables whose rows the sink has: those it says, or those the snapshot reads; `None` where none are ever read.
fn followed(options: &Options, published: Followed, streaming: Option<&Checkpoint>) -> Option<Arc<Followed>> {
    if options.snapshot == SnapshotMode::Never {
        return None;
    }
    // What is stored under an older version of this program says nothing of it: then what is published counts.
    let stored = streaming.and_then(|stored| stored.followed.clone());
    let mut followed = stored.unwrap_or_else(|| Arc::new(published));
    if followed.keys().any(|name| !options.wants(name)) {
        // One that is wanted again later has missed what lay between.
        Arc::make_mut(&mut followed).retain(|name, _| options.wants(name));
    }
    Some(followed)
}

/// The snapshot to read the rows from, where there are rows to read or a slot to make.
async fn exported(
    wire: &mut Wire,
    client: &Client,
    options: &Options,
    facts: &Facts,
    found: Option<&Slot>,
    streaming: Option<&Checkpoint>,
) -> Result<Option<Exported>> {
    match (found, streaming) {
        (Some(slot), Some(stored)) => slot.behind(&options.slot, stored).map(|()| None),
        (Some(_), None) if options.snapshot == SnapshotMode::Never => Ok(None),
        (Some(_), None) => slot::snapshot(wire).await.map(Some),
        (None, _) => created(wire, client, options, facts, streaming).await.map(Some),
    }
}

/// The snapshot of all tables.
async fn initial(
    options: &Options,
    facts: &Facts,
    exported: &Exported,
    tables: &[Found],
    resume: Option<&Checkpoint>,
    meters: &Arc<Meters>,
) -> Result<Snapshot> {
    if resume.is_some_and(|stored| exported.point <= stored.position.lsn) {
        // Its rows would count as delivered already; making a slot writes log, so the next point is later.
        return Err(Error::transient("the new snapshot's point is not after the interrupted one's"));
    }
    let reader = sql::connect(&options.endpoint, &slot::tag(options)).await?;
    let wanted = Wanted {
        exported,
        tables,
        version: facts.version,
        publication: &options.publication,
        clear: &|_| resume.is_some(),
        only: None,
        lock_timeout: Duration::ZERO,
    };
    Snapshot::begin(reader, wanted, Arc::clone(meters)).await
}

/// Makes the slot, unless the sink has been fed from one before: that one is gone, with the changes it kept.
async fn created(
    wire: &mut Wire,
    client: &Client,
    options: &Options,
    facts: &Facts,
    streaming: Option<&Checkpoint>,
) -> Result<Exported> {
    let name = &options.slot;
    if let Some(stored) = streaming {
        return Err(Error::blocked(format!(
            "slot {name} is gone; the changes after {} are lost to the sink",
            stored.position.lsn
        ))
        .remedy(format!("point to the server that has the slot; if there is none, {RESNAPSHOT}")));
    }
    if !options.create {
        return Err(Error::blocked(format!("slot {name} does not exist"))
            .remedy(format!("run: SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")));
    }
    let waiting = slot::create(wire, options, facts);
    let mut waiting = std::pin::pin!(waiting);
    let mut patience = FIRST_PATIENCE;
    loop {
        match tokio::time::timeout(patience, &mut waiting).await {
            Ok(created) => return created,
            Err(_) => {
                let holders = server::holders(client, facts).await?;
                tracing::warn!(slot = name, "creating the slot waits for {holders}");
                patience = PATIENCE;
            }
        }
    }
}

async fn sender_timeout(client: &Client) -> Result<Duration> {
    let row = client
        .query_one("SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'", &[])
        .await
        .map_err(|error| sql_error(error, "reading wal_sender_timeout"))?;
    let millis = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
    Ok(if millis == 0 { Duration::from_secs(60) } else { Duration::from_millis(millis) })
}
