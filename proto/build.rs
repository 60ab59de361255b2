//! Compiles the Protobuf form of events, and tells the linker where libduckdb is.

use std::path::PathBuf;

const EVENT: &str = "proto/tailwater/v1/event.proto";

fn main() {
    println!("cargo:rerun-if-changed=proto/build.rs");
    compile_event();
    link_duckdb();
}

/// Checks the schema, and generates from it the types and the descriptors that the tests hold our encoder against.
fn compile_event() {
    println!("cargo:rerun-if-changed={EVENT}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut compiler = protox::Compiler::new(["proto"]).expect("the folder is there");
    compiler.include_source_info(true);
    if let Err(error) = compiler.open_file(EVENT) {
        panic!("{EVENT}: {error:?}");
    }
    std::fs::write(out.join("event.bin"), compiler.encode_file_descriptor_set()).expect("OUT_DIR can be written");
    let types = prost_build::Config::new().skip_protoc_run().compile_fds(compiler.file_descriptor_set());
    types.expect("types are generated from a valid schema");
}

/// At build time and at run time.
fn link_duckdb() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
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
