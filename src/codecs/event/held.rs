//! Changes of a stopped table, as they wait: raw, so that what no event can hold is held too.
//!
//! ```text
//! format | commit time | what is known | xid | lsn | end before | snapshot mark | op | masked columns | rows
//! ```
//!
//! Rows are TupleData, byte for byte. The change's id and its table's version are in the headers, as they are of events.

use bytes::{Buf, BufMut, Bytes};

use super::DecodeError;
use crate::model::{Change, Emitted, Lsn, OldRow, Op, Origin, PgTimestamp, Row, SnapshotMark, Xid};

const ERROR: DecodeError = DecodeError::new("a change that waits");
/// The first byte: how the rest is laid out.
const LAYOUT: u8 = 1;
const XID: u8 = 1;
const LAST_COMMIT: u8 = 2;
/// The marks of a snapshot; their numbers are their places here.
const MARKS: [Option<SnapshotMark>; 6] = [
    None,
    Some(SnapshotMark::First),
    Some(SnapshotMark::FirstInTable),
    Some(SnapshotMark::Middle),
    Some(SnapshotMark::LastInTable),
    Some(SnapshotMark::Last),
];

/// What waits of a change: all but its id and its table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Transaction and time.
    pub origin: Origin,
    /// What happened.
    pub op: Op,
    /// The columns that were masked before it was set aside: they are not to be masked again.
    pub masked: Vec<String>,
}

/// Appends a change; `false`, and nothing, for what is of no table.
pub fn encode_held(change: &Change, masked: &[String], out: &mut Vec<u8>) -> bool {
    let letter = match &change.op {
        Op::Read { .. } => b'r',
        Op::Insert { .. } => b'c',
        Op::Update { old: None, .. } => b'u',
        Op::Update { old: Some(OldRow::Key(_)), .. } => b'k',
        Op::Update { old: Some(OldRow::Full(_)), .. } => b'f',
        Op::Delete { old: OldRow::Key(_) } => b'd',
        Op::Delete { old: OldRow::Full(_) } => b'e',
        Op::Truncate => b't',
        Op::Message(Emitted { .. }) | Op::Commit { .. } => return false,
    };
    let Origin { at, xid, lsn, last_commit, snapshot } = change.origin;
    let flag = |known: bool, flag: u8| if known { flag } else { 0 };
    out.put_u8(LAYOUT);
    out.put_i64(at.0);
    out.put_u8(flag(xid.is_some(), XID) | flag(last_commit.is_some(), LAST_COMMIT));
    out.put_u32(xid.map_or(0, |xid| xid.0));
    out.put_u64(lsn.get());
    out.put_u64(last_commit.map_or(0, Lsn::get));
    out.put_u8(MARKS.iter().position(|mark| *mark == snapshot).map_or(0, |at| at as u8));
    out.put_u8(letter);
    out.put_u16(u16::try_from(masked.len()).expect("PostgreSQL allows 1,600 columns"));
    for name in masked {
        out.put_u16(u16::try_from(name.len()).expect("names have at most 63 bytes"));
        out.put_slice(name.as_bytes());
    }
    match &change.op {
        Op::Read { new } | Op::Insert { new } | Op::Update { old: None, new } => out.put_slice(new.bytes()),
        Op::Update { old: Some(old), new } => {
            out.put_slice(old.row().bytes());
            out.put_slice(new.bytes());
        }
        Op::Delete { old } => out.put_slice(old.row().bytes()),
        Op::Truncate | Op::Message(_) | Op::Commit { .. } => {}
    }
    true
}

/// Reads what [`encode_held`] wrote; rows are slices of it.
pub fn decode_held(value: &Bytes) -> Result<Waiting, DecodeError> {
    let mut rest: &[u8] = value;
    let layout = rest.try_get_u8().map_err(|_| ERROR)?;
    if layout != LAYOUT {
        return Err(DecodeError::new("a change that waits, in a layout that this version knows"));
    }
    let at = PgTimestamp(rest.try_get_i64().map_err(|_| ERROR)?);
    let known = rest.try_get_u8().map_err(|_| ERROR)?;
    let xid = rest.try_get_u32().map_err(|_| ERROR)?;
    let lsn = Lsn::new(rest.try_get_u64().map_err(|_| ERROR)?);
    let last_commit = Lsn::new(rest.try_get_u64().map_err(|_| ERROR)?);
    let mark = rest.try_get_u8().map_err(|_| ERROR)?;
    let letter = rest.try_get_u8().map_err(|_| ERROR)?;
    let origin = Origin {
        at,
        xid: (known & XID != 0).then_some(Xid(xid)),
        lsn,
        last_commit: (known & LAST_COMMIT != 0).then_some(last_commit),
        snapshot: *MARKS.get(usize::from(mark)).ok_or(ERROR)?,
    };
    let masked = (0..rest.try_get_u16().map_err(|_| ERROR)?).map(|_| name(&mut rest)).collect::<Result<_, _>>()?;
    let mut rows = Rows { value, at: value.len() - rest.len() };
    let op = match letter {
        b'r' => Op::Read { new: rows.next()? },
        b'c' => Op::Insert { new: rows.next()? },
        b'u' => Op::Update { old: None, new: rows.next()? },
        b'k' => Op::Update { old: Some(OldRow::Key(rows.next()?)), new: rows.next()? },
        b'f' => Op::Update { old: Some(OldRow::Full(rows.next()?)), new: rows.next()? },
        b'd' => Op::Delete { old: OldRow::Key(rows.next()?) },
        b'e' => Op::Delete { old: OldRow::Full(rows.next()?) },
        b't' => Op::Truncate,
        _ => return Err(ERROR),
    };
    if rows.at != value.len() {
        return Err(ERROR);
    }
    Ok(Waiting { origin, op, masked })
}

fn name(rest: &mut &[u8]) -> Result<String, DecodeError> {
    let length = usize::from(rest.try_get_u16().map_err(|_| ERROR)?);
    let (name, after) = rest.split_at_checked(length).ok_or(ERROR)?;
    *rest = after;
    String::from_utf8(name.to_vec()).map_err(|_| ERROR)
}

/// The rows at the end.
struct Rows<'a> {
    value: &'a Bytes,
    at: usize,
}

impl Rows<'_> {
    fn next(&mut self) -> Result<Row, DecodeError> {
        let (row, end) = Row::slice(self.value, self.at).map_err(|_| ERROR)?;
        self.at = end;
        Ok(row)
    }
}
