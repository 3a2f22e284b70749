#!/usr/bin/env bash
# Stripe's official package for Node.js signs every sample event and posts it to the handler. Needs Node.js and npm;
# if they are missing, it is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null; then
  echo "node-signer: skipped, npm is missing"
  exit 0
fi
npm ci --prefix tests/node --no-audit --no-fund --silent
cargo build --locked --quiet --package stripe-amplitude-cli
log=$(mktemp)
target/debug/stripe-amplitude-cli serve --port 0 >"$log" &
serving=$!
trap 'kill $serving; rm -f "$log"' EXIT
for _ in $(seq 100); do
  grep -q '^Serving ' "$log" && break
  sleep 0.1
done
url=$(sed -n 's/^Serving //p' "$log" | head -1)
node tests/node/sign.mjs "$url" events/stripe/*.json
