//! What the log does not say of a table, as of a place in the log: kept in the database by event triggers.
//!
//! Why it is exact. An entry is written in the transaction of its DDL, where the log has come to at that moment. DDL
//! that changes NOT NULL, a default or a key keeps all writers of the table out from before it takes place until its
//! transaction ends. So a row that lies before the entry was written under the facts before, and one that lies behind
//! it under the entry's: the row's own place in the log decides, not its commit. What is rolled back leaves no entry.
//! Entries are rows of a table: they are there for rows that are read long after, and for those from before a restart.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use tokio_postgres::Client;

use super::refusal::sql_error;
use crate::model::{Error, Lsn, Oid, Result, TableName};

/// Installs the event triggers; for a superuser.
pub const HISTORY_SQL: &str = include_str!("history.sql");

/// Whether this is the history's own table, which is not followed.
pub(super) fn keeps(table: &TableName) -> bool {
    table.schema == "_tailwater" && table.name == "schema_history"
}

/// What is known of a table.
#[derive(Deserialize, Debug)]
pub(super) struct Facts {
    pub(super) columns: HashSet<String>,
    pub(super) required: HashSet<String>,
    pub(super) defaults: HashMap<String, String>,
    pub(super) primary_key: Vec<String>,
    pub(super) identity_index: Vec<String>,
    pub(super) unique_index: Vec<String>,
    /// Not in entries of versions that did not keep them.
    #[serde(default)]
    pub(super) numbers: HashMap<String, u16>,
    #[serde(default)]
    pub(super) fills: HashMap<String, String>,
    /// By OID, those that may have been dropped since.
    #[serde(default)]
    pub(super) types: HashMap<u32, Remembered>,
}

/// A type as it was.
#[derive(Deserialize, Debug)]
pub(super) struct Remembered {
    pub(super) name: String,
    pub(super) labels: Option<Vec<String>>,
    /// Beneath a domain, with the modifier that it sets.
    pub(super) base: Option<u32>,
    pub(super) modifier: i32,
    pub(super) element: Option<u32>,
}

/// Refuses a database in which nobody keeps the history.
pub(super) async fn kept(client: &Client) -> Result<()> {
    let query = "SELECT pg_catalog.to_regclass('_tailwater.schema_history') IS NOT NULL AND 2 = (
            SELECT count(*) FROM pg_catalog.pg_event_trigger
            WHERE evtname IN ('tailwater_ddl', 'tailwater_drop') AND evtenabled IN ('O', 'A'))";
    let kept: bool = client.query_one(query, &[]).await.map_err(failed)?.get(0);
    if kept {
        return Ok(());
    }
    Err(Error::blocked("schema_history is set, but the database has no event triggers that keep it")
        .remedy("run as a superuser in that database: tailwater schema-history | psql; or remove schema_history"))
}

/// Has the database forget what no slot can ask for. Nothing depends on it.
pub(super) async fn prune(client: &Client) {
    if let Err(error) = client.query_one("SELECT _tailwater.prune_schema_history()", &[]).await {
        tracing::debug!(%error, "the schema history was not pruned");
    }
}

/// What was in force for the table's rows at this place in the log; `None` where the history does not know.
pub(super) async fn facts(client: &Client, table: Oid, at: Lsn) -> Result<Option<Facts>> {
    let query = "SELECT facts::text FROM _tailwater.schema_history
        WHERE relation = $1 AND lsn <= $2::text::pg_lsn ORDER BY lsn DESC, id DESC LIMIT 1";
    let row = client.query_opt(query, &[&table.0, &at.to_string()]).await.map_err(failed)?;
    let Some(facts) = row.and_then(|row| row.get::<_, Option<String>>(0)) else { return Ok(None) };
    let facts = serde_json::from_str(&facts);
    facts.map(Some).map_err(|error| {
        Error::blocked("an entry of _tailwater.schema_history can't be read")
            .because(error)
            .remedy("it is another version's: run again tailwater schema-history | psql")
    })
}

fn failed(error: tokio_postgres::Error) -> Error {
    sql_error(error, "reading the schema history")
}
