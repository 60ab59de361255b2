//! Warehouses as sinks: one flow in `worker`, a driver and a dialect for each warehouse.

mod ahead;
mod client;
#[cfg(feature = "duckdb")]
pub mod duckdb;
mod fit;
mod gathered;
mod layouts;
mod ledger;
mod merge;
mod misfits;
mod notes;
mod options;
mod owner;
mod pace;
mod postgres;
mod preview;
#[cfg(feature = "redshift")]
pub mod redshift;
mod release;
mod reread;
mod sink;
mod stage_leader;
mod stage_member;
mod staging;
mod stops;
mod views;
mod worker;

pub use client::Client;
#[cfg(feature = "duckdb")]
pub use duckdb::DuckdbClient;
pub use ledger::stored;
pub use misfits::Unfit;
pub use notes::noted;
pub use options::{Connect, DuckdbFile, Flush, Options, OwnPolicy, Policies, Reach, ViewName};
pub use postgres::PostgresClient;
pub use preview::{Preview, preview};
#[cfg(feature = "redshift")]
pub use redshift::RedshiftClient;
pub use reread::Reread;
pub use sink::WarehouseSink;
pub use stage_leader::StageLeader;
pub use stage_member::StageMember;
pub use staging::{OBJECT_FORMATS, ObjectFormat, RedshiftOptions};
pub use stops::stopped;
