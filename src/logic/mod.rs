//! Floor 2: decisions. No driver, no bytes on a wire.

pub mod assemble;
pub mod merge;
pub mod pipeline;
pub mod project;
pub mod share;
