//! Where PostgreSQL is installed: in the search path, or where distributions put it outside of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Directories that hold one subdirectory a major version, with `bin` inside.
const VERSIONED: [&str; 3] = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];

/// Directories of one version.
const PLAIN: [&str; 4] = ["/usr/pgsql/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin"];

pub(crate) fn binaries() -> Result<PathBuf> {
    let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let candidates: Vec<PathBuf> =
        [in_path, VERSIONED.iter().flat_map(|root| newest_first(Path::new(root))).collect()]
            .into_iter()
            .flat_map(|paths: Vec<PathBuf>| paths)
            .chain(PLAIN.iter().map(PathBuf::from))
            .collect();
    match candidates.into_iter().find(|dir| is_installed(dir)) {
        // Behind a link are the directory with all tools and the files that belong to them.
        Some(dir) => Ok(resolved(&dir)),
        None => bail!(
            "PostgreSQL is not installed: neither the search path nor /usr/lib/postgresql/*/bin has `postgres` \
             and `initdb`. On Debian and Ubuntu: apt-get install postgresql; with Homebrew: brew install postgresql"
        ),
    }
}

fn is_installed(dir: &Path) -> bool {
    dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

fn resolved(dir: &Path) -> PathBuf {
    let real = fs::canonicalize(dir.join("postgres")).ok().and_then(|file| Some(file.parent()?.to_owned()));
    real.filter(|real| is_installed(real)).unwrap_or_else(|| dir.to_owned())
}

/// `15` and `postgresql@15` both end in the major version.
fn newest_first(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let digits = name.strip_prefix("postgresql@").unwrap_or(&name);
            Some((digits.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, bin)| bin).collect()
}
