# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables of bench.sh
# The campaigns' part of bench.sh, which sources this file: a registry is imported and counted, an audience is frozen and
# sent by one worker. What it uses of bench.sh: the programs, the processors, reading of time, and the report.

IMPORT_TARGET=100000  # devices a second
FREEZE_TARGET=300000  # devices a second
CAMPAIGN_TARGET=12    # µs of the service's CPU for a delivered notification: coordinator, intake and worker
LEDGER_TARGET=6       # µs of PostgreSQL's
WORKER_TARGET=150     # MB of a worker
FILL_TARGET=0.90      # of streams ÷ mean latency
LIST_TARGET=100       # ms for a page of past rollouts, the whole command

DEVICES=1000000
LATENCY_DEVICES=150000 # of which 70 ms at the median are waited for
CAMPAIGNS=3
PAST=10000             # rollouts on record when they are listed
STREAMS=1000           # a worker's default
# The mean of a lognormal distribution with the simulator's median and 99th percentile, 70 and 400 ms.
MEAN_LATENCY_MS=92.7

campaign_policy() {
  local folder=$DIR/audiences name
  mkdir -p "$folder"
  cp -r audiences/. "$folder/"
  # No quota is measured here, only what the machine can do.
  sed -i -E 's/max_rate = [0-9_]+/max_rate = 1_000_000/' "$folder/apps.toml"
  printf '[[stage]]\npercent = 100\n' >"$folder/plans/at-once.toml"
  for name in everyone iphones; do
    printf 'class = "internal"\napp = "pl.example.bank"\ndefault_plan = "at-once"\n[select]\n%s\n[limits]\nmax_devices = 5_000_000\n' \
      "$([ $name = everyone ] && echo 'platform = ["ios", "android"]' || echo 'platform = ["ios"]')" >"$folder/cohorts/$name.toml"
  done
  # The broker's first user enqueues, so it is the producer.
  cat >>"$folder/producers.toml" <<'POLICY'
[producers.bellwether]
owners = ["bench"]
apps = ["pl.example.bank"]
intents = ["production"]
audiences = ["everyone", "iphones"]
devices_per_day = 100_000_000
POLICY
}

# A process with a role, on the given processor; its pid in STARTED.
start_role() { # NAME ROLES TASKSET...
  local name=$1 roles=$2
  shift 2
  "$@" "$BINARY" serve --role "$roles" 2>"$DIR/$name.log" &
  STARTED=$!
  until_true 30 "$name" role_ready "$name"
}
role_ready() {
  local port
  port=$(field listen <"$DIR/$1.log" | sed 's/.*://')
  [ -n "$port" ] && ask "$port" /readyz | head -n 1 | grep -q ' 200 '
}
start_fleet() {
  start_role lead intake,coordinator "${OTHERS[@]}"
  LEAD=$STARTED
  start_role worker worker "${MEASURED[@]}"
  WORKER=$STARTED
}
stop_fleet() {
  local pid
  for pid in ${WORKER:-} ${LEAD:-}; do stop "$pid"; done
  WORKER='' LEAD=''
}

show_campaign() { "$BINARY" rollout show "bellwether/$1" --output json 2>/dev/null; }
in_state() { # JOB STATE...
  local state
  state=$(show_campaign "$1" | sed -n 's/^  "state": "\(.*\)",\{0,1\}$/\1/p')
  shift
  [[ " $* " == *" $state "* ]]
}

# Publishes a campaign that begins in some seconds, so that freezing and sending are measured apart.
publish_campaign() { # JOB AUDIENCE WAIT_SECONDS
  local expires starts
  starts=$(date -u -d "+$3 seconds" +%Y-%m-%dT%H:%M:%SZ)
  expires=$(date -u -d '+2 hours' +%Y-%m-%dT%H:%M:%SZ)
  cat >"$DIR/$1.json" <<JOB
{ "v": 1, "id": "$1", "app": "pl.example.bank", "intent": "production", "to": { "audience": "$2", "at_most": 5000000 },
  "notification": { "title": "Bank", "body": "$(printf 'Nowa aplikacja jest gotowa. %.0s' 1 2 3 4 5 6)" },
  "not_before": "$starts", "expires_at": "$expires" }
JOB
  "$BINARY" job send "$DIR/$1.json" >/dev/null
}

