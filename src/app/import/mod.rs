//! `tailwater import-debezium`: a configuration of ours from one of Debezium's PostgreSQL connector.
//!
//! The configuration goes to standard output, every key that could not be carried over to standard error with the
//! reason. Passwords and salts are not written: variables stand in their place.

mod events;
mod filters;
mod keys;
mod routes;
mod text;

use std::path::Path;

use crate::model::{Error, Result};

/// What came out of a connector's configuration.
#[derive(Debug)]
pub struct Imported {
    /// Our configuration.
    pub toml: String,
    /// What could not be carried over, or not exactly: the key and why.
    pub left: Vec<(String, String)>,
}

/// Reads a connector's JSON or properties.
pub fn import(text: &str) -> Result<Imported> {
    let keys = text::read(text)?;
    let class = keys.get("connector.class").map(String::as_str);
    if class.is_some_and(|class| !class.ends_with("PostgresConnector")) {
        return Err(Error::blocked("this is not a configuration of Debezium's PostgreSQL connector")
            .remedy("give the file whose connector.class is io.debezium.connector.postgresql.PostgresConnector"));
    }
    if !keys.contains_key("database.hostname") && !keys.contains_key("topic.prefix") {
        return Err(Error::blocked("no key of Debezium's PostgreSQL connector was found")
            .remedy("give the connector's JSON, as its REST interface takes it, or its properties"));
    }
    Ok(keys::translate(&keys))
}

/// Imports a file: prints the configuration, and what is left to do.
pub fn print(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::blocked(format!("{} can't be read", path.display())).because(error).remedy("check the path")
    })?;
    let imported = import(&text).map_err(|error| error.within(path.display().to_string()))?;
    print!("{}", imported.toml);
    if imported.left.is_empty() {
        eprintln!("every key was carried over");
    } else {
        eprintln!("not carried over, or not exactly:");
        for (key, why) in imported.left {
            eprintln!("  {key}: {why}");
        }
    }
    Ok(())
}
