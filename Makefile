# The two commands that a newcomer needs: `make run` and `make test`. CONTRIBUTING.md has the rest.

.PHONY: run test check clean

# KEEP_SERVING=1 keeps serving afterwards, PORT=n serves on another port than 3000.
run:
	@cargo run --package stripe-amplitude-cli -- demo $(if $(KEEP_SERVING),--keep-serving) $(if $(PORT),--port $(PORT))

test: .venv/ready
	cargo test --workspace

# The helpers of the integration tests: Lambda's runtime interface, Parameter Store, Stripe's own library.
.venv/ready: tests/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@
