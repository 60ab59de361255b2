//! How a writer begins: it shuts out the one before, and only then reads where that one has come to.

use std::sync::Arc;

use super::committer::taken_over;
use super::control::{Control, Marked, check_pipeline};
use super::ledger::Ledger;
use super::marker::{Marker, Writer};
use super::options::Own;
use super::plans::Known;
use super::producer::{Producer, Reports, Tag};
use super::progress::{Progress, nowhere};
use super::scribe::control_record;
use super::topics::{Purpose, Topics, blocking};
use super::{Guarantee, SinkOptions};
use crate::codecs::event::{progress_topic, tables_topic};
use crate::model::{ChangeId, Checkpoint, Error, Result};

/// What a beginning has found.
pub(super) struct Began {
    pub(super) control: Arc<Control>,
    pub(super) topics: Topics,
    pub(super) producer: Arc<Producer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) progress: Progress,
    pub(super) known: Known,
    /// Where the source goes on.
    pub(super) stored: Option<Checkpoint>,
    /// Up to this change, what comes is in the topics already.
    pub(super) had: ChangeId,
}

/// Connects, creates the control topics, takes over, and reads where the writer before has come to.
pub(super) async fn begin(options: &SinkOptions) -> Result<Began> {
    let control = Arc::new(Control::connect(&options.cluster, &format!("tailwater-{}", options.pipeline))?);
    let mut topics =
        Topics::start(&options.cluster, Arc::clone(&control), options.partitions, options.replication).await?;
    let (progress, tables) = (progress_topic(&options.events.prefix), tables_topic(&options.events.prefix));
    // A reader takes the progress topic for the sign that both are there.
    topics.ensure(&tables, Purpose::Tables).await?;
    topics.ensure(&progress, Purpose::Progress).await?;
    let exactly = options.guarantee == Guarantee::ExactlyOnce;
    let ledger = Arc::new(if exactly { Ledger::transactional() } else { Ledger::default() });
    let reports: Arc<dyn Reports> = Arc::clone(&ledger) as _;
    let id = exactly.then(|| options.transactional_id());
    let producer = Arc::new(Producer::start(&options.cluster, options.buffer_bytes, id.as_deref(), reports)?);
    let before = Brokers {
        control: &control,
        topic: &progress,
        pipeline: &options.pipeline,
        producer: exactly.then_some(&producer),
    };
    let last = succeed(&options.own, &options.pipeline, &before).await?;
    let known = {
        let (control, tables, options) = (Arc::clone(&control), tables.clone(), options.clone());
        blocking(move || Known::read(&control, &tables, &options)).await?
    };
    topics.remember(known.partitions.clone());
    if let Some(marked) = &last {
        let (control, offsets) = (Arc::clone(&control), marked.marker.checkpoint.offsets.clone());
        blocking(move || shrunk(&control, &offsets)).await?;
    }
    let writer = options.own.next(last.as_ref().map(|marked| &marked.marker.writer), &options.reading);
    let had = if exactly { unfinished(last.as_ref(), &writer)? } else { ChangeId::ZERO };
    if exactly {
        announce(&producer, &progress, &options.pipeline, last.as_ref(), &writer).await?;
    }
    let followed = Some(Arc::new(known.followed.clone())).filter(|followed| !followed.is_empty());
    let stored = last.map(|marked| Checkpoint { offsets: Vec::new(), followed, ..marked.marker.checkpoint });
    let progress = Progress {
        topic: progress,
        tables,
        pipeline: options.pipeline.clone(),
        last: stored.clone().unwrap_or_else(nowhere),
        unfinished: had,
        followed: known.followed.clone(),
        writer,
    };
    // A writer before that never reached a complete position has left nothing to go on from.
    let stored = stored.filter(|checkpoint| checkpoint.position.system_id != 0);
    Ok(Began { control, topics, producer, ledger, progress, known, stored, had })
}

/// The writer before, as the brokers know it.
pub(super) trait Before {
    /// Its last marker.
    fn marker(&self) -> impl Future<Output = Result<Option<Marked>>> + Send;

    /// Shuts it out, where that can be done.
    fn shut_out(&self) -> impl Future<Output = Result<()>> + Send;
}

struct Brokers<'a> {
    control: &'a Arc<Control>,
    topic: &'a str,
    pipeline: &'a str,
    /// `None` without transactions.
    producer: Option<&'a Producer>,
}

impl Before for Brokers<'_> {
    async fn marker(&self) -> Result<Option<Marked>> {
        last_marker(self.control, self.topic, self.pipeline).await
    }

    async fn shut_out(&self) -> Result<()> {
        match self.producer {
            Some(producer) => producer.settle().await,
            None => Ok(()),
        }
    }
}

