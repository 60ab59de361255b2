//! Topics that others write: no markers, no table versions, only records and their offsets.
//!
//! ```text
//!  topics that match ─▶ lanes, one a partition ─▶ records ─▶ codecs::event::foreign ─▶ batches, each with its offsets
//!        ▲ looked for every second                                  │
//!        └── new topics and partitions join                         └─ notes: shapes of tables, marks of partitions
//! ```
//!
//! Why each record counts once: the offset behind it is committed with its row, in one transaction of the warehouse, and
//! a restart goes on there. A batch's shapes are settled before its rows are made and stored before the target is
//! altered, so that a record that is read again meets a table that fits it. Changes are numbered as they are read; the
//! number goes on from the stored one. What Debezium delivers again lies below its partition's mark, which is stored
//! with the offsets too, and is left out. Whole source transactions are not promised: nothing in the topics marks them.

mod ends;
mod lanes;
mod reader;
mod source;
mod stops;
mod take;

pub use ends::check_foreign;
pub use source::{ForeignPosition, ForeignSource};
pub use stops::StoppedTopics;
