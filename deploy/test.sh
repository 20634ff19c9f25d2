#!/usr/bin/env bash
# Everything that has to hold before a change is merged, by one command, for a person and for CI alike.
#
#   deploy/test.sh
#
# Needs a Rust toolchain. As root it installs the Debian packages that are missing, otherwise it names them.
# The services are private ones in a temporary directory (deploy/services.sh), unless DATABASE_URL, AMQP_URL and
# AMQP_ADMIN_URL are all set. BELLWETHER_INSTALL_LINTERS=1 builds cargo-deny and cargo-machete when they are absent.
# Every step runs, whatever became of the one before; the last lines say what failed.
set -euo pipefail
cd "$(dirname "$0")/.."

# What has to be there, and the package that brings it. The servers' own list is in services.sh.
PACKAGES=(
  "/usr/bin/cc gcc"                                        # links, and compiles the C in aws-lc, ring and SQLite
  "/usr/include/stdio.h libc6-dev"                         # the same
  "/etc/ssl/certs/ca-certificates.crt ca-certificates"     # the trust store that rustls-native-certs reads
  "/usr/bin/curl curl"                                     # asks the operators' API, as scripts do
  "/usr/bin/shellcheck shellcheck"                         # reads these scripts
  "/usr/bin/amqp-publish amqp-tools"                       # publishes jobs as the README says, and so do the next two
  "/usr/lib/python3/dist-packages/pika python3-pika"
  "/var/lib/dpkg/info/ruby-bunny.list ruby-bunny"
  "/usr/share/doc/libfaketime libfaketime"                          # a worker whose clock is wrong (the library is what is used)
)

# ---- processes (from /proc: a small machine has no ps) -----------------------------------------------------

