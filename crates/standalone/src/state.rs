//! What a standalone makes up at its first start and keeps: `standalone.json`, mode 0600.
//!
//! Invariant: it is complete on the disk before anything is started with it. Keys that were shown to
//! somebody, or a backend's bucket, never change afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

const FILE: &str = "standalone.json";
const FORMAT: u32 = 1;

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    pub(crate) bucket: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) admin_token: String,
    pub(crate) folders: Vec<Folder>,
}

/// A folder backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Folder {
    pub(crate) name: String,
    /// Where it listened last, so that its endpoint stays the same; 0 before the first start.
    pub(crate) port: u16,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl State {
    /// What an earlier start kept, or a new one, which is kept.
    pub(crate) fn load_or_create(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                let state: Self = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} cannot be read; it holds the keys of this data", path.display())
                })?;
                if state.format != FORMAT {
                    bail!("{} has format {}; this release knows {FORMAT}", path.display(), state.format);
                }
                Ok(state)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state = Self::new()?;
                state.save(data)?;
                Ok(state)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn new() -> anyhow::Result<Self> {
        let folder = |name: &str| -> anyhow::Result<Folder> {
            Ok(Folder {
                name: name.to_owned(),
                port: 0,
                access_key_id: key_id()?,
                secret_access_key: random_hex(20)?,
            })
        };
        Ok(Self {
            format: FORMAT,
            bucket: "demo".to_owned(),
            access_key_id: key_id()?,
            secret_access_key: random_hex(20)?,
            admin_token: random_hex(24)?,
            folders: vec![folder("one")?, folder("two")?, folder("three")?],
        })
    }

    /// Keeps it.
    pub(crate) fn save(&self, data: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_whole(&data.join(FILE), &text)
    }
}

/// Replaces a file by one that only we may read: whole, or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let replace = || -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let draft = path.with_file_name(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// Random bytes of the operating system, in hex.
pub(crate) fn random_hex(bytes: usize) -> anyhow::Result<String> {
    let mut out = vec![0; bytes];
    SysRng.try_fill_bytes(&mut out).context("the operating system gives no random bytes")?;
    Ok(hex::encode(out))
}

/// An access key id as AWS's look: twenty characters of `A-Z0-9`.
fn key_id() -> anyhow::Result<String> {
    Ok(format!("S3O{}", &random_hex(9)?.to_uppercase()[..17]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn kept_and_found_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut first = State::load_or_create(dir.path()).expect("made");
        assert_eq!((first.access_key_id.len(), first.secret_access_key.len()), (20, 40));
        first.folders[1].port = 4711;
        first.save(dir.path()).expect("kept");
        let second = State::load_or_create(dir.path()).expect("found");
        assert_eq!(second.secret_access_key, first.secret_access_key);
        assert_eq!(second.folders[1].port, 4711);
        let mode = fs::metadata(dir.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_not_replaced_by_new_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(FILE), "{").expect("broken");
        assert!(State::load_or_create(dir.path()).is_err());
        fs::write(dir.path().join(FILE), r#"{"format":2,"bucket":"b","access_key_id":"","secret_access_key":"","admin_token":"","folders":[]}"#)
            .expect("newer");
        let error = State::load_or_create(dir.path()).expect_err("newer").to_string();
        assert!(error.contains("format 2"), "{error}");
    }
}
