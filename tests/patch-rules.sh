#!/usr/bin/env bash
# Does a test notice when a rule of the guard falls silent?
#
# Patches each rule in turn, in a copy of the tree, so that it answers nothing; runs the guard's unit tests
# there; prints `rule → the named tests that went red`. Exits with 1 if a rule has no test of its own that
# does. With arguments, only these rules: tests/patch-rules.sh test-to-production
#
# A rule is a file src/guard/rules/<rule>.rs with one function `pub(super) fn check(…)`; whatever stands in
# it, a return before its first line makes it answer nothing.
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export RUST_BACKTRACE=0
# Always the same place: cargo keeps artefacts by path, and a new one each time would fill the disk.
copy=$CARGO_TARGET_DIR/patch-rules
rules=src/guard/rules

rm -rf "$copy"
mkdir -p "$copy"
trap 'rm -rf "$copy"' EXIT
git -C "$root" ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [ -f "$root/$file" ] && printf '%s\0' "$file"; done |
    tar -C "$root" -c --null -T - | tar -C "$copy" -xm
cd "$copy"

# Runs the guard's tests; prints the names of those that failed.
red() {
    local log=$copy/patch-rules.log
    cargo test --lib guard:: >"$log" 2>&1 || true
    if ! grep -q '^test result:' "$log"; then
        tail -n 40 "$log" >&2
        echo "the tests did not run" >&2
        return 1
    fi
    sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log"
}

# Makes the rule in the file $1 answer nothing.
silence() {
    awk '
        /^pub\(super\) fn check\(/ { inside = 1 }
        { print }
        inside && /\{$/ { print "    if true {\n        return Vec::new();\n    }"; inside = 0; patched++ }
        END { exit patched == 1 ? 0 : 1 }
    ' "$1" >"$1.patched" || { echo "$1 has not exactly one check to patch" >&2; return 1; }
    mv "$1.patched" "$1"
}

mapfile -t all < <(sed -n 's/.*Entry {.* id: "\([a-z-]*\)".* check: [a-z_]*::check }.*/\1/p' "$rules/mod.rs")
[ "${#all[@]}" -gt 0 ] || { echo "no rules were found in $rules/mod.rs" >&2; exit 1; }
[ "$#" -gt 0 ] || set -- "${all[@]}"

before=$(red)
if [ -n "$before" ]; then
    printf 'red before anything was patched:\n%s\n' "$before" >&2
    exit 1
fi

missed=0
for rule in "$@"; do
    module=${rule//-/_}
    file=$rules/$module.rs
    [ -f "$file" ] || { echo "$rule has no file $file" >&2; exit 1; }
    silence "$file"
    names=$(red)
    # Not `cp -p`: cargo looks at the time of the last change.
    cp "$root/$file" "$file"
    printf '%s → %s\n' "$rule" "$(paste -sd ' ' <<<"${names:-nothing}")"
    if ! grep -q "^guard::rules::$module::tests::" <<<"$names"; then
        echo "  no test of guard::rules::$module::tests went red" >&2
        missed=1
    fi
done
exit "$missed"
