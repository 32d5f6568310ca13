//! Hands the compiler's version to the `s3o_build_info` metric.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RUSTC");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let text = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let number = text.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=S3O_RUST_VERSION={number}");
}
