# Shared by the scripts: where things are kept and how a script says that it gives up.
# shellcheck shell=bash

# Versions of the tools that are not in Debian.
CARGO_DENY_VERSION=0.20.2
CARGO_MACHETE_VERSION=0.9.2
VERSITYGW_VERSION=v1.8.0

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Tools that outlive a clone.
tools_dir() { echo "${S3O_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-orchestrator/tools}"; }

# cargo's flag for a compiler that is older than what the s3s crate declares.
cargo_flags() {
    local minor
    minor=$(rustc --version | sed -nE 's/^rustc 1\.([0-9]+)\..*/\1/p')
    if [ -n "$minor" ] && [ "$minor" -lt 96 ]; then echo --ignore-rust-version; fi
}
