//! From changes to the rows a warehouse needs.

mod evolve;
mod fold;
mod key;
mod stage;

pub use evolve::{TargetColumn, evolve};
pub use fold::{Fold, Folded};
pub use stage::{NetOp, NetRow, Stage};
