//! As whom the server runs: PostgreSQL refuses root, so root gives its cluster to another user.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User};

/// The user that the server runs as when we are root; `None`: as ourselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity(Option<(Uid, Gid)>);

impl Identity {
    pub(crate) fn choose() -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name).with_context(|| format!("looking up user {name}"))? {
                return Ok(Self(Some((user.uid, user.gid))));
            }
        }
        bail!("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")
    }

    /// Gives a file or directory to the server's user.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self.0 {
            Some((uid, gid)) => std::os::unix::fs::chown(path, Some(uid.as_raw()), Some(gid.as_raw()))
                .with_context(|| format!("giving {} to the user that PostgreSQL runs as", path.display())),
            None => Ok(()),
        }
    }

    /// A command that runs `program` as the server's user, with `dir` as its file descriptor 9: parents
    /// of `dir` (such as /root) may be closed to that user, `/proc/self/fd/9` is not.
    ///
    /// It is one process throughout (each step replaces itself by the next), so that its id is the
    /// server's, and the kernel's signal at our death reaches it.
    pub(crate) fn command(self, program: &Path, dir: &Path) -> Result<Command> {
        let handle = std::fs::File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" 9<&0 0</dev/null"]).stdin(Stdio::from(handle));
        let setpriv = setpriv_works();
        if setpriv {
            // QUIT: at once, and without leaving shared memory behind; the next start recovers.
            command.args(["setpriv", "--pdeathsig", "QUIT"]);
        }
        match self.0 {
            Some((uid, gid)) if setpriv => {
                let (uid, gid) = (uid.as_raw(), gid.as_raw());
                command.args([
                    format!("--reuid={uid}"),
                    format!("--regid={gid}"),
                    "--clear-groups".to_owned(),
                ]);
                command.arg("--");
            }
            Some((uid, gid)) => {
                use std::os::unix::process::CommandExt;
                command.uid(uid.as_raw()).gid(gid.as_raw());
            }
            None => {}
        }
        command.arg(program).current_dir("/");
        // Ctrl-C goes to a terminal's whole process group: the server must not stop before its users have.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }

    /// How the server's user reaches `dir`, given as file descriptor 9.
    pub(crate) fn reachable(self, dir: &Path) -> std::path::PathBuf {
        if self.0.is_some() && cfg!(target_os = "linux") { "/proc/self/fd/9".into() } else { dir.to_owned() }
    }
}

/// Whether util-linux's `setpriv` is there and knows `--pdeathsig` (2.33 and newer).
fn setpriv_works() -> bool {
    let probe = Command::new("setpriv")
        .args(["--pdeathsig", "QUIT", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}
