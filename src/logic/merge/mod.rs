//! From changes to the rows a warehouse needs.

mod append;
mod evolve;
mod fold;
mod key;
mod misfit;
mod mode;
mod stage;
mod versions;
mod view;

pub use evolve::{Evolved, Incompatible, Policy, Renamed, TargetColumn, evolve};
pub use fold::{Fold, Folded, Limits};
pub use key::key;
pub use misfit::{MISFITS, Marks, Misfit, OnMisfit, replace, room};
pub use mode::layout;
pub use stage::{NetOp, NetRow, Stage};
pub use view::{Shows, shows};
