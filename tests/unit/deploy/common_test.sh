#!/usr/bin/env bash
# deploy/lib/common.sh: what the scripts promise about packages, failing steps, and what they leave behind.
# usage: common_test.sh ROOT
# shellcheck disable=SC2016,SC2317  # text that other shells expand; functions that tests replace
set -euo pipefail
root=$1
# shellcheck source-path=SCRIPTDIR/../../.. source=deploy/lib/common.sh
source "$root/deploy/lib/common.sh"

scratch=$(mktemp -d)
clean_up_with 'rm -rf "$scratch"'
A8A_LOG_DIR="$scratch/logs"
printf '# heading\n\ndpkg   # installed everywhere\nno-such-package-a8a\n' >"$scratch/packages"
failures=0

# expect_equal WHAT ACTUAL EXPECTED
expect_equal() {
  [ "$2" != "$3" ] || return 0
  printf 'FAILED: %s: is "%s", should be "%s"\n' "$1" "$2" "$3" >&2
  failures=$((failures + 1))
}

# expect_match WHAT ACTUAL PATTERN
expect_match() {
  # shellcheck disable=SC2254  # a pattern on purpose
  case $2 in
    $3) ;;
    *) expect_equal "$@" ;;
  esac
}

test_packages() {
  expect_equal "packages of a file" "$(packages_of "$scratch/packages" | xargs)" "dpkg no-such-package-a8a"
  expect_equal "missing packages" "$(missing_packages "$scratch/packages")" "no-such-package-a8a"
}

test_missing_list_is_not_taken_for_an_empty_one() {
  local status=0
  (install_packages "$scratch/no-such-list") >/dev/null 2>&1 || status=$?

  expect_equal "exit status" "$([ "$status" -ne 0 ] && echo failed)" failed
}

test_no_way_to_root_is_one_line_that_says_what_to_do() {
  local output status=0
  output=$(
    id() { echo 1000; }
    sudo() { return 1; }
    install_packages "$scratch/packages" </dev/null 2>&1
  ) || status=$?

  expect_equal "exit status" "$status" 1
  expect_match "message" "$output" "*: packages are missing, *; as root, run: apt-get install no-such-package-a8a"
  expect_equal "lines of the message" "$(printf '%s\n' "$output" | wc -l)" 1
}

test_failing_step_ends_the_script_and_shows_the_log() {
  local output status=0
  output=$(run_step broken "step: breaks" sh -c 'echo the reason; exit 7' 2>&1) || status=$?

  expect_equal "exit status" "$status" 7
  expect_match "output" "$output" "*the reason*failed with status 7*whole log: $scratch/logs/broken.log"
}

# living_members PGID: processes of a group that are not yet zombies.
living_members() { awk -v group="$1" '$5 == group && $3 != "Z"' /proc/[0-9]*/stat 2>/dev/null | wc -l; }

test_group_that_ignores_sigterm_is_ended_with_its_children() {
  local pid
  start_group sh -c 'trap "" TERM; sleep 300 & echo ready >"$0"; wait' "$scratch/ready"
  pid=$A8A_GROUP_PID
  A8A_GROUP_PID=""
  until [ -s "$scratch/ready" ]; do sleep 0.01; done

  A8A_STOP_SECONDS=1 stop_group "$pid"
  wait "$pid" 2>/dev/null || true

  expect_equal "processes left" "$(living_members "$pid")" 0
}

test_signal_to_the_script_ends_its_group_and_cleans_up() {
  local pid group status=0
  setsid bash -c 'set -euo pipefail; source "$1/deploy/lib/common.sh"; clean_up_with "touch $2/cleaned"
    start_group sh -c "echo \$\$ >$2/group; exec sleep 300"; wait_group' script "$root" "$scratch" </dev/null &
  pid=$!
  until [ -s "$scratch/group" ]; do sleep 0.01; done
  group=$(cat "$scratch/group")

  kill -TERM "$pid"
  wait "$pid" 2>/dev/null || status=$?

  expect_equal "exit status" "$status" 143
  expect_equal "cleaned up" "$(ls "$scratch/cleaned")" "$scratch/cleaned"
  expect_equal "processes left" "$(living_members "$group")" 0
}

test_private_directory_leaves_room_for_a_socket() {
  local long made
  long="$scratch/$(printf 'x%.0s' {1..100})"
  mkdir "$long"

  made=$(TMPDIR=$long make_private_dir)

  expect_equal "long paths" "$([ "${#made}" -le 90 ] && echo short)" short
  rmdir "$made"
}

for test in $(compgen -A function test_); do
  printf '%s\n' "$test"
  "$test"
done
[ "$failures" -eq 0 ] || die "$failures checks failed"
