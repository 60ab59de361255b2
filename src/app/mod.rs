//! Floor 4: the command line and what joins the parts.

mod check;
pub mod cli;
pub mod config;
#[cfg(feature = "duckdb")]
pub mod demo;
#[cfg(feature = "kafka")]
mod group;
pub mod import;
mod logging;
mod metrics;
mod projected;
mod schema;
mod serve;
#[cfg(feature = "kafka")]
mod share;
mod shutdown;
mod status;
pub mod wiring;
