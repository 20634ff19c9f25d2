#!/usr/bin/env bash
# A private PostgreSQL (15 or later) and RabbitMQ (3.10 or later) for tests, benchmarks and trying out.
#
#   services.sh up DIR                            start both, or what of them is down; returns when both answer
#   services.sh env DIR                           print where they are, as lines a shell can source
#   services.sh stop|start|restart DIR SERVICE    postgres, rabbitmq or prometheus; ports and data stay
#   services.sh down DIR                          stop all of them; the data stays, no process does
#   services.sh install [SERVICE...]              install the Debian packages that are missing; without a name, both's
#
# A Prometheus is there for those who ask for it: `start DIR prometheus`, also without `up`.
# Everything lives under DIR: data, logs, certificates, passwords (made at the first `up`; keep DIR private).
# Every port is on 127.0.0.1. No instance, file or user of the system's own servers is touched.
# As root the servers run as the users `postgres`, `rabbitmq` and `prometheus`; those need to be able to reach DIR.
set -euo pipefail
export LC_ALL=C # messages and sorting must not depend on who runs this

POSTGRES_OLDEST=15      # what the migrations are tested on
RABBITMQ_OLDEST=3.10    # the oldest with at-least-once dead-lettering of quorum queues
START_SECONDS=90        # a cold RabbitMQ needs about 5 s on an idle core; the rest is for a busy machine
STOP_SECONDS=30         # then it is killed: tests must end

say() { printf 'services: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

is_root() { [ "$(id -u)" = 0 ]; }

# Sets AS to what runs a command as the given user. PostgreSQL refuses to run as root, and RabbitMQ should not.
# (A prefix rather than a function: a function in the background leaves a shell behind it.)
become() { if is_root; then AS=(setpriv --reuid="$1" --regid="$(id -g "$1")" --init-groups --); else AS=(); fi; }
give_to() { if is_root; then chown -R "$1:" "$2"; fi; }

# ---- programs ----------------------------------------------------------------------------------------------

# Debian's own directory first: what lies on the PATH may be a wrapper, or only half an installation.
postgres_bin() {
  local dir best=
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V) ; do
    local version=${dir#/usr/lib/postgresql/}
    if [ -x "$dir/initdb" ] && [ "${version%/bin}" -ge "$POSTGRES_OLDEST" ]; then best=$dir; fi
  done
  [ -n "$best" ] && echo "$best"
}

rabbitmq_sbin() {
  local dir best=
  for dir in $(printf '%s\n' /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin | sort -V); do
    local version=${dir#*rabbitmq_server-}
    version=${version%/sbin}
    [ -x "$dir/rabbitmq-server" ] || continue
    if [ "$(printf '%s\n' "$RABBITMQ_OLDEST" "$version" | sort -V | head -n 1)" = "$RABBITMQ_OLDEST" ]; then best=$dir; fi
  done
  [ -n "$best" ] && echo "$best"
}

# Of the given services.
install_missing() {
  local missing=() service
  for service in "$@"; do
    case $service in
      postgres) postgres_bin >/dev/null || missing+=(postgresql) ;;
      rabbitmq) rabbitmq_sbin >/dev/null || missing+=(rabbitmq-server) ;;
      prometheus) prometheus_bin >/dev/null || missing+=(prometheus) ;;
    esac
  done
  command -v openssl >/dev/null || missing+=(openssl)
  [ ${#missing[@]} -gt 0 ] || return 0
  is_root || die "missing Debian packages; install them with: apt-get install ${missing[*]}"
  command -v apt-get >/dev/null || die "missing packages ${missing[*]}, and there is no apt-get here"
  say "installing ${missing[*]}"
  # The packages would create and start instances of the system's own. A cluster is created unless this file says
  # otherwise, a server is started unless policy-rc.d forbids it; a machine's own files are left as they are.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  local policy=
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=ours
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  # Another apt may be at work on the same machine: wait for its lock rather than fail.
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  local log
  log=$("${apt[@]}" update </dev/null 2>&1 &&
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null 2>&1) ||
    { printf '%s\n' "$log" | tail -n 30 >&2; die "apt-get failed"; }
  if [ -n "$policy" ]; then rm -f /usr/sbin/policy-rc.d; trap - EXIT; fi
  for service in "$@"; do
    case $service in
      postgres) postgres_bin >/dev/null || die "the installed PostgreSQL is older than $POSTGRES_OLDEST" ;;
      rabbitmq) rabbitmq_sbin >/dev/null || die "the installed RabbitMQ is older than $RABBITMQ_OLDEST" ;;
      prometheus) prometheus_bin >/dev/null || die "the installed package prometheus brings no $PROMETHEUS" ;;
    esac
  done
}

