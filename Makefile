# The two commands that a newcomer needs: `make run` and `make test`. CONTRIBUTING.md has the rest.

.PHONY: run test check lint instructions artefact pictures privacy soak fuzz bench supply-chain sbom parameters

# KEEP_SERVING=1 keeps serving afterwards, PORT=n serves on a port other than 3000. Without the AWS SDK, which takes longer to
# compile than everything else.
run:
	@cargo run --locked --package stripe-amplitude-cli --no-default-features --features workbench -- demo $(if $(KEEP_SERVING),--keep-serving) $(if $(PORT),--port $(PORT))

test: .venv/ready
	@# hello is a peer of the benchmarks and has no tests. This also builds the command line for the tests in a browser; a
	@# separate `cargo build` would compile the AWS SDK again, with other features.
	cargo test --locked --workspace --exclude hello
	cd tests/workbench && ../../.venv/bin/python -m unittest --verbose test_workbench
	@cd tests/workbench && ../../.venv/bin/python -c 'import browser; exit(not browser.is_there())' || \
	  echo "The tests in a browser were skipped. Install Chromium and ChromeDriver: apt-get install chromium chromium-driver"

# The screenshots of the workbench for the README and the page's own help: docs/pictures. Needs Chromium and ChromeDriver.
pictures: .venv/ready
	cargo build --locked --package stripe-amplitude-cli --no-default-features --features workbench
	.venv/bin/python tests/workbench/pictures.py

# Updates the fields of Stripe's objects from Stripe's own library, and docs/privacy.md. Lists the fields that are not
# classified yet.
privacy: .venv/ready
	.venv/bin/python tests/it/stripe_fields.py >tests/data/stripe-fields/newest.txt
	RENEW_PRIVACY_PAGE=1 cargo test --locked --package stripe-amplitude --test it privacy

# Checks that take longer, or that only a change to the project can break.
check: lint supply-chain instructions artefact

lint: .venv-check/ready
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	@# Each feature of the command line without the other one.
	cargo clippy --locked --package stripe-amplitude-cli --no-default-features --features aws -- --deny warnings
	cargo clippy --locked --package stripe-amplitude-cli --no-default-features --features workbench -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps
	tests/dependencies.sh
	$(sam) validate --lint
	.venv-check/bin/cfn-lint template.yaml
	.venv-check/bin/python tests/template.py
	.venv-check/bin/zizmor --offline --no-progress --quiet --strict-collection .github

# Counts the core's instructions, which do not depend on the machine's load. Needs valgrind.
instructions:
	cargo bench --locked --no-default-features --bench instructions -- --check

# Tests the artefact as deployed: built by SAM, for arm64, and run under AWS's own runtime interface emulator. The build
# for the panic test differs in one feature; all dependencies are compiled once.
artefact: .venv/ready .venv-check/ready
	rustup target add aarch64-unknown-linux-gnu
	PATH="$(CURDIR)/.venv/bin:$$PATH" cargo lambda build --locked --release --arm64 --bin stripe-amplitude --features panic-for-tests --lambda-dir target/lambda/panic-for-tests
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(sam) build
	.venv-check/bin/python tests/size.py
	cargo test --locked --package stripe-amplitude --test artefact
	tests/sam-local.sh
	tests/node-signer.sh

# Runs a simulated Stripe against the functions while everything around them fails, with and without the queue. SEED=n
# repeats a run, EVENTS=n makes it shorter or longer than 20,000 events. Also simulates an Amplitude outage at 10 to 5,000
# deliveries a second, with as many processes as Lambda starts, for the tables of docs/scale.md.
soak: .venv/ready
	$(if $(SEED),SEED=$(SEED)) $(if $(EVENTS),EVENTS=$(EVENTS)) cargo test --locked --package stripe-amplitude --test soak -- --nocapture --test-threads 1

# Runs every fuzz target for SECONDS seconds (60), after the inputs that failed once. Prefers a nightly compiler, but also
# works with the current one.
fuzz: target/tools/bin/cargo-fuzz
	PATH="$(CURDIR)/target/tools/bin:$$PATH" fuzz/run.sh $(SECONDS)

# Compares the function with a hello world and with the same function in JavaScript and in Python, and writes
# benches/RESULTS.md. ARGS selects parts: start, cold, warm, references, memory, size, throughput, core and cost; `quick`
# only prints. Needs a quiet machine, and root for control groups.
bench: .venv/ready .venv-bench/ready
	cargo build --locked --release --package stripe-amplitude --package hello --bins
	@if command -v npm >/dev/null; then \
	  npm ci --prefix benches/peers/node --no-audit --no-fund --silent && \
	  npm run --prefix benches/peers/node --silent bundle -- --log-level=warning --outfile=$(target)/bench/node/index.js; \
	else echo "npm is missing; skipping the JavaScript peer"; fi
	cargo bench --locked --no-default-features --bench side_by_side -- $(ARGS)

target = $(abspath $(or $(CARGO_TARGET_DIR),target))

# Checks the dependencies' licences, sources, duplicates and Rust version; ADVISORIES=1 also queries RustSec's database.
supply-chain: target/tools/bin/cargo-deny
	PATH="$(CURDIR)/target/tools/bin:$$PATH" tests/supply-chain.sh $(if $(ADVISORIES),advisories)

# The deployed functions' bill of materials, as CycloneDX: target/stripe-amplitude.cdx.json.
sbom: target/tools/bin/cargo-cyclonedx
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo cyclonedx --format json --features lambda --target aarch64-unknown-linux-gnu --override-filename stripe-amplitude.cdx
	mv stripe-amplitude.cdx.json target/
	@# cargo-cyclonedx writes one for each package of the workspace.
	rm benches/peers/hello/stripe-amplitude.cdx.json crates/*/stripe-amplitude.cdx.json

target/tools/bin/cargo-fuzz target/tools/bin/cargo-deny target/tools/bin/cargo-cyclonedx: target/tools/bin/%:
	cargo install --locked --quiet --root target/tools --target-dir target/tools/build $*@$($*)

# Update these from time to time.
cargo-fuzz = 0.13.2
cargo-deny = 0.20.2
cargo-cyclonedx = 0.5.9

# No account is needed for anything here, but SAM wants to know a Region.
sam = SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-1 .venv-check/bin/sam

# Serves a Parameter Store with the project `demo`, and an Amplitude, for `cargo lambda watch` and `sam local invoke`. For
# the latter on Linux, use ADDRESS=docker.
parameters: .venv/ready
	@.venv/bin/python events/parameters.py $(ADDRESS)

# Requirements of the integration tests: Lambda's runtime interface, Parameter Store, Stripe's own library.
.venv/ready: tests/requirements.txt

# AWS's SAM, which includes its runtime interface emulator.
.venv-check/ready: tests/requirements-check.txt

# The Python peer of `make bench`, with only what it needs.
.venv-bench/ready: benches/peers/python/requirements.txt

.venv/ready .venv-bench/ready .venv-check/ready:
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
