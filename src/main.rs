//! The command line.

/// glibc's keeps much of what flushes have freed; this one gives it back (`.cargo/config.toml`), librdkafka's as well.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tailwater::app::cli::main()
}
