//! What can be wrong with bytes.

use crate::model::Error;
use crate::model::row::RowError;

/// Bytes that are no message: which byte, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {at}: {kind}")]
pub struct DecodeError {
    /// Offset in the payload.
    pub at: usize,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The payload ends before the field does.
    #[error("the message ends inside its {0}")]
    Short(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// A tag that no message has.
    #[error("unknown tag 0x{0:02x}")]
    Tag(u8),
    /// A message that may not come at this point of a stream of this kind.
    #[error("message 0x{0:02x} out of place")]
    Place(u8),
    /// A field with a value that the protocol does not define.
    #[error("undefined value 0x{value:02x} of {field}")]
    Undefined {
        /// The field.
        field: &'static str,
        /// What it held.
        value: u8,
    },
    /// A name that is not UTF-8.
    #[error("the {0} is not UTF-8")]
    Utf8(&'static str),
    /// A row that does not follow TupleData's layout.
    #[error("{0}")]
    Row(RowError),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Error::corrupt("the server sent a replication message that Tailwater can't read").because(error)
    }
}
