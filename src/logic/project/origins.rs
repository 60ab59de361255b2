//! Which table of the source each told table is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Error, Result, TableName};

/// The source's names of the tables told so far, for whoever has to know them; a clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Origins(Arc<Mutex<HashMap<TableName, TableName>>>);

impl Origins {
    /// Notes that `source` is told as `told`. Two tables under one name would become one.
    pub fn claim(&self, told: &TableName, source: &TableName) -> Result<()> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = names.entry(told.clone()).or_insert_with(|| source.clone());
        if owner == source {
            return Ok(());
        }
        Err(Error::blocked(format!("the tables {owner} and {source} would both be named {told}"))
            .remedy("correct `rename` of their [[table]], or exclude one of them"))
    }

    /// The source's name of a told table.
    pub fn of(&self, told: &TableName) -> TableName {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(told).unwrap_or(told).clone()
    }
}
