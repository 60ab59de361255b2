//! PostgreSQL's text forms of values: parsed and printed, without a driver.
//!
//! What is read here was printed by a session with `DateStyle ISO`, `IntervalStyle postgres`, `TimeZone UTC`,
//! `bytea_output hex` and `extra_float_digits 3`; what [`print`] writes is what such a session prints.
//!
//! <https://www.postgresql.org/docs/current/datatype.html>

mod array;
mod bytes;
mod decimal;
mod digits;
mod float;
mod interval;
mod moment;
mod number;
mod numeric;
pub mod print;
mod shape;
pub mod special;

pub use array::{Array, ArrayWriter, Elements, needs_quotes};
pub use bytes::{bytea, uuid};
pub use interval::Interval;
pub use moment::{date, of_utc, pg_timestamp, pg_timestamptz, time, timestamp, timestamptz, timetz};
pub use number::{boolean, float4, float8, int};
pub use numeric::Numeric;
pub use shape::{Shape, ShapedWriter};

/// A text that is not what its type prints. It says what was expected, never what was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct ValueError {
    /// What was expected.
    pub expected: &'static str,
}

impl ValueError {
    /// `expected` was not there.
    pub const fn new(expected: &'static str) -> ValueError {
        ValueError { expected }
    }
}

/// A point on a scale that has both ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Finite<T> {
    /// Before all others.
    NegInfinity,
    /// An ordinary one.
    Value(T),
    /// After all others.
    Infinity,
}

impl<T> Finite<T> {
    /// Applies `f` to an ordinary point; the ends stay what they are, `None` where `f` has no result.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> Option<U>) -> Option<Finite<U>> {
        match self {
            Finite::NegInfinity => Some(Finite::NegInfinity),
            Finite::Value(value) => f(value).map(Finite::Value),
            Finite::Infinity => Some(Finite::Infinity),
        }
    }
}
