//! `tailwater schema`: what the events of each table look like.

use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::config::{Config, Sink, Source};
use super::wiring;
use crate::adapters::postgres;
use crate::adapters::warehouse::{self, PostgresClient, Preview};
use crate::codecs::dialect;
use crate::codecs::event::{Description, Format, describe, proto};
use crate::logic::project::{Origins, Projection};
use crate::model::pg_type::{length_modifier, numeric_modifier};
use crate::model::{Column, Error, Pattern, PgType, Result, Table};

/// How it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    /// A list of columns for people.
    Columns,
    /// Kafka Connect's schemas of key and value.
    Connect,
    /// The Avro schemas of key and value.
    Avro,
    /// The JSON Schema of values.
    JsonSchema,
    /// The statements that the warehouse's tables would be made or altered by, were their rows to come now: a dry run.
    Ddl,
    /// The .proto file of Protobuf's events, the same for all tables.
    Proto,
}

/// Prints the tables that a pattern names; all of the pipeline's without one.
pub async fn schema(config: &Config, pattern: Option<&str>, form: Form) -> Result<()> {
    if form == Form::Proto {
        print!("{}", proto::SCHEMA);
        return Ok(());
    }
    if form == Form::Ddl {
        return ddl(config, pattern).await;
    }
    let (Source::Postgres(options), Sink::Kafka(sink)) = (&config.source, &config.sink) else {
        return Err(Error::blocked("only the events of a pipeline from PostgreSQL to Kafka have schemas")
            .remedy("name a configuration with [source.postgres] and [sink.kafka]; for a warehouse use --format ddl"));
    };
    if sink.events.modes.format == Format::Protobuf && form != Form::Columns {
        return Err(Error::blocked("the pipeline's events are written in Protobuf").remedy("use --format proto"));
    }
    let tables = named(options, pattern).await?;
    let mut printed = Vec::new();
    let projection = Projection::new(config.rules.clone(), sink.origins.clone());
    for table in tables {
        let table = projection.table(&Arc::new(table))?;
        let described =
            Description { topic: sink.topic(&table.name).name, ..describe(&table, &sink.settings(&table.name)) };
        match form {
            Form::Columns => print!("{}", columns(&table, &described)),
            Form::Connect => printed.push(connect(&described)),
            Form::Avro => printed.push(json!({
                "topic": described.topic,
                "key": described.avro_schemas.0.as_deref().map(parse),
                "value": parse(&described.avro_schemas.1),
            })),
            Form::Proto | Form::Ddl => {}
            Form::JsonSchema => printed.push(json!({ "topic": described.topic, "schema": described.json_schema })),
        }
    }
    if form != Form::Columns {
        println!("{:#}", Value::Array(printed));
    }
    Ok(())
}

/// The pipeline's tables that a pattern names.
async fn named(options: &postgres::Options, pattern: Option<&str>) -> Result<Vec<Table>> {
    let pattern = pattern.map(Pattern::new);
    let mut tables = postgres::tables(options).await?;
    tables.retain(|table| pattern.as_ref().is_none_or(|pattern| pattern.matches(&table.name.to_string())));
    if tables.is_empty() {
        return Err(Error::blocked("no table of the pipeline has this name")
            .remedy("check --table and source.postgres.tables: both are matched with schema.table"));
    }
    Ok(tables)
}

