#!/usr/bin/env bash
# Asks the operators' API whatever its own OpenAPI document allows, and what it forbids, with a token of each scope:
# no answer of 500, none that the document does not describe, and nothing done beyond the token's scope.
#
#   deploy/schemathesis.sh [--full]
#
# Short, it takes about a minute; full, at least 2,000 examples. Needs DATABASE_URL, AMQP_URL and AMQP_ADMIN_URL
# (deploy/services.sh), python3 with venv, and PyPI the first time. The seed is fixed.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=4.32.5
SEED=20200805
EXAMPLES=3
[ "${1:-}" != --full ] || EXAMPLES=20
SCOPES=(none enqueue:test enqueue:production approve:staff promote halt policy audit admin)

: "${DATABASE_URL:?see deploy/services.sh}" "${AMQP_URL:?}" "${AMQP_ADMIN_URL:?}"
DIR=$(mktemp -d --suffix=-schemathesis)
SERVE=
DATABASE=schemathesis_$$
SERVER=${DATABASE_URL%/*}
# shellcheck disable=SC2317 # called by the trap
finish() {
  local status=$?
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  if [ -n "$SERVE" ]; then
    kill "$SERVE" 2>/dev/null
    wait "$SERVE"
  fi
  psql -q "$DATABASE_URL" -c "drop database if exists $DATABASE with (force)"
  rm -rf "$DIR"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

VENV=${BELLWETHER_SCHEMATHESIS:-target/schemathesis-$VERSION}
if [ ! -x "$VENV/bin/schemathesis" ]; then
  python3 -m venv "$VENV"
  "$VENV/bin/pip" -q install "schemathesis==$VERSION"
fi
VENV=$(realpath "$VENV")

# ---- the service -------------------------------------------------------------------------------------------

cargo build -q --locked
BINARY=${CARGO_TARGET_DIR:-target}/debug/bellwether
psql -q "$DATABASE_URL" -c "create database $DATABASE"
cp -r audiences "$DIR/audiences"
cat >>"$DIR/audiences/producers.toml" <<'CONF'
[producers.spring]
owners = ["rita", "owen"]
apps = ["pl.example.bank"]
intents = ["production"]
audiences = ["customers-pl", "staff"]
CONF
cat >"$DIR/bellwether.toml" <<CONF
[ledger]
url = "$SERVER/$DATABASE"
[listen]
health = "127.0.0.1:0"
[api]
listen = "127.0.0.1:0"
requests_per_second = 100000
failed_logins_per_minute = 1000000
CONF
export BELLWETHER_CONFIG=$DIR/bellwether.toml
unset BELLWETHER_URL BELLWETHER_TOKEN
# The configuration's own database, not the server's first.
bellwether() { env -u DATABASE_URL "$BINARY" "$@"; }
bellwether migrate 2>/dev/null
env -u DATABASE_URL "$BINARY" serve --role coordinator,api 2>"$DIR/serve.log" &
SERVE=$!
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$DIR/serve.log" | head -n 1; }
for ((i = 0; i < 300; i++)); do
  [ -z "$(field listen)" ] || [ -z "$(field api)" ] || break
  kill -0 "$SERVE" || { cat "$DIR/serve.log"; exit 1; }
  sleep 0.1
done
BELLWETHER_URL=http://$(field api)
HEALTH=http://$(field listen)
export BELLWETHER_URL

# ---- the operators -----------------------------------------------------------------------------------------

made() { bellwether operator add "$@" 2>/dev/null; }
ROOT=$(made root --scope admin,halt,audit --ledger --by root)
GRACE=$(made grace --scope admin --ledger --by grace)
# A token of this person with these scopes, confirmed.
token() {
  local token
  token=$(BELLWETHER_TOKEN=$ROOT made "$1" --scope "$2")
  BELLWETHER_TOKEN=$GRACE bellwether operator confirm "$(cut -d _ -f 2 <<<"$token")" 2>/dev/null || true
  printf '%s\n' "$token"
}
RITA=$(token rita enqueue:production)
campaign() {
  printf '{"v":1,"id":"%s","app":"pl.example.bank","intent":"production","expires_at":"%s","plan":"staff-only",
    "to":{"audience":"staff","at_most":50},"notification":{"title":"Bank","body":"Nowa aplikacja"}}' \
    "$1" "$(date -u -d '+2 hours' +%Y-%m-%dT%H:%M:%SZ)"
}
# A campaign of its own for each run.
submitted() {
  campaign "$1" | curl -fsS -H "authorization: Bearer $RITA" -H 'content-type: application/json' --data-binary @- \
    "$BELLWETHER_URL/api/v1/campaigns" | sed 's/.*"campaign":"\([^"]*\)".*/\1/' | grep .
}

