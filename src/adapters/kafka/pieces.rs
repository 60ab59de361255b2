//! What a marker promises, cut into batches.
//!
//! A marker may speak for more than a warehouse wants to merge at once. Where a transaction ends inside of it the
//! warehouse can commit: it stores the change and stays with the offsets of the marker before, so that after a restart
//! the marker is read again, and what it has of that is dropped by its id.
//!
//! A topic that is new to the warehouse is told of with the first transaction of such a marker, before anything that could
//! be committed alone: after a restart inside the marker it would look like one that `topics` did not match before.

use std::collections::BTreeSet;

use super::source::TopicPosition;
use crate::logic::pipeline::Batch;
use crate::logic::share::Topics;
use crate::model::{Change, ChangeId, Checkpoint};

/// Batches are cut at about this many bytes, or where a transaction ends before it is twice that.
const BATCH_BYTES: usize = 1 << 20;
/// What a change takes beside its rows.
const CHANGE_BYTES: usize = 128;

/// See the module.
pub(super) struct Pieces<'a> {
    /// The marker before; `None` where the warehouse commits whole markers only.
    pub(super) before: Option<TopicPosition>,
    /// Whether that ends inside a transaction.
    pub(super) inside: bool,
    /// Partitions of topics that are new to the warehouse and that it was not told of.
    pub(super) untold: &'a mut BTreeSet<(String, i32)>,
}

impl Pieces<'_> {
    /// Hands on all batches but the last, which comes back; `None` when nobody wants them any more.
    pub(super) fn cut(
        &mut self,
        changes: Vec<Change>,
        hand: impl Fn(Batch<TopicPosition>) -> bool,
    ) -> Option<Batch<TopicPosition>> {
        // What the marker before left open may have nothing more for this reader.
        let mut open = self.before.as_ref().map(|before| before.checkpoint.change);
        open = open.filter(|change| self.inside && *change != ChangeId::ZERO);
        let mut piece = empty();
        for change in changes {
            let bytes = change.size() + CHANGE_BYTES;
            let last = piece.changes.last().map(|last| last.id).or(open.take());
            let full = |limit: usize| piece.bytes + bytes > limit;
            let ended = last.filter(|last| last.commit != change.id.commit);
            piece.upto =
                ended.filter(|_| full(BATCH_BYTES) || !self.untold.is_empty()).and_then(|at| self.position(at));
            let cut = piece.upto.is_some() || !piece.changes.is_empty() && full(2 * BATCH_BYTES);
            if cut && !hand(std::mem::replace(&mut piece, empty())) {
                return None;
            }
            piece.bytes += bytes;
            piece.changes.push(change);
        }
        Some(piece)
    }

    /// Where the warehouse stands with this change, the last of a transaction.
    fn position(&mut self, change: ChangeId) -> Option<TopicPosition> {
        let before = self.before.as_ref()?;
        let offsets = std::mem::take(self.untold).into_iter().map(|(topic, partition)| (topic, partition, 0)).collect();
        let checkpoint = Checkpoint { change, offsets, ..before.checkpoint.clone() };
        Some(TopicPosition { checkpoint, progress: before.progress, moved: Topics::new() })
    }
}

