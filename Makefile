.PHONY: run test check bench fmt openapi

run: ## collect and serve; simulated where there is no network
	cargo run --release

test: ## everything, in one go
	cargo test --all-targets
	cargo test --doc

check: ## what must hold before each commit
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: advisories, licences and sources are not checked"; fi
	@cargo run --quiet -- openapi | diff -u openapi.json - || { echo "openapi.json is not what the code says: run 'make openapi'"; exit 1; }

openapi: ## writes the committed contract
	cargo run --quiet -- openapi > openapi.json

bench: ## our figures beside their ceilings
	cargo bench

fmt:
	cargo fmt
