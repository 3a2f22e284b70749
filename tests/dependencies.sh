#!/usr/bin/env bash
# Checks the dependencies: the function has one HTTP stack, one TLS stack and no C library for TLS, and the command line
# does not compile the AWS SDK.
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
  [ "$(grep -c "^$crate " <<<"$function_tree")" = 1 ] || fail "the function must have exactly one version of $crate"
done
for crate in aws-lc-rs aws-lc-sys native-tls openssl openssl-sys; do
  ! grep -q "^$crate " <<<"$function_tree" || fail "the function must not depend on $crate"
done
cli_tree=$(crates --package stripe-amplitude-cli)
! grep -q '^aws-sdk' <<<"$cli_tree" || fail "the command line must not depend on the AWS SDK"
# Each crate has to be trusted, compiled and loaded. If one more is worth it, increase this number.
[ "$(wc -l <<<"$function_tree")" -le "$most_crates" ] || fail "the function has $(wc -l <<<"$function_tree") crates; expected at most $most_crates"
echo "dependencies: $(wc -l <<<"$function_tree") crates in the function, one HTTP and TLS stack"