# ---- processes (from /proc: a small machine has no ps) -----------------------------------------------------

# A zombie nobody reaps (a container's first process may not) still answers to `kill -0`; it is not alive.
alive() {
  local stat
  [ -n "${1:-}" ] && { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  case ${stat##*) } in Z* | X*) return 1 ;; esac
}

# The pids of everything that belongs to one of DIR's servers, whatever its pid file says. Processes carry a mark in
# their environment (epmd too, which names nothing else); PostgreSQL overwrites its own, but each of its
# processes stays in the data directory. A shell that someone left in there is not ours to kill.
processes_of() {
  {
    grep -lzxF "BELLWETHER_SERVICES_MARK=$DIR/$1" /proc/[0-9]*/environ
    [ "$1" != postgres ] || find /proc/[0-9]*/cwd -maxdepth 0 -lname "$DIR/postgres/data"
  } 2>/dev/null | while IFS=/ read -r _ _ pid _; do
    case $1:$(readlink "/proc/$pid/exe") in
      rabbitmq:?* | prometheus:?* | postgres:*/postgres* | postgres:*/pg_ctl*) echo "$pid" ;;
    esac
  done | sort -u
}

# Waits until the given pids are gone, or the seconds are over.
gone_within() {
  local deadline=$((SECONDS + $1)) pid; shift
  for pid in "$@"; do
    while alive "$pid"; do
      [ "$SECONDS" -lt "$deadline" ] || return 1
      sleep 0.05
    done
  done
}

# Whatever a clean stop has left: ask, then kill.
sweep() {
  local pids
  mapfile -t pids <<<"$(processes_of "$1")"
  [ -n "${pids[0]}" ] || return 0
  kill -TERM "${pids[@]}" 2>/dev/null || true
  gone_within 5 "${pids[@]}" && return 0
  say "$1 did not stop: killing ${pids[*]}"
  kill -KILL "${pids[@]}" 2>/dev/null || true
  gone_within 5 "${pids[@]}" || die "$1: processes survive: ${pids[*]}"
}

# ---- ports, passwords, certificates: made once, kept in DIR ------------------------------------------------

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Six ports nobody listens on, below the range from which outgoing connections take theirs. They are chosen
# together, so that no two are the same, and kept: a client reconnects to the port it knows.
choose_ports() {
  local name port taken=' ' tries=0
  for name in POSTGRES_PORT AMQP_PORT AMQPS_PORT MANAGEMENT_PORT DISTRIBUTION_PORT EPMD_PORT; do
    while :; do
      [ $((tries += 1)) -lt 500 ] || die "no free port"
      port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
      case $taken in *" $port "*) continue ;; esac
      listens "$port" || break
    done
    taken+="$port "
    echo "$name=$port"
  done
}

make_state() {
  if [ ! -f "$DIR/state" ]; then
    (
      umask 077
      choose_ports
      echo "POSTGRES_PASSWORD=$(openssl rand -hex 24)"
      echo "RABBITMQ_PASSWORD=$(openssl rand -hex 24)"
    ) >"$DIR/state.new"
    chmod 600 "$DIR/state.new"
    mv "$DIR/state.new" "$DIR/state"
  fi
  # shellcheck source=/dev/null
  . "$DIR/state"
}

