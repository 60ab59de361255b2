//! `tailwater demo`: a small shop in PostgreSQL, mirrored into DuckDB while one watches.
//!
//! ```text
//!  start a server (or use DATABASE_URL) ─▶ open the shop ─▶ follow it, the way `run` does ─▶ show both sides
//!      ─▶ close the shop ─▶ catch up ─▶ compare every row ─▶ clean up
//! ```

mod both;
mod screen;
mod server;
mod shop;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Sink, Source};
use super::wiring;
use crate::adapters::postgres::{self, Endpoint, SnapshotMode};
use crate::adapters::warehouse::{self, DuckdbFile};
use crate::logic::pipeline::{Goal, Run};
use crate::model::{Error, Meters, Pattern, Result};

use both::Both;
use screen::Screen;
use server::{Folder, Server};
use shop::Shop;

/// How the demo is to run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// How long the shop is open.
    pub seconds: u64,
    /// A database to use instead of a throw-away server; what the demo makes there it removes.
    pub database_url: Option<String>,
}

const NAME: &str = "demo";
const SLOT: &str = "tailwater_demo";

/// Runs the demo; an error when both sides are not equal in the end.
pub async fn demo(options: DemoOptions) -> Result<()> {
    let stop = CancellationToken::new();
    super::shutdown::on_signal(stop.clone());
    let folder = Folder::new()?;
    let (server, url) = match &options.database_url {
        Some(url) => (None, url.clone()),
        None => {
            println!("starting a throw-away PostgreSQL ...");
            let server = Server::start(&folder)?;
            let url = server.url();
            (Some(server), url)
        }
    };
    let endpoint = Endpoint::parse(&url)?;
    let client = connect(&endpoint, server.is_some()).await?;
    let file = folder.path().join("shop.duckdb");
    let config = config(endpoint.clone(), file.clone());
    shop::open(&client).await?;
    let result = show(&options, &config, &client, &file, &stop).await;
    let tidied = if server.is_none() { tidy(&client).await } else { Ok(()) };
    drop((client, server, folder));
    result.and(tidied)?;
    println!("nothing is left running, no files are left.");
    Ok(())
}

async fn show(
    options: &DemoOptions,
    config: &Config,
    client: &Client,
    file: &std::path::Path,
    stop: &CancellationToken,
) -> Result<()> {
    let Source::Postgres(from) = &config.source else { return Err(Error::bug("the demo follows PostgreSQL")) };
    let meters = wiring::meters();
    let ended = CancellationToken::new();
    let follow = follow(config, Goal::Endless, ended.clone(), &meters);
    let shop = Shop::start(&from.endpoint, 3).await?;
    let mut both = Both::new(client, file);
    let mut screen = Screen::new(options.seconds);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut grown = false;
    while Instant::now() < end && !stop.is_cancelled() && !follow.is_finished() {
        tick.tick().await;
        if !grown && begin.elapsed() >= Duration::from_secs(options.seconds / 3) {
            shop::grow(client).await?;
            screen.note("a column was added while it runs: customers.city");
            grown = true;
        }
        let counts = both.counts().await?;
        screen.draw(begin.elapsed(), &counts, &meters);
    }
    println!("\nclosing the shop and catching up ...");
    let written = shop.close().await?;
    ended.cancel();
    follow.await.map_err(|error| Error::bug("the pipeline panicked").because(error))??;
    // A second run from what the warehouse has stored: nothing comes twice, nothing is missing.
    let rest = self::follow(config, Goal::Current, CancellationToken::new(), &meters);
    rest.await.map_err(|error| Error::bug("the pipeline panicked").because(error))??;
    println!("{written} transactions were written; comparing every row and column of both sides:");
    both.compare().await
}

/// Runs the pipeline beside the screen.
fn follow(
    config: &Config,
    goal: Goal,
    stop: CancellationToken,
    meters: &Arc<Meters>,
) -> tokio::task::JoinHandle<Result<()>> {
    let config = config.clone();
    let run = Run { goal, stop, grace: config.grace, meters: Arc::clone(meters) };
    tokio::spawn(async move { wiring::run(&config, &run).await })
}

/// A throw-away server takes a moment to accept connections.
async fn connect(endpoint: &Endpoint, patient: bool) -> Result<Client> {
    let deadline = Instant::now() + Duration::from_secs(if patient { 20 } else { 0 });
    loop {
        match postgres::connect(endpoint, "tailwater demo").await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            result => return result,
        }
    }
}

fn config(endpoint: Endpoint, path: PathBuf) -> Config {
    let flush = warehouse::Flush { rows: 200_000, bytes: 64 << 20, after: Duration::from_millis(500) };
    Config {
        name: NAME.to_owned(),
        grace: Duration::from_secs(30),
        start_timeout: Duration::from_secs(30),
        source: Source::Postgres(Box::new(postgres::Options {
            pipeline: NAME.to_owned(),
            endpoint,
            tables: vec![Pattern::new(format!("{}.*", shop::SCHEMA))],
            exclude: Vec::new(),
            partitions: Default::default(),
            portions: Vec::new(),
            slot: SLOT.to_owned(),
            publication: SLOT.to_owned(),
            create: true,
            messages: None,
            commits: false,
            schema_history: false,
            form: Default::default(),
            streaming: Some(false),
            two_phase: false,
            spool: Default::default(),
            snapshot: SnapshotMode::Initial,
            resnapshot: false,
            buffer_bytes: 32 << 20,
            connect_timeout: Duration::from_secs(10),
        })),
        sink: Sink::Duckdb(warehouse::Options::new(NAME, flush), DuckdbFile { path }),
        rules: Vec::new(),
        listen: None,
    }
}

/// Removes what the demo made in somebody else's database.
async fn tidy(client: &Client) -> Result<()> {
    let failed = |error| Error::transient("removing what the demo made in the database").because(error);
    let slot =
        format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
    for _ in 0..50 {
        // The server lets go of the slot a moment after we do.
        if client.batch_execute(&slot).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rest = format!("DROP PUBLICATION IF EXISTS {SLOT}; DROP SCHEMA IF EXISTS {} CASCADE", shop::SCHEMA);
    client.batch_execute(&rest).await.map_err(failed)
}
