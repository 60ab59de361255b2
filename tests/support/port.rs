//! Free ports on loopback.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// What has been drawn: a server that is away for a while comes back to its port.
static DRAWN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port nobody listens on, and that nobody else in this process gets. It lies below the range that outgoing
/// connections take theirs from, and what two processes draw at once is unlikely to be the same.
pub fn free() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && drawn.get_or_insert_default().insert(port) {
            return port;
        }
    }
}
