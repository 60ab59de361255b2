//! Whether the pipeline would go on after a standby of its server took over.

use tokio_postgres::Client;

use super::catalog::{Facts, quoted};
use super::refusal::sql_error;
use super::slot::{RESNAPSHOT, Slot};
use crate::model::{Error, Result};

/// What is missing for that, where the server has standbys with slots.
pub(super) async fn gaps(client: &Client, name: &str, facts: &Facts, slot: Option<&Slot>) -> Result<Vec<Error>> {
    let row = client
        .query_one(
            "SELECT string_agg(slot_name::text, ',' ORDER BY slot_name), coalesce(current_setting('synchronized_standby_slots', true), '')
             FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical'",
            &[],
        )
        .await
        .map_err(|error| sql_error(error, "looking for standbys"))?;
    let Some(standbys) = row.get::<_, Option<String>>(0) else { return Ok(Vec::new()) };
    if facts.version < 170_000 {
        return Ok(vec![
            Error::blocked(format!(
                "a standby that takes over has no slot {name}: PostgreSQL before 17 does not copy slots"
            ))
            .remedy(format!("after a failover, {RESNAPSHOT}; or upgrade")),
        ]);
    }
    let mut gaps = Vec::new();
    if slot.is_some_and(|slot| !slot.failover && !slot.synced) {
        gaps.push(Error::blocked(format!("slot {name} was made without failover: standbys do not copy it")).remedy(
            format!(
                "stop the pipeline and run, on a replication connection: ALTER_REPLICATION_SLOT {} (FAILOVER true)",
                quoted(name)
            ),
        ));
    }
    if row.get::<_, &str>(1).is_empty() {
        gaps.push(
            Error::blocked("synchronized_standby_slots is empty: a failover may lose changes that the sink has already")
                .remedy(format!("set synchronized_standby_slots = '{standbys}' on the primary and sync_replication_slots = on on its standbys")),
        );
    }
    Ok(gaps)
}
