//! Rows whose values come in the binary form of their types (`binary 'true'`), as the rows in text form that the same
//! server sends otherwise.
//!
//! ```text
//!  column types ──▶ Form, once per table version ──▶ Plan::row: b cells ──▶ t cells, written side by side
//! ```
//!
//! Why the text is the same. The text is what a session with our settings prints, and each printer here is compared,
//! value by value, with what servers print of the same values (`tests/live/binary.rs`). A type that is not in
//! [`Form::builtin`] or [`Form::of_extension`], or whose text depends on more than its bytes, has no form: its table is
//! refused before a row is read. Arrays and composite values say themselves which types they hold.
//!
//! <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES>

mod geometric;
mod named;
mod nested;
mod network;
mod plan;
mod reader;
mod scalar;
mod search;

use std::collections::HashMap;

pub use named::Server;
pub use plan::Plan;
use reader::Reader;

use crate::model::Oid;

/// A value that can't be printed. It says nothing of the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Its bytes are not what the type's send function writes.
    #[error("the bytes are not its type's binary form")]
    Broken,
    /// It holds a value of a type that was not known when the table was described.
    #[error("it holds a value of the type with OID {0}, whose binary form is not known")]
    Unknown(Oid),
}

/// Prints a value from all of its bytes.
type Print = fn(&mut Reader<'_>, &mut Vec<u8>) -> Result<(), SendError>;

/// How a type's binary form is printed.
#[derive(Clone, Debug)]
pub struct Form(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The text itself.
    Text,
    Plain(Print),
    Array {
        delimiter: u8,
    },
    Range(Box<Kind>),
    Multirange(Box<Kind>),
    Record,
}

/// The forms of the types that arrays and composite values hold, by OID.
pub type Forms = HashMap<Oid, Form>;

impl Form {
    /// A type whose binary form is its text: enumerations, and types that have no binary form and come as text.
    pub fn text() -> Form {
        Form(Kind::Text)
    }

    /// Arrays, which separate their elements by `delimiter`.
    pub fn array(delimiter: u8) -> Form {
        Form(Kind::Array { delimiter })
    }

    /// Ranges over a type.
    pub fn range(subtype: Form) -> Form {
        Form(Kind::Range(Box::new(subtype.0)))
    }

    /// Multiranges over a type.
    pub fn multirange(subtype: Form) -> Form {
        Form(Kind::Multirange(Box::new(subtype.0)))
    }

    /// Composite types.
    pub fn record() -> Form {
        Form(Kind::Record)
    }

    /// Appends the text of a value.
    pub fn print(&self, value: &[u8], known: &Forms, out: &mut Vec<u8>) -> Result<(), SendError> {
        self.0.print(value, known, 0, out)
    }
}

impl Kind {
    /// `depth`: how many values this one is inside of.
    fn print(&self, value: &[u8], known: &Forms, depth: usize, out: &mut Vec<u8>) -> Result<(), SendError> {
        let mut reader = Reader::new(value);
        match self {
            Kind::Text => out.extend_from_slice(reader.rest()),
            Kind::Plain(print) => print(&mut reader, out)?,
            Kind::Array { delimiter } => nested::array(&mut reader, *delimiter, (known, depth), out)?,
            Kind::Range(subtype) => nested::range(&mut reader, subtype, (known, depth), out)?,
            Kind::Multirange(subtype) => nested::multirange(&mut reader, subtype, (known, depth), out)?,
            Kind::Record => nested::record(&mut reader, (known, depth), out)?,
        }
        if reader.is_empty() { Ok(()) } else { Err(SendError::Broken) }
    }
}