/// Prints what would be executed in the warehouse.
async fn ddl(config: &Config, pattern: Option<&str>) -> Result<()> {
    let Source::Postgres(source) = &config.source else {
        return Err(Error::blocked("behind Kafka the tables' shapes come with their events")
            .remedy("name the configuration of a pipeline from PostgreSQL into a warehouse"));
    };
    let origins = Origins::default();
    let projection = Projection::new(config.rules.clone(), origins.clone());
    let tables = named(source, pattern).await?.into_iter().map(|table| projection.table(&Arc::new(table)));
    let tables = tables.collect::<Result<Vec<_>>>()?;
    let with = |options: &warehouse::Options| warehouse::Options { origins: origins.clone(), ..options.clone() };
    let previews = match &config.sink {
        Sink::Postgres(options, endpoint) => {
            let mut client = PostgresClient::start(&wiring::connector(endpoint, &config.name)).await?;
            warehouse::preview(&mut client, &dialect::Postgres, &with(options), &tables).await?
        }
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(options, file) => {
            let existed = file.path.exists();
            let mut client = warehouse::DuckdbClient::start(file).await?;
            let previews = warehouse::preview(&mut client, &dialect::Duckdb, &with(options), &tables).await;
            drop(client);
            if !existed {
                // Looking alone makes no file.
                let _ = std::fs::remove_file(&file.path);
            }
            previews?
        }
        #[cfg(feature = "redshift")]
        Sink::Redshift(sink) => {
            let mut client = wiring::redshift(sink, &config.name).await?;
            warehouse::preview(&mut client, &sink.dialect, &with(&sink.options), &tables).await?
        }
        _ => {
            return Err(Error::blocked("only a warehouse's tables are made by statements")
                .remedy("use another --format, or name a configuration with a warehouse"));
        }
    };
    previews.iter().for_each(print_preview);
    Ok(())
}

fn print_preview(preview: &Preview) {
    println!("-- {}", preview.target);
    match &preview.outcome {
        Err(error) => println!("-- stops: {error}"),
        Ok((statements, notes)) => {
            notes.iter().for_each(|note| println!("-- {note}"));
            if statements.is_empty() {
                println!("-- nothing to do");
            }
            statements.iter().for_each(|statement| println!("{statement};"));
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema is JSON")
}

fn connect(described: &Description) -> Value {
    json!({
        "topic": described.topic, "key": described.key_schema.as_deref().map(parse), "value": parse(&described.value_schema),
    })
}

fn columns(table: &Table, described: &Description) -> String {
    let mut out = format!("{}\n  topic {}\n", table.name, described.topic);
    let mut key: Vec<_> =
        described.columns.iter().filter_map(|column| Some((column.key?, column.name.as_str()))).collect();
    key.sort_unstable();
    let mut names: Vec<String> = key.into_iter().map(|(_, name)| name.to_owned()).collect();
    if !names.is_empty() {
        names.extend(described.key_fields.iter().map(|(name, text)| format!("{name} = {text:?}")));
    }
    out.push_str(&match names.as_slice() {
        [] => "  key   none: events of a row may be in any partition\n".to_owned(),
        names => format!("  key   {}\n", names.join(", ")),
    });
    let width = described.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    for (column, told) in table.columns.iter().zip(&described.columns) {
        let form = match (&told.form, &told.logical) {
            (None, _) => "left out".to_owned(),
            (Some(form), None) => form.clone(),
            (Some(form), Some(logical)) => format!("{form} {logical}"),
        };
        let null = if told.optional { "" } else { "NOT NULL " };
        let loss = told.loss.map(|loss| format!("  (lost: {loss})")).unwrap_or_default();
        out.push_str(&format!("  {:<width$}  {:<28} {null}-> {form}{loss}\n", told.name, declared(column)));
    }
    out
}

/// A column's type as it was declared, as far as that matters here.
fn declared(column: &Column) -> String {
    let name = column.pg_type.name();
    match (&column.pg_type, column.modifier) {
        (_, -1) => name,
        (PgType::Numeric, modifier) => match numeric_modifier(modifier) {
            Some((precision, scale)) => format!("{name}({precision},{scale})"),
            None => name,
        },
        (PgType::Varchar | PgType::Bpchar, modifier) => {
            length_modifier(modifier).map_or(name.clone(), |length| format!("{name}({length})"))
        }
        (PgType::Array(_), _) => name,
        (_, modifier) => format!("{name}({modifier})"),
    }
}
