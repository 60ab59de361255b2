//! Exactly once: sends parcels in Kafka transactions, each with the marker that speaks for it.
//!
//! ```text
//! parcels ─▶ begin · records ─▶ all confirmed ─▶ marker, followed tables ─▶ commit ─▶ deliveries resolve
//!            └────────────────── while it commits, parcels wait in the queue ◀───┘
//! ```
//!
//! Why this is safe. The marker's offsets come from the confirmations of its records, and marker and records become
//! visible together or not at all. A delivery resolves after a confirmed commit only. When a call fails or its answer
//! stays out, the outcome is unknown: nothing is resolved, the producer is given up, and the next one (of this process or
//! another) settles the transaction by its `init_transactions` and reads in the progress topic what came of it.

use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::control::Control;
use super::ledger::Ledger;
use super::options::Own;
use super::parcel::{Closing, Handed};
use super::producer::{Producer, Record, Tag};
use super::progress::Progress;
use super::scribe::control_record;
use super::topics::blocking;
use super::transaction::{Action, Event, Limits, Transaction};
use crate::model::{Class, Error, Result};

/// See the module.
pub(super) struct Committer {
    pub(super) producer: Arc<Producer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) progress: Progress,
    pub(super) parcels: mpsc::UnboundedReceiver<Handed>,
    pub(super) control: Arc<Control>,
    /// Who this process is among the writers.
    pub(super) own: Arc<Own>,
    /// Ends it in good order; whoever asked is told when nothing is open any more.
    pub(super) close: mpsc::Receiver<oneshot::Sender<()>>,
    /// Lets go of whoever waits for room in the queue.
    pub(super) closing: Option<Closing>,
}

/// Why the loop ends.
enum Ending {
    /// Nobody needs it any more; whoever asked is told.
    Closed(Option<oneshot::Sender<()>>),
    Failed(Error),
}

impl Committer {
    pub(super) async fn run(mut self) {
        let mut transaction = Transaction::new(Limits::DEFAULT);
        let ending = self.work(&mut transaction).await;
        match ending {
            Ending::Failed(error) => {
                transaction.on(Event::Failed, std::time::Duration::ZERO);
                let error = self.verdict(error).await;
                // What this process will not take up again is not left to the brokers' time-out.
                if error.class() != Class::Transient && self.producer.fatal().is_none() {
                    self.abort().await;
                }
                self.ledger.fail(&error);
                self.closing = None;
                while let Some(done) = self.close.recv().await {
                    let _ = done.send(());
                }
            }
            Ending::Closed(done) => {
                if transaction.open() {
                    self.abort().await;
                }
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Drives the machine until something ends it.
    async fn work(&mut self, transaction: &mut Transaction) -> Ending {
        let start = Instant::now();
        loop {
            let wake = transaction.due().map_or_else(|| start + FAR, |due| start + due);
            let (ledger, parcels, close) = (&self.ledger, &mut self.parcels, &mut self.close);
            let open = transaction.open();
            let trouble = async || if open { ledger.trouble().await } else { std::future::pending().await };
            let (event, mut handed) = tokio::select! {
                biased;
                done = close.recv() => return Ending::Closed(done),
                handed = parcels.recv() => match handed {
                    Some(handed) => {
                        (Event::Parcel { bytes: handed.parcel.size(), part: handed.part }, Some(handed))
                    }
                    None => return Ending::Closed(None),
                },
                () = tokio::time::sleep_until(wake) => (Event::Due, None),
                error = trouble() => return Ending::Failed(error),
            };
            let mut actions = std::collections::VecDeque::from(transaction.on(event, start.elapsed()));
            while let Some(action) = actions.pop_front() {
                match self.act(action, &mut handed).await {
                    Ok(Some(event)) => actions.extend(transaction.on(event, start.elapsed())),
                    Ok(None) => {}
                    Err(error) => return Ending::Failed(error),
                }
            }
            if !transaction.takes() {
                return Ending::Failed(Error::bug("a Kafka transaction is neither open nor over"));
            }
        }
    }

    /// Does what the machine says; what comes of it.
    async fn act(&mut self, action: Action, handed: &mut Option<Handed>) -> Result<Option<Event>> {
        match action {
            Action::Begin => self.producer.begin().map(|()| None),
            Action::Send => {
                let Some(Handed { parcel, room, .. }) = handed.take() else { return Ok(None) };
                let sent = parcel.send(&self.producer).await;
                drop(room);
                match sent? {
                    Ok(()) => Ok(None),
                    Err((tag, refused)) => Err(self.ledger.refusal(tag.route, refused)),
                }
            }
            Action::Settle(batch) => {
                if let Some(batch) = batch {
                    self.ledger.confirmed(batch).await?;
                }
                Ok(Some(Event::Settled))
            }
            Action::Mark => {
                self.mark().await?;
                Ok(Some(Event::Marked))
            }
            Action::Commit => {
                self.producer.commit().await?;
                // A record that was refused and a commit that was confirmed can't both be.
                self.ledger.refused()?;
                Ok(Some(Event::Committed))
            }
            Action::Deliver => {
                self.ledger.committed();
                Ok(None)
            }
            Action::End => Err(Error::bug("a Kafka transaction met what can't happen")),
        }
    }

    /// Sends what speaks for the batches of the transaction. Their confirmation is part of the commit.
    async fn mark(&mut self) -> Result<()> {
        while let Some(due) = self.ledger.take() {
            let marker = self.progress.marker(&due).encode();
            self.ledger.mark(due);
            self.send(control_record(&self.progress.topic, self.progress.pipeline.as_bytes(), &marker)).await?;
            if let Some(followed) = self.progress.news() {
                for (key, value) in self.progress.follow(&followed) {
                    self.send(control_record(&self.progress.tables, &key, &value)).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&self, record: Record<'_>) -> Result<()> {
        match self.producer.send(record, Tag::CONTROL).await? {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.ledger.refusal(Tag::CONTROL.route, refused)),
        }
    }

    async fn abort(&self) {
        if let Err(error) = self.producer.abort().await {
            tracing::debug!(%error, "the transaction is left to the brokers");
        }
    }

    /// What the error comes from: another writer that took over is the reason of whatever it made fail.
    async fn verdict(&self, error: Error) -> Error {
        let fenced = matches!(
            self.producer.fatal(),
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::InvalidProducerIdMapping)
        );
        if !fenced {
            return match error.class() {
                Class::Transient => self.producer.reason().unwrap_or(error),
                _ => error,
            };
        }
        let (control, topic) = (Arc::clone(&self.control), self.progress.topic.clone());
        match blocking(move || control.last_marker(&topic)).await {
            Ok(Some(marked)) if self.own.is_replaced_by(&marked.marker.writer) => taken_over(&self.progress.pipeline),
            _ => Error::transient("the brokers have ended this writer's transaction: it took longer than a minute")
                .remedy("nothing is lost: the writer goes on after what was committed"),
        }
    }
}

/// Longer than anything waits.
const FAR: std::time::Duration = std::time::Duration::from_secs(86_400);

/// The refusal of a writer that another one has replaced.
pub(super) fn taken_over(pipeline: &str) -> Error {
    Error::blocked(format!("another process has taken over the pipeline {pipeline} and writes its topics"))
        .remedy("run each pipeline once; nothing is lost, the other one went on after what this one had committed")
}
