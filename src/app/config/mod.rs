//! The configuration file: TOML in, the adapters' options out, all problems at once.

mod file;
mod outbox;
mod redshift;
mod sinks;
mod sources;
mod tables;
mod types;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::adapters::warehouse::{self, DuckdbFile, RedshiftOptions};
use crate::adapters::{kafka, postgres};
use crate::codecs::dialect;
use crate::logic::merge::Limits;
use crate::logic::project::Rule;

use file::{Problems, Section};

pub use file::Problem;

/// Bytes of open transactions that may be kept, compressed: as much as a machine mostly has to spare.
const SPOOL: u64 = 10 << 30;

/// Where changes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A slot.
    Postgres(Box<postgres::Options>),
    /// Topics that Tailwater writes.
    Kafka(kafka::SourceOptions),
    /// Topics that others write.
    Foreign(Box<kafka::ForeignOptions>),
}

impl Source {
    /// Bytes that are read ahead. A third does where what a warehouse takes is this process's memory.
    fn buffer(&mut self) -> &mut usize {
        match self {
            Source::Postgres(options) => &mut options.buffer_bytes,
            Source::Kafka(options) => &mut options.buffer_bytes,
            Source::Foreign(options) => &mut options.source.buffer_bytes,
        }
    }
}

/// Where changes go.
#[derive(Clone, Debug)]
pub enum Sink {
    /// Topics.
    Kafka(Box<kafka::SinkOptions>),
    /// PostgreSQL tables.
    Postgres(warehouse::Options, postgres::Endpoint),
    /// Tables of a DuckDB file.
    Duckdb(warehouse::Options, DuckdbFile),
    /// Tables of a Redshift cluster.
    Redshift(Box<RedshiftSink>),
}

impl Sink {
    /// What a warehouse is told.
    pub fn warehouse(&self) -> Option<&warehouse::Options> {
        match self {
            Sink::Kafka(_) => None,
            Sink::Postgres(options, _) | Sink::Duckdb(options, _) => Some(options),
            Sink::Redshift(sink) => Some(&sink.options),
        }
    }
}

/// A Redshift cluster and the bucket that it loads from.
#[derive(Clone, Debug)]
pub struct RedshiftSink {
    /// What every warehouse is told.
    pub options: warehouse::Options,
    /// The cluster.
    pub endpoint: postgres::Endpoint,
    /// How tables are made.
    pub dialect: dialect::Redshift,
    /// The bucket.
    pub stage: RedshiftOptions,
}

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pipeline's name.
    pub name: String,
    /// How long a stop may take.
    pub grace: Duration,
    /// How long source and sink may be out of reach at the start before the process gives up.
    pub start_timeout: Duration,
    /// Where changes come from.
    pub source: Source,
    /// Where changes go.
    pub sink: Sink,
    /// What is done with single tables.
    pub rules: Vec<Rule>,
    /// Where metrics and health are served.
    pub listen: Option<std::net::SocketAddr>,
}

impl Config {
    /// Reads a file. `Err` holds everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Config, Vec<Problem>> {
        let whole = |what: String, remedy: &str| {
            vec![Problem { path: String::new(), line: 0, what, remedy: remedy.to_owned() }]
        };
        let bytes = std::fs::read(path)
            .map_err(|error| whole(format!("can't be read: {error}"), "check the path given with -c and its rights"))?;
        let text = String::from_utf8(bytes).map_err(|_| whole("is not UTF-8".to_owned(), "save it as UTF-8"))?;
        Config::parse(&text)
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        let parsed = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
            // Only the parser's sentence: the lines it quotes may hold a secret.
            let what = format!("is not TOML: {}", error.message());
            vec![Problem { path: String::new(), line, what, remedy: "mend the syntax".to_owned() }]
        })?;
        let mut problems = Vec::new();
        let config = read(text, parsed.get_ref(), &mut problems);
        problems.sort_by_key(|problem| problem.line);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }
}

