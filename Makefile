# Given make, curl and Rust, every target here fetches whatever else it needs
# (see tests/setup) and is silent about it when nothing is missing.

# rustup puts cargo here, and a shell opened before that does not know it yet.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin

.DEFAULT_GOAL := help
.PHONY: help run test manifests faults bench lint fmt doc interop fmt-check clippy \
	setup-build setup-test setup-bench setup-ci

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

# Two steps, so that the first build shows its progress and the server's output starts clean.
run: setup-build ## Build and start a development server (ARGS="..." for more options)
	@cargo build
	@cargo run --quiet -- serve --dev $(ARGS)

test: setup-test ## Run the whole test suite on SQLite and on Postgres, and check the manifests (TESTARGS="...")
	@echo "== tests on SQLite =="
	@env -u JETON_TEST_DATABASE_URL cargo test $(TESTARGS)
	@echo "== tests on Postgres =="
	@tests/postgres with cargo test $(TESTARGS)
	@echo "== manifests =="
	@tests/deploy/run

manifests: setup-test ## Check the manifests alone: render, validate, and start what they describe
	@cargo build --quiet
	@tests/deploy/run

faults: setup-test ## Break everything around refresh tokens, and print what came of it (ROUNDS=1000)
	@tests/faults $(or $(ROUNDS),1000)

# Built before the database is started, so that a compiler's error is not followed by its shutdown.
# BENCH="refresh-growth" fills a database with ten million families first: minutes, and 4 GB of disk. It
# runs only if its whole name is given.
bench: setup-bench ## Measure a release build beside its ceilings (BENCH="jwks" for a part, BENCH="--quick")
	@cargo bench --bench http --no-run
	@tests/postgres durable cargo bench --quiet --bench http -- $(BENCH)

lint: fmt-check clippy ## Check formatting and run clippy; any warning fails

fmt: ## Format the source
	@cargo fmt

doc: setup-build ## Build the documentation of the source; any warning fails
	@RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps

interop: setup-ci ## Check tokens with other people's verifiers
	@tests/interop/run

# What the targets above are made of

fmt-check:
	@cargo fmt --check

clippy: setup-build
	@cargo clippy --all-targets -- -D warnings

setup-build setup-test setup-bench setup-ci: setup-%:
	@tests/setup $*
