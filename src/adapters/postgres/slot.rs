//! The slot: created once, adopted when it fits, never made again in silence.

use tokio_postgres::Client;

use super::catalog::{Facts, literal, quoted};
use super::options::Options;
use super::refusal::sql_error;
use super::wire::Wire;
use crate::codecs::pgoutput::Streaming;
use crate::model::{Checkpoint, Error, Lsn, Result};

/// What helps where changes are lost.
pub(super) const RESNAPSHOT: &str = "run once with --resnapshot: every table is read again";

/// A slot as the server shows it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) plugin: String,
    pub(super) database: String,
    pub(super) confirmed: Lsn,
    pub(super) active_pid: Option<i32>,
    pub(super) owner: Option<String>,
    pub(super) lost: Option<String>,
    pub(super) two_phase: bool,
    /// Whether standbys are to copy it.
    pub(super) failover: bool,
    /// Whether it is a standby's copy of a slot of the primary.
    pub(super) synced: bool,
}

/// A snapshot that a new slot exported: lives until the next command on the connection that made it.
#[derive(Clone, Debug)]
pub(super) struct Exported {
    pub(super) point: Lsn,
    pub(super) name: String,
}

/// What marks our own connections.
pub(super) fn tag(options: &Options) -> String {
    let mut tag = format!("tailwater:{}", options.pipeline);
    // PostgreSQL cuts application names at 63 bytes.
    while tag.len() > 63 {
        tag.pop();
    }
    tag
}

/// Reads a slot; `None` when there is none of this name.
pub(super) async fn find(client: &Client, name: &str, facts: &Facts) -> Result<Option<Slot>> {
    let (reason, copies) = match facts.version {
        170_000.. => ("s.invalidation_reason", "s.failover, s.synced"),
        _ => ("NULL::text", "false, false"),
    };
    let query = format!(
        "SELECT s.plugin::text, s.database::text, s.confirmed_flush_lsn::text, s.active_pid, a.application_name,
            CASE WHEN s.wal_status = 'lost' OR {reason} IS NOT NULL THEN coalesce({reason}, 'wal_removed') END, s.two_phase, {copies}
         FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
         WHERE s.slot_name = $1"
    );
    let row = client.query_opt(&query, &[&name]).await.map_err(|error| sql_error(error, "reading the slot"))?;
    Ok(row.map(|row| Slot {
        plugin: row.get::<_, Option<String>>(0).unwrap_or_default(),
        database: row.get::<_, Option<String>>(1).unwrap_or_default(),
        confirmed: row.get::<_, Option<&str>>(2).and_then(|lsn| lsn.parse().ok()).unwrap_or(Lsn::ZERO),
        active_pid: row.get(3),
        owner: row.get(4),
        lost: row.get(5),
        two_phase: row.get(6),
        failover: row.get(7),
        synced: row.get(8),
    }))
}

impl Slot {
    /// Whether it may be used at all, apart from who uses it now.
    pub(super) fn usable(&self, options: &Options, facts: &Facts) -> Result<()> {
        let name = &options.slot;
        let refuse = |what: String, remedy: String| Err(Error::blocked(format!("slot {name} {what}")).remedy(remedy));
        if self.plugin != "pgoutput" {
            return refuse(
                format!("belongs to the plugin {}", self.plugin),
                "name another slot in source.postgres.slot".into(),
            );
        }
        if self.database != facts.database {
            return refuse(
                format!("belongs to database {}", self.database),
                "name another slot in source.postgres.slot".into(),
            );
        }
        if self.two_phase && !options.two_phase {
            return refuse(
                "sends transactions when they are prepared".into(),
                "set two_phase = true in [source.postgres], or name another slot in source.postgres.slot".into(),
            );
        }
        if self.failover && options.two_phase {
            return refuse(
                "is one that standbys copy: there it would not send what was prepared before".into(),
                "name another slot in source.postgres.slot, or leave two_phase out".into(),
            );
        }
        if let Some(reason) = &self.lost {
            return refuse(
                format!("is invalidated ({reason}): the log after {} is gone, changes are lost", self.confirmed),
                format!("{RESNAPSHOT}, after raising max_slot_wal_keep_size"),
            );
        }
        if self.synced && facts.standby {
            return Err(Error::transient(format!(
                "the server is a standby, and slot {name} on it the copy of one of its primary"
            ))
            .remedy("promote the standby, or connect to its primary"));
        }
        Ok(())
    }

    /// Refuses a slot that a stranger uses now.
    pub(super) fn held_by_another(&self, options: &Options) -> Result<()> {
        let owner = self.owner.as_deref().unwrap_or_default();
        match self.active_pid {
            Some(pid) if owner != tag(options) => Err(Error::blocked(format!(
                "slot {} is in use by process {pid} (application_name {owner:?})",
                options.slot
            ))
            .remedy("stop that consumer, or name another slot in source.postgres.slot")),
            _ => Ok(()),
        }
    }

    /// Refuses to go on from `stored` when the slot has been moved past it.
    pub(super) fn behind(&self, name: &str, stored: &Checkpoint) -> Result<()> {
        behind(name, self.confirmed, stored.position.lsn)
    }
}

/// Refuses what the server can't do: it tells of prepared transactions from version 15 on.
pub(super) fn able(options: &Options, facts: &Facts) -> Result<()> {
    if options.two_phase && facts.version < 150_000 {
        return Err(Error::blocked(
            "a server older than PostgreSQL 15 does not send transactions when they are prepared",
        )
        .remedy("leave two_phase out of [source.postgres]: they come when they have committed"));
    }
    Ok(())
}

