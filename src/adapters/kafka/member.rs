//! One process among several that read the same topics: a member of their consumer group that fetches nothing.
//!
//! ```text
//!  join ─▶ joining ──first assignment──▶ standing by ⇄ leading (owns the progress topic's only partition)
//!                                            └── revoked, session over, shut out by the instance's next process
//! ```
//!
//! Why this is safe. The group only says whose turn it is. What is in the warehouse, and who may write there, the
//! warehouse's own progress row and fence say: a member that takes itself for the leader without being it fails there.
//! Its partitions are paused, so a member reads no record; the reading has a consumer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::{oneshot, watch};

use super::SourceOptions;
use super::client::{ANSWER, Context, classify, coded, creation, failed, member_config};
use super::control::Control;
use super::prefix::written;
use super::topics::blocking;
use crate::logic::share::{Topics, deciding};
use crate::model::{Class, Error, Pattern, Result};

/// How long one poll of the group waits.
const LOOK: Duration = Duration::from_millis(50);
/// How long leaving may take; the brokers find out by themselves after it.
const LEAVING: Duration = Duration::from_secs(5);
/// How long a rebalance is waited for when the brokers are asked whether we are still a member.
const REBALANCE: Duration = Duration::from_secs(20);

/// Partitions by topic.
type Partitions = BTreeSet<(String, i32)>;

/// What a member of a group that shares the work has to do.
#[derive(Clone, Default, Debug)]
pub struct Owned {
    /// Another number when it has become another.
    pub assignment: u64,
    /// The topics whose deciding partitions are ours.
    topics: Arc<Topics>,
    /// The topics there are.
    known: Arc<Topics>,
    leads: bool,
}

impl Owned {
    /// Whether all of a topic is ours. What is of a topic that does not exist, because its table is stopped, is the
    /// leader's.
    pub fn owns(&self, topic: &str) -> bool {
        self.topics.contains(topic) || (self.leads && !self.known.contains(topic))
    }
}

/// What the group has given us.
#[derive(Clone, Default, Debug)]
struct Standing {
    /// Whether there has been an assignment.
    joined: bool,
    owned: Partitions,
    /// How often the progress topic has been given to us.
    terms: u64,
    work: Owned,
    /// Why the membership is over.
    ended: Option<(Code, String)>,
}

/// Asked of the thread that owns the consumer.
enum Request {
    Show(Vec<(String, i32, i64)>),
    Confirm(oneshot::Sender<Result<bool>>),
    Met(Topics),
}

/// A member of the group `source.kafka.group`. See the module.
pub struct Member {
    standing: watch::Receiver<Standing>,
    requests: Sender<Request>,
    progress_topic: String,
    thread: std::thread::JoinHandle<()>,
}

/// Commits offsets in the group's name, for display.
#[derive(Clone)]
pub struct Display(Sender<Request>);

impl Display {
    /// Shows how far the warehouse is; nothing depends on it.
    pub fn show(&self, offsets: &[(String, i32, i64)]) {
        if !offsets.is_empty() {
            // The member may have left.
            let _ = self.0.send(Request::Show(offsets.to_vec()));
        }
    }
}

impl Member {
    /// Joins the group. Which part of it we are comes later.
    pub async fn join(options: &SourceOptions) -> Result<Member> {
        let control = Control::connect(&options.cluster, &options.group)?;
        let listing = blocking(move || control.list(ANSWER)).await?;
        let (_, progress_topic) = written(&listing, options)?;
        let (told, standing) = watch::channel(Standing::default());
        let lead = (progress_topic.clone(), 0);
        let context = Context::default();
        let assigned = Assigned { context: context.clone(), told, lead: lead.clone() };
        let config = member_config(options)?;
        let consumer: BaseConsumer<Assigned> = config.create_with_context(assigned).map_err(creation)?;
        let consumer = Arc::new(consumer);
        context.watch(&options.cluster, &consumer)?;
        let (requests, inbox) = channel();
        let share = options.membership.as_ref().is_some_and(|membership| membership.share);
        let wanted = if share { options.topics.clone() } else { Vec::new() };
        let mut seat = Seat {
            consumer,
            lead,
            wanted,
            topics: BTreeMap::new(),
            owned: Partitions::new(),
            shown: TopicPartitionList::new(),
        };
        seat.subscribe(listing.topics.iter().map(|(topic, partitions)| (topic.as_str(), *partitions)))?;
        let thread = std::thread::Builder::new()
            .name("kafka-member".into())
            .spawn(move || seat.serve(&inbox))
            .map_err(|error| Error::transient("no thread for the consumer group").because(error))?;
        Ok(Member { standing, requests, progress_topic, thread })
    }

