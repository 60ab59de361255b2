//! From the plugin's messages to changes.
//!
//! ```text
//!            Begin(final LSN)                      R Y O M
//!  outside ───────────────────▶ in a transaction ◀────┐ I U D T ─▶ changes (final LSN, 0 1 2 ...)
//!     ▲                               │          └────┘
//!     └──────── Commit(commit LSN = final LSN, end LSN) ─▶ boundary
//! ```
//!
//! A relation is explained by the catalog before its rows can be read: [`Step::Describe`] asks for that, the adapter
//! answers with [`Assembler::define`].
//!
//! # Why nothing is lost, and nothing comes twice, after a restart
//!
//! The server sends a transaction whole or not at all, and again after a crash of either side. `stored` is the end LSN
//! of the last transaction that the sink has. A transaction is behind it exactly when its own end is, and the end is
//! known only at Commit. But records do not overlap: a commit record that begins before `stored` ends there or before,
//! and one that begins at `stored`, as about one in a hundred does, ends after it. So `final_lsn < stored` at Begin
//! decides the same, and Commit checks it. `<=` would lose the neighbour.

mod assembler;
mod defaults;
mod fill;
mod shape;

pub use assembler::{Assembler, Step};
pub use shape::{Description, shape};
