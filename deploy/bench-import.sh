#!/usr/bin/env bash
# What importing a device costs, measured on this machine: a first import into an empty registry, and the same file again.
#
#   deploy/bench-import.sh [--devices N] [--binary FILE]
#
#   --devices N    how many synthetic phones (default 1000000)
#   --binary FILE  measure this program; by default the release build, which is brought up to date first
#
# A private PostgreSQL (deploy/services.sh) is started here, on loopback, and ended with the script. CPU is what the kernel
# accounts to the processes, user and system; PostgreSQL's includes its background processes.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

say() { printf 'bench-import: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

DEVICES=1000000 BINARY=''
while [ $# -gt 0 ]; do
  case $1 in
    --devices) [ $# -ge 2 ] || usage; DEVICES=$2; shift ;;
    --binary) [ $# -ge 2 ] || usage; BINARY=$2; shift ;;
    *) usage ;;
  esac
  shift
done
[[ $DEVICES =~ ^[1-9][0-9]*$ ]] || usage

DIR=$(mktemp -d --suffix=-bellwether)
chmod 711 "$DIR" # the servers' own users pass through
SIMULATOR=''
# shellcheck disable=SC2317 # called by the trap
finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  [ -z "$SIMULATOR" ] || kill "$SIMULATOR"
  deploy/services.sh down "$DIR/services"
  rm -rf "$DIR"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$BINARY" ]; then
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  cargo build --release --locked >&2
  BINARY=${CARGO_TARGET_DIR:-target}/release/bellwether
fi

TICK_MICROS=$((1000000 / $(getconf CLK_TCK)))
# User and system time in ticks, with that of the children that have ended (proc(5): fields 14 to 17). The name, the
# second field, may contain blanks and ends with the last `)`.
ticks() { # PID
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo 0; return; }
  # shellcheck disable=SC2086 # fields
  set -- ${stat##*) }
  echo $((${12} + ${13} + ${14} + ${15}))
}
children() { cat "/proc/$POSTGRES_PID/task/"*/children | tr ' ' '\n' | grep .; }
postgres_ticks() {
  local pid sum
  sum=$(ticks "$POSTGRES_PID")
  while read -r pid; do sum=$((sum + $(ticks "$pid"))); done < <(children)
  echo "$sum"
}
# A session that has just been left is accounted to the server only once it has ended.
no_session() {
  local pid
  while read -r pid; do
    # One that has ended and is not yet accounted has no command line any more.
    if ! grep -qv '127\.0\.0\.1(' "/proc/$pid/cmdline" 2>/dev/null; then return 1; fi
  done < <(children)
}
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1; } # of JSON on standard input

deploy/services.sh up "$DIR/services" >&2
set -a
eval "$(deploy/services.sh env "$DIR/services")"
set +a
# RabbitMQ has no part in this, and would take its share of the processors.
deploy/services.sh stop "$DIR/services" rabbitmq >&2

say "writing $DEVICES phones"
"$BINARY" simulator --record compact --phones "$DEVICES" --out "$DIR/simulator" 2>"$DIR/simulator.log" &
SIMULATOR=$!
DEADLINE=$((SECONDS + 120))
until [ -f "$DIR/simulator/simulator.json" ]; do
  [ "$SECONDS" -lt "$DEADLINE" ] || die "the simulator: not in time"
  sleep 0.1
done
kill "$SIMULATOR"
wait "$SIMULATOR" || true
SIMULATOR=''

cp -r audiences "$DIR/audiences"
: >"$DIR/bellwether.toml"
export BELLWETHER_CONFIG=$DIR/bellwether.toml
"$BINARY" migrate >&2

measure() { # NAME
  local before ours
  before=$(postgres_ticks)
  TIMEFORMAT='%U + %S'
  ours=$({ time "$BINARY" device import "$DIR/simulator/devices.ndjson" --output json >"$DIR/report.json" 2>"$DIR/log"; } 2>&1)
  until no_session; do sleep 0.1; done
  before=$((($(postgres_ticks) - before) * TICK_MICROS))
  awk -v name="$1" -v rate="$(field devices_per_second <"$DIR/report.json")" -v devices="$DEVICES" \
    -v seconds="$(field seconds <"$DIR/report.json")" -v theirs="$before" "BEGIN { printf \
      \"%-22s %8d devices/s   %6.1f s   CPU a device: %5.2f us here, %5.2f us PostgreSQL\n\", \
      name, rate, seconds, ($ours) * 1000000 / devices, theirs / devices }"
}
say "load $(cut -d ' ' -f 1-3 /proc/loadavg)"
measure "into an empty registry"
measure "the same again"
