//! Where and with what it was measured.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::procs::binary;
use crate::{clock, stats};

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// RFC 3339.
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// What else it did: the load average before the run.
    pub(crate) load: String,
    pub(crate) commit: String,
    pub(crate) version: String,
    pub(crate) postgres: String,
    pub(crate) nginx: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':').map(str::trim));
            line.unwrap_or_default().to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
        let postgres = s3o_localpg::LocalPostgres::find_binaries().map(|folder| folder.join("postgres"));
        Self {
            date: clock::now(),
            cores: cores(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            postgres: postgres.map(|program| said_by(&program, &["--version"])).unwrap_or_default(),
            nginx: binary("nginx", None).map(|program| said_by(&program, &["-v"])).unwrap_or_default(),
        }
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn said(program: &str, arguments: &[&str]) -> String {
    said_by(Path::new(program), arguments)
}

/// The first line that a program says, on either output; nothing where it cannot be run.
fn said_by(program: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    if !output.status.success() {
        return String::new();
    }
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// CPU seconds that the whole machine has been busy with programs since it started.
pub(crate) fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user, nice, system, in hundredths of a second (proc(5)).
    let ticks: u64 =
        line.split_whitespace().skip(1).take(3).filter_map(|field| field.parse::<u64>().ok()).sum();
    stats::float(ticks) / 100.0
}
