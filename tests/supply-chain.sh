#!/usr/bin/env bash
# Checks the dependencies' requirements and sources. `make supply-chain` installs cargo-deny for it.
#
# - No dependency needs a later Rust than `rust-version` in Cargo.toml. (For our own code, clippy's lint incompatible_msrv
#   checks this by default.)
# - All come from a registry, including those of the fuzz targets, and the lock files are up to date.
# - Licences, duplicates and banned crates: deny.toml.
#
# With the argument `advisories`, also RustSec's known vulnerabilities, whose database cargo-deny clones from GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 - <<'END'
import json
import subprocess
import sys


def packages(manifest):
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--manifest-path", manifest]
    metadata = subprocess.run([*command, "--locked"], stdout=subprocess.PIPE)
    if metadata.returncode != 0:
        fail(f"the lock file next to {manifest} may be out of date; update it: {' '.join(command)} >/dev/null")
    return json.loads(metadata.stdout)["packages"]


def fail(text):
    sys.exit(f"supply chain: {text}")


def version(text):
    numbers = [int(number) for number in text.split(".")]
    return numbers + [0] * (3 - len(numbers))


for manifest in ["Cargo.toml", "fuzz/Cargo.toml"]:
    all_packages = packages(manifest)
    supported = next(package["rust_version"] for package in all_packages if package["name"] == "stripe-amplitude")
    dependencies = [package for package in all_packages if package["source"] is not None]
    for package in dependencies:
        name = f"{package['name']} {package['version']}"
        if not package["source"].startswith("registry+"):
            fail(f"{manifest}: {name} is from {package['source']}; expected a registry")
        if version(package["rust_version"] or "1.0") > version(supported):
            fail(
                f"{manifest}: {name} needs Rust {package['rust_version']}, but rust-version in Cargo.toml is {supported};"
                " increase that, or use an earlier version of the crate: cargo update --precise"
            )
    most = max((package["rust_version"] or "1.0" for package in dependencies), key=version)
    print(
        f"supply chain: {manifest}: {len(dependencies)} crates; they need Rust {most},"
        f" and rust-version is {supported}"
    )
END

cargo-deny --locked check --hide-inclusion-graph licenses bans sources "$@"
