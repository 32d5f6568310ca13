#!/usr/bin/env bash
# Installs the Debian packages that are missing: `setup.sh demo` for building and running, `setup.sh bench`
# for measuring, `setup.sh test` for the client suite too, `setup.sh integration` for what the
# integration tests run others under. Nothing missing: nothing is done, and no network is needed. Not root and
# no passwordless sudo: the line to run is printed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

what=${1:-demo}
missing=()

need() { # need PACKAGE PROBE…: the package is missing when the probe fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

postgres_found() {
    local dir
    for dir in ${PATH//:/ } /usr/lib/postgresql/*/bin /usr/pgsql/bin /usr/local/pgsql/bin; do
        if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ]; then return 0; fi
    done
    return 1
}

have cargo && have rustc ||
    die "Rust is not installed. Install it from https://rustup.rs (1.95 or newer), open a new shell and run this again."
minor=$(rustc --version | sed -nE 's/^rustc 1\.([0-9]+)\..*/\1/p')
[ -z "$minor" ] || [ "$minor" -ge 95 ] ||
    die "This needs Rust 1.95 or newer, and here is $(rustc --version). Run: rustup update stable"

need build-essential have cc
need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
need postgresql postgres_found
if [ "$what" = integration ]; then
    need faketime have faketime # the clock of one control plane of the race test
    need valgrind have callgrind_control # counts the instructions of a request
fi
nginx_found() { PATH=$PATH:/usr/sbin:/usr/local/sbin have nginx; }
if [ "$what" = bench ]; then
    need nginx-light nginx_found # what a plain proxy costs; it is started with a configuration of its own
    need util-linux have setpriv
fi
if [ "$what" = test ]; then
    need python3 have python3
    need python3-venv python3 -c 'import ensurepip, venv'
    need rclone have rclone
    need restic have restic
    need pgbackrest have pgbackrest
    need openssl have openssl # a certificate for pgBackRest
    need curl have curl
    need nodejs have node
    need npm have npm
fi

[ ${#missing[@]} -gt 0 ] || exit 0

install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
have apt-get || die "Missing: ${missing[*]} (names of Debian packages). Install them with this system's package manager."
if [ "$(id -u)" = 0 ]; then
    as_root=()
elif have sudo && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    die "Missing packages. Run this line, then try again:
  sudo sh -c '$install'"
fi
say "Installing ${missing[*]}"
# A list that cannot be fetched need not matter: the packages may be in the cache.
"${as_root[@]}" apt-get update -q >&2 || say "apt-get update failed; trying with the lists that are there"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
    die "The packages could not be installed. The line was:
  $install"
