//! Free ports on loopback.

use std::net::TcpListener;

/// A port nobody listens on. It lies below the range that outgoing connections take theirs from, and what two tests
/// draw at once is unlikely to be the same.
pub fn free() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
