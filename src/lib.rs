//! Tailwater follows a PostgreSQL database's logical replication slot, publishes every change to Kafka as a typed
//! event, and applies changes to warehouse tables so that they equal the source.
//!
//! Five floors; imports point only downward, and a test checks it:
//!
//! ```text
//! floor 4  app        command line, configuration, wiring, metrics endpoint
//! floor 3  adapters   postgres, kafka, warehouse: the only floor with sockets and drivers
//! floor 2  logic      assemble, merge, pipeline: decisions
//! floor 1  codecs     pgoutput, value, event, dialect: bytes and text to the vocabulary and back
//! floor 0  model      Lsn, Table, Row, Change, Checkpoint: the vocabulary
//! ```
//!
//! The journey of a change: `adapters::postgres` receives bytes, `codecs::pgoutput` cuts them into messages without
//! copying, `logic::assemble` makes changes of them, `logic::pipeline` hands them in batches to a sink. To Kafka,
//! `codecs::event` writes each as a record. To a warehouse, `logic::merge` folds them to one row per key,
//! `codecs::dialect` says it in SQL, and `adapters::warehouse` does it in one transaction together with the position.

pub mod adapters;
pub mod app;
pub mod codecs;
pub mod logic;
pub mod model;
