//! COPY's formats: text rows as a snapshot reads them, binary rows as a warehouse takes them.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>

pub mod binary;
pub mod text;
