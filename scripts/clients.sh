#!/usr/bin/env bash
# Runs the suite of real clients: its Python environment and versitygw are made where they are missing.
# S3O_BINARIES is the folder with s3o, s3o-controlplane and s3o-dataplane. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

suite=integration-tests/clients
venv=$(tools_dir)/clients-venv
stamp=$venv/.installed
if ! cmp -s "$suite/requirements.txt" "$stamp"; then
    say "Installing the Python clients into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$suite/requirements.txt"
    cp "$suite/requirements.txt" "$stamp"
fi

gateway=$(tools_dir)/versitygw-$VERSITYGW_VERSION/versitygw
if [ ! -x "$gateway" ]; then
    if have go; then
        say "Building versitygw $VERSITYGW_VERSION"
        GOBIN=$(dirname "$gateway") go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION" ||
            say "versitygw could not be built"
    fi
fi
if [ ! -x "$gateway" ]; then
    [ -z "${CI:-}" ] || die "versitygw is not there, and in CI its tests must run: install Go."
    say "================================================================================================"
    say "SKIPPED: the tests against versitygw, the one S3 backend that is not ours. Install Go to run them."
    say "================================================================================================"
    gateway=
fi

S3O_BINARIES=$(realpath "${S3O_BINARIES:-target/debug}")
export S3O_BINARIES S3O_VERSITYGW=$gateway
export PATH="$venv/bin:$PATH"
cd "$suite"
exec "$venv/bin/python" -m pytest "$@"
