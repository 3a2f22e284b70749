#!/usr/bin/env bash
# Checks the dependencies: the function has one HTTP stack, one TLS stack and no C library for TLS; `make run` does not compile
# the AWS SDK; and without the workbench, the command line has no web server and no database.
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
tree_with_workbench=$(crates --package stripe-amplitude-cli --no-default-features --features workbench)
! grep '^aws-sdk' <<<"$tree_with_workbench" || fail "without its feature aws, the command line must not depend on the AWS SDK"
tree_with_aws=$(crates --package stripe-amplitude-cli --no-default-features --features aws)
! grep -E '^(amplitude-emulator|axum|rusqlite) ' <<<"$tree_with_aws" || fail "without its feature workbench, the command line must not depend on these"
# Each crate has to be trusted, compiled and loaded. If one more is worth it, increase this number.
[ "$(wc -l <<<"$function_tree")" -le "$most_crates" ] || fail "the function has $(wc -l <<<"$function_tree") crates; expected at most $most_crates"
echo "dependencies: $(wc -l <<<"$function_tree") crates in the function, one HTTP and TLS stack"
