//! PostgreSQL's text forms of values: parsed and printed, without a driver.