# ---- the runs ----------------------------------------------------------------------------------------------

configure() {
  cat >"$DIR/schemathesis.toml" <<CONF
# What the document cannot say: whether a thing is there, what state it is in, what the job's own rules are.
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "422", "429"]
missing_required_header.expected-statuses = ["400", "401", "403", "404", "429"]

[[operations]]
include-name = "POST /api/v1/campaigns"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "409", "413", "422"]

[[operations]]
include-name = "POST /api/v1/rollouts/{campaign}/correct"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "429"]

[[operations]]
include-name = "POST /api/v1/rollouts/{campaign}/supersede"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "429"]
CONF
  # Without one, the runs make up campaigns that are none.
  [ "$1" = none ] || sed -i "1i [parameters]\ncampaign = \"$(submitted "of-${1//:/-}")\"\n" "$DIR/schemathesis.toml"
}

# What a token of this scope may do, beside what every token may.
may() {
  case $1 in
    enqueue:test) echo submitCampaign retry correct supersede showReached prove ;;
    enqueue:*) echo submitCampaign retry correct supersede showReached ;;
    approve:*) echo approve reject acceptFinding previewRollout ;;
    promote) echo start pause resume promote abort previewRollout showReached ;;
    halt) echo setHalt liftHalt ;;
    audit) echo previewRollout showReached listAudit verifyAudit ;;
    policy) echo diffPolicy activatePolicy ;;
    admin) echo listOperators makeToken confirmToken revokeToken revokeOperator ;;
  esac
}
done_so_far() {
  curl -fsS "$HEALTH/metrics" | sed -n 's/^bellwether_api_requests_total{verb="\([A-Za-z]*\)",code="ok"} \(.*\)/\1 \2/p' | sort
}
STATUS=0
for scope in "${SCOPES[@]}"; do
  printf '\n== %s\n' "$scope"
  case $scope in
    none) TOKEN=bw_0123456789abcdef_nobody ;;
    *) TOKEN=$(token "holder-of-${scope//:/-}" "$scope") ;;
  esac
  configure "$scope"
  done_so_far >"$DIR/before"
  (cd "$DIR" && "$VENV/bin/schemathesis" --config-file schemathesis.toml run "$BELLWETHER_URL/api/v1/openapi.json" \
    -H "Authorization: Bearer $TOKEN" --checks all --seed "$SEED" --max-examples "$EXAMPLES" \
    --continue-on-failure --warnings off) || STATUS=1
  done_so_far >"$DIR/after"
  for verb in $(comm -13 "$DIR/before" "$DIR/after" | cut -d ' ' -f 1); do
    allowed="openapi"
    [ "$scope" = none ] || allowed="$allowed whoami listRollouts showRollout listHalts showPolicy $(may "$scope")"
    case " $allowed " in
      *" $verb "*) ;;
      *) echo "BEYOND SCOPE: $scope did $verb"; STATUS=1 ;;
    esac
  done
done
if grep -q '"level":"ERROR"' "$DIR/serve.log"; then
  grep '"level":"ERROR"' "$DIR/serve.log" | head
  STATUS=1
fi
exit $STATUS