/// Refuses to go on from a stored position when the slot was told of a later one.
pub fn behind(name: &str, confirmed: Lsn, stored: Lsn) -> Result<()> {
    if confirmed > stored {
        return Err(Error::blocked(format!(
            "slot {name} stands at {confirmed} but the sink has everything only up to {stored}: somebody else consumed or moved the slot, the changes between are lost to the sink"
        ))
        .remedy(format!("find who uses the slot, then {RESNAPSHOT}")));
    }
    Ok(())
}

/// Ends our own zombie's hold on the slot; refuses a stranger's.
pub(super) async fn take_over(client: &Client, options: &Options, slot: &Slot) -> Result<()> {
    let Some(pid) = slot.active_pid else { return Ok(()) };
    slot.held_by_another(options)?;
    tracing::warn!(
        pid,
        slot = options.slot,
        "an earlier connection of this pipeline still holds the slot: taking over"
    );
    for attempt in 0..400 {
        // One that can't send, since nobody reads, takes the first as a reason to say good-bye, and waits again.
        if attempt % 10 == 0 {
            client
                .execute("SELECT pg_terminate_backend($1)", &[&pid])
                .await
                .map_err(|error| sql_error(error, "ending the earlier connection of this pipeline"))?;
        }
        let active = client
            .query_opt(
                "SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active_pid = $2",
                &[&options.slot, &pid],
            )
            .await
            .map_err(|error| sql_error(error, "waiting for the slot"))?;
        if active.is_none() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err(Error::transient(format!("slot {} is still held by our own process {pid}", options.slot)))
}

/// Creates the slot and exports its snapshot; a failover slot where the server has them.
pub(super) async fn create(wire: &mut Wire, options: &Options, facts: &Facts) -> Result<Exported> {
    let failover = facts.version >= 170_000 && !facts.standby && !options.two_phase;
    let extra = if failover { ", FAILOVER true" } else { "" };
    let command = if facts.version >= 150_000 {
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export'{extra})", quoted(&options.slot))
    } else {
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", quoted(&options.slot))
    };
    exported(wire.query(&command, "creating the slot").await?)
}

/// A temporary slot, only for the snapshot it exports.
pub(super) async fn snapshot(wire: &mut Wire) -> Result<Exported> {
    let name = format!("tailwater_snapshot_{:08x}", rand::random::<u32>());
    let command = format!("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT", quoted(&name));
    exported(wire.query(&command, "creating a temporary slot for its snapshot").await?)
}

fn exported(rows: Vec<Vec<Option<String>>>) -> Result<Exported> {
    let row = rows.into_iter().next().unwrap_or_default();
    match <[Option<String>; 4]>::try_from(row) {
        Ok([_, Some(point), Some(name), _]) => {
            let point =
                point.parse().map_err(|error| Error::corrupt("the new slot's consistent point").because(error))?;
            Ok(Exported { point, name })
        }
        _ => Err(Error::corrupt("the server's answer to CREATE_REPLICATION_SLOT has not its four columns")),
    }
}

/// The command that starts the stream.
pub(super) fn start(options: &Options, from: Lsn, streaming: Streaming) -> String {
    let protocol = match (streaming, options.two_phase) {
        (Streaming::Off, false) => "proto_version '1'",
        (Streaming::On, false) => "proto_version '2', streaming 'on'",
        (Streaming::Parallel, false) => "proto_version '4', streaming 'parallel'",
        (Streaming::Off, true) => "proto_version '3', two_phase 'on'",
        (Streaming::On, true) => "proto_version '3', streaming 'on', two_phase 'on'",
        (Streaming::Parallel, true) => "proto_version '4', streaming 'parallel', two_phase 'on'",
    };
    let messages = if options.messages.is_some() { ", messages 'true'" } else { "" };
    let binary = if options.form.in_binary() { ", binary 'true'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} ({protocol}, publication_names {}{messages}{binary})",
        quoted(&options.slot),
        literal(&quoted(&options.publication)).trim_start()
    )
}

/// What the database says of the slot.
#[derive(Clone, Debug)]
pub struct SlotStatus {
    /// What it has been told.
    pub confirmed: Lsn,
    /// Whether somebody uses it.
    pub active: bool,
    /// Bytes of log it keeps.
    pub retained: Option<i64>,
    /// Bytes until its limit.
    pub safe: Option<i64>,
    /// `wal_status`
    pub state: Option<String>,
}

/// Looks at the slot; `None` when there is none.
pub async fn slot_status(options: &Options) -> Result<Option<SlotStatus>> {
    let client = super::sql::connect(&options.endpoint, "tailwater status").await?;
    let row = client
        .query_opt(
            "SELECT confirmed_flush_lsn::text, active, safe_wal_size, wal_status, pg_catalog.pg_wal_lsn_diff(
                CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END,
                restart_lsn)::bigint
             FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
            &[&options.slot],
        )
        .await
        .map_err(|error| sql_error(error, "reading the slot"))?;
    Ok(row.map(|row| SlotStatus {
        confirmed: row.get::<_, Option<&str>>(0).and_then(|lsn| lsn.parse().ok()).unwrap_or(Lsn::ZERO),
        active: row.get(1),
        safe: row.get(2),
        state: row.get(3),
        retained: row.get(4),
    }))
}
