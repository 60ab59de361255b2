//! The members of a consumer group at one warehouse: each stages its own tables, the leader merges them all. While tables
//! are stopped it does all the work, as a process that is alone would.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::config::{Config, Sink};
use super::wiring::{self, Attempts, connector};
use crate::adapters::kafka::{KafkaSource, Member, Only, SourceOptions, TopicPosition};
use crate::adapters::postgres::Endpoint;
use crate::adapters::warehouse::{self, Options, PostgresClient, StageLeader, StageMember};
use crate::codecs::dialect;
use crate::logic::pipeline::{Goal, Run, Source};
use crate::logic::share::{Cut, Event, Lead, Limits, Mark, Order, Stager, Step, Topics};
use crate::model::meters::OpCounts;
use crate::model::role::Role;
use crate::model::{Checkpoint, Error, PgTimestamp, Position, Result, TableName};

/// How often the control tables are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// And, while tables are stopped, whether they go on.
const LOOK_STOPPED: Duration = Duration::from_secs(1);
/// Cuts that are staged at a time: one is merged while the next is read.
const OPEN: usize = 2;

/// What has been staged of each table, and when the newest of it committed.
type Counts = HashMap<TableName, (OpCounts, PgTimestamp)>;

/// A member's side of the warehouse.
type Staging = StageMember<PostgresClient, dialect::Postgres>;

/// A leader's.
type Leading = StageLeader<PostgresClient, dialect::Postgres>;

/// What both sides of a process need.
struct Work<'a> {
    config: &'a Config,
    run: &'a Run,
    from: &'a SourceOptions,
    to: Options,
    endpoint: &'a Endpoint,
    member: &'a Member,
}

/// Takes part until the run is stopped, its goal is reached, or something fails.
pub(super) async fn share(
    config: &Config,
    run: &Run,
    attempts: &mut Attempts,
    from: &SourceOptions,
    member: &Member,
) -> Result<()> {
    let Sink::Postgres(to, endpoint) = &config.sink else {
        return Err(Error::bug("the work is shared for a warehouse that takes one process only"));
    };
    run.meters.play(Role::Sharing);
    run.meters.oldest_undurable.clear();
    tracing::info!("sharing the work with the other members of the consumer group");
    let name = format!("{:016x}", rand::random::<u64>());
    let to = Options { rules: config.rules.clone(), meters: run.meters.clone(), ..to.clone() };
    let work = Work { config, run, from, to, endpoint, member };
    let client = work.connect().await?;
    let warehouse = StageMember::start(client, dialect::Postgres, work.to.clone(), name).await?;
    tokio::select! {
        biased;
        () = run.stop.cancelled() => Ok(()),
        done = work.stage(warehouse) => done,
        done = work.lead_in_turn(attempts) => done,
    }
}

