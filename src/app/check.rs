//! `tailwater check`: everything that is wrong, each with its remedy, at once.

use std::process::ExitCode;
use std::sync::Arc;

use super::config::{Config, Sink, Source};
use super::wiring;
#[cfg(feature = "kafka")]
use crate::adapters::kafka::SinkOptions;
use crate::adapters::postgres;
use crate::adapters::warehouse::PostgresClient;
use crate::logic::project::{Origins, Projection};
use crate::model::{Error, Table};

/// The tables as they would be told, and which rules can't be kept; `None` when they can't be described, which has been
/// reported then.
async fn project(
    config: &Config,
    options: &postgres::Options,
    origins: &Origins,
) -> Option<(Vec<Arc<Table>>, Vec<Error>)> {
    let projection = Projection::new(config.rules.clone(), origins.clone());
    let (mut tables, mut broken) = (Vec::new(), Vec::new());
    for table in postgres::tables(options).await.ok()? {
        match projection.table(&Arc::new(table)) {
            Ok(told) => tables.push(told),
            Err(error) => broken.push(error),
        }
    }
    Some((tables, broken))
}

/// Checks source and sink, prints what it finds, and says 0 or 2.
pub async fn check(config: &Config) -> ExitCode {
    let mut tables: Vec<Arc<Table>> = Vec::new();
    let origins = Origins::default();
    let mut problems = Vec::new();
    let mut report = |what: &str, found: Vec<Error>| {
        if found.is_empty() {
            println!("ok       {what}");
        }
        for error in found {
            println!("problem  {what}: {}", error.what());
            if let Some(advice) = error.advice() {
                println!("         to do: {advice}");
            }
            problems.push(error);
        }
    };
    report("configuration", Vec::new());
    match &config.source {
        Source::Postgres(options) => {
            let found = postgres::check(options).await;
            let address = format!("database {}", options.endpoint.address());
            let reached = !found.tables.is_empty();
            report(&address, found.problems);
            if reached && let Some((told, broken)) = project(config, options, &origins).await {
                tables = told;
                if !config.rules.is_empty() {
                    report("tables", broken);
                }
            }
            for note in found.notes {
                println!("note     {}", note.what());
                println!("         {}", note.advice().unwrap_or_default());
            }
        }
        #[cfg(feature = "kafka")]
        Source::Kafka(options) => {
            report(
                &format!("brokers {}", options.cluster.bootstrap),
                crate::adapters::kafka::check_source(options).await,
            );
        }
        #[cfg(feature = "kafka")]
        Source::Foreign(options) => {
            let brokers = format!("brokers {}", options.source.cluster.bootstrap);
            report(&brokers, crate::adapters::kafka::check_foreign(options).await);
        }
        #[cfg(not(feature = "kafka"))]
        Source::Kafka(_) | Source::Foreign(_) => {
            report("source", vec![Error::blocked("this binary was built without Kafka")])
        }
    }
    let _ = &tables;
    match &config.sink {
        #[cfg(feature = "kafka")]
        Sink::Kafka(options) => {
            let options = SinkOptions { origins, ..(**options).clone() };
            report(
                &format!("brokers {}", options.cluster.bootstrap),
                crate::adapters::kafka::check_sink(&options, &tables).await,
            );
        }
        Sink::Postgres(_, endpoint) => {
            let connect = wiring::connector(endpoint, &config.name);
            let result = match PostgresClient::start(&connect).await {
                Ok(mut client) => client.may_create().await,
                Err(error) => Err(error),
            };
            report(&format!("warehouse {}", endpoint.address()), result.err().into_iter().collect());
        }
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(_, file) => {
            let result = crate::adapters::warehouse::DuckdbClient::probe(file);
            report(&format!("warehouse {}", file.path.display()), result.err().into_iter().collect());
        }
        #[cfg(feature = "redshift")]
        Sink::Redshift(sink) => {
            let result = match wiring::redshift(sink, &config.name).await {
                Ok(mut client) => client.probe().await,
                Err(error) => Err(error),
            };
            report(&format!("warehouse {}", sink.endpoint.address()), result.err().into_iter().collect());
        }
        #[allow(unreachable_patterns)]
        _ => report("sink", vec![Error::blocked("this binary was built without the feature that the sink needs")]),
    }
    if problems.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "{} to solve",
        if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) }
    );
    ExitCode::from(2)
}
