# Given make, curl and Rust, every target here fetches whatever else it needs
# (see tests/setup) and is silent about it when nothing is missing.

# rustup puts cargo here, and a shell opened before that does not know it yet.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin

.DEFAULT_GOAL := help
.PHONY: help run test surroundings traces manifests faults bench lint fmt doc interop fmt-check clippy \
	setup-build setup-test setup-bench setup-ci

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' \
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
	@$(MAKE) --no-print-directory surroundings
	@echo "== manifests =="
	@tests/deploy/run
# Last: it leaves a binary with the feature, and the manifests are for one without.
	@echo "== traces =="
	@$(MAKE) --no-print-directory traces

# What a pooler or a serializable database would break first; `make faults` runs everything there.
SURROUNDED = refresh_race:: authorization_code::of_twenty authorization_code::a_lost_answer \
	authorization_code::a_code_that_is_used_twice sessions::many sessions::exactly revocation::a_client_takes \
	store::one_connection store::two_transactions store::several_that_maintain replicas::five_migrations \
	tools_doctor::a_healthy

surroundings: setup-test ## Run a few telling tests through PgBouncer, and on a serializable Postgres
	@echo "== through PgBouncer =="
	@tests/postgres pooled cargo test --test it -- $(SURROUNDED)
	@echo "== on a serializable Postgres =="
	@tests/postgres serializable cargo test --test it -- $(SURROUNDED)

traces: setup-test ## Build with the feature `otlp`, and hold what it tells a collector to the requests it is about
	@cargo test --features otlp --test it -- traces:: architecture:: config::

manifests: setup-test ## Check the manifests alone: render, validate, and start what they describe
	@cargo build --quiet
	@tests/deploy/run

faults: setup-test ## Break everything around tokens and keys, and print what came of it (ROUNDS=1000)
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

# Twice: either build has code that the other lacks.
clippy: setup-build
	@cargo clippy --all-targets -- -D warnings
	@cargo clippy --all-targets --features otlp -- -D warnings

setup-build setup-test setup-bench setup-ci: setup-%:
	@tests/setup $*
