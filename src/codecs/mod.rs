//! Floor 1: bytes and text to the vocabulary and back. No driver, no async, no clock.

pub mod copy;
pub mod dialect;
pub mod event;
pub mod pgoutput;
pub mod send;
