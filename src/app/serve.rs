//! Metrics and health over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{metrics, status};
use crate::model::role::Role;
use crate::model::{Error, Meters, PgTimestamp, Result};

/// Without progress for this long while something is outstanding, replication is stalled.
const STALLED: f64 = 60.0;

#[derive(Clone)]
struct Shared {
    pipeline: String,
    meters: Arc<Meters>,
}

/// Starts serving; the task lives as long as the process.
pub async fn start(listen: SocketAddr, pipeline: &str, meters: Arc<Meters>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Error::blocked(format!("can't listen on {listen}"))
            .remedy("choose another address in [serve] listen")
            .because(error)
    })?;
    let shared = Shared { pipeline: pipeline.to_owned(), meters };
    let router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(scrape))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status.json", get(report))
        .with_state(shared);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the metrics endpoint has ended");
        }
    });
    Ok(())
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match metrics::render(&shared.meters) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(shared): State<Shared>) -> Response {
    match unready(&shared.meters) {
        None => format!("ready\n{}{}", waiting(&shared.meters), stopped(&shared.meters)).into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// A line that says that another process does the work.
fn waiting(meters: &Meters) -> &'static str {
    if meters.role() == Some(Role::Standby) { "standing by: another process of the consumer group leads\n" } else { "" }
}

/// A line for each table that is stopped.
fn stopped(meters: &Meters) -> String {
    let stopped = meters.stopped().into_iter();
    stopped.map(|(name, state)| format!("table {name} is stopped: {}\n", state.reason)).collect()
}

/// Why the process is of no use now; `None` when it is.
pub(super) fn unready(meters: &Meters) -> Option<String> {
    if meters.role() == Some(Role::Standby) {
        return None;
    }
    if !meters.flowing.load(Ordering::Relaxed) {
        let last = meters.last_error().map(|(_, text)| format!(": {text}")).unwrap_or_default();
        return Some(format!("not flowing{last}"));
    }
    let outstanding = meters.oldest_undurable.get()?;
    let since = meters.last_progress.get().unwrap_or(outstanding);
    let still = PgTimestamp::now().seconds_since(PgTimestamp::from_unix_micros(since));
    (still > STALLED).then(|| format!("stalled: nothing became durable for {still:.0} s"))
}

async fn report(State(shared): State<Shared>) -> Response {
    let text = status::Report::of_process(&shared.pipeline, &shared.meters).json();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn page(State(shared): State<Shared>) -> Html<String> {
    let text = status::Report::of_process(&shared.pipeline, &shared.meters).human();
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    Html(format!(
        "<!doctype html><meta name=viewport content=\"width=device-width\"><meta http-equiv=refresh content=5>\
         <title>Tailwater</title><pre>{text}</pre><p><a href=/metrics>metrics</a>"
    ))
}
