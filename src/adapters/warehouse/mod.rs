//! Warehouses as sinks.

mod client;
mod options;

pub use client::Client;
pub use options::{Connect, DuckdbFile, Flush, Options};
