//! Events as Protobuf: `proto/tailwater/v1/event.proto`, written and read by hand.
//!
//! ```text
//! table version ─▶ Form (columns and the constant half of the source, as bytes)
//! Change ─▶ Form ─▶ Event: op, source, columns, before, after        Event ─▶ read ─▶ Change
//! ```
//!
//! Why nothing is lost: each case of `Value` leads back to the text that PostgreSQL printed, whatever the modes of the
//! other formats are, and a value that its case can't hold travels as its text in the case `other`. (A float leads back
//! to the same number; of two shortest texts of it PostgreSQL may print the other.)

mod decode;
mod form;
mod frame;
mod kind;
mod messages;
mod rare;
mod read;
mod value;
mod wire;

pub(super) use decode::Decoder;
pub(super) use form::Form;
pub use frame::{Message, frame};
pub(super) use kind::form_name;
pub(super) use messages::Notes;

/// The schema: the text that consumers compile and that registries are given.
pub const SCHEMA: &str = include_str!("../../../../proto/tailwater/v1/event.proto");
