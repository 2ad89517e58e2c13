.PHONY: run test soak interop check bench fuzz fmt openapi

run: ## collect and serve; simulated without a network
	cargo run --release

test: ## run all tests; database tests need a server, see CONTRIBUTING.md
	@tests/servers
	@tests/run

soak: ## six hours of market time with all faults and ten kills on both stores, ten minutes of load, an hour of adversarial responses; about 80 minutes
	@tests/servers
	SOAK_HOURS=6 LOAD_MINUTES=10 cargo test --test soak -- --test-threads=1 --nocapture
	ADVERSARY_MINUTES=60 ADVERSARY_SEED=$$(date +%s) cargo test --release --lib adversary

interop: ## run third-party clients and tools against simulated exchanges; needs Python 3 and PyPI
	python3 -m venv target/interop
	target/interop/bin/pip install --quiet --requirement tests/interop/requirements.txt
	cargo build
	target/interop/bin/python tests/interop/ccxt_pages.py target/debug/candlewick
	target/interop/bin/python tests/interop/streams.py target/debug/candlewick
	target/interop/bin/python tests/interop/contract.py target/debug/candlewick

# rustfmt does not find the modules that a macro declares: the folders of the exchanges.
VENUES = $(wildcard src/exchanges/*/mod.rs src/simulator/*/mod.rs)

check: ## checks to run before each commit
	cargo fmt -- --check $(VENUES)
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test soak -- -D warnings
	cargo clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: advisories, licences and sources are not checked"; fi
	@if command -v promtool >/dev/null; then cd observability && promtool check config prometheus.yml >/dev/null && promtool test rules alerts_test.yml >/dev/null && echo "promtool: the tests of the alerts passed"; else echo "promtool is not installed: the alerts are not tested"; fi
	@cargo run --quiet -- openapi | diff -u openapi.json - || { echo "openapi.json is outdated: run 'make openapi'"; exit 1; }

openapi: ## write openapi.json
	cargo run --quiet -- openapi > openapi.json

bench: ## print benchmark results beside their ceilings
	cargo bench

fmt: ## format the code
	cargo fmt -- $(VENUES)

fuzz: ## a million inputs for each fuzz target, see fuzz/README.md
	@for target in on_frame parse; do mkdir -p fuzz/corpus/$$target; done
	@cat tests/fixtures/*/frames.jsonl | split --lines=1 - fuzz/corpus/on_frame/line-
	@for file in tests/fixtures/*/frames.jsonl; do cp $$file fuzz/corpus/on_frame/$$(basename $$(dirname $$file)); done
	@for file in tests/fixtures/*/*.json; do cp $$file fuzz/corpus/parse/$$(echo $$file | tr / -); done
	for target in on_frame parse; do cargo +nightly fuzz run $$target -- -runs=1000000 -malloc_limit_mb=64 -rss_limit_mb=1024 || exit 1; done
