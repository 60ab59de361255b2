//! The command line.

fn main() -> std::process::ExitCode {
    tailwater::app::cli::main()
}
