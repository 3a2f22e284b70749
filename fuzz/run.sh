#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (60), or those that are named: fuzz/run.sh 600 header delivery. `make fuzz`
# installs cargo-fuzz for it. First come the inputs of fuzz/regressions, once each: those that failed once, and large
# ones; with 0 seconds, all committed inputs once, and nothing else.
#
# What libFuzzer finds out stays in target/fuzz, and the next run continues from there. A failure's input is written to
# fuzz/artifacts. To put what is new and small into the committed corpus:
#     cargo +nightly fuzz cmin header target/fuzz/corpus/header
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
if [ $# -gt 1 ]; then targets=("${@:2}"); else targets=(header delivery invocation redelivery translation settings bounds); fi
target_dir=${CARGO_TARGET_DIR:-$PWD/target/fuzz}

# The sanitizer and the coverage that libFuzzer uses need a nightly compiler, or RUSTC_BOOTSTRAP.
if rustup run nightly rustc --version >/dev/null 2>&1; then
  export RUSTUP_TOOLCHAIN=nightly
else
  export RUSTC_BOOTSTRAP=1
fi
run() {
  local options=(--target-dir "$target_dir") limits=(-timeout=20)
  if [ "$1" = bounds ]; then
    # It counts memory, and the sanitizer's allocator keeps what is freed. Its bodies are large, and a build of its own is
    # faster.
    options=(--target-dir "$target_dir/without-sanitizer" --sanitizer none)
    limits=(-timeout=60 -max_len=400)
  fi
  cargo fuzz run "${options[@]}" "$1" "${@:2}" \
    -dict=fuzz/words.dict "${limits[@]}" -print_final_stats=1 >"$log" 2>&1
}
statistic() {
  sed -n "s/^stat::$1: *//p" "$log"
}

cargo fuzz build --target-dir "$target_dir"
failed=()
for target in "${targets[@]}"; do
  found=$PWD/target/fuzz/corpus/$target
  log=$PWD/target/fuzz/$target.log
  mkdir -p "$found"
  inputs=("fuzz/corpus/$target" "fuzz/regressions/$target")
  if run "$target" "$found" "${inputs[@]}" -- -runs=0 &&
    { [ "$seconds" = 0 ] || run "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds"; }; then
    echo "fuzz: $target: $(statistic number_of_executed_units) executions, $(statistic peak_rss_mb) MB at most"
  else
    # The panic, libFuzzer's verdict, and how to repeat it; or why it did not start.
    grep -E -A 1 'panicked at|^SUMMARY|^error|cargo fuzz (run|tmin)' "$log" | cut -c 1-500 >&2 || tail -n 20 "$log" >&2
    echo "fuzz: $target FAILED; all of it is in ${log#"$PWD"/}" >&2
    failed+=("$target")
  fi
done
[ ${#failed[@]} = 0 ] || exit 1
