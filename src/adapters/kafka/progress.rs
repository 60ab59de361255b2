//! What the progress topic is told: where the pipeline stands, which tables it follows, and who says so.

use std::sync::Arc;

use super::ledger::{Due, End};
use super::marker::{Marker, Writer};
use crate::codecs::event::encode_followed;
use crate::model::{ChangeId, Checkpoint, Followed, Lsn, Phase, SourcePosition};

/// The state of both control topics, as this writer has left them.
pub(super) struct Progress {
    /// The progress topic.
    pub(super) topic: String,
    /// The tables topic.
    pub(super) tables: String,
    pub(super) pipeline: String,
    /// The last complete position.
    pub(super) last: Checkpoint,
    /// The last change of a transaction that a writer before left unfinished.
    pub(super) unfinished: ChangeId,
    /// What the tables topic says of the tables that are followed.
    pub(super) followed: Followed,
    /// Who writes.
    pub(super) writer: Writer,
}

impl Progress {
    /// The marker that speaks for these batches.
    pub(super) fn marker(&mut self, due: &Due) -> Marker {
        let inside = match &due.end {
            // Only the log has gone by: what the next writer finds must still say how much of that transaction is there.
            End::Complete(checkpoint) if before(checkpoint, self.unfinished) => {
                self.last = Checkpoint { offsets: Vec::new(), change: self.last.change, ..checkpoint.clone() };
                Some(self.unfinished)
            }
            End::Complete(checkpoint) => {
                self.last = Checkpoint { offsets: Vec::new(), ..checkpoint.clone() };
                None
            }
            End::Inside(change) => Some(*change),
        };
        let checkpoint = Checkpoint { offsets: due.offsets.clone(), ..self.last.clone() };
        Marker { checkpoint, inside, writer: self.writer.clone() }
    }

    /// Which tables are followed, where that is not what the topic says.
    pub(super) fn news(&self) -> Option<Arc<Followed>> {
        let followed = self.last.followed.clone().filter(|_| self.last.phase == Phase::Stream);
        followed.filter(|followed| **followed != self.followed)
    }

    /// The records that make the topic say so.
    pub(super) fn follow(&mut self, followed: &Arc<Followed>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let gone = self.followed.keys().filter(|name| !followed.contains_key(name)).map(|name| (name, None));
        let come = followed.iter().filter(|(name, m)| self.followed.get(name) != Some(m)).map(|(n, m)| (n, Some(*m)));
        let records = gone.chain(come).map(|(name, membership)| encode_followed(name, membership)).collect();
        self.followed = Followed::clone(followed);
        records
    }
}

/// Whether a position lies before the end of the transaction that `change` is of, and nothing came after that change.
pub(super) fn before(checkpoint: &Checkpoint, change: ChangeId) -> bool {
    change > ChangeId::ZERO && checkpoint.change == change && checkpoint.position.lsn <= change.commit
}

/// Before the first complete position.
pub(super) fn nowhere() -> Checkpoint {
    Checkpoint {
        position: SourcePosition { system_id: 0, timeline: 0, lsn: Lsn::ZERO },
        change: ChangeId::ZERO,
        phase: Phase::Snapshot,
        offsets: Vec::new(),
        followed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(lsn: u64, change: ChangeId) -> Due {
        let position = SourcePosition { system_id: 7, timeline: 1, lsn: Lsn::new(lsn) };
        let checkpoint = Checkpoint { position, change, phase: Phase::Stream, offsets: Vec::new(), followed: None };
        Due { end: End::Complete(checkpoint), offsets: Vec::new(), bytes: 0, waiting: Vec::new() }
    }

    #[test]
    fn the_log_that_goes_by_does_not_make_an_unfinished_transaction_forgotten() {
        let unfinished = ChangeId { commit: Lsn::new(0x90), seq: 5 };
        let last = ChangeId { commit: Lsn::new(0x1F), seq: 3 };
        let mut progress = Progress {
            topic: "progress".into(),
            tables: "tables".into(),
            pipeline: "shop".into(),
            last: Checkpoint { change: last, ..nowhere() },
            unfinished,
            followed: Followed::default(),
            writer: Writer { epoch: 1, process: "p".into(), reading: "a".into() },
        };
        for lsn in [0x50, 0x90] {
            let marker = progress.marker(&complete(lsn, unfinished));
            assert_eq!(marker.inside, Some(unfinished), "{lsn:X}");
            assert_eq!((marker.checkpoint.position.lsn, marker.checkpoint.change), (Lsn::new(lsn), last));
        }
        let end = ChangeId { seq: 9, ..unfinished };
        let marker = progress.marker(&complete(0x98, end));
        assert_eq!((marker.inside, marker.checkpoint.change), (None, end), "it is complete");
        // Read again from another server, whose log is younger.
        let other = ChangeId { commit: Lsn::new(0x3F), seq: 2 };
        assert_eq!(progress.marker(&complete(0x40, other)).inside, None);
    }
}
