#!/usr/bin/env bash
# The tour: a campaign to customers from the queue to its end, by two people and the command line alone. Prints what they type
# and what they see.
#
#   deploy/tour.sh [--phones N] [--binary FILE]
#
#   --phones N     how many phones the providers know (default 200000)
#   --binary FILE  show this program; by default the release build, which is brought up to date first
#
# Services (deploy/services.sh), simulators and the service are started here, in a temporary directory, on loopback, and
# ended with the script. The exit code is 0 only if every step ended as it should and the simulators saw what the ledger says.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."

say() { printf 'tour: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

PHONES=200000 BINARY=''
while [ $# -gt 0 ]; do
  case $1 in
    --phones) [ $# -ge 2 ] || usage; PHONES=$2; shift ;;
    --binary) [ $# -ge 2 ] || usage; BINARY=$2; shift ;;
    *) usage ;;
  esac
  shift
done
[[ $PHONES =~ ^[1-9][0-9]*$ ]] || usage

DIR=$(mktemp -d --suffix=-bellwether)
chmod 711 "$DIR" # the servers' own users pass through
SERVE='' SIMULATOR=''
# shellcheck disable=SC2317 # called by the trap
finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  [ "$status" = 0 ] || tail -n 5 "$DIR/serve.log" >&2
  for pid in $SERVE $SIMULATOR; do kill "$pid" && wait "$pid"; done
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
BINARY=$(realpath "$BINARY")

field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1; } # of JSON on standard input
until_true() { # WHAT COMMAND...
  local deadline=$((SECONDS + 120)) what=$1
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what: not in time"
    sleep 0.1
  done
}

deploy/services.sh up "$DIR/services" >&2
set -a
eval "$(deploy/services.sh env "$DIR/services")"
set +a
"$BINARY" simulator --faults none --latency 20ms --record compact --phones "$PHONES" --out "$DIR/simulator" \
  2>"$DIR/simulator.log" &
SIMULATOR=$!
until_true "the simulators" test -f "$DIR/simulator/simulator.json"
about() { field "$1" <"$DIR/simulator/simulator.json"; }

# The shipped policy, with a producer by the name of the broker's first user, customers who are in the simulators' registry,
# and the first of them as our own people, the first of these as testers.
cp -r audiences "$DIR/audiences"
seq -f 'user-%06.0f' 0 99 >"$DIR/audiences/cohorts/staff.txt"
seq -f 'user-%06.0f' 0 3 >"$DIR/audiences/cohorts/qa-phones.txt"
printf '[[stage]]\npercent = 100\n' >"$DIR/audiences/plans/testers.toml"
cat >"$DIR/audiences/cohorts/customers.toml" <<POLICY
class = "production"
app = "pl.example.bank"
description = "Every customer in Poland"
proof = "required"
default_plan = "cautious-test"
[select]
country = ["PL"]
[limits]
max_devices = 4_500_000
approvals = [{ above = 0, people = 1 }, { above = $((PHONES / 2)), people = 2 }]
POLICY
cat >>"$DIR/audiences/producers.toml" <<'POLICY'
[producers.bellwether]
owners = ["spring-team"]
apps = ["pl.example.bank"]
intents = ["production", "test"]
audiences = ["customers", "qa-phones"]
devices_per_day = 10_000_000
POLICY
sed -i -E '/^fcm|^apns/ s/max_rate = [0-9_]+/max_rate = 20_000/' "$DIR/audiences/apps.toml"
cat >"$DIR/bellwether.toml" <<CONF
[listen]
health = "127.0.0.1:0"
[api]
listen = "127.0.0.1:0"
[providers."pl.example.bank".apns]
key_file = "$(about apns_key)"
key_id = "$(about apns_key_id)"
endpoint = "$(about apns)"
ca_file = "$(about ca)"
[providers."pl.example.bank".fcm]
service_account_file = "$(about service_account)"
endpoint = "$(about fcm)"
ca_file = "$(about ca)"
CONF
export BELLWETHER_CONFIG=$DIR/bellwether.toml
mkdir "$DIR/bin"
ln -s "$BINARY" "$DIR/bin/bellwether"
PATH=$DIR/bin:$PATH
bellwether migrate >&2
bellwether device import "$DIR/simulator/devices.ndjson" >&2
bellwether serve 2>"$DIR/serve.log" &
SERVE=$!
api() { sed -n 's/.*"api":"\([^"]*\)".*/\1/p' "$DIR/serve.log" | head -n 1; }
has_api() { [ -n "$(api)" ]; }
until_true "the operators' API" has_api
URL=http://$(api)
cat >"$DIR/spring.json" <<JOB
{ "v": 1, "id": "spring", "app": "pl.example.bank", "intent": "production",
  "to": { "audience": "customers", "at_most": 4300000 },
  "notification": { "title": "Bank", "body": "Nowa wersja aplikacji jest gotowa.",
                    "localized": { "en": { "title": "Bank", "body": "A new version of the app is ready." } } },
  "expires_at": "$(date -u -d '+2 hours' +%Y-%m-%dT%H:%M:%SZ)" }