    /// Resolves when the group has taken us in, with a first assignment or none.
    pub async fn joined(&self) -> Result<()> {
        self.until(|standing| standing.joined.then_some(())).await
    }

    /// Resolves when we lead; the number is that of our term.
    pub async fn leads(&self) -> Result<u64> {
        let lead = (self.progress_topic.clone(), 0);
        self.until(|standing| standing.owned.contains(&lead).then_some(standing.terms)).await
    }

    /// Resolves when this term is over.
    pub async fn deposed(&self, term: u64) -> Error {
        let lead = (self.progress_topic.clone(), 0);
        let over = |standing: &Standing| {
            let leads = standing.terms == term && standing.owned.contains(&lead);
            (!leads).then_some(())
        };
        match self.until(over).await {
            Ok(()) => deposed(),
            Err(error) => error,
        }
    }

    /// Whether this term is ours still, as far as we know.
    pub fn leads_now(&self, term: u64) -> bool {
        let standing = self.standing.borrow();
        standing.terms == term && standing.owned.contains(&(self.progress_topic.clone(), 0))
    }

    /// What is ours to do now, where the work is shared.
    pub fn owned(&self) -> Owned {
        self.standing.borrow().work.clone()
    }

    /// Resolves when what is ours to do is not what it was in this assignment.
    pub async fn assigned_anew(&self, assignment: u64) {
        let mut standing = self.standing.clone();
        // A membership that has ended says so elsewhere.
        if standing.wait_for(|standing| standing.work.assignment != assignment).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says which topics markers speak of: new ones are to be given to a member.
    pub fn met(&self, topics: &Topics) {
        let known = Arc::clone(&self.standing.borrow().work.known);
        if topics.iter().any(|topic| !known.contains(topic)) {
            // The membership may have ended.
            let _ = self.requests.send(Request::Met(topics.clone()));
        }
    }

    /// The topic of markers.
    pub fn progress_topic(&self) -> &str {
        &self.progress_topic
    }

    /// The error of a leader's work, seen with what the brokers say: who has been replaced without having noticed has
    /// nothing to complain of.
    pub async fn judge(&self, term: u64, error: Error) -> Error {
        if error.class() == Class::Transient {
            return error;
        }
        if let Some((code, reason)) = &self.standing.borrow().ended {
            return over(*code, reason);
        }
        let (answer, confirmed) = oneshot::channel();
        let leads = match self.requests.send(Request::Confirm(answer)) {
            Ok(()) => confirmed.await.unwrap_or(Ok(false)),
            Err(_) => Ok(false),
        };
        let same = self.standing.borrow().terms == term;
        match leads {
            Ok(true) if same => error,
            Ok(_) => {
                tracing::info!(%error, "what has failed was not ours to do any more");
                deposed()
            }
            Err(unknown) => unknown,
        }
    }

    /// What shows our progress.
    pub fn display(&self) -> Display {
        Display(self.requests.clone())
    }

    /// Leaves the group, which gives to others what we had; with an instance's name it is kept for its next process.
    pub async fn leave(self) {
        let Member { requests, thread, standing, .. } = self;
        drop((requests, standing));
        let ended = tokio::task::spawn_blocking(move || thread.join());
        if !matches!(tokio::time::timeout(LEAVING, ended).await, Ok(Ok(Ok(())))) {
            tracing::debug!("the consumer group was not left in good order; the brokers will notice");
        }
    }

    async fn until<T>(&self, reached: impl Fn(&Standing) -> Option<T>) -> Result<T> {
        let mut standing = self.standing.clone();
        let mut found = None;
        let waited = standing.wait_for(|standing| {
            found = reached(standing);
            found.is_some() || standing.ended.is_some()
        });
        let ended = match waited.await {
            Ok(standing) => standing.ended.clone(),
            Err(_) => None,
        };
        match (ended, found) {
            (Some((code, reason)), _) => Err(over(code, &reason)),
            (None, Some(found)) => Ok(found),
            (None, None) => Err(Error::transient("the membership in the consumer group has ended")),
        }
    }
}

fn deposed() -> Error {
    Error::transient("another process of the consumer group leads now")
}

/// Why a membership that can't go on has ended.
fn over(code: Code, reason: &str) -> Error {
    match code {
        Code::FencedInstanceId => Error::blocked("another process has joined the consumer group under the same name")
            .remedy("give each process a `source.kafka.instance` of its own, or none"),
        _ if classify(code) == Class::Blocked => coded(format!("the consumer group: {reason}"), code),
        _ => Error::transient(format!("the membership in the consumer group has ended: {reason}")),
    }
}

/// The thread's side of a membership.
struct Seat {
    consumer: Arc<BaseConsumer<Assigned>>,
    lead: (String, i32),
    /// The topics to be shared; none where the work is not.
    wanted: Vec<Pattern>,
    /// Those that there are, with their partitions.
    topics: BTreeMap<String, i32>,
    /// The assignment as it was looked at last.
    owned: Partitions,
    shown: TopicPartitionList,
}

impl Seat {
    /// Takes part until nobody holds the [`Member`] and its [`Display`]s any more.
    fn serve(mut self, inbox: &Receiver<Request>) {
        loop {
            match inbox.try_recv() {
                Ok(request) => self.answer(request),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            // Rebalances happen inside; records can't come.
            let denied = match self.consumer.poll(LOOK) {
                Some(Err(error)) => error.rdkafka_error_code().filter(|code| refuses(*code)),
                _ => None,
            };
            self.look();
            let fatal = self.consumer.client().fatal_error();
            let lost = || self.consumer.context().context.lost().map(|error| (Code::AllBrokersDown, error.what()));
            if let Some(ended) = fatal.or(denied.map(|code| (code, code.to_string()))).or_else(lost) {
                self.consumer.context().told.send_modify(|standing| {
                    standing.owned.clear();
                    standing.ended = Some(ended);
                });
                // Whoever waits for the end hears of it; only the leaving is left.
                while inbox.recv().is_ok() {}
                return;
            }
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Show(offsets) => {
                for (topic, partition, offset) in &offsets {
                    put(&mut self.shown, topic, *partition, *offset);
                }
                if let Err(error) = self.consumer.commit(&self.shown, CommitMode::Async) {
                    tracing::debug!(%error, "the group's offsets were not committed");
                }
            }
            Request::Confirm(answer) => {
                let (topic, partition) = &self.lead;
                if self.shown.find_partition(topic, *partition).is_none() {
                    put(&mut self.shown, topic, *partition, 0);
                }
                let _ = answer.send(confirm(&self.consumer, &self.shown));
            }
            Request::Met(topics) if topics.iter().any(|topic| !self.topics.contains_key(topic)) => self.list(),
            Request::Met(_) => {}
        }
    }

    /// Asks for what there is of the topics that are wanted.
    fn list(&mut self) {
        let metadata = match self.consumer.fetch_metadata(None, ANSWER) {
            Ok(metadata) => metadata,
            Err(error) => return tracing::debug!(%error, "the topics are not known"),
        };
        let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let topics = topics.map(|topic| (topic.name(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)));
        if let Err(error) = self.subscribe(topics) {
            tracing::warn!(%error, "new topics are not shared yet");
        }
    }

    fn subscribe<'a>(&mut self, listed: impl Iterator<Item = (&'a str, i32)>) -> Result<()> {
        let progress = self.lead.0.as_str();
        let wanted = |topic: &str| topic != progress && self.wanted.iter().any(|pattern| pattern.matches(topic));
        let topics: BTreeMap<String, i32> = listed
            .filter(|(topic, _)| wanted(topic))
            .map(|(topic, partitions)| (topic.to_owned(), partitions))
            .collect();
        let names: Vec<&str> = std::iter::once(progress).chain(topics.keys().map(String::as_str)).collect();
        self.consumer.subscribe(&names).map_err(|error| failed("joining the consumer group", &error))?;
        self.topics = topics;
        self.tell();
        Ok(())
    }

