//! Tailwater beside Debezium, on one database: the same changes have to be told alike.
//!
//! `make compat` runs every script of `tests/contract`, or those named in SCRIPTS; BLESS=1 keeps what Debezium told, for
//! the tests that compare without it.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[cfg(feature = "kafka")]
mod debezium;
#[cfg(feature = "kafka")]
mod sides;

#[path = "../support/mod.rs"]
mod support;
