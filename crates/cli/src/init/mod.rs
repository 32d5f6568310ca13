//! `s3o init`: writes a control plane's and a data plane's file, with comments.
//!
//! Invariant: what it writes passes `s3o validate`, nothing that exists is overwritten without
//! `--force`, and files with secrets have mode 0600. Secrets of backends are not asked for: the file
//! names the environment variables that hold them.

mod answers;
mod render;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::say;
use answers::{Answers, Backend};

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for controlplane.yaml and dataplane.yaml
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Ask nothing: flags, and defaults for the rest
    #[arg(long)]
    yes: bool,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
    /// PostgreSQL's URL
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// A backend, as `name=…,endpoint=…,bucket=…[,region=…][,quota=…]`; once for each
    #[arg(long = "backend", value_name = "FIELDS", value_parser = answers::parse_backend)]
    backends: Vec<Backend>,
    /// A virtual bucket; once for each
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
    /// Address at which data planes reach the control plane
    #[arg(long, value_name = "URL")]
    control_plane: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { dir, yes, force, database_url, backends, buckets, control_plane } = args;
    let files = [dir.join("controlplane.yaml"), dir.join("dataplane.yaml")];
    if let Some(there) = files.iter().find(|file| file.exists()).filter(|_| !force) {
        bail!("{} exists; --force overwrites it", there.display());
    }
    let mut answers = Answers { database_url, backends, buckets, control_plane };
    if !yes {
        answers::ask(&mut answers)?;
    }
    let answers = answers.complete()?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let secrets = render::Secrets::new()?;
    write_secret(&files[0], &render::control_plane(&answers, &secrets))?;
    write_secret(&files[1], &render::data_plane(&answers, &secrets))?;
    say(format_args!(
        "{} and {} are written (mode 0600: they hold tokens and keys).",
        files[0].display(),
        files[1].display()
    ));
    say("\nSet the backends' credentials in the control plane's environment:");
    for backend in &answers.backends {
        let [id, secret] = backend.variables();
        say(format_args!("  {id}=…  {secret}=…"));
    }
    say("\nThen check and start:");
    say(format_args!("  s3o validate {}", files[0].display()));
    say(format_args!("  s3o-controlplane --config {}", files[0].display()));
    say(format_args!("  s3o-dataplane --config {}", files[1].display()));
    Ok(())
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    // Removed first: a file that exists would keep its mode.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