/// Where the writer before has come to. It is asked only when that one is shut out: until then it may go on, and what it
/// still writes would be written again. A writer that was replaced, and comes back, finds the marker of its successor.
pub(super) async fn succeed(own: &Own, pipeline: &str, before: &impl Before) -> Result<Option<Marked>> {
    if own.has_begun() && before.marker().await?.is_some_and(|marked| own.is_replaced_by(&marked.marker.writer)) {
        return Err(taken_over(pipeline));
    }
    before.shut_out().await?;
    before.marker().await
}

async fn last_marker(control: &Arc<Control>, topic: &str, pipeline: &str) -> Result<Option<Marked>> {
    let (control, topic, pipeline) = (Arc::clone(control), topic.to_owned(), pipeline.to_owned());
    blocking(move || {
        let last = control.last_marker(&topic)?;
        if let Some(marked) = &last {
            check_pipeline(&topic, marked, &pipeline)?;
        }
        Ok(last)
    })
    .await
}

/// Refuses topics that end below what the last marker says of them.
fn shrunk(control: &Control, offsets: &[(String, i32, i64)]) -> Result<()> {
    for (topic, partition, next) in offsets {
        // One that is not there is met when it is to be written.
        let Ok((_, end)) = control.end(topic, *partition) else { continue };
        if end < *next {
            return Err(Error::blocked(format!(
                "{topic}[{partition}] ends at offset {end}, and {next} was there before: it was deleted and created \
                 anew, or lost records"
            ))
            .remedy("what it held is gone: start over under another prefix, with a new snapshot"));
        }
    }
    Ok(())
}

/// The last change of a transaction that is in the topics in part. A snapshot is taken anew, with other ids.
fn unfinished(last: Option<&Marked>, writer: &Writer) -> Result<ChangeId> {
    let marker = last.map(|marked| &marked.marker);
    let Some((marker, inside)) = marker.and_then(|m| Some((m, m.inside.filter(|id| !id.of_snapshot())?))) else {
        return Ok(ChangeId::ZERO);
    };
    if inside == ChangeId::ZERO || marker.writer.reading == writer.reading {
        return Ok(inside);
    }
    Err(Error::blocked(format!(
        "the transaction that commits at {} is in the topics up to its change {}, and the source is to be read in \
         another way now: its changes can't be told from those that are there",
        inside.commit, inside.seq
    ))
    .remedy(
        "set envelope.messages, publication and slot as they were until that transaction is written; or set \
         delivery = \"at-least-once\" for that long, which repeats its changes",
    ))
}

/// Writes the last marker again, as this writer's: the one before finds itself replaced, and what may not write in
/// transactions is told so before anything else.
async fn announce(
    producer: &Producer,
    topic: &str,
    pipeline: &str,
    last: Option<&Marked>,
    writer: &Writer,
) -> Result<()> {
    let marker = match last {
        Some(marked) => Marker { writer: writer.clone(), ..marked.marker.clone() },
        // Of no position, and so not a complete one.
        None => Marker { checkpoint: nowhere(), inside: Some(ChangeId::ZERO), writer: writer.clone() },
    };
    let value = marker.encode();
    producer.begin()?;
    if let Err(refused) = producer.send(control_record(topic, pipeline.as_bytes(), &value), Tag::CONTROL).await? {
        return Err(super::client::coded(format!("writing to {topic}: {}", refused.code), refused.code));
    }
    producer.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Class, Lsn};

    fn marked(inside: Option<ChangeId>) -> Marked {
        let writer = Writer { epoch: 1, process: "p".into(), reading: "a".into() };
        Marked { marker: Marker { checkpoint: nowhere(), inside, writer }, offset: 0, pipeline: "shop".into() }
    }

    #[test]
    fn a_transaction_goes_on_inside_only_where_its_changes_are_numbered_alike() {
        let reading = |reading: &str| Writer { epoch: 2, process: "p".into(), reading: reading.into() };
        let inside = ChangeId { commit: Lsn::new(800), seq: 7 };
        assert_eq!(unfinished(None, &reading("a")).unwrap(), ChangeId::ZERO);
        assert_eq!(unfinished(Some(&marked(None)), &reading("b")).unwrap(), ChangeId::ZERO);
        assert_eq!(unfinished(Some(&marked(Some(inside))), &reading("a")).unwrap(), inside);
        let error = unfinished(Some(&marked(Some(inside))), &reading("b")).unwrap_err();
        assert_eq!(error.class(), Class::Blocked);
        // Rows of a snapshot come again under other ids; a writer that never wrote left nothing.
        let snapshot = ChangeId::snapshot(Lsn::new(800), 7);
        assert_eq!(unfinished(Some(&marked(Some(snapshot))), &reading("b")).unwrap(), ChangeId::ZERO);
        assert_eq!(unfinished(Some(&marked(Some(ChangeId::ZERO))), &reading("b")).unwrap(), ChangeId::ZERO);
    }
}
