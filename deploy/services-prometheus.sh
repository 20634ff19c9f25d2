# shellcheck shell=bash
# services.sh's Prometheus (2.42 or later): scrapes, every second, the targets that are listed in a file of the test's.
# Read by services.sh, and no program of its own.

PROMETHEUS=/usr/bin/prometheus # Debian's

prometheus_bin() { [ -x "$PROMETHEUS" ] && echo "$PROMETHEUS"; }

# Its port is chosen when it is first asked for, and kept.
prometheus_port() {
  local tries=0
  [ -z "${PROMETHEUS_PORT:-}" ] || return 0
  while :; do
    [ $((tries += 1)) -lt 500 ] || die "no free port"
    PROMETHEUS_PORT=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    grep -q "PORT=$PROMETHEUS_PORT\$" "$DIR/state" || listens "$PROMETHEUS_PORT" || break
  done
  echo "PROMETHEUS_PORT=$PROMETHEUS_PORT" >>"$DIR/state"
}

prometheus_config() {
  cat <<CONF
# written by services.sh
global:
  scrape_interval: 1s # a test waits for a number to change, and not for long
  scrape_timeout: 1s
scrape_configs:
  - job_name: test
    file_sd_configs:
      - files: ['$DIR/prometheus/targets.json']
        refresh_interval: 1s
CONF
}

prometheus_create() {
  local home=$DIR/prometheus
  [ ! -f "$home/created" ] || return 0
  rm -rf "$home"
  mkdir -p "$home/data"
  prometheus_config >"$home/prometheus.yml"
  echo '[]' >"$home/targets.json"
  chmod 700 "$home"
  touch "$home/created"
  give_to prometheus "$home"
}

prometheus_pid() { marked_pid "$DIR/prometheus"; }

# It has read its data and answers queries.
prometheus_answers() {
  local status
  status=$({ exec 3<>"/dev/tcp/127.0.0.1/$PROMETHEUS_PORT" && printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3 && timeout 2 head -n 1 <&3; } 2>/dev/null) || return 1
  case $status in *" 200 "*) ;; *) return 1 ;; esac
}

prometheus_start() {
  local home=$DIR/prometheus bin pid deadline=$((SECONDS + START_SECONDS))
  ! prometheus_pid >/dev/null || return 0
  bin=$(prometheus_bin) || die "Prometheus is not installed; run: $0 install prometheus"
  reachable_by prometheus
  prometheus_port
  prometheus_create
  become prometheus
  # Nothing is kept for longer than a test; the log has what is wrong, and not every start.
  "${AS[@]}" setsid env -i -C "$home" PATH="$PATH" BELLWETHER_SERVICES_MARK="$home" \
    "$bin" --config.file="$home/prometheus.yml" --storage.tsdb.path="$home/data" --storage.tsdb.retention.time=1d \
    --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" --log.level=warn </dev/null >"$DIR/prometheus.log" 2>&1 9>&- &
  pid=$!
  disown -a
  echo "$pid" >"$home/pid"
  until prometheus_answers; do
    if [ "$SECONDS" -ge "$deadline" ] || ! alive "$pid"; then
      tail -n 30 "$DIR/prometheus.log" >&2 || true
      die "Prometheus did not start; the end of $DIR/prometheus.log is above"
    fi
    sleep 0.05
  done
}

prometheus_stop() {
  local pid
  if pid=$(prometheus_pid); then
    kill -TERM "$pid"
    gone_within "$STOP_SECONDS" "$pid" || say "Prometheus did not stop within $STOP_SECONDS s"
  fi
  sweep prometheus
  rm -f "$DIR/prometheus/pid"
}

prometheus_env() {
  [ -n "${PROMETHEUS_PORT:-}" ] || return 0
  cat <<ENV
PROMETHEUS_URL='http://127.0.0.1:$PROMETHEUS_PORT'
PROMETHEUS_TARGETS='$DIR/prometheus/targets.json'
PROMETHEUS_PID='$(prometheus_pid || true)'
ENV
}