# A certificate authority that signs one server certificate and is then unable to sign another: its key is removed.
make_certificates() {
  [ ! -f "$DIR/tls/server.pem" ] || return 0
  local tls=$DIR/tls.new
  rm -rf "$tls"
  mkdir -p "$tls"
  cat >"$tls/openssl.cnf" <<'CONF'
[req]
distinguished_name = name
prompt = no
[name]
CN = bellwether test authority
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONF
  (
    umask 077
    cd "$tls"
    exec 2>openssl.log
    local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config openssl.cnf)
    openssl req -x509 "${key[@]}" -extensions authority -days 30 -keyout ca.key -out ca.pem &&
      openssl req "${key[@]}" -subj /CN=localhost -keyout server.key -out server.csr &&
      openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 30 \
        -extfile openssl.cnf -extensions server -out server.pem
  ) || { cat "$tls/openssl.log" >&2; die "openssl failed"; }
  rm -f "$tls/ca.key" "$tls/server.csr" "$tls/openssl.cnf" "$tls/openssl.log"
  chmod 755 "$tls"
  chmod 644 "$tls/ca.pem" "$tls/server.pem"
  mv "$tls" "$DIR/tls"
}

# ---- PostgreSQL --------------------------------------------------------------------------------------------

postgres_config() {
  cat <<CONF

# -- written by services.sh
listen_addresses = '127.0.0.1'      # nobody outside this machine
port = $POSTGRES_PORT
unix_socket_directories = ''        # a socket's path may have 107 bytes, DIR's may be longer; TCP is what is tested
fsync = on                          # the ledger promises durable commits: tests and benchmarks must pay for them
synchronous_commit = on             # the same
full_page_writes = on               # the same
max_connections = 200               # every integration test has a pool of its own, and they run side by side
shared_buffers = 256MB              # holds a test's whole data: timing does not depend on the disk's cache
max_wal_size = 2GB                  # with the next line: no checkpoint in the middle of a measurement
checkpoint_timeout = 15min
jit = off                           # compiling takes longer than the short statements it would speed up
timezone = 'UTC'                    # a log that reads the same everywhere
log_timezone = 'UTC'
ssl = on                            # so that sslmode=verify-full can be proved
ssl_cert_file = '$DIR/postgres/server.pem'
ssl_key_file = '$DIR/postgres/server.key'
CONF
}

postgres_create() {
  local home=$DIR/postgres bin=$1
  [ ! -f "$home/created" ] || return 0
  rm -rf "$home" # what an interrupted attempt left
  mkdir -p "$home"
  cp "$DIR/tls/server.pem" "$DIR/tls/server.key" "$home/"
  (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >"$home/password")
  chmod 700 "$home"
  give_to postgres "$home"
  # Locale C: text sorts by its bytes on every machine. No sync: an empty cluster lost in a crash is made again.
  become postgres
  "${AS[@]}" env -i PATH="$PATH" LC_ALL=C "$bin/initdb" -D "$home/data" -U postgres -A scram-sha-256 \
    --pwfile="$home/password" -E UTF8 --no-locale --no-sync </dev/null >"$DIR/initdb.log" 2>&1 ||
    { tail -n 30 "$DIR/initdb.log" >&2; die "initdb failed"; }
  postgres_config >>"$home/data/postgresql.conf"
  rm -f "$home/password" "$DIR/initdb.log"
  touch "$home/created"
}

postgres_pid() {
  local pid
  { read -r pid <"$DIR/postgres/data/postmaster.pid"; } 2>/dev/null || return 1
  # After a crash the file may name a process that is another's by now.
  alive "$pid" && [ "$(readlink "/proc/$pid/cwd")" = "$DIR/postgres/data" ] && echo "$pid"
}

