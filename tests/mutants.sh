#!/usr/bin/env bash
# Does one of the guard's own tests notice when a line of the guard says something else?
#
# Runs cargo-mutants (`cargo install cargo-mutants --locked`) over src/guard with the tests of src/guard alone: each
# condition negated, each comparison moved, each function made to answer a constant. It needs some seconds a mutant, because
# the pure modules are copied into a small crate of their own; the whole program would need a minute. Survivors are listed,
# and the exit is not 0. Arguments go to cargo-mutants: tests/mutants.sh --file 'src/guard/rules/expired.rs'
#
# The properties are left out: what only a random job notices is noticed by luck, and they take most of the time.
#
# What `equivalent` lists is left out, each for a reason.
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
target=${CARGO_TARGET_DIR:-$root/target}
crate=$target/guard-alone
export RUST_BACKTRACE=0
unset CARGO_TARGET_DIR

equivalent=(
    # An empty set of people is the same, wherever it is made.
    'replace nobody -> '
    # The bits of the number and of the place are apart.
    'watch.rs.* replace \| with \^ in Progress::begin'
    # Each bit is set by one weight.
    'fingerprint.rs.* replace \| with \^ in simhash'
    # The bits below a shifted number are zero.
    'sketch.rs.* replace \| with \^ in note'
    # No slice ahead moves nothing.
    'window.rs.* replace > with >= in Window::give'
    # Of a language of three letters nothing is known, whichever way it is asked.
    'language_mismatch.rs.* replace > with >= in check'
)

rm -rf "$crate/src"
mkdir -p "$crate/src"
cp -r "$root/src/model" "$root/src/audience" "$root/src/guard" "$crate/src/"
for module in model audience guard; do
    [ ! -f "$root/src/$module.rs" ] || cp "$root/src/$module.rs" "$crate/src/"
    echo "pub mod $module;"
done >"$crate/src/lib.rs"
cp -r "$root/audiences" "$crate/"
cp "$root/Cargo.lock" "$crate/"

# The same crates in the same versions, as far as these modules name them.
{
    printf '[package]\nname = "bellwether"\nversion = "0.1.0"\nedition = "2024"\npublish = false\n\n[workspace]\n\n'
    section=
    while IFS= read -r line; do
        case $line in
            '[dependencies]' | '[dev-dependencies]') section=yes && echo "$line" ;;
            '['*) section= ;;
            [a-z]*' = '*)
                name=${line%% *}
                if [ -n "$section" ] && grep -rqE "\b${name//-/_}(::|!)" "$crate/src" --include='*.rs'; then
                    echo "$line"
                fi
                ;;
        esac
    done <"$root/Cargo.toml"
} >"$crate/Cargo.toml"

[ "$#" -gt 0 ] || set -- --file 'src/guard/**'
excluded=()
for mutant in "${equivalent[@]}"; do
    excluded+=(--exclude-re "$mutant")
done
cd "$crate"
exec cargo mutants --in-place --no-shuffle --baseline run --timeout 300 --colors never \
    "${excluded[@]}" --output "$crate" "$@" -- --lib guard:: -- --skip ::properties::
