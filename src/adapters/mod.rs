//! Floor 3: the only floor with sockets, drivers and files.

pub mod kafka;
pub mod postgres;
pub mod warehouse;
