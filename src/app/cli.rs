//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use super::config::{Config, Source};
use super::{check, import, logging, schema, serve, shutdown, status, wiring};
use crate::logic::pipeline::{Goal, Run};
use crate::model::{Class, Error};

/// Follows a PostgreSQL slot into Kafka and into warehouse tables.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Examples:
  tailwater check -c shop.toml                  all that is wrong, each with its remedy
  tailwater run -c shop.toml                    until SIGTERM
  tailwater run -c shop.toml --until-current    until what the source holds now is durable
  tailwater run -c shop.toml --resnapshot       every table once more, then on with the log
  tailwater status -c shop.toml --json
  tailwater schema -c shop.toml --table public.orders
  tailwater import-debezium connector.json > shop.toml

Exit codes: 0 fine; 1 it may work later; 2 configuration or check; 3 a person must act; 4 a protocol is broken."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Says everything that is wrong with configuration, database, broker and warehouse.
    Check {
        /// The configuration file.
        #[arg(short, long)]
        config: PathBuf,
    },
    /// Moves changes from the source to the sink.
    Run {
        /// The configuration file.
        #[arg(short, long)]
        config: PathBuf,
        /// End when what the source held at the start is durable in the sink.
        #[arg(long)]
        until_current: bool,
        /// Read every table again, whatever the sink has: after the slot was lost, or a failover that lost changes.
        #[arg(long)]
        resnapshot: bool,
    },
    /// Shows positions, lag, tables and the slot's safety.
    Status {
        /// The configuration file.
        #[arg(short, long)]
        config: PathBuf,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Shows what the events of each table look like: topic, key, columns, and what is lost; with --format ddl what would
    /// be executed in the warehouse.
    Schema {
        /// The configuration file.
        #[arg(short, long)]
        config: PathBuf,
        /// Only tables that this pattern names, as `schema.table`.
        #[arg(short, long)]
        table: Option<String>,
        /// How to print it.
        #[arg(long, value_enum, default_value = "columns")]
        format: schema::Form,
    },
    /// Prints the SQL that has a database keep its tables' NOT NULL, defaults and keys as of each DDL.
    SchemaHistory,
    /// Writes a configuration from one of Debezium's PostgreSQL connector, and lists what it could not carry over.
    ImportDebezium {
        /// The connector's JSON or properties.
        file: PathBuf,
    },
    /// Mirrors a throw-away PostgreSQL with a small shop in it into DuckDB, live.
    #[cfg(feature = "duckdb")]
    Demo {
        /// How long the shop is open.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

/// Runs the command line; its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime can't be started: {error}");
            return ExitCode::from(1);
        }
    };
    runtime.block_on(dispatch(arguments.command))
}

async fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Check { config } => {
            logging::start(true);
            match read(&config) {
                Ok(config) => check::check(&config).await,
                Err(code) => code,
            }
        }
        Command::Run { config, until_current, resnapshot } => {
            logging::start(false);
            let goal = if until_current { Goal::Current } else { Goal::Endless };
            match read(&config).and_then(|config| if resnapshot { again(config) } else { Ok(config) }) {
                Ok(config) => ended(follow(config, goal).await),
                Err(code) => code,
            }
        }
        Command::Status { config, json } => {
            logging::start(true);
            match read(&config) {
                Ok(config) => ended(status::status(&config, json).await),
                Err(code) => code,
            }
        }
        Command::Schema { config, table, format } => {
            logging::start(true);
            match read(&config) {
                Ok(config) => ended(schema::schema(&config, table.as_deref(), format).await),
                Err(code) => code,
            }
        }
        Command::SchemaHistory => {
            print!("{}", crate::adapters::postgres::HISTORY_SQL);
            ExitCode::SUCCESS
        }
        Command::ImportDebezium { file } => ended(import::print(&file)),
        #[cfg(feature = "duckdb")]
        Command::Demo { seconds } => {
            logging::start(true);
            let database_url = std::env::var("DATABASE_URL").ok();
            ended(super::demo::demo(super::demo::DemoOptions { seconds, database_url }).await)
        }
    }
}

async fn follow(config: Config, goal: Goal) -> Result<(), Error> {
    let stop = CancellationToken::new();
    shutdown::on_signal(stop.clone());
    let meters = wiring::meters();
    if let Some(listen) = config.listen {
        serve::start(listen, &config.name, Arc::clone(&meters)).await?;
    }
    let run = Run { goal, stop, grace: config.grace, meters };
    wiring::run(&config, &run).await
}

/// The configuration with every table to be read again.
fn again(mut config: Config) -> Result<Config, ExitCode> {
    let Source::Postgres(options) = &mut config.source else {
        eprintln!("error: --resnapshot is for the pipeline that reads PostgreSQL: run that one with it");
        return Err(ExitCode::from(2));
    };
    options.resnapshot = true;
    Ok(config)
}

/// Reads the configuration, or prints all that is wrong with it.
fn read(path: &Path) -> Result<Config, ExitCode> {
    Config::read(path).map_err(|problems| {
        let many = if problems.len() == 1 { "problem" } else { "problems" };
        eprintln!("error: {} has {} {many}", path.display(), problems.len());
        for problem in problems {
            eprintln!("  {problem}");
        }
        ExitCode::from(2)
    })
}

/// Prints an error for people; its class is the exit code.
fn ended(result: Result<(), Error>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {}", error.what());
    if let Some(advice) = error.advice() {
        eprintln!("  to do: {advice}");
    }
    ExitCode::from(match error.class() {
        Class::Blocked => 3,
        Class::Corrupt => 4,
        Class::Transient | Class::Bug => 1,
    })
}
