# A daemon that an install test starts from what it installed. Sourced, not run; expects `set -euo pipefail`.
# shellcheck shell=bash

daemon_pid=""

fail() {
  echo "$(basename "$0" .sh): $*" >&2
  exit 1
}

# start_daemon PROGRAM DIR: returns when it serves in DIR/run; its log is DIR/daemon.log.
start_daemon() {
  local program=$1 dir=$2 deadline=$((SECONDS + 20))
  "$program" --backend host --runtime-dir "$dir/run" 2>"$dir/daemon.log" &
  daemon_pid=$!
  until grep -q ' serving ' "$dir/daemon.log"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the daemon does not serve: $(cat "$dir/daemon.log")"
    sleep 0.05
  done
}

# stop_daemon: in order, if one runs.
stop_daemon() {
  [ -n "$daemon_pid" ] || return 0
  kill -TERM "$daemon_pid" 2>/dev/null || true
  wait "$daemon_pid" 2>/dev/null || true
  daemon_pid=""
}
