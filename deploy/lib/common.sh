# What deploy/quickstart and deploy/test share. Sourced, not run; expects `set -euo pipefail`.
# shellcheck shell=bash

A8A_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
A8A_SELF="deploy/$(basename "$0")"
A8A_LOG_DIR="$A8A_ROOT/build/logs"
# Where a failed step's log is cut; the whole of it stays in the file.
A8A_LOG_TAIL_LINES=40
# What the compiler may take for one file of generated gRPC code under a sanitizer, in KiB.
A8A_BUILD_JOB_KIB=$((1024 * 1024))
# How long a process group may take to end after SIGTERM, before SIGKILL.
A8A_STOP_SECONDS=10

# The process group that was started last, for as long as it runs.
A8A_GROUP_PID=""

# say TEXT...: one line of progress with the seconds since the script started.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# die_with STATUS TEXT...: one line on standard error, then exit.
die_with() {
  printf '%s: %s\n' "$A8A_SELF" "${*:2}" >&2
  exit "$1"
}
die() { die_with 1 "$@"; }

# start_group COMMAND...: starts a command in the background as leader of a process group and sets A8A_GROUP_PID.
# A session of its own: a Ctrl-C reaches the script alone, which then ends its groups in order. The shell would leave
# SIGINT ignored in a background command. Should the script itself be killed, the command gets SIGTERM.
start_group() {
  setsid env --default-signal=INT,QUIT setpriv --pdeathsig TERM "$@" </dev/null &
  A8A_GROUP_PID=$!
}

# wait_group: waits for the group's leader and returns its status. A signal to the script is taken while it waits.
wait_group() {
  local status=0
  wait "$A8A_GROUP_PID" || status=$?
  A8A_GROUP_PID=""
  return "$status"
}

# stop_group PID: ends the process group that PID leads: SIGTERM, then SIGKILL when its time is over.
stop_group() {
  local pid=$1 deadline=$((SECONDS + A8A_STOP_SECONDS))
  # The leader alone, where it has not yet made its group.
  kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || return 0
  while kill -0 -- "-$pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
  kill -KILL -- "-$pid" 2>/dev/null || true
}

# clean_up_with FUNCTION: calls it once, however the script ends, after the running group was ended.
clean_up_with() {
  # shellcheck disable=SC2064  # the function's name is known now
  trap "trap '' INT TERM HUP; [ -z \"\$A8A_GROUP_PID\" ] || stop_group \"\$A8A_GROUP_PID\"; $1" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
}

# check_step STATUS LOG COMMAND...: when STATUS is not 0, prints the end of LOG and where the rest is, and exits.
check_step() {
  local status=$1 log=$2
  shift 2
  [ "$status" -ne 0 ] || return 0
  tail -n "$A8A_LOG_TAIL_LINES" "$log" >&2
  printf '%s: failed with status %d: %s\n%s: whole log: %s\n' "$A8A_SELF" "$status" "$*" "$A8A_SELF" "$log" >&2
  exit "$status"
}

# run_step NAME TEXT COMMAND...: says TEXT and runs COMMAND with its output in build/logs/NAME.log. A failure ends the
# script with the command's status.
run_step() {
  local log="$A8A_LOG_DIR/$1.log" status=0
  say "$2"
  shift 2
  mkdir -p "$A8A_LOG_DIR"
  start_group "$@" >"$log" 2>&1
  wait_group || status=$?
  check_step "$status" "$log" "$@"
}

# run_root_step NAME TEXT COMMAND...: the same in the foreground: sudo wants its terminal, and a package manager is
# better left to finish than interrupted.
run_root_step() {
  local log="$A8A_LOG_DIR/$1.log" status=0
  say "$2"
  shift 2
  mkdir -p "$A8A_LOG_DIR"
  "${A8A_AS_ROOT[@]}" "$@" >"$log" 2>&1 </dev/null || status=$?
  check_step "$status" "$log" "$@"
}

# packages_of FILE...: the package names in the files, without comments.
packages_of() { sed -e 's/#.*//' "$@" | awk 'NF { print $1 }'; }

# missing_packages FILE...: those of them that are not installed.
missing_packages() {
  local names name
  names=$(packages_of "$@") || return
  for name in $names; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || printf '%s\n' "$name"
  done
}

# find_root: sets A8A_AS_ROOT to the words that go before a command that needs root, or fails when there is no way.
find_root() {
  if [ "$(id -u)" -eq 0 ]; then
    A8A_AS_ROOT=(env)
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    A8A_AS_ROOT=(sudo -n env)
  elif command -v sudo >/dev/null && [ -t 0 ]; then
    say "packages: sudo asks for your password"
    sudo -v && A8A_AS_ROOT=(sudo env)
  else
    return 1
  fi
}

# install_packages FILE...: installs what is missing of the packages in the files.
install_packages() {
  local missing
  command -v dpkg-query >/dev/null ||
    die "this is not Debian or Ubuntu; install the equivalents of: $(packages_of "$@" | xargs); then follow README.md"
  missing=$(missing_packages "$@" | xargs) || die "cannot read the package lists: $*"
  if [ -z "$missing" ]; then
    say "packages: all installed"
    return
  fi
  find_root ||
    die "packages are missing, and this user is not root and cannot use sudo; as root, run: apt-get install $missing"
  # Lists that cannot be refreshed may still be good enough: the installation decides.
  run_root_step apt-update "packages: refreshing lists" sh -c 'apt-get update || true'
  # shellcheck disable=SC2086  # one word for each package
  run_root_step apt-install "packages: installing $missing" DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends $missing
}

# build_job_count: as many compilers at once as there are cores and memory for.
build_job_count() {
  local cores fitting
  cores=$(nproc)
  fitting=$(awk -v each="$A8A_BUILD_JOB_KIB" '/^MemAvailable:/ { print int($2 / each) }' /proc/meminfo)
  [ "${fitting:-0}" -ge 1 ] || fitting=1
  if [ "$fitting" -lt "$cores" ]; then printf '%d\n' "$fitting"; else printf '%d\n' "$cores"; fi
}

# build_preset PRESET [TARGET...]: configures and builds a preset, everything or the named targets.
build_preset() {
  local preset=$1 launcher targets=()
  shift
  [ "$#" -eq 0 ] || targets=(--target "$@")
  launcher=$(command -v ccache || true)
  run_step "configure-$preset" "configure: preset $preset" \
    cmake -S "$A8A_ROOT" --preset "$preset" "-DCMAKE_CXX_COMPILER_LAUNCHER=$launcher"
  run_step "build-$preset" "build: preset $preset${*:+, $*}" \
    cmake --build "$A8A_ROOT/build/$preset" --parallel "$(build_job_count)" "${targets[@]}"
}

# make_private_dir: makes a directory for one run, short enough that a socket in it fits sockaddr_un (108 bytes with
# the terminating zero), and prints its path.
make_private_dir() {
  local parent=${TMPDIR:-/tmp}
  [ "${#parent}" -le 60 ] || parent=/tmp
  mktemp -d "$parent/a8a.XXXXXX"
}

# A closed standard input would make the first file that is opened take its number.
{ : <&0; } 2>/dev/null || exec </dev/null
