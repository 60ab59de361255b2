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
//!
//! A message of no transaction (`pg_logical_emit_message(false, ..)`) is sent when the server's reading of the log comes
//! past it, so between the transactions whose commit records lie before and after it. What the server tells of its place
//! is where its record *ends*, which may be where a commit record begins. Its id is (two bytes before that, 0): no record
//! begins there, so ids stay distinct and in the order of the stream. Started from its end, the server sends it no more
//! (it leaves out messages that begin before the start) and all that begins there or later: neither lost nor doubled,
//! like a transaction. It is sent though its writer's transaction rolls back. A transactional message is a
//! change of its transaction like a row's. Messages are counted among the changes of a transaction when they are asked
//! for: whoever begins or ceases to ask for them does so while no transaction is half delivered, or its ids shift.

mod assembler;
mod defaults;
mod fill;
mod gather;
mod shape;

pub use assembler::{Assembler, Step};
pub use gather::{Gather, PIECE, Portion};
pub use shape::{Description, shape};
