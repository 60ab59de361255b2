//! Tests that need no service.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod event;
mod floors;
mod pipeline;
mod value;