postgres_start() {
  local home=$DIR/postgres bin
  ! postgres_pid >/dev/null || return 0
  bin=$(postgres_bin) || die "PostgreSQL is not installed; run: $0 install"
  make_certificates
  postgres_create "$bin"
  # pg_ctl returns when connections are accepted; the log is a file, so that no caller's pipe is held open.
  become postgres
  "${AS[@]}" env -i -C "$home" PATH="$PATH" LC_ALL=C BELLWETHER_SERVICES_MARK="$home" \
    "$bin/pg_ctl" -D "$home/data" -l "$home/server.log" -w -t "$START_SECONDS" start </dev/null >/dev/null 2>&1 9>&- ||
    { tail -n 30 "$home/server.log" >&2; die "PostgreSQL did not start; the end of $home/server.log is above"; }
}

postgres_stop() {
  local pid
  if pid=$(postgres_pid); then
    kill -INT "$pid" # a fast shutdown: sessions are ended, commits are kept
    gone_within "$STOP_SECONDS" "$pid" || say "PostgreSQL did not stop within $STOP_SECONDS s"
  fi
  sweep postgres
}

# ---- RabbitMQ ----------------------------------------------------------------------------------------------

# Everything that RabbitMQ would otherwise look for in the system's directories or in the caller's environment.
rabbitmq_environment() {
  local home=$DIR/rabbitmq
  RABBITMQ_ENVIRONMENT=(
    PATH="$PATH" LANG=C.UTF-8
    BELLWETHER_SERVICES_MARK="$home"
    HOME="$home"                                   # the Erlang cookie
    RABBITMQ_NODENAME="bellwether$AMQP_PORT@localhost"
    RABBITMQ_DIST_PORT="$DISTRIBUTION_PORT"
    ERL_EPMD_PORT="$EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1
    ERL_INETRC="$home/inetrc"
    RABBITMQ_CONF_ENV_FILE=/dev/null
    RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf"
    RABBITMQ_ADVANCED_CONFIG_FILE="$home/none.config"
    RABBITMQ_CONFIG_FILES="$home/none.d"
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins"
    RABBITMQ_MNESIA_BASE="$home/data"
    RABBITMQ_LOG_BASE="$home/log"
    RABBITMQ_PLUGINS_EXPAND_DIR="$home/plugins"
    RABBITMQ_GENERATED_CONFIG_DIR="$home/generated"
    RABBITMQ_PID_FILE="$home/pid"
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" # nodes talk on loopback
  )
}

rabbitmq_config() {
  cat <<CONF
# written by services.sh
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
# so that amqps:// can be proved; clients prove who they are by password
listeners.ssl.1 = 127.0.0.1:$AMQPS_PORT
ssl_options.cacertfile = $DIR/tls/ca.pem
ssl_options.certfile = $DIR/rabbitmq/server.pem
ssl_options.keyfile = $DIR/rabbitmq/server.key
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
# tests make virtual hosts and users through the HTTP API
management.tcp.ip = 127.0.0.1
management.tcp.port = $MANAGEMENT_PORT
# the first user, in place of guest with its known password
default_user = bellwether
default_pass = $RABBITMQ_PASSWORD
default_user_tags.administrator = true
# a test that waits for a count through the HTTP API waits 1 s at most, not 5 s
collect_statistics_interval = 1000
# absolute bounds: a share of a big machine, or of a full disk, would block publishers in an unrelated way
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 200MB
# the log of quorum queues rolls over at 64 MB; the default of 512 MB is for servers, not for a temporary directory
raft.wal_max_size_bytes = 67108864
CONF
}

rabbitmq_create() {
  local home=$DIR/rabbitmq
  [ ! -f "$home/created" ] || return 0
  rm -rf "$home"
  mkdir -p "$home"
  cp "$DIR/tls/server.pem" "$DIR/tls/server.key" "$home/"
  mkdir "$home/log" "$home/data"
  echo '[rabbitmq_management].' >"$home/enabled_plugins"
  # Erlang's own word on `localhost`: a bare machine may have no /etc/hosts.
  echo '{host, {127,0,0,1}, ["localhost"]}. {lookup, [file, native]}.' >"$home/inetrc"
  (umask 077 && rabbitmq_config >"$home/rabbitmq.conf")
  chmod 700 "$home"
  touch "$home/created"
  give_to rabbitmq "$home"
}

