//! Records that are no events of tables: transactions' beginnings and ends, heartbeats, the application's own events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use super::ledger::{Ledger, Route};
use super::parcel::Outlet;
use super::producer::{Producer, Record, Tag};
use super::scribe::{control_record, publish};
use super::topics::{Purpose, Topics};
use super::{OutboxOptions, OutboxSource, SinkOptions, murmur};
use crate::codecs::event::{Notices, Outbox, OutboxError, Routed, Transactions, header, route_message};
use crate::model::{Change, ChangeId, Error, Meters, Op, PgTimestamp, Result, Table};

/// What has been sent of a batch.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// A topic of such records.
#[derive(Clone)]
struct Lane {
    topic: String,
    partitions: i32,
    route: u32,
}

/// One record on its way.
struct Told<'a> {
    topic: &'a str,
    about: &'static str,
    id: ChangeId,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: OwnedHeaders,
    timestamp: Option<i64>,
}

/// A table that has been looked at.
struct Seen {
    /// Kept so that its address stays its own.
    _table: Arc<Table>,
    /// The rule and the columns, where it is an outbox.
    outbox: Option<(usize, Outbox)>,
}

/// See the module.
pub(super) struct Apart {
    outlet: Arc<Outlet>,
    ledger: Arc<Ledger>,
    lanes: HashMap<String, Lane>,
    pub(super) transactions: Option<Transactions>,
    outboxes: Vec<OutboxOptions>,
    /// By the table's address.
    tables: HashMap<usize, Seen>,
    /// Whether what follows from changes is only counted: it has been told before.
    pub(super) muted: bool,
    epoch: String,
}

impl Apart {
    pub(super) fn new(
        outlet: Arc<Outlet>,
        ledger: Arc<Ledger>,
        transactions: Option<Transactions>,
        options: &SinkOptions,
        epoch: &str,
    ) -> Apart {
        let (outboxes, epoch) = (options.outboxes.clone(), epoch.to_owned());
        let (lanes, tables) = Default::default();
        Apart { outlet, ledger, lanes, transactions, outboxes, tables, muted: false, epoch }
    }

    /// Whether there is nothing to look for in changes.
    pub(super) fn idle(&self) -> bool {
        self.transactions.is_none() && self.outboxes.is_empty()
    }

    /// Tells where transactions begin and end, and events of the application's own; whether that is all there is to
    /// tell of the change.
    pub(super) async fn take(
        &mut self,
        change: &Change,
        batch: u64,
        topics: &mut Topics,
        sent: &mut Sent,
    ) -> Result<bool> {
        let notice = match (&mut self.transactions, &change.op) {
            (Some(transactions), Op::Commit { end }) => transactions.end(*end),
            (Some(transactions), _) => transactions.begin(change),
            (None, _) => None,
        };
        if let Some((key, value)) = notice {
            let topic = self.transactions.as_ref().map(|t| t.notices().topic().to_owned()).unwrap_or_default();
            let told = Told {
                topic: &topic,
                about: "transactions",
                id: change.id,
                key: Some(&key),
                value: Some(&value),
                headers: self.id_headers(change.id, 0),
                timestamp: None,
            };
            self.send(told, batch, topics, sent).await?;
        }
        if matches!(change.op, Op::Commit { .. }) {
            return Ok(true);
        }
        match self.routed(change)? {
            None => Ok(false),
            Some((_, None)) => Ok(true),
            Some((rule, Some(event))) => {
                let rule = self.outboxes.get(rule).expect("a rule that was found");
                let topic = rule.topic.replace("${route}", &legal(&event.route));
                let headers =
                    event.headers.iter().fold(self.id_headers(change.id, event.headers.len()), |all, (key, value)| {
                        all.insert(Header { key, value: value.as_deref() })
                    });
                let told = Told {
                    topic: &topic,
                    about: "events of an outbox",
                    id: change.id,
                    key: event.key.as_deref(),
                    value: event.value.as_deref(),
                    headers,
                    timestamp: Some(event.timestamp),
                };
                self.send(told, batch, topics, sent).await?;
                Ok(true)
            }
        }
    }

    /// The headers that say which change it is, with room for more.
    fn id_headers(&self, id: ChangeId, more: usize) -> OwnedHeaders {
        let digits = |number: u64| number.to_string();
        OwnedHeaders::new_with_capacity(more + 3)
            .insert(Header { key: header::COMMIT_LSN, value: Some(&digits(id.commit.get())) })
            .insert(Header { key: header::SEQ, value: Some(&digits(id.seq)) })
            .insert(Header { key: header::EPOCH, value: Some(&self.epoch) })
    }

