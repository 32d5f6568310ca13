# The two commands: `make demo` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where `make demo` keeps its data, and what else it passes to `s3o standalone`.
DATA ?= ./s3o-data
ARGS ?=

# The s3s crate declares Rust 1.96 and builds with 1.95: cargo is told so when rustc is older, only then.
RUSTC_MINOR := $(shell rustc --version 2>/dev/null | sed -nE 's/^rustc 1\.([0-9]+)\..*/\1/p')
FLAGS := $(if $(RUSTC_MINOR),$(if $(filter 1,$(shell echo $$(( $(RUSTC_MINOR) < 96 )))),--ignore-rust-version))

.PHONY: help setup demo build test test-units test-clients campaign test-slow fuzz bench bench-micro lint doc advisories

help: ## This list.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## Installs what building and running needs, where it is missing.
	@scripts/setup.sh demo

demo: setup ## An S3 endpoint in front of three folders: DATA=./s3o-data ARGS="--s3-listen 127.0.0.1:9100".
	$(CARGO) build --release --locked $(FLAGS) -p s3o-cli --bin s3o
	exec $(TARGET)/release/s3o standalone --data "$(DATA)" $(ARGS)

build: ## All binaries in the profile that tests use.
	$(CARGO) build --locked $(FLAGS) --workspace --bins

test: test-units campaign test-clients ## Every test but the slow ones: units, integration, faults, real clients.

# The integration tests run the services as processes, the data plane with points at which it can be stopped.
UNDER_TEST := --workspace --features s3o-dataplane/failpoints
RUN_TESTS = S3O_TEST_BINARIES=$(abspath $(TARGET))/debug $(CARGO) test --locked $(FLAGS) $(UNDER_TEST)

test-units: ## Units and integration tests.
	@scripts/setup.sh demo
	@scripts/setup.sh integration || echo "Without faketime the race test runs with one clock, without valgrind the cost tests fail."
	$(CARGO) build --locked $(FLAGS) $(UNDER_TEST) --bins
	$(RUN_TESTS)

# docs/testing.md has what it does. Both can be set in the environment.
MINUTES ?= 5
SEED ?= 1

campaign: ## A whole system under load and faults: MINUTES=5 SEED=1 ARGS="--faults kill,cut".
	@scripts/setup.sh demo
	$(CARGO) build --locked $(FLAGS) $(UNDER_TEST) --bins
	S3O_TEST_BINARIES=$(abspath $(TARGET))/debug $(TARGET)/debug/s3o-campaign --minutes $(MINUTES) --seed $(SEED) $(ARGS)

test-clients: ## awscli, boto3, rclone, restic and others against the two services and against standalone.
	@scripts/setup.sh test
	$(CARGO) build --locked $(FLAGS) --workspace --bins
	S3O_BINARIES=$(TARGET)/debug scripts/clients.sh

test-slow: ## The slow parts alone.
	@scripts/setup.sh demo
	$(CARGO) build --locked $(FLAGS) $(UNDER_TEST) --bins
	$(RUN_TESTS) -- --ignored

# The crates that read bytes from outside (docs/testing.md), and for how many seconds each of their properties is tried.
FUZZED := s3o-types s3o-blob s3o-backend s3o-runtime s3o-grpc s3o-dataplane
SECONDS ?= 600

fuzz: ## Properties of all parsers, each for SECONDS=600; as many at once as there are cores.
	S3O_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --locked $(FLAGS) $(FUZZED:%=-p %) --lib --no-fail-fast fuzz::

# `run` compares; `commits`, `list` and `multipart` are the others (docs/performance.md).
BENCH ?= run

bench: ## Ours beside nginx and the backend itself, in 10 minutes; ARGS="--quick" in 2. BENCH=commits, list, multipart.
	@scripts/setup.sh demo
	@scripts/setup.sh bench
	$(CARGO) build --release --locked $(FLAGS) -p s3o-controlplane -p s3o-dataplane -p s3o-bench --bins
	exec $(TARGET)/release/s3o-bench $(BENCH) $(ARGS)

bench-micro: ## What the parts cost by themselves: signatures, chunks, digests, the guard, placement, storage keys.
	$(CARGO) bench --locked $(FLAGS) -p s3o-bench --bench micro --bench requests

lint: ## Format, clippy, cargo-deny, cargo-machete.
	@scripts/lint.sh

doc: ## API documentation, warnings denied.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked $(FLAGS) --workspace --no-deps

advisories: ## Known vulnerabilities in dependencies; downloads the RustSec database.
	@scripts/cargo-tools.sh
	@. scripts/lib.sh && "$$(tools_dir)/bin/cargo-deny" --all-features check advisories