# Sets LEFT to the pids of all that refers to the temporary directory by its working directory, command line or
# environment (every step has TMPDIR in there), apart from this shell. What is on its way out gets 2 s for it.
find_left_behind() {
  local tries pid seen
  for ((tries = 0; tries < 20; tries++)); do
    seen=$({
      grep -lzF "$DIR" /proc/[0-9]*/cmdline /proc/[0-9]*/environ
      find /proc/[0-9]*/cwd -maxdepth 0 -lname "$DIR*"
    } 2>/dev/null | cut -d / -f 3 | sort -un)
    LEFT=()
    for pid in $seen; do
      # The programs of the line above are over by now, and a zombie that nobody reaps has no program any more.
      if [ "$pid" != "$$" ] && [ -e "/proc/$pid/exe" ]; then LEFT+=("$pid"); fi
    done
    [ ${#LEFT[@]} -gt 0 ] || return 0
    sleep 0.1
  done
}

# ---- steps -------------------------------------------------------------------------------------------------

SUMMARY=()
FAILED=()
CHILD=
note() { SUMMARY+=("$(printf '%-8s %-12s %s' "$1" "$2" "$3")"); }

# Runs one step in a process group of its own, so that an interrupt reaches all of it at once, with what it prints
# shown and kept. No step reads standard input.
step() {
  local name=$1 began=$SECONDS status=0 log=$DIR/$1.log tee tries; shift
  printf '\n== %s: %s\n' "$name" "$*"
  rm -f "$DIR/pipe"
  mkfifo "$DIR/pipe"
  tee "$log" <"$DIR/pipe" &
  tee=$!
  setsid "$@" </dev/null >"$DIR/pipe" 2>&1 &
  CHILD=$!
  wait "$CHILD" || status=$?
  CHILD=
  # A process that the step left behind may hold the pipe open; it is found and named at the end.
  for ((tries = 0; tries < 50; tries++)); do
    kill -0 "$tee" 2>/dev/null || break
    sleep 0.05
  done
  kill "$tee" 2>/dev/null || true
  if [ "$status" = 0 ]; then
    note ok "$name" "$((SECONDS - began)) s"
  else
    note FAILED "$name" "$((SECONDS - began)) s, exit code $status"
    FAILED+=("$name")
  fi
  return 0
}

skip() {
  printf '\n== %s\n%s\n' "$1" "$2"
  note skipped "$1" "$2"
}

# ---- the beginning and the end -----------------------------------------------------------------------------

finish() {
  local status=$? pid name
  trap '' INT TERM HUP # the cleaning is not to be interrupted
  trap - EXIT
  set +e
  if [ -n "$CHILD" ]; then
    kill -TERM -- "-$CHILD" 2>/dev/null
    wait "$CHILD" 2>/dev/null
    kill -KILL -- "-$CHILD" 2>/dev/null
  fi
  deploy/services.sh down "$DIR/services" || FAILED+=(services-down)
  find_left_behind
  if [ ${#LEFT[@]} -gt 0 ]; then
    FAILED+=(left-behind)
    echo "processes left behind:"
    for pid in "${LEFT[@]}"; do
      printf '  %s: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
    done
    kill -KILL "${LEFT[@]}"
  fi
  # What failed, once more and last: in a long log this is what a reader sees first.
  for name in ${FAILED[@]+"${FAILED[@]}"}; do
    [ -f "$DIR/$name.log" ] || continue
    printf '\n== the end of what %s printed\n' "$name"
    tail -n 40 "$DIR/$name.log"
  done
  rm -rf "$DIR"
  printf '\n'
  [ ${#SUMMARY[@]} = 0 ] || printf '%s\n' "${SUMMARY[@]}"
  if [ -z "$COMPLETE" ]; then
    printf 'NOT FINISHED: stopped after %s s\n' "$SECONDS"
    [ "$status" != 0 ] || status=1
  fi
  if [ ${#FAILED[@]} -gt 0 ]; then
    printf 'FAILED after %s s: %s\n' "$SECONDS" "${FAILED[*]}"
    [ "$status" != 0 ] || status=1
  fi
  [ "$status" != 0 ] || printf 'passed in %s s\n' "$SECONDS"
  exit "$status"
}

packages() {
  local missing=() entry apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  for entry in "${PACKAGES[@]}"; do
    [ -e "${entry% *}" ] || missing+=("${entry#* }")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "missing Debian packages; install them with: apt-get install ${missing[*]}"
    FAILED+=(packages)
    return 0
  fi
  step apt-update "${apt[@]}" update
  step apt-install "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}

# Whether a linter that takes minutes to build is there, or could be made to be.
linter() {
  local name=$1
  if ! command -v "cargo-$name" >/dev/null && [ "${BELLWETHER_INSTALL_LINTERS:-}" = 1 ]; then
    step "get-$name" cargo install --locked "cargo-$name"
  fi
  command -v "cargo-$name" >/dev/null && return 0
  skip "$name" "skipped: cargo-$name is not installed (cargo install --locked cargo-$name)"
  return 1
}

services() {
  local given=0 name
  for name in DATABASE_URL AMQP_URL AMQP_ADMIN_URL; do
    [ -z "${!name:-}" ] || given=$((given + 1))
  done
  case $given in
    3) echo "using the services of DATABASE_URL, AMQP_URL and AMQP_ADMIN_URL" ;;
    0)
      step services deploy/services.sh up "$DIR/services"
      [ ${#FAILED[@]} -gt 0 ] || {
        set -a
        eval "$(deploy/services.sh env "$DIR/services")"
        set +a
      }
      ;;
    *)
      echo "DATABASE_URL, AMQP_URL and AMQP_ADMIN_URL: set all three, or none of them"
      FAILED+=(services)
      ;;
  esac
}

command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v cargo >/dev/null || { echo "no Rust toolchain: see https://rustup.rs" >&2; exit 1; }

COMPLETE=
DIR=$(mktemp -d --suffix=-bellwether)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 711 "$DIR" # the servers' own users pass through
mkdir "$DIR/tmp"

packages
[ ${#FAILED[@]} = 0 ] || exit 1
step prometheus deploy/services.sh install prometheus # tests start their own
[ ${#FAILED[@]} = 0 ] || exit 1
services
[ ${#FAILED[@]} = 0 ] || exit 1

# From here on all temporary files are under DIR, which is also how a process left behind is found.
export TMPDIR=$DIR/tmp

step fmt cargo fmt --check
step shellcheck shellcheck -x deploy/*.sh
if linter deny; then
  step fetch cargo fetch --locked # what deny looks at without the network
  step deny cargo deny --offline check bans licenses sources
  if [ -n "$(find "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" -mindepth 1 -type d -name 'advisory-db-*' 2>/dev/null)" ]; then
    step advisories cargo deny --offline check advisories
  else
    skip advisories "not checked: there is no advisory database here (cargo deny fetch db)"
  fi
fi
if linter machete; then step machete cargo machete; fi
step clippy cargo clippy --locked --all-targets -- -D warnings
step rustdoc env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step test cargo test --locked --no-fail-fast
step schemathesis deploy/schemathesis.sh
COMPLETE=yes
