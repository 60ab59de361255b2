# What people type here. Everything downloaded goes into a cache outside the tree; `make help` lists the targets.

PG_VERSIONS ?= 15 17
TEST_ARGS ?=
FETCH := tests/services/fetch
NEED := tests/services/need

# libduckdb is linked from the cache unless it is said where else it is.
export DUCKDB_LIB_DIR ?= $(shell $(FETCH) path duckdb)
# The harness of the tests reads these.
TEST_ENV = TAILWATER_CACHE="$$($(FETCH) path cache)" TAILWATER_PG_VERSIONS="$(PG_VERSIONS)"
# Tests against servers wait more than they work.
LIVE_ENV = $(TEST_ENV) TMPDIR="$$(tests/services/scratch)" RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc || echo 2) + 2))}

.DEFAULT_GOAL := help
.PHONY: help services services-demo build demo test test-hermetic test-live kill storm day failover outages large histories sim fuzz mutants compat bench bench-changes bench-latency bench-encode bench-redshift lint audit advisories clean-services

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r target text; do printf '%-22s %s\n' "$$target" "$$text"; done

services: ## fetch what the tests need: PostgreSQL (PG_VERSIONS, default "15 17"), Kafka, a schema registry, libduckdb
	@$(NEED) npm java python
	@$(FETCH) postgres $(PG_VERSIONS) 18 duckdb kafka apicurio protobuf

services-demo: ## fetch what the demo needs: PostgreSQL 17 and libduckdb
	@$(NEED) npm
	@$(FETCH) postgres 17 duckdb

build: ## the release binary, target/release/tailwater
	@$(NEED) rust npm kafka-client
	@$(FETCH) duckdb
	cargo build --release --locked

demo: ## mirror a live PostgreSQL into DuckDB for half a minute; needs Rust, a C compiler and npm, nothing else
	@$(NEED) rust npm
	@$(FETCH) postgres 17 duckdb
	cargo build --locked --no-default-features --features duckdb
	@TAILWATER_POSTGRES_BIN="$$($(FETCH) path postgres 17)/bin" target/debug/tailwater demo

test: ## every test: those without services, then those against real servers (TEST_ARGS="filter")
	@$(NEED) rust npm java python kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) 18 duckdb kafka apicurio protobuf
	$(TEST_ENV) cargo test --locked --lib --bins --test hermetic --test sim --test fuzz -- $(TEST_ARGS)
	$(LIVE_ENV) cargo test --locked --test live -- $(TEST_ARGS)

test-hermetic: ## the tests that need no service
	@$(NEED) rust npm kafka-client
	@$(FETCH) duckdb
	$(TEST_ENV) cargo test --locked --lib --bins --test hermetic --test sim --test fuzz -- $(TEST_ARGS)

test-live: ## the tests against real servers
	@$(NEED) rust npm java python kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) 18 duckdb kafka apicurio protobuf
	$(LIVE_ENV) cargo test --locked --test live -- $(TEST_ARGS)

kill: ## kill -9 each wiring fifty times under a mixed write load (KILLS, default 50)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) duckdb kafka
	$(TEST_ENV) TAILWATER_KILLS=$${KILLS:-50} cargo test --locked --test live -- kill:: --nocapture --test-threads=2

storm: ## everything killed, frozen, cut off and restarted at random (STORM seconds, default 300; BROKERS, default 1)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres 17 duckdb kafka
	$(TEST_ENV) TAILWATER_STORM=$${STORM:-300} TAILWATER_BROKERS=$${BROKERS:-1} cargo test --locked --test live -- storm:: --nocapture

day: ## days of a shop with a rush, a nightly batch and a deploy each, everything killed in between (DAYS, default 20)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres 17 duckdb kafka
	$(TEST_ENV) TAILWATER_DAYS=$${DAYS:-20} cargo test --locked --test live -- day:: --nocapture

failover: ## promote a standby under load, with and without what keeps it complete (FAILOVERS each, default 20)
	@$(NEED) rust npm kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) duckdb
	$(TEST_ENV) TAILWATER_FAILOVERS=$${FAILOVERS:-20} cargo test --locked --test live -- failover:: --nocapture

