//! Events as Protobuf: types and descriptors that others generate from the schema read what is written, and every
//! change comes back as it was.

mod change;
mod schema;
mod tables;
mod value;

/// What `prost-build` makes of the schema.
#[allow(clippy::large_enum_variant)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tailwater.v1.rs"));
}

/// The schema's descriptors, comments included.
fn descriptors() -> prost_reflect::DescriptorPool {
    prost_reflect::DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/event.bin"))[..]).unwrap()
}
