//! Events as Avro, in the shapes that Kafka Connect's converter gives Debezium's events.

mod decode;
mod form;
mod message;
mod names;
mod preset;
mod quick;
mod read;
mod schema;
mod source;
mod step;
mod tree;
mod wire;
mod write;

pub(super) use decode::Decoder;
pub(super) use form::Form;
pub(super) use schema::text as schema_text;
pub(super) use tree::write as write_tree;
