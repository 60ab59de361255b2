//! Tests that need no service.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod ack;
mod assemble;
mod avro;
mod cases;
mod cli;
mod config;
mod corpus;
mod defaults;
mod event;
mod evolve;
mod flat;
mod floors;
mod fold;
mod foreign;
mod held;
mod import;
mod inline;
mod keys;
mod mapped;
mod messages;
mod misfits;
mod mutants;
mod names;
mod notice;
mod outbox;
mod pgoutput;
mod pipeline;
mod project;
mod proto;
mod send;
mod spool;
mod sql;
mod streamed;
mod types;
mod value;
