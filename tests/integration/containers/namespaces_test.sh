#!/usr/bin/env bash
# namespaces_test.sh DAEMON A8ACTL DP_MLA: the main job with a daemon and two workers of which each has a PID, IPC, mount and
# user namespace of its own, as three containers have that share one directory. Then a worker is killed, of whose number
# the daemon knows nothing.
set -euo pipefail
daemon=$1 a8actl=$2 dp_mla=$3
dir=$(mktemp -d)
run=$dir/run
daemon_pid=""

clean_up() {
  [ -z "$daemon_pid" ] || kill -KILL "$daemon_pid" 2>/dev/null || true
  [ -z "$daemon_pid" ] || wait "$daemon_pid" 2>/dev/null || true
  rm -rf "$dir"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $*"
  tail -n 20 "$dir"/*.log
  exit 1
}

isolated=(unshare --user --map-root-user --pid --fork --kill-child --mount-proc --ipc --mount)
if ! "${isolated[@]}" true 2>"$dir/unshare.log"; then
  echo "skipped: this machine makes no user namespaces: $(cat "$dir/unshare.log")"
  exit 77
fi

# Notes where it is, and becomes the program: contained NAME PROGRAM [ARGUMENT...]
cat >"$dir/contained" <<END
#!/bin/sh
for kind in user pid ipc mnt; do readlink "/proc/self/ns/\$kind"; done >"$dir/namespaces.\$1"
echo "\$\$" >>"$dir/namespaces.\$1"
shift
exec "\$@"
END
chmod +x "$dir/contained"

start_daemon() {
  "${isolated[@]}" "$dir/contained" daemon "$daemon" --runtime-dir="$run" --backend=host >"$dir/daemon.log" 2>&1 &
  daemon_pid=$!
  for _ in $(seq 300); do
    "$a8actl" --runtime-dir "$run" status >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  fail "the daemon does not answer"
}

# run_job ARGUMENT...: the main job, each of its two workers in namespaces of its own.
run_job() {
  "$dp_mla" --runtime-dir "$run" --world-size 2 --launcher "${isolated[*]} $dir/contained worker{rank}" "$@"
}

check_that_all_are_apart() {
  local kind names line=0
  for kind in user pid ipc mnt; do
    line=$((line + 1))
    names=$( (readlink "/proc/self/ns/$kind"; sed -sn "${line}p" "$dir"/namespaces.*) | sort -u | wc -l)
    # The test's own, and those of daemon, worker 0 and worker 1.
    [ "$names" = 4 ] || fail "$names $kind namespaces, expected 4"
  done
  # Each believes to be the first process of its machine.
  [ "$(sed -sn 5p "$dir"/namespaces.* | sort -u)" = 1 ] || fail "a process is not the first of its namespace"
}

nobody_is_there() { "$a8actl" --runtime-dir "$run" sessions --json | tr -d ' \n' | grep -q '"sessions":\[\]'; }

main() {
  local status=0 victim
  start_daemon
  run_job --steps 10 --layers 2 --json --quiet >"$dir/job.json" 2>"$dir/job.log" || fail "the job ended with status $?"
  grep -q '"mismatches": *0' "$dir/job.json" || fail "$(cat "$dir/job.json")"
  check_that_all_are_apart

  run_job --steps 0 --layers 61 --quiet >"$dir/killed.log" 2>&1 &
  for _ in $(seq 300); do
    "$a8actl" --runtime-dir "$run" groups --json 2>/dev/null | grep -q '"state": "ready"' && break
    sleep 0.1
  done
  # The worker itself, as this namespace numbers it, not the unshare that started it.
  victim=$(pgrep -f -- "^$dp_mla --a8a-rank-process rank 1 ")
  kill -KILL "$victim"
  wait $! || status=$?
  [ "$status" = 1 ] || fail "the job whose worker was killed ended with status $status"
  for _ in $(seq 100); do
    nobody_is_there && break
    sleep 0.1
  done
  nobody_is_there || fail "the dead worker's session is still there"
  grep -q "died" "$dir/daemon.log" || fail "the daemon did not notice the death"
  run_job --steps 2 --layers 1 --quiet >"$dir/again.log" 2>&1 || fail "no job runs after it"

  kill -TERM "$(pgrep -P "$daemon_pid")"
  wait "$daemon_pid" || fail "the daemon ended with status $?"
  daemon_pid=""
  echo "2 workers and a daemon in 3 sets of namespaces: $(grep -o '"rows[a-z_]*": *[0-9]*' "$dir/job.json" | head -n 1), no mismatch"
}

main