    /// Looks whether the group has given us something else.
    fn look(&mut self) {
        let same = self.consumer.context().told.borrow().owned == self.owned;
        if !same {
            self.tell();
        }
    }

    /// Says what the assignment comes to, when that is something else than before.
    fn tell(&mut self) {
        self.owned = self.consumer.context().told.borrow().owned.clone();
        let ours = |(topic, partitions): &(&String, &i32)| {
            self.owned.contains(&((*topic).clone(), deciding(topic, **partitions)))
        };
        let topics: Topics = self.topics.iter().filter(ours).map(|(topic, _)| topic.clone()).collect();
        let known: Topics = self.topics.keys().cloned().collect();
        let leads = self.owned.contains(&self.lead);
        self.consumer.context().told.send_if_modified(|standing| {
            let work = &mut standing.work;
            let same = *work.topics == topics && work.leads == leads && (!leads || *work.known == known);
            let assignment = work.assignment + u64::from(!same);
            *work = Owned { assignment, topics: Arc::new(topics), known: Arc::new(known), leads };
            !same
        });
    }
}

/// Whether the brokers will go on to say so until a person acts.
fn refuses(code: Code) -> bool {
    matches!(
        code,
        Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
    )
}

fn put(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: i64) {
    let known = list.find_partition(topic, partition).is_some();
    let put = match known {
        true => list.set_partition_offset(topic, partition, Offset::Offset(offset)),
        false => list.add_partition_offset(topic, partition, Offset::Offset(offset)),
    };
    if let Err(error) = put {
        tracing::debug!(%error, "an offset can't be shown");
    }
}

