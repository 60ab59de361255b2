//! Logical messages as events: the schemas of their keys and values.

use super::modes::{Binaries, Modes};
use super::schema::{self, Schema, Shape};
use crate::model::{ChangeId, Lsn};

/// What Debezium's connector calls them.
const NAME: &str = "io.debezium.connector.postgresql.Message";

/// Of keys and of values.
pub(super) fn schemas(modes: &Modes) -> (Schema, Schema) {
    let text = || Schema { optional: true, ..Schema::plain(Shape::String) };
    let long = || Schema { optional: true, ..Schema::plain(Shape::Int64) };
    let content = if modes.binary == Binaries::Bytes { Shape::Bytes } else { Shape::String };
    let named = |what: &str, fields: Vec<(&str, Schema)>| {
        let fields = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        let name = modes.name_adjustment.schema(&format!("{NAME}{what}")).into_owned();
        Schema { name: Some(name), version: Some(1), ..Schema::plain(Shape::Struct(fields)) }
    };
    let content = Schema { optional: true, ..Schema::plain(content) };
    let message = named("", vec![("prefix", text()), ("content", content)]);
    let value = vec![
        ("op", Schema::plain(Shape::String)),
        ("ts_ms", long()),
        ("source", schema::source()),
        ("transaction", Schema { optional: true, ..schema::transaction() }),
        ("message", message),
    ];
    (named("Key", vec![("prefix", text())]), named("Value", value))
}

/// The message's id, where headers are those of one: no table has a part in it.
pub fn message_id<'n, 'a>(headers: impl Iterator<Item = (&'n str, &'a [u8])>) -> Option<ChangeId> {
    let (mut commit, mut seq) = (None, None);
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    for (name, value) in headers {
        match name {
            super::header::COMMIT_LSN => commit = number(value),
            super::header::SEQ => seq = number(value),
            super::header::TABLE => return None,
            _ => {}
        }
    }
    Some(ChangeId { commit: Lsn::new(commit?), seq: seq? })
}