fn read(text: &str, table: &DeTable<'_>, problems: &mut Problems) -> Option<Config> {
    let mut root = Section::root(text, table);
    let mut pipeline = root.section("pipeline", problems);
    let name = pipeline_name(&mut pipeline, problems);
    let state = pipeline.text("state_dir", problems).unwrap_or_else(|| "tailwater-state".to_owned());
    let limit = pipeline.number("spool_bytes", 1..=i64::MAX, problems).and_then(|bytes| u64::try_from(bytes).ok());
    let grace = seconds(&mut pipeline, "grace", 30, problems);
    let start_timeout = seconds(&mut pipeline, "start_timeout", 30, problems);
    pipeline.finish(problems);
    let name_or = name.clone().unwrap_or_else(|| "x".to_owned());
    let mut source = root.section("source", problems);
    let spool = postgres::SpoolOptions {
        dir: Path::new(&state).join(&name_or).join("spool"),
        limit: limit.unwrap_or(SPOOL),
        given_up: Arc::default(),
    };
    let mut from = sources::read(&mut source, &name_or, spool, problems);
    source.finish(problems);
    let mut sink = root.section("sink", problems);
    let database = match &from {
        Some(Source::Postgres(options)) => options.endpoint.database.clone(),
        _ => String::new(),
    };
    let mut to = sinks::read(&mut sink, &name_or, &database, problems);
    sink.finish(problems);
    if matches!(to, Some(Sink::Duckdb(..)))
        && let Some(source) = &mut from
    {
        *source.buffer() /= 3;
    }
    let mut serve = root.section("serve", problems);
    let listen = serve.text("listen", problems).and_then(|listen| {
        let parsed = listen.parse().ok();
        if parsed.is_none() {
            serve.problem("listen", "is not an address with a port", "write it as in 127.0.0.1:9187", problems);
        }
        parsed
    });
    serve.finish(problems);
    let mut told = tables::Told::default();
    let to_redshift = matches!(to, Some(Sink::Redshift(_)));
    match &mut to {
        Some(Sink::Kafka(options)) => told.topics = Some(&mut options.topics),
        Some(Sink::Postgres(options, _) | Sink::Duckdb(options, _)) => {
            told.modes = Some(&mut options.modes);
            told.pipeline = Some(&name_or);
            told.policies = Some(&mut options.policies);
            told.views = Some(&mut options.views);
            told.limits = Some(&mut options.limits);
        }
        Some(Sink::Redshift(sink)) => {
            told.modes = Some(&mut sink.options.modes);
            told.pipeline = Some(&name_or);
            told.policies = Some(&mut sink.options.policies);
            told.views = Some(&mut sink.options.views);
            told.limits = Some(&mut sink.options.limits);
        }
        None => told.pipeline = Some(&name_or),
    }
    match &mut from {
        Some(Source::Postgres(options)) => told.portions = Some(&mut options.portions),
        Some(Source::Foreign(options)) => told.declared = Some(&mut options.declared),
        _ => {}
    }
    let mut placements = Vec::new();
    if to_redshift {
        told.placements = Some(&mut placements);
    }
    let rules = tables::read(&mut root, told, problems);
    if let Some(Sink::Redshift(sink)) = &mut to {
        sink.dialect.placements = Arc::new(placements);
    }
    let topics = match &mut to {
        Some(Sink::Kafka(options)) => Some(options.as_mut()),
        _ => None,
    };
    outbox::read(&mut root, topics, problems);
    if matches!(from, Some(Source::Kafka(_))) {
        tables::behind_kafka(&rules, &root, problems);
    }
    if let (Some(Source::Kafka(_) | Source::Foreign(_)), Some(Sink::Kafka(_))) = (&from, &to) {
        root.problem("sink", "kafka cannot follow kafka", "use a warehouse sink, or source.postgres", problems);
    }
    if let Some(Source::Kafka(from)) = &from
        && from.membership.as_ref().is_some_and(|membership| membership.share)
    {
        shared(to.as_ref(), &rules, &root, problems);
    }
    root.finish(problems);
    Some(Config { name: name?, grace, start_timeout, source: from?, sink: to?, rules, listen })
}

/// Refuses what the members of a group can't do together.
fn shared(to: Option<&Sink>, rules: &[Rule], root: &Section<'_>, problems: &mut Problems) {
    let standby = "set source.kafka.members = \"standby\", or use a PostgreSQL warehouse";
    match to {
        Some(Sink::Duckdb(..)) => {
            let says = "shares the work, and only one process at a time can open a DuckDB file";
            root.problem("source", says, standby, problems);
        }
        Some(Sink::Redshift(_)) => {
            root.problem("source", "shares the work, which is not built for Redshift", standby, problems);
        }
        Some(Sink::Postgres(options, _)) if options.limits.iter().any(|(_, limits)| *limits != Limits::default()) => {
            let says = "does not go with source.kafka.members = \"share\", where a leader asks for each commit";
            root.problem("table.flush", says, "set members = \"standby\", or remove it", problems);
        }
        _ => {}
    }
    if rules.iter().any(|rule| rule.source.is_some()) {
        let says = "does not go with source.kafka.members = \"share\"";
        root.problem("table.source_column", says, "set members = \"standby\", or remove it", problems);
    }
}

fn pipeline_name(pipeline: &mut Section<'_>, problems: &mut Problems) -> Option<String> {
    let name = pipeline.text("name", problems);
    let Some(name) = name else {
        pipeline.problem("name", "is missing", "name the pipeline, as in name = \"shop\"", problems);
        return None;
    };
    let fine =
        !name.is_empty() && name.len() <= 48 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !fine {
        pipeline.problem("name", "is not a pipeline's name", "use up to 48 letters, digits, `_` and `-`", problems);
        return None;
    }
    Some(name)
}

fn seconds(section: &mut Section<'_>, key: &'static str, default: u64, problems: &mut Problems) -> Duration {
    let given = section.number(key, 1..=86_400, problems).and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(given.unwrap_or(default))
}
