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
    /// What the tables topic says of the tables that are followed.
    pub(super) followed: Followed,
    /// Who writes.
    pub(super) writer: Writer,
}

impl Progress {
    /// The marker that speaks for these batches.
    pub(super) fn marker(&mut self, due: &Due) -> Marker {
        let inside = match &due.end {
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
