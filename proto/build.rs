//! Tells the linker where libduckdb is, at build time and at run time.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-changed=proto/build.rs");
    if std::env::var_os("CARGO_FEATURE_DUCKDB").is_none() {
        return;
    }
    // A shipped binary finds the library beside itself or in ../lib.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib");
    match std::env::var("DUCKDB_LIB_DIR") {
        // A binary run where it was built finds it where it was linked from.
        Ok(dir) => println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}"),
        Err(_) => println!(
            "cargo:warning=DUCKDB_LIB_DIR is not set: linking needs libduckdb on the system's path. \
             `make build` fetches it and sets the variable; `--no-default-features --features kafka` builds without DuckDB."
        ),
    }
}