# A server of ours by the process id in its folder: it carries the mark that it was started with.
marked_pid() { # FOLDER
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  alive "$pid" && grep -qzxF "BELLWETHER_SERVICES_MARK=$1" "/proc/$pid/environ" && echo "$pid"
}

rabbitmq_pid() { marked_pid "$DIR/rabbitmq"; }

# Starts the broker and does not wait for it: rabbitmq_wait does, so that PostgreSQL can start meanwhile.
rabbitmq_start() {
  local home=$DIR/rabbitmq sbin
  ! rabbitmq_pid >/dev/null || return 0
  sbin=$(rabbitmq_sbin) || die "RabbitMQ is not installed; run: $0 install"
  make_certificates
  rabbitmq_create
  sweep rabbitmq # a second epmd on the same port would end at once
  rabbitmq_environment
  rm -f "$home/pid"
  become rabbitmq
  # Our own epmd, in the foreground of a session of its own: the broker would start one as a daemon.
  "${AS[@]}" setsid env -i -C "$home" "${RABBITMQ_ENVIRONMENT[@]}" \
    epmd -port "$EPMD_PORT" -address 127.0.0.1 </dev/null >"$DIR/epmd.log" 2>&1 9>&- &
  "${AS[@]}" setsid env -i -C "$home" "${RABBITMQ_ENVIRONMENT[@]}" \
    "$sbin/rabbitmq-server" </dev/null >"$DIR/rabbitmq.log" 2>&1 9>&- &
  RABBITMQ_STARTED=$!
  disown -a # or the shell would report their end
}

# A broker that is up answers the protocol's greeting with a method frame (its first byte is 1, AMQP 0-9-1 §2.3.5).
greets() {
  local byte
  byte=$({ exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'AMQP\x00\x00\x09\x01' >&3 && timeout 2 head -c 1 <&3 | od -An -tu1; } 2>/dev/null) || return 1
  [ "${byte// /}" = 1 ]
}

rabbitmq_wait() {
  local deadline=$((SECONDS + START_SECONDS))
  until greets "$AMQP_PORT" && listens "$AMQPS_PORT" && listens "$MANAGEMENT_PORT" && rabbitmq_pid >/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ] || ! alive "${RABBITMQ_STARTED:-$(rabbitmq_pid)}"; then
      tail -n 30 "$DIR/epmd.log" "$DIR/rabbitmq.log" "$DIR"/rabbitmq/log/*.log >&2 || true
      die "RabbitMQ did not start; the ends of its logs in $DIR are above"
    fi
    sleep 0.1
  done
}

rabbitmq_stop() {
  local pid
  if pid=$(rabbitmq_pid); then
    kill -TERM "$pid" # Erlang stops in order on TERM
    gone_within "$STOP_SECONDS" "$pid" || say "RabbitMQ did not stop within $STOP_SECONDS s"
  fi
  sweep rabbitmq # epmd, and the start script if it is still there
  rm -f "$DIR/rabbitmq/pid"
}

# shellcheck source=deploy/services-prometheus.sh
. "$(dirname "$0")/services-prometheus.sh"

# ---- commands ----------------------------------------------------------------------------------------------

# DIR as an absolute path. Blanks and quotes are refused because RabbitMQ's start scripts split on them.
use_dir() {
  [ -n "${1:-}" ] || usage
  [ -r /proc/self/stat ] || die "/proc is not mounted"
  case $command:${2:-} in up:* | start:prometheus) mkdir -p "$1" ;; esac
  [ -d "$1" ] || { [ "$command" = down ] && exit 0; die "no such directory: $1"; }
  DIR=$(cd "$1" && pwd -P)
  case $DIR in *[!A-Za-z0-9._/+@=-]*) die "DIR may hold letters, digits and . _ / + @ = - only: $DIR" ;; esac
  [ "$DIR" != / ] || die "DIR is /"
  exec 9>"$DIR/lock"
  flock -w 180 9 || die "another services.sh is at work in $DIR"
}

# The state of a directory that was up before. Prometheus needs no other to have been.
use_state() {
  case $command:$1 in up:* | start:prometheus) make_state; return ;; esac
  [ -f "$DIR/state" ] || { [ "$command" = down ] && exit 0; die "never up: $DIR"; }
  # shellcheck source=/dev/null
  . "$DIR/state"
}

# Whether the given users can reach what is in DIR.
reachable_by() {
  is_root || return 0
  chmod a+x "$DIR" # mktemp makes a directory that its owner alone may enter
  local user
  for user in "$@"; do
    become "$user"
    "${AS[@]}" test -x "$DIR" || die "the user $user cannot reach $DIR: choose one outside private directories"
  done
}

both_up() { postgres_pid >/dev/null && rabbitmq_pid >/dev/null && greets "$AMQP_PORT"; }

# From here until DONE is set, a failure or an interrupt runs the given command: half a start leaves no process.
undo_by() {
  DONE=
  UNDO=("$@")
  trap '[ -n "$DONE" ] || "${UNDO[@]}"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

up() {
  install_missing postgres rabbitmq
  reachable_by postgres rabbitmq
  both_up && { say "already up in $DIR"; return; }
  undo_by down
  rabbitmq_start
  postgres_start
  rabbitmq_wait
  DONE=yes
  say "PostgreSQL on 127.0.0.1:$POSTGRES_PORT, RabbitMQ on 127.0.0.1:$AMQP_PORT, in $DIR after $SECONDS s"
}

down() {
  postgres_stop
  rabbitmq_stop
  prometheus_stop
}

print_env() {
  local postgres="postgres://postgres:$POSTGRES_PASSWORD@127.0.0.1:$POSTGRES_PORT/postgres"
  local rabbitmq="bellwether:$RABBITMQ_PASSWORD@127.0.0.1"
  local epmd pid
  for pid in $(processes_of rabbitmq); do
    case $(readlink "/proc/$pid/exe") in */epmd) epmd=$pid ;; esac
  done
  cat <<ENV
