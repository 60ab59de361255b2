//! `tailwater status`: how far everything is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::config::{Config, Sink, Source};
use super::metrics::lag_seconds;
use super::serve::unready;
use super::wiring;
use crate::adapters::postgres;
use crate::adapters::warehouse::{self, PostgresClient};
use crate::codecs::dialect;
use crate::logic::project::Rule;
#[cfg(feature = "kafka")]
use crate::model::Class;
use crate::model::meters::StoppedTable;
use crate::model::role::Role;
use crate::model::{Checkpoint, Meters, PgTimestamp, Phase, Result, TableName};

/// What is known, as JSON with stable names.
pub struct Report(Value);

impl Report {
    /// Of the process that these meters belong to.
    pub fn of_process(pipeline: &str, meters: &Meters) -> Report {
        let mut stopped: BTreeMap<_, _> = meters.stopped().into_iter().collect();
        let mut tables: Vec<Value> = meters
            .tables()
            .into_iter()
            .map(|(name, meter)| {
                let d = meter.durable;
                let mut table = json!({
                    "table": name.to_string(), "read": d.read, "inserts": d.insert, "updates": d.update,
                    "deletes": d.delete, "truncates": d.truncate, "state": "following",
                    "newest_change": meter.newest.map(|at| at.unix_millis()),
                });
                stopped.remove(&name).iter().for_each(|state| stop(&mut table, state));
                table
            })
            .collect();
        tables.extend(stopped.iter().map(|(name, state)| stopped_table(name, state)));
        let reason = unready(meters);
        Report(json!({
            "pipeline": pipeline,
            "running": true,
            "ready": reason.is_none(),
            "member": meters.role().map(Role::name),
            "reason": reason,
            "position": {
                "server": meters.server.get().to_string(),
                "received": meters.received.get().to_string(),
                "durable": meters.durable.get().to_string(),
                "acknowledged": meters.acknowledged.get().to_string(),
            },
            "lag_bytes": meters.server.get().bytes_since(meters.durable.get()),
            "lag_seconds": lag_seconds(meters),
            "slot": {
                "retained_bytes": meters.slot_retained.get(),
                "safe_bytes": meters.slot_safe.get(),
                "seconds_to_limit": meters.slot_seconds_to_limit.get(),
            },
            "restarts": meters.restarts.load(Ordering::Relaxed),
            "snapshot_rows": meters.snapshot_rows.load(Ordering::Relaxed),
            "last_error": meters.last_error().map(|(_, text)| text),
            "tables": tables,
        }))
    }

    /// For machines.
    pub fn json(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// For people.
    pub fn human(&self) -> String {
        let mut out = String::new();
        lines(&mut out, &self.0, 0);
        out
    }
}

/// A table that is stopped.
fn stopped_table(name: &TableName, state: &StoppedTable) -> Value {
    let mut table = json!({ "table": name.to_string() });
    stop(&mut table, state);
    table
}

fn stop(table: &mut Value, state: &StoppedTable) {
    let Value::Object(fields) = table else { return };
    let said = [
        ("state", json!("stopped")),
        ("since", json!(state.since.unix_millis())),
        ("reason", json!(state.reason)),
        ("remedy", json!(state.remedy)),
        ("held", json!(state.held)),
    ];
    fields.extend(said.map(|(key, value)| (key.to_owned(), value)));
}

fn lines(out: &mut String, value: &Value, depth: usize) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Null => {}
            Value::Object(_) => {
                let _ = writeln!(out, "{:indent$}{name}", "", indent = depth * 2);
                lines(out, value, depth + 1);
            }
            Value::Array(items) => {
                for item in items {
                    let table = item.get("table").map(plain).unwrap_or_default();
                    let counts: Vec<String> = ["read", "inserts", "updates", "deletes", "truncates"]
                        .iter()
                        .filter_map(|name| Some(format!("{name} {}", plain(item.get(*name)?))))
                        .collect();
                    let _ = writeln!(out, "{table:<30} {}", counts.join("  "));
                    if item.get("state").is_some_and(|state| state == "stopped") {
                        let part = |key: &str| item.get(key).map(plain).unwrap_or_default();
                        let since = item.get("since").and_then(Value::as_i64).unwrap_or_default() / 1000;
                        let minutes = (PgTimestamp::now().unix_millis() / 1000 - since).max(0) / 60;
                        let _ = writeln!(out, "  stopped for {minutes} minutes, {} changes wait", part("held"));
                        let _ = writeln!(out, "  reason: {}\n  to do: {}", part("reason"), part("remedy"));
                    }
                }
            }
            other => _ = writeln!(out, "{:indent$}{name:<18} {}", "", plain(other), indent = depth * 2),
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Asks the running process, or else source and sink.
pub async fn status(config: &Config, as_json: bool) -> Result<()> {
    let report = match running(config).await {
        Some(report) => report,
        None => at_rest(config).await?,
    };
    print!("{}", if as_json { report.json() } else { report.human() });
    Ok(())
}

/// The report of the process that serves at `[serve] listen`, if there is one.
async fn running(config: &Config) -> Option<Report> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listen = config.listen?;
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(listen).await.ok()?;
        let request = format!("GET /status.json HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.take(16 << 20).read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let report: Value = head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())??;
        (report.get("pipeline")?.as_str()? == config.name).then_some(Report(report))
    };
    tokio::time::timeout(std::time::Duration::from_secs(3), ask).await.ok()?
}

