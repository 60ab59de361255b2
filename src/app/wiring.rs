//! Which source feeds which sink, and what happens when one of them fails.
//!
//! A failure that may heal ends both sides; after a pause both are built again and go on from what the sink has stored.
//! Nothing of a failed attempt is kept in memory but what it failed at, so there is one way to start and no way to start
//! half.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::config::{Config, Sink, Source};
use super::projected::Projected;
#[cfg(feature = "kafka")]
use crate::adapters::kafka::{Display, ForeignSource, KafkaSink, KafkaSource, SinkOptions, StoppedTopics};
use crate::adapters::postgres::{self, Endpoint, PostgresSource, SnapshotMode};
use crate::adapters::warehouse::{self, Connect, PostgresClient, Reread, WarehouseSink};
use crate::codecs::dialect;
use crate::logic::pipeline::{self, Goal, Run};
use crate::logic::project::{Origins, Projection, Rule};
#[cfg(feature = "kafka")]
use crate::model::Patterns;
use crate::model::{Checkpoint, Class, Error, Meters, Result, SourcePosition};

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs a configuration until its goal, a stop, or a failure that does not heal.
pub async fn run(config: &Config, run: &Run) -> Result<()> {
    let mut run = run.clone();
    if matches!(&config.source, Source::Postgres(options) if options.snapshot == SnapshotMode::Only) {
        run.goal = Goal::Current;
    }
    let mut give_up = Instant::now() + config.start_timeout;
    let mut attempts = Attempts::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let (begin, progress) = (Instant::now(), run.meters.last_progress.get());
        let stopped = attempts.stopped(&run.meters);
        let error = match once(config, &run, &mut attempts).await {
            Ok(()) if run.goal == Goal::Current && !run.stop.is_cancelled() => return all_told(&run.meters),
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        run.meters.flowing.store(false, Ordering::Relaxed);
        run.meters.error(error.to_string());
        if error.class() != Class::Transient || run.stop.is_cancelled() {
            return Err(error);
        }
        // That a table or a topic is stopped is a step, too: the others go on at once.
        if run.meters.last_progress.get() != progress || attempts.stopped(&run.meters) != stopped {
            pause = FIRST_PAUSE;
            give_up = Instant::now() + config.start_timeout;
        }
        // What has an end says so when it gets nowhere; what has none goes on trying once it has run.
        let ends = run.goal == Goal::Current && begin.elapsed() < config.start_timeout;
        if (!attempts.started || ends) && Instant::now() >= give_up {
            let doing = if attempts.started { "go on" } else { "start" };
            return Err(error.within(format!("could not {doing} within {} s", config.start_timeout.as_secs())));
        }
        // Jitter keeps many processes from coming back at the same moment.
        let wait = pause.mul_f64(rand::random_range(0.5..1.0));
        tracing::warn!(%error, again_in = ?wait, "stopped; going on from what the sink has stored");
        run.meters.restarts.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = run.stop.cancelled() => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What one attempt leaves for the next.
#[derive(Default)]
pub(super) struct Attempts {
    /// Whether both sides were there once.
    pub(super) started: bool,
    /// Who shows progress to the consumer group, for a member of it.
    #[cfg(feature = "kafka")]
    pub(super) display: Option<Display>,
    /// Topics that can't be read on.
    #[cfg(feature = "kafka")]
    topics: Option<StoppedTopics>,
    /// The fence of the warehouse that was taken last.
    fence: Arc<AtomicU64>,
    /// What the sink had at the first.
    first: Option<Option<SourcePosition>>,
    /// Reads rows at the source, and remembers those that are not there.
    reread: Option<Option<Reread>>,
}

impl Attempts {
    /// Tables are read again once: as long as the sink has what it had at first. Later it says by itself that a
    /// snapshot was interrupted.
    fn source(&mut self, from: postgres::Options, stored: Option<&Checkpoint>) -> postgres::Options {
        let stored = stored.map(|stored| stored.position);
        let first = *self.first.get_or_insert(stored);
        postgres::Options { resnapshot: from.resnapshot && stored == first, ..from }
    }

    /// Says something else when a table or a topic has been stopped.
    fn stopped(&self, meters: &Meters) -> (usize, u64) {
        #[cfg(feature = "kafka")]
        let topics = self.topics.as_ref().map_or(0, StoppedTopics::count);
        #[cfg(not(feature = "kafka"))]
        let topics = 0;
        (meters.stopped().len(), topics)
    }

    #[cfg(feature = "kafka")]
    fn topics(&mut self, config: &Config) -> StoppedTopics {
        let topics = self.topics.get_or_insert_with(|| {
            let sink = config.sink.warehouse().filter(|options| options.stop == warehouse::Reach::Table);
            StoppedTopics::new(sink.map(|options| options.retry))
        });
        topics.clone()
    }
}

/// Fails where tables are stopped: all else has been delivered.
fn all_told(meters: &Meters) -> Result<()> {
    let stopped = meters.stopped();
    if stopped.is_empty() {
        return Ok(());
    }
    let each: Vec<String> =
        stopped.iter().map(|(name, state)| format!("{name} ({} changes wait): {}", state.held, state.reason)).collect();
    let mut remedies: Vec<&str> = stopped.iter().map(|(_, state)| state.remedy.as_str()).collect();
    remedies.dedup();
    let what = match each.as_slice() {
        [one] => format!("all is delivered but a table that is stopped, {one}"),
        many => format!("all is delivered but {} tables that are stopped: {}", many.len(), many.join("; ")),
    };
    Err(Error::blocked(what).remedy(remedies.join("; ")))
}

/// One attempt, where the process is one of several as such.
async fn once(config: &Config, run: &Run, attempts: &mut Attempts) -> Result<()> {
    #[cfg(feature = "kafka")]
    if let Source::Kafka(from) = &config.source
        && from.membership.is_some()
    {
        return super::group::once(config, run, attempts, from).await;
    }
    work(config, run, attempts).await
}

/// Builds both sides and joins them.
pub(super) async fn work(config: &Config, run: &Run, attempts: &mut Attempts) -> Result<()> {
    match &config.sink {
        Sink::Postgres(options, endpoint) => {
            let client = PostgresClient::start(&connector(endpoint, &config.name)).await?;
            let options = of_this_attempt(options, config, run, attempts);
            let origins = options.origins.clone();
            let (sink, stored) = WarehouseSink::start(client, dialect::Postgres, options).await?;
            into_warehouse(config, run, attempts, (sink, origins), stored).await
        }
        #[cfg(feature = "duckdb")]
        Sink::Duckdb(options, file) => {
            let client = crate::adapters::warehouse::DuckdbClient::start(file).await?;
            let options = of_this_attempt(options, config, run, attempts);
            let origins = options.origins.clone();
            let (sink, stored) = WarehouseSink::start(client, dialect::Duckdb, options).await?;
            into_warehouse(config, run, attempts, (sink, origins), stored).await
        }
        #[cfg(feature = "redshift")]
        Sink::Redshift(sink) => {
            let client = redshift(sink, &config.name).await?;
            let options = of_this_attempt(&sink.options, config, run, attempts);
            let origins = options.origins.clone();
            let (sink, stored) = WarehouseSink::start(client, sink.dialect.clone(), options).await?;
            into_warehouse(config, run, attempts, (sink, origins), stored).await
        }
        #[cfg(feature = "kafka")]
        Sink::Kafka(options) => {
            let Source::Postgres(from) = &config.source else { return Err(pairing()) };
            let origins = Origins::default();
            let from = postgres::Options {
                messages: options.messages.clone(),
                commits: options.transaction_metadata,
                ..(**from).clone()
            };
            let options =
                SinkOptions { origins: origins.clone(), reading: from.reading(), ..with_tables(options, config) };
            let (mut sink, stored) = KafkaSink::start(options, Arc::clone(&run.meters)).await?;
            let from = attempts.source(from, stored.as_ref());
            let result = match PostgresSource::start(from, stored, Arc::clone(&run.meters)).await {
                Ok(source) => {
                    attempts.started = true;
                    let mut source = Projected::new(source, config.rules.clone(), origins);
                    let result = pipeline::run(&mut source, &mut sink, run).await;
                    source.into_inner().close().await;
                    result
                }
                Err(error) => Err(error),
            };
            sink.close().await;
            result
        }
        #[allow(unreachable_patterns)]
        _ => Err(left_out()),
    }
}

/// A warehouse's options with what the other sections say, and where it reports.
fn of_this_attempt(
    options: &warehouse::Options,
    config: &Config,
    run: &Run,
    attempts: &mut Attempts,
) -> warehouse::Options {
    let (rules, meters) = (config.rules.clone(), Arc::clone(&run.meters));
    let reread = attempts.reread.get_or_insert_with(|| reread(config, run)).clone();
    let several = matches!(&config.source, Source::Kafka(from) if from.membership.is_some());
    let fence = (!several).then(|| Arc::clone(&attempts.fence));
    warehouse::Options { rules, meters, origins: Origins::default(), reread, fence, ..options.clone() }
}

/// Reads rows that the warehouse lacks at the source, where that is at hand.
fn reread(config: &Config, run: &Run) -> Option<Reread> {
    let Source::Postgres(from) = &config.source else { return None };
    let (from, rules, meters) = (from.clone(), config.rules.clone(), Arc::clone(&run.meters));
    Some(Reread::new(move |table, mut columns, mut keys| {
        let (from, rules, meters) = (from.clone(), rules.clone(), Arc::clone(&meters));
        // The source has no column that says whose its rows are.
        let own = Rule::of(&rules, &table).and_then(|rule| rule.source.as_ref());
        if let Some(at) = own.and_then(|(own, _)| columns.iter().position(|column| column == own)) {
            columns.remove(at);
            keys.iter_mut().for_each(|key| drop(key.remove(at)));
        }
        // The source knows its columns under its own names.
        let renames = Rule::of(&rules, &table).map(|rule| rule.renames.clone()).unwrap_or_default();
        let source = |column: String| {
            renames.iter().find(|(_, to)| *to == column).map(|(from, _)| from.clone()).unwrap_or(column)
        };
        let columns: Vec<String> = columns.into_iter().map(source).collect();
        Box::pin(async move {
            let masked = |column: &String| {
                Rule::of(&rules, &table).is_some_and(|rule| rule.masks.iter().any(|(name, _)| name == column))
            };
            if let Some(column) = columns.iter().find(|column| masked(column)) {
                return Err(Error::blocked(format!(
                    "rows of {table} are to be read again by their key, and its column {column} is masked"
                ))
                .remedy("run once with --resnapshot, or set REPLICA IDENTITY FULL"));
            }
            let (point, mut rows) = postgres::reread(&from, &table, &columns, &keys, meters).await?;
            Projection::new(rules, Origins::default()).apply(&mut rows)?;
            Ok((point, rows))
        })
    }))
}

async fn into_warehouse(
    config: &Config,
    run: &Run,
    attempts: &mut Attempts,
    (mut sink, origins): (WarehouseSink, Origins),
    stored: Option<Checkpoint>,
) -> Result<()> {
    let result = match &config.source {
        Source::Postgres(from) => {
            let from = attempts.source((**from).clone(), stored.as_ref());
            match PostgresSource::start(from, stored, Arc::clone(&run.meters)).await {
                Ok(source) => {
                    attempts.started = true;
                    let mut source = Projected::new(source, config.rules.clone(), origins);
                    let result = pipeline::run(&mut source, &mut sink, run).await;
                    source.into_inner().close().await;
                    result
                }
                Err(error) => Err(error),
            }
        }
        #[cfg(feature = "kafka")]
        Source::Kafka(from) => match KafkaSource::start(from.clone(), stored, Arc::clone(&run.meters)).await {
            Ok(mut source) => {
                attempts.started = true;
                if let Some(display) = attempts.display.take() {
                    source.show_through(display);
                }
                let mut source = Projected::new(source, config.rules.clone(), origins);
                pipeline::run(&mut source, &mut sink, run).await
            }
            Err(error) => Err(error),
        },
        #[cfg(feature = "kafka")]
        Source::Foreign(from) => {
            let (notes, stopped) = (sink.notes().clone(), attempts.topics(config));
            match ForeignSource::start((**from).clone(), stored, notes, stopped, Arc::clone(&run.meters)).await {
                Ok(source) => {
                    attempts.started = true;
                    let mut source = Projected::new(source, config.rules.clone(), origins);
                    pipeline::run(&mut source, &mut sink, run).await
                }
                Err(error) => Err(error),
            }
        }
        #[cfg(not(feature = "kafka"))]
        Source::Kafka(_) | Source::Foreign(_) => Err(left_out()),
    };
    sink.close().await;
    result
}

/// Connects to a PostgreSQL warehouse: the warehouse's adapter does not know the source's.
pub(super) fn connector(endpoint: &Endpoint, pipeline: &str) -> Connect {
    let (endpoint, application) = (endpoint.clone(), format!("tailwater:{pipeline} warehouse"));
    Arc::new(move || {
        let (endpoint, application) = (endpoint.clone(), application.clone());
        Box::pin(async move { postgres::connect(&endpoint, &application).await })
    })
}

/// Connects to a Redshift cluster and its bucket.
#[cfg(feature = "redshift")]
pub(super) async fn redshift(
    sink: &super::config::RedshiftSink,
    pipeline: &str,
) -> Result<crate::adapters::warehouse::RedshiftClient> {
    let (endpoint, application) = (sink.endpoint.clone(), format!("tailwater:{pipeline} warehouse"));
    let connect: Connect = Arc::new(move || {
        let (endpoint, application) = (endpoint.clone(), application.clone());
        Box::pin(async move { postgres::connect_plainly(&endpoint, &application).await })
    });
    crate::adapters::warehouse::RedshiftClient::start(&connect, sink.dialect.clone(), sink.stage.clone()).await
}

pub(super) fn left_out() -> Error {
    Error::blocked("this binary was built without the feature that the configuration needs")
        .remedy("build it with --features kafka,duckdb,redshift")
}

/// The sink's options with what the other sections say of tables.
#[cfg(feature = "kafka")]
pub(super) fn with_tables(options: &SinkOptions, config: &Config) -> SinkOptions {
    let wanted = match &config.source {
        // Partitions go by names of their own there.
        Source::Postgres(from) if from.partitions == postgres::Partitioned::Root => {
            Patterns { include: from.tables.clone(), exclude: from.exclude.clone() }
        }
        _ => Patterns::default(),
    };
    SinkOptions { rules: config.rules.clone(), wanted, ..options.clone() }
}

#[cfg(feature = "kafka")]
fn pairing() -> Error {
    Error::bug("kafka can't follow kafka; the configuration should have been refused")
}

/// Fresh meters, for whoever runs a pipeline.
pub fn meters() -> Arc<Meters> {
    Meters::new()
}
