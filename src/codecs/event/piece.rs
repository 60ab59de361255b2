//! Changes of one table that wait together in a warehouse: text, so that any warehouse can keep it.
//!
//! ```text
//! base64( layout | LZ4( length of the shape | shape | (commit LSN | seq | length | change)... ) )
//! ```
//!
//! The shape is the record of a table version, each change as [`encode_held`] writes it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes};

use super::{DecodeError, Modes, TableRecord, Waiting, decode_held, decode_table, encode_held, encode_table};
use crate::model::{Change, ChangeId, Lsn, Table};

const ERROR: DecodeError = DecodeError::new("changes that wait");
/// The first byte: how the rest is laid out.
const LAYOUT: u8 = 1;

/// Changes of one shape, in their order.
#[derive(Debug)]
pub struct Piece {
    table: Arc<Table>,
    raw: Vec<u8>,
    first: ChangeId,
    changes: u64,
}

impl Piece {
    /// Nothing yet.
    pub fn new(table: &Arc<Table>) -> Piece {
        let (_, shape) = encode_table(table, &Modes::default());
        let mut raw = Vec::with_capacity(shape.len() + 4096);
        raw.put_u32(u32::try_from(shape.len()).expect("1,600 columns take a few hundred kilobytes"));
        raw.extend_from_slice(&shape);
        Piece { table: Arc::clone(table), raw, first: ChangeId::ZERO, changes: 0 }
    }

    /// The shape of all its changes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Its first change.
    pub fn first(&self) -> ChangeId {
        self.first
    }

    /// How many changes are in it.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.raw.len()
    }

    /// Takes the next change, which has this shape; `false` for what is of no table.
    pub fn push(&mut self, change: &Change, masked: &[String]) -> bool {
        let begin = self.raw.len();
        self.raw.put_u64(change.id.commit.get());
        self.raw.put_u64(change.id.seq);
        let length = self.raw.len();
        self.raw.put_u32(0);
        if !encode_held(change, masked, &mut self.raw) {
            self.raw.truncate(begin);
            return false;
        }
        let size = u32::try_from(self.raw.len() - length - 4).expect("two rows are below 4 GiB");
        if let Some(place) = self.raw.get_mut(length..length + 4) {
            place.copy_from_slice(&size.to_be_bytes());
        }
        if self.changes == 0 {
            self.first = change.id;
        }
        self.changes += 1;
        true
    }

    /// The text that is kept.
    pub fn encode(&self) -> String {
        let mut bytes = vec![LAYOUT];
        bytes.extend_from_slice(&lz4_flex::compress_prepend_size(&self.raw));
        STANDARD.encode(bytes)
    }
}

/// Reads what [`Piece::encode`] wrote.
pub fn decode_piece(text: &str) -> Result<(Table, Vec<(ChangeId, Waiting)>), DecodeError> {
    let bytes = STANDARD.decode(text).map_err(|_| ERROR)?;
    let packed = match bytes.split_first() {
        Some((&LAYOUT, packed)) => packed,
        _ => return Err(DecodeError::new("changes that wait, in a layout that this version knows")),
    };
    let mut raw = Bytes::from(lz4_flex::decompress_size_prepended(packed).map_err(|_| ERROR)?);
    let length = raw.try_get_u32().map_err(|_| ERROR)?;
    let TableRecord::Version(table, _) = decode_table(&take(&mut raw, length)?)? else { return Err(ERROR) };
    let mut changes = Vec::new();
    while raw.has_remaining() {
        let commit = Lsn::new(raw.try_get_u64().map_err(|_| ERROR)?);
        let seq = raw.try_get_u64().map_err(|_| ERROR)?;
        let length = raw.try_get_u32().map_err(|_| ERROR)?;
        changes.push((ChangeId { commit, seq }, decode_held(&take(&mut raw, length)?)?));
    }
    Ok((table, changes))
}

fn take(raw: &mut Bytes, length: u32) -> Result<Bytes, DecodeError> {
    let length = usize::try_from(length).map_err(|_| ERROR)?;
    if length > raw.len() { Err(ERROR) } else { Ok(raw.split_to(length)) }
}
