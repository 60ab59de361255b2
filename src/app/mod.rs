//! Floor 4: the command line and what joins the parts.

pub mod config;
