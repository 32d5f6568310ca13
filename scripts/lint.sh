#!/usr/bin/env bash
# Format, clippy, licences and bans, unused dependencies. `lint.sh STAGE` runs one of them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

flags=$(cargo_flags)
tool() { "$(tools_dir)/bin/$1" "${@:2}"; }

fmt() { cargo fmt --all -- --check; }
# shellcheck disable=SC2086 # empty, or one word
clippy() { cargo clippy --locked $flags --workspace --all-targets -- -D warnings; }
deny() { tool cargo-deny check bans licenses sources; }
machete() { tool cargo-machete; }

case ${1:-all} in
    fmt | clippy) "$1" ;;
    deny | machete) scripts/cargo-tools.sh && "$1" ;;
    all) fmt && clippy && scripts/cargo-tools.sh && deny && machete ;;
    *) die "lint.sh fmt|clippy|deny|machete" ;;
esac
