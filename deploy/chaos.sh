#!/usr/bin/env bash
# A fleet under fire: campaigns whose processes die, hang, lie about the time, come and go, and are halted at full speed; and a
# producer that sends a broadcast as 10,000 direct jobs.
#
#   deploy/chaos.sh [--seed S] [--kills N] [--devices M] [--only TEST] [--release]
#
#   --seed S     which schedule; the same seed is the same schedule (default 1)
#   --kills N    how many times a process is ended by kill -9 (default 20)
#   --devices M  how many phones the campaign has (default 60000)
#   --only TEST  only one of chaos, fenced, paced, halted, changed, watched, outage, broadcast
#   --release    build the program as it is shipped; by default as it is tested
#
# Services (deploy/services.sh) and simulators are started here, on loopback, and ended with the script. Every figure is
# counted from the simulators' own record of every phone. The last line says it in short; the exit code is 0 only if
# nothing was lost and nothing was doubled.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'chaos: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

SEED=1 KILLS=20 DEVICES=60000 ONLY='' PROFILE=()
while [ $# -gt 0 ]; do
  case $1 in
    --seed) [ $# -ge 2 ] || usage; SEED=$2; shift ;;
    --kills) [ $# -ge 2 ] || usage; KILLS=$2; shift ;;
    --devices) [ $# -ge 2 ] || usage; DEVICES=$2; shift ;;
    --only) [ $# -ge 2 ] || usage; ONLY=$2; shift ;;
    --release) PROFILE=(--release) ;;
    *) usage ;;
  esac
  shift
done
for number in "$SEED" "$KILLS" "$DEVICES"; do [[ $number =~ ^[0-9]+$ ]] || usage; done

DIR=$(mktemp -d --suffix=-bellwether)
chmod 711 "$DIR" # the servers' own users pass through
# shellcheck disable=SC2317 # called by the trap
finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  deploy/services.sh down "$DIR/services"
  rm -rf "$DIR"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
cargo build --locked "${PROFILE[@]}" --tests >&2
deploy/services.sh up "$DIR/services" >&2
set -a
eval "$(deploy/services.sh env "$DIR/services")"
set +a

TESTS=("fleet::$ONLY")
case $ONLY in
  broadcast) TESTS=(service::broadcast) ;;
  '') TESTS+=(service::broadcast) ;;
esac

# One at a time: each has the machine for itself.
STATUS=0
BELLWETHER_TEST_FLEET="$SEED,$KILLS,$DEVICES" \
  BELLWETHER_TEST_BROADCAST=10000 \
  cargo test --locked "${PROFILE[@]}" --test it -- "${TESTS[@]}" --nocapture --test-threads=1 2>&1 |
  tee "$DIR/log" || STATUS=1
SHORT=$(grep -a '^kills ' "$DIR/log" | tail -n 1 || true)
[ "$STATUS" = 0 ] || say "a test failed: see above"
echo "${SHORT:-no kills were asked for}"
exit "$STATUS"
