//! Compiles `v1/*.proto` with a protoc written in Rust. Generated code goes to `OUT_DIR`, never into the tree.

use std::error::Error;

const FILES: [&str; 2] = ["v1/dataplane.proto", "v1/admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=v1");
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
