#!/usr/bin/env bash
# run_python.sh VENV REQUIREMENTS SCRIPT [ARGUMENT...]: runs a Python script with the packages of REQUIREMENTS, which are
# installed into VENV once. Exit status 77, with the reason, where they cannot be had.
set -euo pipefail
venv=$1 requirements=$2 script=$3
shift 3
log=$venv.log
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
if ! cmp -s "$requirements" "$venv/installed.txt"; then
  rm -rf "$venv"
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --only-binary :all: -r "$requirements"; } >"$log" 2>&1; then
    echo "skipped: the packages of $requirements cannot be installed: $(tail -n 1 "$log")"
    exit 77
  fi
  cp "$requirements" "$venv/installed.txt"
fi
exec 9>&-
exec "$venv/bin/python" "$script" "$@"
