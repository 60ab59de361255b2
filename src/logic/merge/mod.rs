//! From changes to the rows a warehouse needs.

mod stage;

pub use stage::{NetOp, NetRow, Stage};
