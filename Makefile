# Everything a developer runs. `make demo` and `make test` work on a bare Debian 12 that has cargo, a C compiler and
# root: what they need besides is installed by scripts/setup.

CARGO ?= cargo
# Programs that the tests start from Python live here; tests/support/python.rs looks in the same place.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

.PHONY: help demo release test setup fmt clippy docs unit bench bench-micro bench-reaction check-deps

help:
	@echo "make demo           sample blue and green servers behind Tidegate, with load and a live table"
	@echo "make release        the program as it is shipped: optimised by its own profile under load"
	@echo "make test           formatting, lints, documentation, every test; installs what is missing"
	@echo "make bench          CPU time and latency against Nginx, HAProxy and a bare relay"
	@echo "make bench-reaction how long a bad canary keeps its traffic"
	@echo "make bench-micro    criterion benches of the parts on a request's way"
	@echo "make check-deps     licences, bans, sources and advisories of the dependencies"

demo:
	$(CARGO) run --release -- demo

release:
	TARGET="$(TARGET)" scripts/release

test: setup fmt clippy docs unit

setup:
	TARGET="$(TARGET)" scripts/setup test

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Far longer than the suite takes: a test that hangs ends the run with its name on the screen.
unit:
	timeout --kill-after=10s 45m $(CARGO) test --locked --no-fail-fast

bench: release
	benches/peers/run --write --tidegate "$(TARGET)/pgo/tidegate"

bench-reaction:
	$(CARGO) bench --locked --bench reaction

bench-micro:
	$(CARGO) bench --locked --bench micro

# Not part of `make test`: installing cargo-deny takes minutes and the advisories are fetched from the network.
check-deps:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --all-features check
