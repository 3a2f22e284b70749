#!/usr/bin/env bash
# Runs `sam local invoke`, as documented, with every committed invocation and a fresh one. Needs a container engine; if none
# responds, it is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "sam-local: skipped, no container engine responds"
  exit 0
fi
case $(uname -m) in
  aarch64 | arm64) architecture=arm64 ;;
  *) architecture=x86_64 ;;
esac
export PATH="$PWD/.venv/bin:$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
sam=.venv-check/bin/sam

$sam build --build-dir .aws-sam/local --parameter-overrides "Architecture=$architecture"

log=$(mktemp)
.venv/bin/python events/parameters.py docker >"$log" 2>&1 &
backends=$!
trap 'kill $backends 2>/dev/null; wait $backends 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 600); do
  grep -q 'amplitude-emulator listening' "$log" && break
  kill -0 $backends || { cat "$log" >&2; exit 1; }
  sleep 0.1
done

pull=()
docker image inspect "public.ecr.aws/lambda/provided:al2023-$architecture" >/dev/null 2>&1 && pull=(--skip-pull-image)
invoke() {
  $sam local invoke Function --template .aws-sam/local/template.yaml --event "$1" --env-vars events/env.json \
    --parameter-overrides "Architecture=$architecture" --add-host host.docker.internal:host-gateway "${pull[@]}" 2>>"$log"
}
check() {
  grep -q '\\"outcome\\":\\"forwarded\\"' <<<"$2" || { cat "$log" >&2; echo "sam-local: $1 got $2" >&2; exit 1; }
  echo "sam-local: $1 was forwarded"
}
for event in events/invocations/*.json; do
  check "$event" "$(invoke "$event")"
done
fresh=$(cargo cli invocation events/stripe/invoice.paid.json | invoke -)
check "a fresh invocation" "$fresh"
