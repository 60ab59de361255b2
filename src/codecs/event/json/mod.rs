//! Events as JSON.

mod decode;
mod form;
pub(super) mod inline;
mod message;
mod placeholder;
mod rare;
mod read;
mod source;
mod step;
mod token;
mod write;

pub(super) use decode::{Decoder, contains};
pub(super) use form::Form;
pub(super) use placeholder::{name_uuid, placeholder};
pub(super) use rare::{hstore, pairs};
pub(super) use read::value as read_value;
pub(super) use token::{Reader, string, unescape};
pub(super) use write::value;
