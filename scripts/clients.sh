#!/usr/bin/env bash
# Runs the suite of real clients: its Python environment, its JavaScript packages, its Go clients and versitygw are
# made where they are missing.
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

# Node finds them by NODE_PATH; the repository stays without node_modules.
javascript=$(tools_dir)/clients-javascript
javascript_found() { cmp -s "$suite/javascript/package-lock.json" "$javascript/.installed"; }
if ! javascript_found; then
    node=$(node --version 2>/dev/null | sed -nE 's/^v([0-9]+)\..*/\1/p')
    if have npm && [ "${node:-0}" -ge 20 ]; then
        say "Installing the JavaScript client into $javascript"
        rm -rf "$javascript"
        mkdir -p "$javascript"
        cp "$suite/javascript/package.json" "$suite/javascript/package-lock.json" "$javascript"
        if npm ci --prefix "$javascript" --ignore-scripts --no-audit --no-fund --loglevel=error >&2; then
            cp "$suite/javascript/package-lock.json" "$javascript/.installed"
        else
            say "The JavaScript client could not be installed"
        fi
    fi
fi
if ! javascript_found; then
    [ -z "${CI:-}" ] || die "The JavaScript client is not there, and in CI its tests must run: install Node 20 or newer and npm."
    say "================================================================================================"
    say "SKIPPED: the tests of the AWS SDK for JavaScript. Install Node 20 or newer and npm to run them."
    say "================================================================================================"
    javascript=
fi

# Built again when a pinned version or a source changes.
go_clients=$(tools_dir)/clients-go
go_sources() { cat "$suite"/go/go.mod "$suite"/go/go.sum "$suite"/go/*.go; }
go_built() { go_sources | cmp -s - "$go_clients/.installed"; }
if ! go_built; then
    if have go; then
        say "Building the Go clients into $go_clients"
        rm -rf "$go_clients"
        mkdir -p "$go_clients"
        if (cd "$suite/go" && go build -mod=readonly -o "$go_clients/client" .) >&2; then
            go_sources >"$go_clients/.installed"
        else
            say "The Go clients could not be built"
        fi
    fi
fi
if ! go_built; then
    [ -z "${CI:-}" ] || die "The Go clients are not there, and in CI their tests must run: install Go."
    say "================================================================================================"
    say "SKIPPED: the tests of minio-go and the AWS SDK for Go. Install Go to run them."
    say "================================================================================================"
    go_clients=
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
export S3O_BINARIES S3O_VERSITYGW=$gateway S3O_JAVASCRIPT=$javascript S3O_GO=${go_clients:+$go_clients/client}
export PATH="$venv/bin:$PATH"
cd "$suite"
exec "$venv/bin/python" -m pytest "$@"
