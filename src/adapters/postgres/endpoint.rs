//! Where a database is and how to reach it safely.

/// A connection URL, taken apart. Its password never shows.
#[derive(Clone)]
pub struct Endpoint {}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}