    /// The rule that makes the change an event of the application's own, and the event, if it is one.
    fn routed(&mut self, change: &Change) -> Result<Option<(usize, Option<Routed>)>> {
        if self.outboxes.is_empty() {
            return Ok(None);
        }
        let wrong = |what: String, error: &OutboxError| {
            Error::blocked(format!("{what}: {error}"))
                .remedy("mend what writes it, or the [[outbox]] that says what an event is made of; nothing is skipped")
        };
        if let Op::Message(message) = &change.op {
            let rules = self.outboxes.iter().enumerate();
            let of =
                |rule: &OutboxOptions| matches!(&rule.source, OutboxSource::Messages(p) if p.matches(&message.prefix));
            let Some((at, rule)) = rules.into_iter().find(|(_, rule)| of(rule)) else { return Ok(None) };
            let routed = route_message(change, message, &rule.columns, rule.payload);
            let routed =
                routed.map_err(|error| wrong(format!("a logical message at {}", change.origin.lsn), &error))?;
            return Ok(Some((at, Some(routed))));
        }
        let address = Arc::as_ptr(&change.table).addr();
        if !self.tables.contains_key(&address) {
            let outbox =
                self.find(&change.table).map_err(|error| wrong(format!("outbox {}", change.table.name), &error))?;
            self.tables.insert(address, Seen { _table: Arc::clone(&change.table), outbox });
        }
        let Some(Seen { outbox: Some((rule, outbox)), .. }) = self.tables.get(&address) else { return Ok(None) };
        let routed = outbox.route(change);
        let place = || format!("a row of outbox {} at {}", change.table.name, change.origin.lsn);
        Ok(Some((*rule, routed.map_err(|error| wrong(place(), &error))?)))
    }

    fn find(&self, table: &Table) -> Result<Option<(usize, Outbox)>, OutboxError> {
        let name = table.name.to_string();
        let of = |rule: &OutboxOptions| matches!(&rule.source, OutboxSource::Table(pattern) if pattern.matches(&name));
        let Some((at, rule)) = self.outboxes.iter().enumerate().find(|(_, rule)| of(rule)) else { return Ok(None) };
        Ok(Some((at, Outbox::new(table, &rule.columns, rule.payload)?)))
    }

    async fn send(&mut self, told: Told<'_>, batch: u64, topics: &mut Topics, sent: &mut Sent) -> Result<()> {
        if self.muted {
            return Ok(());
        }
        let topic = told.topic;
        if !self.lanes.contains_key(topic) {
            let lane = lane(topic, told.about, topics, &self.ledger).await?;
            self.lanes.insert(topic.to_owned(), lane);
        }
        let lane = self.lanes.get(topic).expect("it has just been made");
        let partition = match told.key {
            Some(key) => murmur::partition(key, lane.partitions),
            None => murmur::partition(&id_bytes(told.id), lane.partitions),
        };
        let record = Record {
            topic: &lane.topic,
            partition: Some(partition),
            key: told.key,
            value: told.value,
            headers: told.headers,
            timestamp: told.timestamp,
        };
        sent.records += 1;
        sent.bytes += record.size();
        match self.outlet.send(record, Tag { route: lane.route, batch }).await? {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.ledger.refusal(lane.route, refused)),
        }
    }
}

async fn lane(topic: &str, about: &str, topics: &mut Topics, ledger: &Ledger) -> Result<Lane> {
    let partitions = topics.ensure(topic, Purpose::Events).await?.partitions;
    let limit = topics.largest_batch(topic).await;
    let route = ledger.route(Route { topic: topic.to_owned(), table: about.to_owned(), limit });
    Ok(Lane { topic: topic.to_owned(), partitions, route })
}

/// What a topic's name may hold.
fn legal(route: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    route.chars().map(legal).collect()
}

/// A change's id as the bytes that choose a partition: the same for each writing of the same change.
pub(super) fn id_bytes(id: ChangeId) -> [u8; 16] {
    (u128::from(id.commit.get()) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// Tells that the pipeline lives, while changes could flow.
pub(super) async fn beat(
    notices: Notices,
    prefix: String,
    every: Duration,
    (outlet, producer, ledger): (Arc<Outlet>, Arc<Producer>, Arc<Ledger>),
    meters: Arc<Meters>,
) {
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if !meters.flowing.load(std::sync::atomic::Ordering::Relaxed) {
            continue;
        }
        let record = notices.heartbeat(&prefix, PgTimestamp::now());
        let told = match outlet.transactional() {
            true => outlet.alone(control_record(notices.topic(), &record.0, &record.1)).await,
            false => publish(&producer, &ledger, notices.topic(), &record, "telling a heartbeat").await,
        };
        if let Err(error) = told {
            tracing::warn!(%error, "a heartbeat was not told");
        }
    }
}