/// Whether the brokers take us for a member of the group as it is now: they take offsets from nobody else.
fn confirm(consumer: &BaseConsumer<Assigned>, shown: &TopicPartitionList) -> Result<bool> {
    let began = Instant::now();
    loop {
        let error = match consumer.commit(shown, CommitMode::Sync) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        match error.rdkafka_error_code() {
            Some(Code::RebalanceInProgress) if began.elapsed() < REBALANCE => {
                let _ = consumer.poll(LOOK);
            }
            Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId | Code::Fatal) => {
                return Ok(false);
            }
            _ => return Err(Error::transient("the brokers do not say who leads the consumer group").because(error)),
        }
    }
}

/// Hears what the group gives and takes.
struct Assigned {
    context: Context,
    told: watch::Sender<Standing>,
    lead: (String, i32),
}

impl ClientContext for Assigned {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Assigned {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<(String, i32)> =
            list.elements().iter().map(|each| (each.topic().to_owned(), each.partition())).collect();
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Any offset does, as long as none has to be looked for: nothing is fetched.
            let _ = list.set_all_offsets(Offset::Offset(0));
            let done = consumer.incremental_assign(list).and_then(|()| consumer.pause(list));
            self.told.send_modify(|standing| {
                standing.joined = true;
                standing.terms += u64::from(partitions.contains(&self.lead));
                standing.owned.extend(partitions);
            });
            done
        } else {
            // Said first: who has lost the lead stops before another is given it.
            self.told.send_modify(|standing| partitions.iter().for_each(|each| _ = standing.owned.remove(each)));
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "an assignment of the consumer group was not taken over");
        }
    }
}
