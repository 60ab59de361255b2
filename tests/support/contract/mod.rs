//! Whether records are those that Debezium's connector tells of the same changes.
//!
//! ```text
//! script   SQL that both sides are shown             tests/contract/*.sql
//! run      a script against a database, step by step
//! told     what a side told, settled so that two runs can be compared; kept in tests/contract/*.txt
//! avro     records of Avro as JSON
//! compare  what differs, record by record
//! allowed  the differences that are meant, each with its reason
//! ```

pub mod allowed;
pub mod avro;
pub mod compare;
pub mod json;
pub mod run;
pub mod script;
pub mod told;