fn empty() -> Batch<TopicPosition> {
    Batch { changes: Vec::new(), bytes: 0, upto: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{
        Cell, Lsn, Oid, Op, Origin, PgTimestamp, Phase, ReplicaIdentity, Row, SourcePosition, Table, TableName,
    };

    const MB: usize = 1 << 20;

    fn at(commit: u64, seq: u64) -> ChangeId {
        ChangeId { commit: Lsn::new(commit), seq }
    }

    /// A change of this transaction with so many bytes.
    fn change(commit: u64, seq: u64, bytes: usize) -> Change {
        let name = TableName::new("public", "t");
        let (columns, key) = (Vec::new(), Vec::new());
        let identity = ReplicaIdentity::Default;
        let table = Arc::new(Table { oid: Oid(1), name, version: 1, columns, identity, key });
        let (at_time, lsn) = (PgTimestamp(0), Lsn::ZERO);
        let origin = Origin { at: at_time, xid: None, lsn, last_commit: None, snapshot: None };
        let text = vec![b'x'; bytes];
        let new: Row = [Cell::Text(&text)].into_iter().collect();
        Change { id: at(commit, seq), origin, table, op: Op::Insert { new } }
    }

    fn before() -> TopicPosition {
        let position = SourcePosition { system_id: 7, timeline: 1, lsn: Lsn::new(50) };
        let (offsets, followed) = (Vec::new(), None);
        let checkpoint = Checkpoint { position, change: at(40, 3), phase: Phase::Stream, offsets, followed };
        TopicPosition { checkpoint, progress: 9, moved: Topics::new() }
    }

    type Told = (Vec<(u64, u64)>, Option<(ChangeId, Vec<(String, i32, i64)>)>);

    /// The batches: their changes and what is told with each. The last has no position yet.
    fn cut(changes: Vec<Change>, before: Option<TopicPosition>, inside: bool, new: &[&str]) -> Vec<Told> {
        let mut untold = new.iter().map(|topic| ((*topic).to_owned(), 0)).collect();
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |batch: Batch<TopicPosition>| {
            let ids = batch.changes.iter().map(|change| (change.id.commit.get(), change.id.seq)).collect();
            if let Some(upto) = &batch.upto {
                assert_eq!((upto.progress, upto.checkpoint.position.lsn), (9, Lsn::new(50)));
            }
            told.borrow_mut().push((ids, batch.upto.map(|upto| (upto.checkpoint.change, upto.checkpoint.offsets))));
            true
        };
        let last = Pieces { before, inside, untold: &mut untold }.cut(changes, tell);
        tell(last.unwrap());
        told.into_inner()
    }

    #[test]
    fn the_warehouse_can_commit_where_a_transaction_ends_inside_of_a_marker() {
        let third = MB / 3;
        let changes = || vec![change(60, 0, third), change(60, 1, third), change(60, 2, MB / 2), change(70, 0, third)];
        let whole = vec![(60, 0), (60, 1), (60, 2)];
        let after = Some((at(60, 2), Vec::new()));
        assert_eq!(cut(changes(), Some(before()), false, &[]), [(whole.clone(), after), (vec![(70, 0)], None)]);
        let told = cut(changes(), None, false, &[]);
        assert_eq!(told, [(vec![(60, 0), (60, 1), (60, 2), (70, 0)], None)], "whole markers only");
    }

    #[test]
    fn a_large_transaction_is_cut_without_a_position() {
        let changes = (0..4).map(|seq| change(60, seq, MB - 200)).collect();
        let told = cut(changes, Some(before()), false, &[]);
        assert_eq!(told, [(vec![(60, 0), (60, 1)], None), (vec![(60, 2), (60, 3)], None)]);
    }

    #[test]
    fn a_new_topic_is_told_of_before_anything_of_it_can_be_committed() {
        let changes = || vec![change(60, 0, 10), change(60, 1, 10), change(70, 0, 10), change(80, 0, 10)];
        let new = || vec![("new".to_owned(), 0, 0)];
        let told = cut(changes(), Some(before()), false, &["new"]);
        let rest = || (vec![(70, 0), (80, 0)], None);
        assert_eq!(told, [(vec![(60, 0), (60, 1)], Some((at(60, 1), new()))), rest()]);
        // What was open has ended without a word: what the warehouse has of it can be committed alone.
        let told = cut(changes(), Some(before()), true, &["new"]);
        let all = (vec![(60, 0), (60, 1), (70, 0), (80, 0)], None);
        assert_eq!(told, [(Vec::new(), Some((at(40, 3), new()))), all]);
        let told = cut(vec![change(40, 4, 10), change(70, 0, 10), change(80, 0, 10)], Some(before()), true, &["new"]);
        assert_eq!(told, [(vec![(40, 4)], Some((at(40, 4), new()))), rest()]);
    }
}