JOB
sed 's/"id": "spring"/"id": "spring-test"/; s/"production"/"test"/; s/"customers", "at_most": 4300000 },/"qa-phones", "at_most": 50 }, "plan": "testers",/' \
  "$DIR/spring.json" >"$DIR/spring-test.json"

# Types a command in somebody's name, and shows what came of it: all of it, or its last lines.
types() { # NAME TOKEN EXPECTED_EXIT [-LINES] COMMAND...
  local name=$1 token=$2 expected=$3 status=0 shown=(cat) piped=''
  shift 3
  if [[ $1 == -* ]]; then
    shown=(tail -n "${1#-}") piped=" 2>&1 | tail -n ${1#-}"
    shift
  fi
  local typed='' word
  for word in "$@"; do
    [[ $word != *\ * ]] || word="'$word'"
    typed+=" $word"
  done
  printf '%s$ bellwether%s%s\n' "$name" "$typed" "$piped"
  (cd "$DIR" && BELLWETHER_URL=$URL BELLWETHER_TOKEN=$token bellwether "$@" 2>&1 | "${shown[@]}") || status=$?
  [ "$status" = "$expected" ] || die "exit code $status, not $expected"
  [ "$status" = 0 ] || printf '(exit code %s)\n' "$status"
  echo
}
admin() { # TOKEN COMMAND...
  local token=$1
  shift
  BELLWETHER_URL=$URL BELLWETHER_TOKEN=$token bellwether "$@"
}
FIRST=$(bellwether operator add first-admin --scope admin,audit,halt --ledger --by first-admin 2>/dev/null)
SECOND=$(bellwether operator add second-admin --scope admin,audit,halt --ledger --by second-admin 2>/dev/null)
token_of() { # NAME
  local issued
  issued=$(admin "$FIRST" operator add "$1" --scope approve:customers,promote --output json 2>/dev/null)
  admin "$SECOND" operator confirm "$(field id <<<"$issued")" >&2
  field secret <<<"$issued"
}
ADA=$(token_of ada)
BOB=$(token_of bob)
TINA=$(admin "$FIRST" operator add tina --scope enqueue:test --output json 2>/dev/null | field secret)

BEGAN=$EPOCHREALTIME
types team "" 0 job send spring-test.json
tested() { admin "$TINA" rollout show bellwether/spring-test --output json 2>/dev/null | grep -q '"state": "completed"'; }
until_true "the test campaign" tested
types tina "$TINA" 0 campaign prove bellwether/spring-test --reason "looks right on both phones"
types team "" 0 job send spring.json
pending() { admin "$ADA" rollout show bellwether/spring --output json 2>/dev/null | grep -q '"state": "pending_approval"'; }
until_true "the frozen audience" pending
types ada "$ADA" 8 -1 rollout status bellwether/spring --for approved --timeout 5s
types ada "$ADA" 7 rollout start bellwether/spring
COUNT=$(admin "$ADA" rollout show bellwether/spring --output json | field frozen)
types ada "$ADA" 0 rollout approve bellwether/spring --confirm-count "$COUNT" --confirm-audience customers
types ada "$ADA" 4 -1 rollout approve bellwether/spring --confirm-count "$COUNT" --confirm-audience customers
types bob "$BOB" 0 -4 rollout approve bellwether/spring --confirm-count "$COUNT" --confirm-audience customers
types bob "$BOB" 0 rollout start bellwether/spring
types ada "$ADA" 0 rollout status bellwether/spring --for gate --timeout 1m
types ada "$ADA" 0 rollout promote bellwether/spring
in_third() { admin "$ADA" rollout show bellwether/spring --output json | grep -q '"stage": 3'; }
until_true "the third stage" in_third
types ada "$ADA" 0 rollout status bellwether/spring --for gate --timeout 1m
types bob "$BOB" 0 rollout promote bellwether/spring
types bob "$BOB" 0 rollout status bellwether/spring --timeout 5m
ENDED=$EPOCHREALTIME

# The witnesses: every device's outcome in the ledger, and the simulators' own count.
EXPORTED=$(bellwether delivery export --campaign bellwether/spring --outcome accepted | wc -l)
INSPECT=$(about inspect)
ACCEPTED=$(exec 3<>"/dev/tcp/127.0.0.1/${INSPECT##*:}" && printf 'GET /summary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3 && field accepted <&3)
[ "$EXPORTED" = "$COUNT" ] || die "the ledger has $EXPORTED accepted, not $COUNT"
TESTED=$(bellwether delivery export --campaign bellwether/spring-test --outcome accepted | wc -l)
[ "$ACCEPTED" = $((COUNT + TESTED)) ] || die "the simulators accepted $ACCEPTED, not $COUNT and $TESTED of the test"
awk "BEGIN { printf \"%d phones, from the queue to the end in %.0f s; ledger and simulators agree\n\", $COUNT, $ENDED - $BEGAN }"