BELLWETHER_SERVICES_DIR='$DIR'
DATABASE_URL='$postgres'
DATABASE_TLS_URL='$postgres?sslmode=verify-full&sslrootcert=$DIR/tls/ca.pem'
AMQP_URL='amqp://$rabbitmq:$AMQP_PORT/%2f'
AMQPS_URL='amqps://$rabbitmq:$AMQPS_PORT/%2f'
AMQP_ADMIN_URL='http://$rabbitmq:$MANAGEMENT_PORT'
CA_FILE='$DIR/tls/ca.pem'
PGDATA_DIR='$DIR/postgres/data'
POSTGRES_PID='$(postgres_pid || true)'
RABBITMQ_PID='$(rabbitmq_pid || true)'
EPMD_PID='${epmd:-}'
ENV
  prometheus_env
}

start() {
  undo_by stop "$1"
  case $1 in
    postgres) postgres_start ;;
    rabbitmq) rabbitmq_start; rabbitmq_wait ;;
    prometheus) prometheus_start ;;
  esac
  DONE=yes
}

stop() {
  case $1 in
    postgres) postgres_stop ;;
    rabbitmq) rabbitmq_stop ;;
    prometheus) prometheus_stop ;;
  esac
}

command=${1:-}
case $command in
  install)
    shift
    [ $# -gt 0 ] || set -- postgres rabbitmq
    for service in "$@"; do
      case $service in postgres | rabbitmq | prometheus) ;; *) usage ;; esac
    done
    install_missing "$@"
    exit
    ;;
  up | down | env) ;;
  start | stop | restart) case ${3:-} in postgres | rabbitmq | prometheus) ;; *) usage ;; esac ;;
  *) usage ;;
esac
use_dir "${2:-}" "${3:-}"
use_state "${3:-}"
case $command in
  up) up ;;
  down) down ;;
  env) print_env ;;
  start) start "$3" ;;
  stop) stop "$3" ;;
  restart) stop "$3"; start "$3" ;;
esac