/// Without a running process: what the database says of the slot, and the sink of its progress.
async fn at_rest(config: &Config) -> Result<Report> {
    let slot = match &config.source {
        Source::Postgres(options) => {
            let slot = postgres::slot_status(options).await?;
            slot.map(|slot| {
                json!({
                    "name": options.slot, "confirmed": slot.confirmed.to_string(), "active": slot.active,
                    "retained_bytes": slot.retained, "safe_bytes": slot.safe, "state": slot.state,
                })
            })
        }
        Source::Kafka(_) | Source::Foreign(_) => None,
    };
    let sink = match stored(config).await {
        Ok(None) => json!({ "state": "nothing stored" }),
        Ok(Some(checkpoint)) => json!({
            "state": match checkpoint.phase { Phase::Snapshot => "reading existing rows", Phase::Stream => "following" },
            "durable": checkpoint.position.lsn.to_string(),
            "last_change": checkpoint.change.to_string(),
            "timeline": checkpoint.position.timeline,
            "system_id": checkpoint.position.system_id.to_string(),
        }),
        // The slot is worth knowing though the sink does not answer.
        Err(error) => json!({ "state": "unknown", "error": error.what() }),
    };
    let tables: Vec<Value> = stopped(config).await?.iter().map(|(name, state)| stopped_table(name, state)).collect();
    Ok(Report(json!({
        "pipeline": config.name, "running": false, "ready": false, "slot": slot, "sink": sink, "tables": tables,
    })))
}

/// The tables that are stopped; what a sink that does not answer knows is told with what it has stored.
async fn stopped(config: &Config) -> Result<Vec<(TableName, StoppedTable)>> {
    match &config.sink {
        #[cfg(feature = "kafka")]
        Sink::Kafka(options) => {
            let stopped = crate::adapters::kafka::stopped(&wiring::with_tables(options, config)).await;
            stopped.or_else(|error| if error.class() == Class::Transient { Ok(Vec::new()) } else { Err(error) })
        }
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(_, file) if !file.path.exists() => Ok(Vec::new()),
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(_, file) => {
            let Ok(mut client) = warehouse::DuckdbClient::start(file).await else { return Ok(Vec::new()) };
            in_warehouse(&mut client, &dialect::Duckdb, config).await
        }
        Sink::Postgres(_, endpoint) => {
            let client = PostgresClient::start(&wiring::connector(endpoint, &config.name)).await;
            let Ok(mut client) = client else { return Ok(Vec::new()) };
            in_warehouse(&mut client, &dialect::Postgres, config).await
        }
        #[cfg(feature = "redshift")]
        Sink::Redshift(sink) => {
            let Ok(mut client) = wiring::redshift(sink, &config.name).await else { return Ok(Vec::new()) };
            in_warehouse(&mut client, &sink.dialect, config).await
        }
        #[allow(unreachable_patterns)]
        _ => Ok(Vec::new()),
    }
}

/// Those that a warehouse knows of, and the topics that can't be read on.
async fn in_warehouse<C: warehouse::Client>(
    client: &mut C,
    dialect: &impl dialect::Dialect,
    config: &Config,
) -> Result<Vec<(TableName, StoppedTable)>> {
    let stopped = warehouse::stopped(client, dialect, &config.name).await?;
    #[cfg(feature = "kafka")]
    let stopped = match config.source {
        Source::Foreign(_) => {
            let notes = warehouse::noted(client, dialect, &config.name).await?;
            stopped.into_iter().chain(crate::adapters::kafka::StoppedTopics::noted(&notes)).collect()
        }
        _ => stopped,
    };
    Ok(told(config, stopped))
}

/// Stopped tables by the names they are told under.
fn told(config: &Config, stopped: Vec<(TableName, StoppedTable)>) -> Vec<(TableName, StoppedTable)> {
    stopped.into_iter().map(|(source, state)| (Rule::told_name(&config.rules, &source), state)).collect()
}

/// What the sink has stored.
async fn stored(config: &Config) -> Result<Option<Checkpoint>> {
    match &config.sink {
        Sink::Postgres(_, endpoint) => {
            let mut client = PostgresClient::start(&wiring::connector(endpoint, &config.name)).await?;
            warehouse::stored(&mut client, &dialect::Postgres, &config.name).await
        }
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(_, file) if !file.path.exists() => Ok(None),
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(_, file) => {
            let mut client = warehouse::DuckdbClient::start(file).await?;
            warehouse::stored(&mut client, &dialect::Duckdb, &config.name).await
        }
        #[cfg(feature = "redshift")]
        Sink::Redshift(sink) => {
            let mut client = wiring::redshift(sink, &config.name).await?;
            warehouse::stored(&mut client, &sink.dialect, &config.name).await
        }
        #[cfg(feature = "kafka")]
        Sink::Kafka(options) => crate::adapters::kafka::stored(options).await,
        #[allow(unreachable_patterns)]
        _ => Err(wiring::left_out()),
    }
}
