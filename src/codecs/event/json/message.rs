//! Logical messages as JSON.

use super::super::form::{Event, Out};
use super::super::modes::Binaries;
use super::super::text;
use super::source::Source;
use super::token;
use crate::model::Emitted;

/// The key of a message's record.
pub(super) fn key(emitted: &Emitted, out: &mut Out<'_>) {
    out.put(b"{\"prefix\":");
    string(&emitted.prefix, out);
    out.put(b"}");
}

/// The value of a message's record, given how its place in a transaction is written.
pub(super) fn value(
    emitted: &Emitted,
    event: &Event<'_>,
    (source, binary): (&Source, Binaries),
    out: &mut Out<'_>,
    place: impl FnOnce(&mut Out<'_>),
) {
    out.put(b"{\"op\":\"m\",\"ts_ms\":");
    token::number(event.now.unix_micros().div_euclid(1000), out.bytes);
    out.put(b",\"source\":");
    source.write(&event.change.origin, out.bytes);
    out.put(b",\"transaction\":");
    place(out);
    out.put(b",\"message\":{\"prefix\":");
    string(&emitted.prefix, out);
    out.put(b",\"content\":\"");
    text::bytes(binary, &emitted.content, out.bytes);
    out.put(b"\"}}");
}

fn string(text: &str, out: &mut Out<'_>) {
    token::string(text.as_bytes(), out.bytes).expect("a str is UTF-8");
}