# Where PostgreSQL runs: its processes now, and those that they start.
place_postgres() { # PROCESSORS
  local pid
  for pid in "$POSTGRES_PID" $(cat "/proc/$POSTGRES_PID/task/"*/children); do
    taskset -acp "$1" "$pid" >/dev/null 2>&1 || true # one that is ending
  done
}

# An import has the machine to itself.
measure_import() {
  local began p c
  TIMEFORMAT='%U %S'
  p=$(postgres_ticks) began=$EPOCHREALTIME
  c=$({ time "$BINARY" device import "$DIR/simulator/devices.ndjson" >"$DIR/import.log" 2>&1; } 2>&1) ||
    { tail "$DIR/import.log" >&2; die "the import failed"; }
  IMPORT_RATE=$(compute "$DEVICES / ($EPOCHREALTIME - $began)")
  IMPORT_CPU=$(compute "(${c/ / + }) * 1000000 / $DEVICES")
  IMPORT_POSTGRES=$(compute "($(postgres_ticks) - $p) * $TICK_MICROS / $DEVICES")
  say "import: ${IMPORT_RATE%.*} devices/s, $IMPORT_CPU µs of the importer's and $IMPORT_POSTGRES µs of PostgreSQL's CPU each"
}

# From the job's arrival to Approved, asked of the ledger's own instants.
measure_campaign() {
  local job=$1 wait=$2 frozen before s p began ended
  publish_campaign "$job" everyone "$wait"
  until_true 120 "freezing" in_state "$job" approved running completed
  frozen=$(show_campaign "$job" | sed -n 's/^  "frozen": \([0-9]*\),\{0,1\}$/\1/p')
  [ "$frozen" = "$DEVICES" ] || die "frozen are $frozen devices, not $DEVICES"
  FREEZE_RATE+=("$(freeze_rate "$job")")
  before=$(accepted)
  s=$(($(ticks "$LEAD") + $(ticks "$WORKER"))) p=$(postgres_ticks)
  until_true 60 "the first request" all_accepted $((before + 1))
  began=$EPOCHREALTIME
  until_true 600 "the campaign" all_accepted $((before + DEVICES))
  ended=$EPOCHREALTIME
  until_true 60 "the end of the campaign" in_state "$job" completed
  CAMPAIGN_SERVICE+=("$(compute "($(ticks "$LEAD") + $(ticks "$WORKER") - $s) * $TICK_MICROS / $DEVICES")")
  CAMPAIGN_POSTGRES+=("$(compute "($(postgres_ticks) - $p) * $TICK_MICROS / $DEVICES")")
  CAMPAIGN_RATE+=("$(compute "$DEVICES / ($ended - $began)")")
  [ "$(accepted)" = $((before + DEVICES)) ] || die "phones rang $(($(accepted) - before)) times, not $DEVICES"
  WORKER_MEMORY=$(compute "$(awk '/^VmHWM/ { print $2 }' "/proc/$WORKER/status") / 1024")
  say "campaign: frozen at ${FREEZE_RATE[-1]%.*} devices/s; service ${CAMPAIGN_SERVICE[-1]} µs, PostgreSQL" \
    "${CAMPAIGN_POSTGRES[-1]} µs a notification, ${CAMPAIGN_RATE[-1]%.*} a second; worker $WORKER_MEMORY MB at most"
}

freeze_rate() { # JOB
  local line
  line=$(grep -h '"the audience is frozen"' "$DIR/lead.log" | tail -n 1)
  compute "$(field frozen <<<"$line") / $(field seconds <<<"$line")"
}

# One worker against answers that take 70 ms at the median: after the slow start, its streams are to be full.
measure_fill() {
  local job=$1 before from to began ended
  publish_campaign "$job" iphones 3
  before=$(accepted)
  from=$((LATENCY_DEVICES / 5)) to=$((LATENCY_DEVICES))
  until_true 60 "the slow start" all_accepted $((before + from))
  began=$EPOCHREALTIME from=$(($(accepted) - before))
  until_true 120 "full streams" all_accepted $((before + to))
  ended=$EPOCHREALTIME to=$(($(accepted) - before))
  FILL_RATE=$(compute "($to - $from) / ($ended - $began)")
  FILL=$(compute "$FILL_RATE / ($STREAMS * 1000 / $MEAN_LATENCY_MS)")
  say "at 70 ms: ${FILL_RATE%.*} a second with $STREAMS streams, $FILL of what they can carry"
  "$BINARY" job cancel bellwether "$job" >/dev/null
}

