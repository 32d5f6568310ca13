//! `s3o validate`: tells everything that is wrong with a file, without starting anything.
//!
//! Invariant: the file is read by the same code that the service uses.

use std::path::{Path, PathBuf};

use anyhow::bail;
use s3o_controlplane::ControlPlaneConfig;
use s3o_dataplane::DataPlaneConfig;
use s3o_runtime::config::{Problems, Validate, load};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::say;

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A control plane's or a data plane's YAML
    file: PathBuf,
}

/// Which plane's it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ControlPlane,
    DataPlane,
}

/// The section that only one of them has, and needs.
#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    database: Option<IgnoredAny>,
    #[serde(default)]
    control_planes: Option<IgnoredAny>,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        match (&self.database, &self.control_planes) {
            (None, None) => problems.push(
                "this is no file of ours: a control plane's has `database`, a data plane's has `control_planes`",
            ),
            (Some(_), Some(_)) => problems.push(
                "`database` belongs to a control plane's file, `control_planes` to a data plane's: one of them is wrong",
            ),
            _ => {}
        }
    }
}

/// Reads a file and says what it is.
pub(crate) fn check(file: &Path) -> anyhow::Result<Kind> {
    let sections: Sections = load(file)?;
    if sections.database.is_some() {
        load::<ControlPlaneConfig>(file)?;
        Ok(Kind::ControlPlane)
    } else {
        load::<DataPlaneConfig>(file)?;
        Ok(Kind::DataPlane)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match check(&args.file) {
        Ok(Kind::ControlPlane) => {
            say(format_args!("{}: a valid control-plane configuration", args.file.display()));
        }
        Ok(Kind::DataPlane) => say(format_args!("{}: a valid data-plane configuration", args.file.display())),
        Err(error) => bail!("the configuration is not valid\n{error:#}"),
    }
    Ok(())
}
