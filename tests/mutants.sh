#!/usr/bin/env bash
# Does a test of the guard's own notice when a line of the guard is wrong?
#
# Copies the pure modules that the guard stands on into a crate of their own, which builds in seconds, and lets cargo-mutants
# change one expression after the other in src/guard; only the guard's unit tests judge. Prints the survivors; the exit code is
# 0 if there is none but those that tests/mutants.txt explains.
#
#   tests/mutants.sh [FILTER]     only mutants whose name matches, such as blast_radius
#
# Needs cargo-mutants: cargo install cargo-mutants --locked
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
target=${CARGO_TARGET_DIR:-$root/target}
copy=$target/mutants
rm -rf "$copy"
mkdir -p "$copy/src"
for module in audience guard model; do
  cp -r "$root/src/$module" "$copy/src/"
done
cp -r "$root/audiences" "$copy/audiences"
cp "$root/Cargo.lock" "$copy/"

# The crates that these modules use, at the versions of the whole.
crate() { grep -E "^$1 = " "$root/Cargo.toml"; }
{
  printf '[workspace]\n\n[package]\nname = "bellwether"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\n'
  for name in bytes jiff schemars serde serde_json serde_path_to_error sha2 similar thiserror toml unicode-normalization \
    unicode-security uuid; do
    crate "$name"
  done
  printf '\n[dev-dependencies]\n'
  crate proptest
  crate tempfile
} >"$copy/Cargo.toml"
printf '#![allow(dead_code, missing_docs, unused)]\npub mod audience;\npub mod guard;\npub mod model;\n' >"$copy/src/lib.rs"

filter=()
[ "$#" -eq 0 ] || filter=(--re "$1")
status=0
(cd "$copy" && CARGO_TARGET_DIR=$target/mutants-build cargo mutants --in-place --no-shuffle --timeout 60 --baseline run \
  --file 'src/guard/**' --exclude '**/sample.rs' --exclude '**/properties.rs' "${filter[@]}" -- --lib guard::) || status=$?
case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac # 2: some survived, 3: some did not come back

# What survives and is explained is one line of tests/mutants.txt, as cargo-mutants names it, without its place; comments are #.
survivors=$(sed -E 's/:[0-9]+:[0-9]+: /: /' "$copy/mutants.out/missed.txt" | sort -u |
  grep -vxFf <(grep -v '^#' "$root/tests/mutants.txt") || true)
if [ -n "$survivors" ]; then
  printf 'survived:\n%s\n' "$survivors"
  exit 1
fi
echo "every mutant of the guard was killed, but for what tests/mutants.txt explains"
