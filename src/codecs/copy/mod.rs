//! COPY formats.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>

pub mod text;
