//! What every form says of where a change comes from.

use crate::model::{Lsn, Origin, SnapshotMark};

/// Debezium's word for a place in a snapshot.
pub(super) fn mark_name(mark: Option<SnapshotMark>) -> &'static str {
    match mark {
        None => "false",
        Some(SnapshotMark::First) => "first",
        Some(SnapshotMark::FirstInTable) => "first_in_data_collection",
        Some(SnapshotMark::Middle) => "true",
        Some(SnapshotMark::LastInTable) => "last_in_data_collection",
        Some(SnapshotMark::Last) => "last",
    }
}

/// The place that a word means; `None` for another word.
pub(super) fn mark(name: &[u8]) -> Option<Option<SnapshotMark>> {
    use SnapshotMark::{First, FirstInTable, Last, LastInTable, Middle};
    let marks = [None, Some(First), Some(FirstInTable), Some(Middle), Some(LastInTable), Some(Last)];
    marks.into_iter().find(|mark| mark_name(*mark).as_bytes() == name)
}

/// `["1","2"]` or `[null,"2"]`: the end of the transaction before, and the change's own position.
pub(super) fn sequence(origin: &Origin, out: &mut Vec<u8>) {
    let digits = |lsn: Lsn, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(itoa::Buffer::new().format(lsn.get()).as_bytes());
        out.push(b'"');
    };
    out.push(b'[');
    match origin.last_commit {
        Some(lsn) => digits(lsn, out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b',');
    digits(origin.lsn, out);
    out.push(b']');
}

/// The first of what [`sequence`] writes.
pub(super) fn last_commit(sequence: &[u8]) -> Result<Option<Lsn>, ()> {
    if sequence.starts_with(b"[null,") {
        return Ok(None);
    }
    let digits = sequence.strip_prefix(b"[\"").and_then(|rest| rest.split(|byte| *byte == b'"').next()).ok_or(())?;
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(())?;
    Ok(Some(Lsn::new(number)))
}
