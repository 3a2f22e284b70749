#!/usr/bin/env bash
# Checks what the function's tree of crates promises: one HTTP stack, one TLS stack, no C library for TLS; and that the
# command line does not compile the AWS SDK.
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
cli_tree=$(crates --package stripe-amplitude-cli)
! grep -q '^aws-sdk' <<<"$cli_tree" || fail "the command line has the AWS SDK"
# Each crate is something to trust, to compile and to start. One more may be worth it; then this number changes, too.
[ "$(wc -l <<<"$function_tree")" -le "$most_crates" ] || fail "the function has $(wc -l <<<"$function_tree") crates, and not $most_crates"
echo "dependencies: $(wc -l <<<"$function_tree") crates in the function, one HTTP and TLS stack"
