#!/usr/bin/env bash
# What a notification costs, measured on this machine beside h2load, against the targets.
#
#   deploy/bench.sh [--quick] [--only direct|campaign|guard] [--no-gate] [--json FILE] [--binary FILE]
#
#   --quick        a minute's smoke check: fewer and shorter runs, and figures to match
#   --only PART    the direct lane and the bare send path, campaigns (bench-campaign.sh), or verdicts of the guard in memory
#   --no-gate      report only; without it the exit code is 1 when a median misses its target
#   --json FILE    the same figures for programs
#   --binary FILE  measure this program; by default the release build, which is brought up to date first
#
# Services (deploy/services.sh) and simulators are started here, in a temporary directory, on loopback, and ended with
# the script. The measured process has one core for itself; everything else shares another. CPU is what the kernel
# accounts to the processes, user and system; where several runs are made, the median counts.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

RATIO_TARGET=1.6      # times h2load
SERVICE_TARGET=60     # µs of the service's CPU for a notification
P99_TARGET=50         # ms from enqueue to accept, at $RATE
MEMORY_TARGET=40      # MB of an idle service
VERDICT_TARGET=20     # µs of CPU for a whole verdict, whatever the job
LANE_TARGET=3         # µs of CPU that the guard costs the direct lane for a job

RATE=1000
PAIRS=5 SENDS=300000 # bare send path
LOADS=3 JOBS=30000   # direct lane
PACED=3 PACED_JOBS=20000
IDLE_SECONDS=10
GUARDS=5 VERDICTS=300000 # of each kind
PHONES=30000
IN_FLIGHT=500
BODY_BYTES=289

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

# shellcheck source=deploy/bench-campaign.sh
. deploy/bench-campaign.sh

GATE=yes JSON='' BINARY='' QUICK=false ONLY=''
while [ $# -gt 0 ]; do
  case $1 in
    --quick)
      QUICK=true PAIRS=2 SENDS=100000 LOADS=1 JOBS=5000 PACED=1 PACED_JOBS=5000 PHONES=10000 IDLE_SECONDS=3
      DEVICES=100000 LATENCY_DEVICES=40000 CAMPAIGNS=1 GUARDS=2 VERDICTS=100000
      ;;
    --only) [[ ${2:-} =~ ^(direct|campaign|guard)$ ]] || usage; ONLY=$2; shift ;;
    --no-gate) GATE= ;;
    --json) [ $# -ge 2 ] || usage; JSON=$2; shift ;;
    --binary) [ $# -ge 2 ] || usage; BINARY=$2; shift ;;
    *) usage ;;
  esac
  shift
done

# ---- the beginning and the end -----------------------------------------------------------------------------

