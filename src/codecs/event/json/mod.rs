//! Events as JSON.

mod decode;
mod form;
pub(super) mod inline;
mod placeholder;
mod rare;
mod read;
mod source;
mod step;
mod token;
mod write;

pub(super) use decode::Decoder;
pub(super) use form::Form;
pub(super) use write::value;
