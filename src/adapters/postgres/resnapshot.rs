//! Reading everything again because a person said so: the slot was lost, or the server is not what it was.
//!
//! Changes are told apart and ordered by their LSN, so what is read again must lie after all that the sink has. A
//! promoted standby, or a restored server, may stand before that: a little is made up for by messages in the log, which
//! touch no table; more than that is for a person.

use tokio_postgres::Client;

use super::options::{Options, SnapshotMode};
use super::refusal::sql_error;
use super::slot::Slot;
use crate::model::{Checkpoint, Error, Lsn, Phase, Result};

/// How far the log may be moved by messages.
const FAR: u64 = 64 << 20;
/// Bytes of one message.
const PIECE: u64 = 1 << 20;

/// Whether all tables are to be read again although the sink has a position in the stream.
pub(super) fn wanted(options: &Options, resume: Option<&Checkpoint>) -> Result<bool> {
    let wanted = options.resnapshot && resume.is_some_and(|stored| stored.phase == Phase::Stream);
    if wanted && options.snapshot == SnapshotMode::Never {
        return Err(Error::blocked("--resnapshot reads every table, but source.postgres.snapshot is \"never\"")
            .remedy("set it to \"initial\" for this run"));
    }
    Ok(wanted)
}

/// Drops a slot that is of no use any more.
pub(super) async fn drop_lost(client: &Client, name: &str, slot: &Slot) -> Result<()> {
    tracing::warn!(slot = name, confirmed = %slot.confirmed, "the slot has lost its log: dropped, to be made again");
    let drop = client.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&name]).await;
    drop.map(|_| ()).map_err(|error| sql_error(error, "dropping the slot that lost its log"))
}

/// Moves the server's log past what the sink has.
pub(super) async fn pass(client: &Client, stored: &Checkpoint) -> Result<()> {
    let goal = stored.position.lsn;
    loop {
        let now = end(client).await?;
        if now > goal {
            return Ok(());
        }
        let missing = goal.get() - now.get() + 1;
        if missing > FAR {
            return Err(Error::blocked(format!(
                "the server's log ends at {now}, {missing} bytes before what the sink has ({goal}): rows read now would count as older"
            ))
            .remedy("give the pipeline another name and an empty target"));
        }
        let piece = i32::try_from(missing.min(PIECE)).unwrap_or(i32::MAX);
        client
            .execute("SELECT pg_catalog.pg_logical_emit_message(false, 'tailwater', repeat('-', $1))", &[&piece])
            .await
            .map_err(|error| sql_error(error, "moving the server's log past what the sink has"))?;
    }
}

async fn end(client: &Client) -> Result<Lsn> {
    let row = client
        .query_one("SELECT pg_catalog.pg_current_wal_insert_lsn()::text", &[])
        .await
        .map_err(|error| sql_error(error, "asking where the server's log ends"))?;
    row.get::<_, &str>(0).parse().map_err(|error| Error::corrupt("the end of the server's log").because(error))
}
