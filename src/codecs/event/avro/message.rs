//! Logical messages as Avro. All that may be null is behind the number of its branch.

use super::super::form::{Event, Out};
use super::super::modes::Binaries;
use super::super::text;
use super::source::Source;
use super::wire;
use crate::model::Emitted;

/// The key of a message's record.
pub(super) fn key(emitted: &Emitted, out: &mut Out<'_>) {
    some(emitted.prefix.as_bytes(), out);
}

/// The value of a message's record, given how its place in a transaction is written.
pub(super) fn value(
    emitted: &Emitted,
    event: &Event<'_>,
    (source, binary): (&Source, Binaries),
    out: &mut Out<'_>,
    place: impl FnOnce(&mut Out<'_>),
) {
    wire::bytes(b"m", out.bytes);
    out.put(&[2]);
    wire::long(event.now.unix_micros().div_euclid(1000), out.bytes);
    source.write(&event.change.origin, out.bytes);
    place(out);
    some(emitted.prefix.as_bytes(), out);
    if binary == Binaries::Bytes {
        return some(&emitted.content, out);
    }
    let mut content = Vec::new();
    text::bytes(binary, &emitted.content, &mut content);
    some(&content, out);
}

fn some(bytes: &[u8], out: &mut Out<'_>) {
    out.put(&[2]);
    wire::bytes(bytes, out.bytes);
}
