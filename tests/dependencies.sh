#!/usr/bin/env bash
# Checks what the function's tree of crates promises: one HTTP stack, one TLS stack, no C library for TLS; and that
# `make run` does not compile the AWS SDK, nor the commands for AWS a database.
set -euo pipefail
most_crates=171

crates() {
  cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p}' "$@" | cut -d ' ' -f 1,2 | sort -u
}
fail() {
  echo "dependencies: $1" >&2
  exit 1
}

function_tree=$(crates --package stripe-amplitude)
for crate in hyper reqwest rustls; do
  [ "$(grep -c "^$crate " <<<"$function_tree")" = 1 ] || fail "the function has not exactly one $crate"
done
for crate in aws-lc-rs aws-lc-sys native-tls openssl openssl-sys; do
  ! grep -q "^$crate " <<<"$function_tree" || fail "the function has $crate"
done
tree_with_workbench=$(crates --package stripe-amplitude-cli --no-default-features --features workbench)
! grep '^aws-sdk' <<<"$tree_with_workbench" || fail "the command line has these without its feature aws"
tree_with_aws=$(crates --package stripe-amplitude-cli --no-default-features --features aws)
! grep -E '^(amplitude-emulator|axum|rusqlite) ' <<<"$tree_with_aws" || fail "the command line has these without its feature workbench"
# Each crate is something to trust, to compile and to start. One more may be worth it; then this number changes, too.
[ "$(wc -l <<<"$function_tree")" -le "$most_crates" ] || fail "the function has $(wc -l <<<"$function_tree") crates, and not $most_crates"
echo "dependencies: $(wc -l <<<"$function_tree") crates in the function, one HTTP and TLS stack"
