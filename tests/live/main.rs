//! Tests against real servers.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod ahead;
mod binary;
#[cfg(feature = "kafka")]
mod brokers;
#[cfg(feature = "kafka")]
mod contract;
mod contract_columns;
#[cfg(all(feature = "kafka", feature = "duckdb"))]
mod day;
#[cfg(feature = "duckdb")]
mod demo;
#[cfg(feature = "duckdb")]
mod disk;
mod encoding;
#[cfg(feature = "kafka")]
mod evolve;
#[cfg(feature = "kafka")]
mod exactly;
mod example;
mod failover;
mod filter;
#[cfg(feature = "kafka")]
mod foreign;
#[cfg(feature = "kafka")]
mod foreign_stops;
#[cfg(feature = "kafka")]
mod group;
mod history;
mod huge;
mod input;
#[cfg(feature = "kafka")]
mod inside_marker;
mod join;
#[cfg(feature = "kafka")]
mod kafka;
mod kill;
mod large;
#[cfg(feature = "kafka")]
mod messages;
mod misfits;
#[cfg(feature = "kafka")]
mod missed;
mod model;
mod modes;
mod names;
mod outage;
#[cfg(feature = "kafka")]
mod outbox;
#[cfg(feature = "kafka")]
mod oversize;
mod pace;
mod partitions;
mod postgres;
mod project;
#[cfg(feature = "redshift")]
mod redshift;
#[cfg(feature = "redshift")]
mod redshift_shapes;
mod regions;
#[cfg(feature = "kafka")]
mod registry;
#[cfg(feature = "kafka")]
mod replaced;
mod serve;
mod services;
mod shapes;
#[cfg(feature = "kafka")]
mod share;
#[cfg(feature = "kafka")]
mod standing;
mod stops;
#[cfg(all(feature = "kafka", feature = "duckdb"))]
mod storm;
mod straight;
mod streamed;
#[cfg(feature = "kafka")]
mod subjects;
#[cfg(feature = "kafka")]
mod transactions;
#[cfg(feature = "kafka")]
mod types;
mod values;
mod views;
mod warehouse;
#[cfg(feature = "duckdb")]
mod warehouse_duckdb;

#[path = "../support/mod.rs"]
mod support;
