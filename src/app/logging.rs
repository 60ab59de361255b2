//! Logs: for people on a terminal, JSON elsewhere. They never hold row values or secrets.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to stderr. `RUST_LOG` filters, `TAILWATER_LOG=human|json` chooses the form.
pub fn start(quiet: bool) {
    let default = if quiet { "error" } else { "info,tokio_postgres=warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let human = match std::env::var("TAILWATER_LOG").as_deref() {
        Ok("human") => true,
        Ok("json") => false,
        _ => std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first: tests do that.
    let _ = if human {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