impl Work<'_> {
    async fn connect(&self) -> Result<PostgresClient> {
        PostgresClient::start(&connector(self.endpoint, &self.config.name)).await
    }

    /// Reads what the group has given us and stages it, cut by cut.
    async fn stage(&self, mut warehouse: Staging) -> Result<()> {
        let mut stager = Stager::default();
        let mut source: Option<KafkaSource> = None;
        let mut goal: Option<TopicPosition> = None;
        let topic = self.member.progress_topic();
        let mut counted = VecDeque::new();
        // Whether it is not told how the tables are.
        let mut untold = true;
        loop {
            let owned = self.member.owned();
            let view = warehouse.view(topic).await?;
            if let Some(view) = &view {
                self.tell(&mut counted, view.stored);
                if self.run.goal == Goal::Current && goal.is_none() {
                    goal = Some(self.scout(warehouse.stored().await?).await?.current().await?);
                }
                if !view.shared {
                    // Nothing is staged meanwhile, and nothing of before counts.
                    drop(source.take());
                    (stager, untold) = (Stager::default(), true);
                    counted.clear();
                    self.run.meters.flowing.store(true, Ordering::Relaxed);
                    if self.run.meters.role() == Some(Role::Leader) {
                        // The other half of this process does all the work, and knows when it is done.
                        tokio::time::sleep(LOOK_STOPPED).await;
                        continue;
                    }
                }
                let done = goal.as_ref().is_some_and(|goal| view.stored >= goal.progress());
                if untold || done {
                    warehouse.tell_stopped().await?;
                    // What goes on just before the work is shared again is told when it is.
                    untold = !view.shared;
                }
                if done {
                    return Ok(());
                }
            }
            let step = match &view {
                Some(view) => stager.next(view, owned.assignment),
                None => Step::Wait,
            };
            match (step, &view, &mut source) {
                (Step::Restart, Some(view), _) => {
                    drop(source.take());
                    counted.clear();
                    let stored = warehouse.stored().await?;
                    let at = stored.as_ref().and_then(|stored| offset_of(&stored.offsets, topic)).unwrap_or(0);
                    let mine = owned.clone();
                    let only = Only::new(move |topic: &str| mine.owns(topic));
                    let options = SourceOptions { only: Some(only), ..self.from.clone() };
                    source = Some(KafkaSource::start(options, stored, self.run.meters.clone()).await?);
                    stager.began(view.fence, owned.assignment, at);
                    self.run.meters.flowing.store(true, Ordering::Relaxed);
                }
                (Step::Read(cut), Some(view), Some(source)) => {
                    let mut tables = Counts::new();
                    let read = self.read(cut, owned.assignment, source, &mut warehouse, &mut tables).await?;
                    let Some(moved) = read else { continue };
                    self.member.met(&moved);
                    let mine: Topics = moved.into_iter().filter(|topic| owned.owns(topic)).collect();
                    let topics = stager.read(cut, mine, &warehouse.staged(view.fence).await?);
                    warehouse.report(view.fence, cut, &topics).await?;
                    tables.retain(|table, _| source.topic_of(table).is_some_and(|topic| topics.contains(&topic)));
                    counted.push_back((cut.upto, tables));
                }
                _ if view.as_ref().is_some_and(|view| !view.shared) => tokio::time::sleep(LOOK_STOPPED).await,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Reads and folds up to the end of the cut; the topics that moved. `None` when the group gives something else now.
    async fn read(
        &self,
        cut: Cut,
        assignment: u64,
        source: &mut KafkaSource,
        warehouse: &mut Staging,
        tables: &mut Counts,
    ) -> Result<Option<Topics>> {
        let mut moved = Topics::new();
        loop {
            let batch = tokio::select! {
                biased;
                () = self.member.assigned_anew(assignment) => {
                    warehouse.forget().await?;
                    return Ok(None);
                }
                batch = source.next() => batch?,
            };
            for change in batch.changes {
                let topic = source.topic_of(&change.table.name);
                let topic = topic.ok_or_else(|| Error::bug(format!("{} is of no topic", change.table.name)))?;
                let (counts, newest) =
                    tables.entry(change.table.name.clone()).or_insert((OpCounts::default(), change.origin.at));
                counts.count(&change.op);
                *newest = (*newest).max(change.origin.at);
                warehouse.take(&topic, change).await?;
            }
            let Some(upto) = batch.upto else { continue };
            moved.extend(upto.moved().iter().cloned());
            if upto.progress() > cut.upto {
                return Err(Error::transient("the leader's cut does not end at a marker"));
            }
            if upto.progress() == cut.upto {
                source.ack(upto).await?;
                return Ok(Some(moved));
            }
        }
    }

    /// Tells what of our stages is in the warehouse.
    fn tell(&self, counted: &mut VecDeque<(i64, Counts)>, stored: i64) {
        while let Some((_, tables)) = counted.pop_front_if(|(upto, _)| *upto <= stored) {
            for (table, (counts, newest)) in tables {
                self.run.meters.table_durable(&table, counts, newest);
            }
        }
    }

    /// Leads whenever the group says so; ends by an error, or when the goal was reached while it did all the work.
    async fn lead_in_turn(&self, attempts: &mut Attempts) -> Result<()> {
        loop {
            let term = self.member.leads().await?;
            tracing::info!("this process leads its consumer group");
            self.run.meters.play(Role::Leader);
            let error = tokio::select! {
                biased;
                over = self.member.deposed(term) => over,
                done = self.lead_until_done(attempts) => match done {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
            };
            attempts.display = None;
            self.run.meters.oldest_undurable.clear();
            self.run.meters.play(Role::Sharing);
            if self.member.leads_now(term) {
                return Err(self.member.judge(term, error).await);
            }
            tracing::info!(%error, "this process does not lead any more");
        }
    }

    /// Leads, or does all the work while tables are stopped.
    async fn lead_until_done(&self, attempts: &mut Attempts) -> Result<()> {
        loop {
            let client = self.connect().await?;
            match StageLeader::start(client, dialect::Postgres, self.to.clone()).await? {
                Some((warehouse, stored)) => self.lead(warehouse, stored).await?,
                None if self.do_all(attempts).await? => {}
                None => return Ok(()),
            }
        }
    }

    /// Does all the work until no table has been stopped for as long as it takes until one is tried again; `false` when
    /// the goal was reached.
    async fn do_all(&self, attempts: &mut Attempts) -> Result<bool> {
        tracing::info!("tables are stopped: this process does all the work until they go on");
        attempts.display = Some(self.member.display());
        let (mut client, mut seen) = (self.connect().await?, Instant::now());
        let over = self.run.stop.child_token();
        let run = Run { stop: over.clone(), ..self.run.clone() };
        let mut all = std::pin::pin!(wiring::work(self.config, &run, attempts));
        loop {
            tokio::select! {
                done = &mut all => return done.map(|()| over.is_cancelled()),
                () = tokio::time::sleep(LOOK_STOPPED), if !over.is_cancelled() => {
                    if !warehouse::stopped(&mut client, &dialect::Postgres, &self.config.name).await?.is_empty() {
                        seen = Instant::now();
                    } else if seen.elapsed() >= self.to.retry {
                        tracing::info!("no table is stopped any more: the work is shared again");
                        over.cancel();
                    }
                }
            }
        }
    }

    /// Reads markers alone.
    async fn scout(&self, stored: Option<Checkpoint>) -> Result<KafkaSource> {
        let options = SourceOptions { only: Some(Only::new(|_: &str| false)), ..self.from.clone() };
        KafkaSource::start(options, stored, self.run.meters.clone()).await
    }

    /// Announces cuts and merges them, until a table is stopped.
    async fn lead(&self, mut warehouse: Leading, stored: Option<Checkpoint>) -> Result<()> {
        let topic = self.member.progress_topic();
        let offsets = stored.as_ref().map(|stored| stored.offsets.clone()).unwrap_or_default();
        self.member.display().show(&offsets);
        let mut known: BTreeMap<(String, i32), i64> =
            offsets.iter().map(|(t, p, next)| ((t.clone(), *p), *next)).collect();
        let at = offset_of(&offsets, topic).unwrap_or(0);
        let mut scout = self.scout(stored).await?;
        let limits =
            Limits { rows: self.to.flush.rows as u64, after: self.to.flush.after.saturating_sub(LOOK), open: OPEN };
        let mut lead = Lead::new(warehouse.fence(), at, limits);
        let mut ends: BTreeMap<i64, TopicPosition> = BTreeMap::new();
        let (begun, mut look) = (Instant::now(), tokio::time::interval(LOOK));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let event = tokio::select! {
                biased;
                _ = look.tick() => {
                    if heard.elapsed() >= LOOK_STOPPED {
                        if warehouse.stopped().await? {
                            return Ok(());
                        }
                        heard = Instant::now();
                    }
                    if lead.waits() { Event::Staged(warehouse.reports().await?) } else { Event::Tick }
                }
                batch = scout.next(), if lead.hungry() => {
                    let Some(upto) = batch?.upto else { continue };
                    let mark = mark(&upto, &mut known);
                    ends.insert(upto.progress(), upto);
                    Event::Marked(mark)
                }
            };
            self.lag(&lead, begun);
            let mut events = vec![event];
            while let Some(event) = events.pop() {
                for order in lead.hear(event, begun.elapsed()) {
                    match order {
                        Order::Announce(cut) => warehouse.announce(cut).await?,
                        Order::Merge(cut, from) => {
                            let end = ends.get(&cut.upto).cloned().ok_or_else(|| Error::bug("a cut without an end"))?;
                            warehouse.merge(cut, &from, end.checkpoint()).await?;
                            ends = ends.split_off(&(cut.upto + 1));
                            self.merged(&mut scout, end).await?;
                            events.push(Event::Merged(cut.number));
                        }
                    }
                }
            }
        }
    }

    /// Says for how long the oldest marker has waited that is not merged.
    fn lag(&self, lead: &Lead, begun: Instant) {
        let waited = lead.oldest().map(|oldest| begun.elapsed().saturating_sub(oldest));
        match waited.and_then(|waited| i64::try_from(waited.as_micros()).ok()) {
            Some(micros) => self.run.meters.oldest_undurable.set(PgTimestamp::now().unix_micros() - micros),
            None => self.run.meters.oldest_undurable.clear(),
        }
    }

    async fn merged(&self, scout: &mut KafkaSource, end: TopicPosition) -> Result<()> {
        let meters = &self.run.meters;
        meters.durable.set(end.checkpoint().position.lsn);
        meters.last_progress.set(PgTimestamp::now().unix_micros());
        self.member.display().show(&end.checkpoint().offsets);
        scout.ack(end).await
    }
}

/// What the leader has to know of a marker.
fn mark(upto: &TopicPosition, known: &mut BTreeMap<(String, i32), i64>) -> Mark {
    let mut rows = 0;
    for (topic, partition, next) in &upto.checkpoint().offsets {
        let before = known.insert((topic.clone(), *partition), *next).unwrap_or(0);
        rows += u64::try_from(next - before).unwrap_or(0);
    }
    Mark { progress: upto.progress(), topics: upto.moved().clone(), rows }
}

fn offset_of(offsets: &[(String, i32, i64)], topic: &str) -> Option<i64> {
    offsets.iter().find(|(name, ..)| name == topic).map(|&(_, _, next)| next)
}
