# The two commands that a newcomer needs: `make run` and `make test`. CONTRIBUTING.md has the rest.

.PHONY: run test check lint artefact

# KEEP_SERVING=1 keeps serving afterwards, PORT=n serves on another port than 3000.
run:
	@cargo run --locked --package stripe-amplitude-cli -- demo $(if $(KEEP_SERVING),--keep-serving) $(if $(PORT),--port $(PORT))

test: .venv/ready
	cargo test --locked --workspace

# Everything that takes longer, or that only a change to the project can break.
check: lint artefact

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps
	tests/dependencies.sh

# What is deployed, as it is deployed: built by cargo-lambda, run under AWS's own runtime interface emulator. The build
# for the test of panics differs in one feature; all dependencies are compiled once.
build = PATH="$(CURDIR)/.venv/bin:$$PATH" cargo lambda build --locked --release --bin stripe-amplitude --lambda-dir

artefact: .venv/ready .venv-check/ready
	rustup target add aarch64-unknown-linux-gnu
	$(build) target/lambda/panic-for-tests --x86-64 --features panic-for-tests
	$(build) target/lambda/x86_64 --x86-64
	$(build) target/lambda/arm64 --arm64
	cargo test --locked --package stripe-amplitude --test artefact

# The helpers of the integration tests: Lambda's runtime interface, Parameter Store, Stripe's own library.
.venv/ready: tests/requirements.txt

# AWS's SAM, for its runtime interface emulator.
.venv-check/ready: tests/requirements-check.txt

.venv/ready .venv-check/ready:
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