outages: ## brokers away for minutes, in every way and at random: OUTAGES (default 50)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres 17 duckdb kafka
	$(TEST_ENV) TAILWATER_AWAY=300 TAILWATER_OUTAGES=$${OUTAGES:-50} TAILWATER_OUTAGE_SECONDS=60 TAILWATER_PATIENCE=3 cargo test --locked --test live -- outage:: --nocapture --test-threads=2

large: ## transactions of LARGE_MB (default 2000) received while they are open: one, then 64 at once; memory, delay, the server's disk
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres 17 duckdb kafka
	$(TEST_ENV) TAILWATER_LARGE_MB=$${LARGE_MB:-2000} cargo test --locked --test live -- huge:: --nocapture --test-threads=1

histories: ## every mode of warehouse tables against a model, many random histories: SEEDS
	SEEDS=$${SEEDS:-1000} $(MAKE) test-live TEST_ARGS=modes::

sim: ## delivery against models, a million schedules (SEEDS); TAILWATER_SEED=n replays one
	@$(NEED) rust
	TAILWATER_SEEDS=$${SEEDS:-1000000} cargo test --locked --no-default-features --test sim -- --nocapture

fuzz: ## every reader of foreign bytes, fed with damaged captures (FUZZ_SECONDS each, default 60); TAILWATER_FUZZ=target:seed replays one
	@$(NEED) rust
	TAILWATER_FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --no-default-features --test fuzz -- --nocapture

mutants: ## bugs put in on purpose, each to be found by the test it names (docs/mutants.md)
	@$(NEED) rust npm java python kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) 18 duckdb kafka
	$(TEST_ENV) tests/mutants/run

compat: ## Tailwater beside Debezium on one database, the same changes told alike (SCRIPTS="name ..", BLESS=1 keeps what Debezium told)
	@$(NEED) rust npm java python kafka-client
	@$(FETCH) postgres 17 duckdb kafka apicurio debezium
	$(TEST_ENV) cargo test --locked --test compat -- --nocapture

bench: ## drain a backlog through each wiring and through pg_recvlogical, and write it as objects for Redshift (ROWS, default a million)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) duckdb kafka
	$(TEST_ENV) cargo bench --locked --bench drain --bench redshift

bench-changes: ## inserts, updates and deletes into an empty and a large table, against COPY and MERGE by hand and a subscription (CHANGES, HELD)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) duckdb kafka
	$(TEST_ENV) cargo bench --locked --bench changes

bench-latency: ## from an INSERT to a consumer of committed records, under both guarantees (SECONDS, ROUNDS)
	@$(NEED) rust npm java kafka-client
	@$(FETCH) postgres $(PG_VERSIONS) duckdb kafka
	$(TEST_ENV) cargo bench --locked --bench latency

bench-encode: ## nanoseconds and bytes of one event in each format
	@$(NEED) rust
	cargo bench --locked --no-default-features --bench encode

bench-redshift: ## rows a second that become objects on S3 for Redshift's COPY, Parquet and CSV, beside DuckDB's COPY TO (ROWS, FORMAT)
	@$(NEED) rust npm kafka-client
	@$(FETCH) postgres 17 duckdb
	$(TEST_ENV) cargo bench --locked --bench redshift

lint: ## formatting, and clippy for each set of features; warnings are errors
	@$(NEED) rust lint npm kafka-client
	@$(FETCH) duckdb
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features --features duckdb -- -D warnings
	cargo clippy --locked --all-targets --no-default-features --features kafka -- -D warnings

audit: ## licences, bans and sources of the dependencies
	@$(NEED) rust deny
	cargo deny --all-features check bans licenses sources

advisories: ## known vulnerabilities of the dependencies; fetches the advisory database
	@$(NEED) rust deny
	cargo deny --all-features check advisories

clean-services: ## remove what was fetched
	@cache="$$($(FETCH) path cache)" && rm -rf "$$cache"/postgres-* "$$cache"/duckdb-* "$$cache"/kafka-* "$$cache"/apicurio-* "$$cache"/debezium-* "$$cache"/avro-converter-* "$$cache"/.fetch.* && echo "removed from $$cache"
