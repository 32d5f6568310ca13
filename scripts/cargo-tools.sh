#!/usr/bin/env bash
# Installs cargo-deny and cargo-machete, in the versions that lib.sh names, where they are missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

root=$(tools_dir)
mkdir -p "$root"
# Two runs at a time: one builds, the other waits and finds them.
exec 9>"$root/.lock"
flock 9

install() { # install CRATE VERSION
    if [ "$("$root/bin/$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+')" = "$2" ]; then return; fi
    # Not into the workspace's target directory: its lock would keep everybody else waiting.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$root" --version "$2" "$1"
}
# From a neutral directory: the workspace's configuration is not theirs.
cd /
install cargo-machete "$CARGO_MACHETE_VERSION"
install cargo-deny "$CARGO_DENY_VERSION"
