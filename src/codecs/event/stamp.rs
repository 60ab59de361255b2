//! What an event's headers say.

use super::header;
use crate::model::{ChangeId, Lsn, Table};

/// The name of a table version in headers and as a key: `schema.table@version`.
pub fn version_name(table: &Table) -> String {
    format!("{}@{}", table.name, table.version)
}

/// Which half of a key change a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The old key's end: it says nothing that the other half does not say.
    Delete,
    /// The new key's beginning.
    Create,
}

/// What the headers of one of our records say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp<'a> {
    /// The change.
    pub id: ChangeId,
    /// `schema.table@version`
    pub table: &'a str,
    /// Which half it is, where the change needs two.
    pub part: Option<Part>,
    /// JSON names of the columns that did not change.
    pub(super) unchanged: Option<&'a [u8]>,
    /// JSON of the values that their form could not say: of the row, and of the row as it was.
    pub(super) values: [Option<&'a [u8]>; 2],
    /// JSON of the key that was.
    pub(super) old_key: Option<&'a [u8]>,
    /// The epoch of its writer; 0 where none is said.
    pub epoch: u64,
    /// The topic that it was of while it waited.
    pub waited: Option<&'a str>,
}

impl<'a> Stamp<'a> {
    /// Reads headers; `None` when the record is not ours.
    pub fn read<'n>(headers: impl Iterator<Item = (&'n str, &'a [u8])>) -> Option<Stamp<'a>> {
        let (mut commit, mut seq, mut table) = (None, None, None);
        let (mut part, mut unchanged, mut old_key, mut values) = (None, None, None, [None; 2]);
        let (mut epoch, mut waited) = (0, None);
        for (name, value) in headers {
            match name {
                header::COMMIT_LSN => commit = Some(number(value)?),
                header::SEQ => seq = Some(number(value)?),
                header::TABLE => table = std::str::from_utf8(value).ok(),
                header::UNCHANGED => unchanged = Some(value),
                header::VALUES => values = [Some(value), values[1]],
                header::OLD_VALUES => values = [values[0], Some(value)],
                header::OLD_KEY => old_key = Some(value),
                header::PART => part = Some(if value == b"delete" { Part::Delete } else { Part::Create }),
                header::EPOCH => epoch = number(value).unwrap_or(0),
                header::WAITED => waited = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        let id = ChangeId { commit: Lsn::new(commit?), seq: seq? };
        Some(Stamp { id, table: table?, part, unchanged, values, old_key, epoch, waited })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
