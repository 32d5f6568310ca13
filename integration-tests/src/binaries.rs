//! Where the binaries under test are, built if they are not.
//!
//! Invariant: what is tested is what the tree says now: the build is asked for once a run, and cargo
//! does nothing when nothing changed.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, bail};

/// Paths of the binaries.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `s3o-controlplane`.
    pub control_plane: PathBuf,
    /// `s3o-dataplane`, with the feature `failpoints`.
    pub data_plane: PathBuf,
    /// `s3o`.
    pub cli: PathBuf,
}

/// Builds them on first use. `S3O_TEST_BINARIES` names a folder that has them already.
pub fn binaries() -> Result<&'static Binaries> {
    static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
    match BUILT.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(binaries) => Ok(binaries),
        Err(why) => bail!("{why}"),
    }
}

fn find() -> Result<Binaries> {
    let folder = match std::env::var_os("S3O_TEST_BINARIES") {
        Some(folder) => PathBuf::from(folder),
        None => build()?,
    };
    let binary = |name: &str| {
        let path = folder.join(name);
        if path.is_file() { Ok(path) } else { bail!("{} is not there after the build", path.display()) }
    };
    Ok(Binaries {
        control_plane: binary("s3o-controlplane")?,
        data_plane: binary("s3o-dataplane")?,
        cli: binary("s3o")?,
    })
}

fn build() -> Result<PathBuf> {
    // As `cargo test` says now: a build cache may have this from a clone elsewhere.
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR");
    let root = crate_folder.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&root).args([
        "build",
        "--ignore-rust-version",
        "--features",
        "s3o-dataplane/failpoints",
    ]);
    // The whole workspace, so that dependencies have the features that `cargo test --workspace` gave them.
    command.args(["--workspace", "--bins"]);
    let done = command.output()?;
    if !done.status.success() {
        bail!("the binaries under test do not build:\n{}", String::from_utf8_lossy(&done.stderr));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug"))
}