DIR=$(mktemp -d --suffix=-bellwether)
SERVE='' SIMULATOR=''
finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  stop_serve
  stop_fleet
  stop_simulator
  deploy/services.sh down "$DIR/services"
  if [ "$status" != 0 ]; then tail -qn 5 "$DIR"/{serve,lead,worker}.log >&2 2>/dev/null; fi
  rm -rf "$DIR"
  exit "$status"
}
stop() { # PID
  kill -CONT "$1" 2>/dev/null || true
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
stop_serve() { [ -z "$SERVE" ] || stop "$SERVE"; SERVE=; }
stop_simulator() { [ -z "$SIMULATOR" ] || stop "$SIMULATOR"; SIMULATOR=; }
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 711 "$DIR" # the servers' own users pass through

# ---- what is needed ----------------------------------------------------------------------------------------

command -v taskset >/dev/null || die "taskset is missing; install it with: apt-get install util-linux"
if [ "$ONLY" != guard ] && ! command -v h2load >/dev/null; then
  [ "$(id -u)" = 0 ] || die "h2load is missing; install it with: apt-get install nghttp2-client"
  say "installing nghttp2-client"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  "${apt[@]}" update >&2
  "${apt[@]}" install -y --no-install-recommends nghttp2-client >&2
fi
if [ -z "$BINARY" ]; then
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  cargo build --release --locked >&2
  BINARY=${CARGO_TARGET_DIR:-target}/release/bellwether
fi
BINARY=$(realpath "$BINARY")

# The first two processors that this shell may use.
CPUS=()
for range in $(taskset -cp $$ | sed 's/.*: //; s/,/ /g'); do
  for ((cpu = ${range%-*}; cpu <= ${range#*-}; cpu++)); do CPUS+=("$cpu"); done
done
[ ${#CPUS[@]} -ge 2 ] || say "only one processor: the measured process shares it, and the figures suffer"
MEASURED=(taskset -c "${CPUS[0]}")
OTHERS=(taskset -c "${CPUS[1]:-${CPUS[0]}}")

# ---- reading -----------------------------------------------------------------------------------------------

TICK_MICROS=$((1000000 / $(getconf CLK_TCK)))

# User and system time of a process in ticks (proc(5): fields 14 and 15), with that of the children that it has
# waited for (16 and 17) if asked. The name, the second field, may contain blanks and ends with the last `)`.
ticks() { # PID [with-children]
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo 0; return; }
  # shellcheck disable=SC2086 # fields
  set -- "${2:-}" ${stat##*) }
  if [ -n "$1" ]; then echo $((${13} + ${14} + ${15} + ${16})); else echo $((${13} + ${14})); fi
}
# The server, the sessions that have ended, and those that have not.
postgres_ticks() {
  local pid sum
  sum=$(ticks "$POSTGRES_PID" with-children)
  while read -r pid; do sum=$((sum + $(ticks "$pid" with-children))); done \
    < <(cat "/proc/$POSTGRES_PID/task/"*/children | tr ' ' '\n' | grep .)
  echo "$sum"
}

ask() { # PORT PATH: the whole answer
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
  cat <&3
  exec 3>&-
}
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1; } # of JSON on standard input
median() { printf '%s\n' "$@" | sort -g | awk '{ a[NR] = $1 } END { printf "%.2f", (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'; }
compute() { awk "BEGIN { printf \"%.2f\", $1 }"; }

until_true() { # SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what: not in time"
    sleep 0.05
  done
}

# ---- parts -------------------------------------------------------------------------------------------------

start_simulator() { # full|compact OPTION...
  local detail=$1
  shift
  rm -rf "$DIR/simulator"
  "${OTHERS[@]}" "$BINARY" simulator --faults none --record "$detail" --phones "$PHONES" "$@" \
    --out "$DIR/simulator" 2>"$DIR/simulator.log" &
  SIMULATOR=$!
  until_true 120 "the simulator" test -f "$DIR/simulator/simulator.json"
  INSPECT_PORT=$(field inspect <"$DIR/simulator/simulator.json" | sed 's/.*://')
}
accepted() { ask "$INSPECT_PORT" /summary | field accepted; }

configure() {
  local about=$DIR/simulator/simulator.json
  about() { field "$1" <"$about"; }
  if [ ! -d "$DIR/audiences" ]; then
    cp -r audiences "$DIR/audiences"
    # The broker's first user enqueues, so it is the producer.
    sed -i 's/producers\.cards/producers.bellwether/' "$DIR/audiences/producers.toml"
  fi
  cat >"$DIR/bellwether.toml" <<CONF
[listen]
health = "127.0.0.1:0"
[api]
listen = "127.0.0.1:0"
[providers."pl.example.bank".apns]
key_file = "$(about apns_key)"
key_id = "$(about apns_key_id)"
endpoint = "$(about apns)"
sandbox_endpoint = "$(about apns)"
ca_file = "$(about ca)"
[providers."pl.example.bank".fcm]
service_account_file = "$(about service_account)"
endpoint = "$(about fcm)"
ca_file = "$(about ca)"
CONF
  export BELLWETHER_CONFIG=$DIR/bellwether.toml
}

ready() {
  local port
  port=$(field listen <"$DIR/serve.log" | sed 's/.*://')
  [ -n "$port" ] && ask "$port" /readyz | head -n 1 | grep -q ' 200 '
}
start_serve() {
  "${MEASURED[@]}" "$BINARY" serve 2>"$DIR/serve.log" &
  SERVE=$!
  until_true 30 "the service" ready
}
enqueue() { "${OTHERS[@]}" "$BINARY" bench enqueue --simulator "$DIR/simulator" "$@"; }

all_accepted() { [ "$(accepted)" -ge "$1" ]; }
# Recorded, told and acknowledged: the service does nothing any more but look around.
quiet() {
  local before
  before=$(ticks "$SERVE")
  sleep 0.5
  [ $(($(ticks "$SERVE") - before)) -le 2 ]
}

# ---- measurements ------------------------------------------------------------------------------------------

measure_bare() {
  local pair ours theirs out args=(--simulator "$DIR/simulator" --in-flight "$IN_FLIGHT" --body-bytes "$BODY_BYTES") headers=() line
  mkdir "$DIR/reference"
  "$BINARY" bench reference "${args[@]}" --out "$DIR/reference"
  while read -r line; do headers+=(-H "$line"); done <"$DIR/reference/headers"
  TIMEFORMAT='%U %S'
  for ((pair = 1; pair <= PAIRS; pair++)); do
    ours=$("${MEASURED[@]}" "$BINARY" bench send "${args[@]}" --count "$SENDS" | field cpu_micros_each)
    # Time of the keyword, since h2load does not tell its own.
    out=$({ time "${MEASURED[@]}" h2load -n "$SENDS" -c 1 -m "$IN_FLIGHT" -t 1 -i "$DIR/reference/uris" \
      -d "$DIR/reference/body" "${headers[@]}" >"$DIR/h2load.log" 2>&1; } 2>&1)
    grep -q " $SENDS succeeded" "$DIR/h2load.log" || { tail -n 12 "$DIR/h2load.log" >&2; die "h2load was refused"; }
    theirs=$(compute "(${out/ / + }) * 1000000 / $SENDS")
    BARE+=("$ours") REFERENCE+=("$theirs") RATIOS+=("$(compute "$ours / $theirs")")
    say "bare send path $pair of $PAIRS: $ours µs, h2load $theirs µs"
  done
}

measure_memory() {
  local kilobytes
  sleep "$IDLE_SECONDS"
  kilobytes=$(awk '/^VmRSS/ { print $2 }' "/proc/$SERVE/status")
  MEMORY=$(compute "$kilobytes / 1024")
  say "idle: $MEMORY MB"
}

# Everything on one processor: the lane, and the watched thread that it hands its batches to.
measure_guard() {
  local run out=$DIR/guard.json
  for ((run = 1; run <= GUARDS; run++)); do
    "${MEASURED[@]}" "$BINARY" bench guard --count "$VERDICTS" >"$out"
    of_run() { field "$1" <"$out"; }
    CODE+=("$(of_run code_micros)") TWENTY+=("$(of_run twenty_micros)") CAMPAIGN+=("$(of_run campaign_micros)")
    JSON_READ+=("$(of_run json_micros)") PER_JSON+=("$(of_run code_per_json)")
    REACH+=("$(of_run reach_micros)") LANE+=("$(compute "$(of_run direct_lane_micros)")")
    say "guard $run of $GUARDS: a code ${CODE[-1]} µs, twenty people ${TWENTY[-1]} µs, a campaign ${CAMPAIGN[-1]} µs," \
      "direct lane ${LANE[-1]} µs; the reference ${JSON_READ[-1]} µs"
  done
}

# The service stands still while the queue fills, so that it meets all jobs at once and nothing of its start.
measure_load() {
  local load before_accepted s p r began ended
  enqueue --count 1000
  until_true 30 "warming up" all_accepted 1000
  until_true 30 "warming up" quiet
  for ((load = 1; load <= LOADS; load++)); do
    kill -STOP "$SERVE"
    enqueue --count "$JOBS"
    before_accepted=$(accepted)
    s=$(ticks "$SERVE") p=$(postgres_ticks) r=$(ticks "$RABBITMQ_PID") began=$EPOCHREALTIME
    kill -CONT "$SERVE"
    until_true 300 "the load" all_accepted $((before_accepted + JOBS))
    ended=$EPOCHREALTIME
    until_true 60 "the end of the load" quiet
    each() { compute "($2 - $1) * $TICK_MICROS / $JOBS"; }
    LOAD_SERVICE+=("$(each "$s" "$(ticks "$SERVE")")")
    LOAD_POSTGRES+=("$(each "$p" "$(postgres_ticks)")")
    LOAD_RABBITMQ+=("$(each "$r" "$(ticks "$RABBITMQ_PID")")")
    LOAD_RATE+=("$(compute "$JOBS / ($ended - $began)")")
    [ "$(accepted)" = $((before_accepted + JOBS)) ] || die "phones rang $(accepted) times, not $((before_accepted + JOBS))"
    say "full load $load of $LOADS: service ${LOAD_SERVICE[-1]} µs, PostgreSQL ${LOAD_POSTGRES[-1]} µs," \
      "RabbitMQ ${LOAD_RABBITMQ[-1]} µs, ${LOAD_RATE[-1]} a second"
  done
}

measure_latency() {
  local run
  for ((run = 1; run <= PACED; run++)); do
    enqueue --count "$PACED_JOBS" --rate "$RATE" >"$DIR/latency.json"
    P50+=("$(field p50_ms <"$DIR/latency.json")") P99+=("$(field p99_ms <"$DIR/latency.json")")
    LATE+=("$(field load_late_ms <"$DIR/latency.json")")
    say "$RATE jobs a second, $run of $PACED: p50 ${P50[-1]} ms, p99 ${P99[-1]} ms (the load itself ${LATE[-1]} ms late at worst)"
    until_true 60 "the end of the load" quiet
  done
}

# ---- the report --------------------------------------------------------------------------------------------

MISSED=()
FIGURES=() # of the report for programs: "name": number
row() { printf '| %-58s | %9s | %-8s | %-6s |\n' "$1" "$2" "${3:-}" "${4:-}"; }
# The third is what it is to be compared by, <= or >=.
judged() { # WHAT VALUE UNIT COMPARE TARGET
  local verdict=ok
  awk "BEGIN { exit !($2 $4 $5) }" || { verdict=MISSED; MISSED+=("$1"); }
  row "$1" "$2 $3" "$4 $5" "$verdict"
}
figure() { FIGURES+=("  \"$1\": $2"); }
report_head() {
  row 'measured (medians)' '' target ''
  printf '|%s|%s|%s|%s|\n' "$(printf -- '-%.0s' {1..60})" "$(printf -- '-%.0s' {1..11})" ---------- --------
}
report_direct() {
  row 'bare send path: CPU a notification' "$M_BARE us"
  row 'h2load, the same requests in the same run' "$M_REFERENCE us"
  judged 'bare send path, times h2load' "$M_RATIO" x '<=' "$RATIO_TARGET"
  judged 'direct lane at full load: CPU of the service a notification' "$M_SERVICE" us '<=' "$SERVICE_TARGET"
  row '  PostgreSQL' "$M_POSTGRES us"
  row '  RabbitMQ' "$M_RABBITMQ us"
  row '  jobs a second, all on two cores' "${M_RATE%.*}"
  row "enqueue to accept at $RATE jobs/s, p50" "$M_P50 ms"
  judged "enqueue to accept at $RATE jobs/s, p99" "$M_P99" ms '<=' "$P99_TARGET"
  judged 'memory of the idle service (RSS)' "$MEMORY" MB '<=' "$MEMORY_TARGET"
  figure bare_send_cpu_micros "$M_BARE"
  figure h2load_cpu_micros "$M_REFERENCE"
  figure bare_send_ratio "$M_RATIO"
  figure direct_service_cpu_micros "$M_SERVICE"
  figure direct_postgres_cpu_micros "$M_POSTGRES"
  figure direct_rabbitmq_cpu_micros "$M_RABBITMQ"
  figure direct_jobs_per_second "$M_RATE"
  figure enqueue_to_accept_p50_ms "$M_P50"
  figure enqueue_to_accept_p99_ms "$M_P99"
  figure load_late_ms "$M_LATE"
  figure idle_rss_mb "$MEMORY"
}
report_guard() {
  judged 'a verdict on a one-time code: CPU' "$M_CODE" us '<=' "$VERDICT_TARGET"
  judged '  on a text to 20 people' "$M_TWENTY" us '<=' "$VERDICT_TARGET"
  judged '  on a campaign' "$M_VERDICT_CAMPAIGN" us '<=' "$VERDICT_TARGET"
  row "the code's JSON read in the same run" "$M_JSON_READ us"
  row '  the verdict on it, times that' "$M_PER_JSON x"
  judged 'what the guard costs the direct lane: CPU a job' "$M_LANE" us '<=' "$LANE_TARGET"
  row '  to count whom it reaches, of that' "$M_REACH us"
  figure guard_code_cpu_micros "$M_CODE"
  figure guard_twenty_cpu_micros "$M_TWENTY"
  figure guard_campaign_cpu_micros "$M_VERDICT_CAMPAIGN"
  figure json_read_cpu_micros "$M_JSON_READ"
  figure guard_code_json_ratio "$M_PER_JSON"
  figure guard_direct_lane_cpu_micros "$M_LANE"
  figure guard_reach_cpu_micros "$M_REACH"
}
# Numbers only, so that nothing needs quoting.
report_json() {
  printf '{\n  "quick": %s,\n  "missed": %s' "$QUICK" "${#MISSED[@]}"
  printf ',\n%s' "${FIGURES[@]}"
  printf '\n}\n'
}

# ---- the run -----------------------------------------------------------------------------------------------

start_services() {
  "${OTHERS[@]}" deploy/services.sh up "$DIR/services"
  set -a
  eval "$(deploy/services.sh env "$DIR/services")"
  set +a
}

run_direct() {
  BARE=() REFERENCE=() RATIOS=() LOAD_SERVICE=() LOAD_POSTGRES=() LOAD_RABBITMQ=() LOAD_RATE=() P50=() P99=() LATE=()
  start_simulator compact --latency 0
  measure_bare
  stop_simulator
  start_services
  start_simulator full --latency 0
  configure
  "$BINARY" migrate
  "$BINARY" device import "$DIR/simulator/devices.ndjson" >"$DIR/import.log" 2>&1 || { tail "$DIR/import.log" >&2; die "the import failed"; }
  start_serve
  measure_memory
  measure_load
  measure_latency
  stop_serve
  stop_simulator
  deploy/services.sh down "$DIR/services"
  rm -rf "$DIR/services" "$DIR/audiences"
  M_BARE=$(median "${BARE[@]}") M_REFERENCE=$(median "${REFERENCE[@]}") M_RATIO=$(median "${RATIOS[@]}")
  M_SERVICE=$(median "${LOAD_SERVICE[@]}") M_POSTGRES=$(median "${LOAD_POSTGRES[@]}")
  M_RABBITMQ=$(median "${LOAD_RABBITMQ[@]}") M_RATE=$(median "${LOAD_RATE[@]}")
  M_P50=$(median "${P50[@]}") M_P99=$(median "${P99[@]}") M_LATE=$(median "${LATE[@]}")
}

run_guard() {
  CODE=() TWENTY=() CAMPAIGN=() JSON_READ=() PER_JSON=() REACH=() LANE=()
  measure_guard
  M_CODE=$(median "${CODE[@]}") M_TWENTY=$(median "${TWENTY[@]}") M_VERDICT_CAMPAIGN=$(median "${CAMPAIGN[@]}")
  M_JSON_READ=$(median "${JSON_READ[@]}") M_PER_JSON=$(median "${PER_JSON[@]}")
  M_REACH=$(median "${REACH[@]}") M_LANE=$(median "${LANE[@]}")
}

PARTS=(guard direct campaign)
[ -z "$ONLY" ] || PARTS=("$ONLY")
for part in "${PARTS[@]}"; do "run_$part"; done
report_head
for part in "${PARTS[@]}"; do "report_$part"; done
[ -z "$JSON" ] || report_json >"$JSON"
if [ ${#MISSED[@]} -gt 0 ]; then
  say "targets missed: $(printf '%s; ' "${MISSED[@]}")"
  [ -z "$GATE" ] || exit 1
fi
