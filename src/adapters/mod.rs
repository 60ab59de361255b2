//! Floor 3: the only floor with sockets, drivers and files.

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kafka_options;
pub mod postgres;
pub mod warehouse;