# The command as an operator types it: with its start, its way to the ledger, and the table.
measure_list() { # JOB: what the past is copied of
  local columns run began
  columns() {
    psql -AtX "$DATABASE_URL" -c "select string_agg(column_name, ', ') from information_schema.columns where table_name = '$1' \
      and is_generated = 'NEVER' and column_name not in ('id', 'public_id', 'job_id')"
  }
  local campaign rollout
  campaign=$(columns campaign) rollout=$(columns rollout)
  psql -qX -v ON_ERROR_STOP=1 "$DATABASE_URL" <<SQL
insert into campaign (public_id, job_id, $campaign)
  select gen_random_uuid(), 'past-' || n, $campaign from campaign, generate_series(1, $PAST) n where job_id = '$1';
insert into rollout (id, $rollout)
  select past.id, $(sed -E 's/[a-z_]+/r.&/g' <<<"$rollout") from campaign past,
    (select rollout.* from rollout join campaign using (id) where job_id = '$1') r where past.job_id like 'past-%';
analyze campaign, rollout;
SQL
  LIST_MS=()
  for ((run = 0; run < 11; run++)); do
    began=$EPOCHREALTIME
    "$BINARY" rollout list >"$DIR/list.txt"
    LIST_MS+=("$(compute "($EPOCHREALTIME - $began) * 1000")")
    [ "$(grep -c past- "$DIR/list.txt")" = 50 ] || die "a page is not 50 past rollouts: $(cat "$DIR/list.txt")"
  done
  say "rollout list with $PAST past rollouts: $(median "${LIST_MS[@]}") ms"
}

run_campaign() {
  FREEZE_RATE=() CAMPAIGN_SERVICE=() CAMPAIGN_POSTGRES=() CAMPAIGN_RATE=()
  local run
  PHONES=$DEVICES
  campaign_policy
  start_services
  start_simulator compact --latency 0
  configure
  "$BINARY" migrate
  place_postgres "$(IFS=,; echo "${CPUS[*]}")"
  measure_import
  place_postgres "${CPUS[1]:-${CPUS[0]}}"
  start_fleet
  for ((run = 1; run <= CAMPAIGNS; run++)); do measure_campaign "campaign-$run" 15; done
  measure_list campaign-1
  stop_fleet
  stop_simulator
  start_simulator compact --latency 70ms
  configure
  start_fleet
  measure_fill fill
  stop_fleet
  stop_simulator
}

report_campaign() {
  judged 'registry: devices imported a second' "${IMPORT_RATE%.*}" '' '>=' "$IMPORT_TARGET"
  row '  importer, CPU a device' "$IMPORT_CPU us"
  row '  PostgreSQL, CPU a device' "$IMPORT_POSTGRES us"
  judged 'an audience frozen, devices a second' "$(median "${FREEZE_RATE[@]}" | cut -d . -f 1)" '' '>=' "$FREEZE_TARGET"
  judged 'campaign: CPU of the service a notification' "$(median "${CAMPAIGN_SERVICE[@]}")" us '<=' "$CAMPAIGN_TARGET"
  judged '  PostgreSQL' "$(median "${CAMPAIGN_POSTGRES[@]}")" us '<=' "$LEDGER_TARGET"
  row '  notifications a second, all on two cores' "$(median "${CAMPAIGN_RATE[@]}" | cut -d . -f 1)"
  judged 'memory of the worker (RSS at its highest)' "$WORKER_MEMORY" MB '<=' "$WORKER_TARGET"
  judged "streams in use at 70 ms, of $STREAMS" "$FILL" '' '>=' "$FILL_TARGET"
  judged "rollout list, $PAST past rollouts" "$(median "${LIST_MS[@]}")" ms '<=' "$LIST_TARGET"
  figure import_per_second "$IMPORT_RATE"
  figure import_cpu_micros "$IMPORT_CPU"
  figure import_postgres_cpu_micros "$IMPORT_POSTGRES"
  figure freeze_per_second "$(median "${FREEZE_RATE[@]}")"
  figure campaign_service_cpu_micros "$(median "${CAMPAIGN_SERVICE[@]}")"
  figure campaign_postgres_cpu_micros "$(median "${CAMPAIGN_POSTGRES[@]}")"
  figure campaign_per_second "$(median "${CAMPAIGN_RATE[@]}")"
  figure worker_peak_rss_mb "$WORKER_MEMORY"
  figure streams_in_use "$FILL"
  figure rollout_list_ms "$(median "${LIST_MS[@]}")"
}
