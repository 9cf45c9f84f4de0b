#!/usr/bin/env bash
# man_pages_test.sh MAN_DIR PROGRAM...: the manual pages are what mandoc and man accept without a warning, and name every flag
# that the programs' help names, and no other.
set -euo pipefail
pages=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for tool in mandoc man; do
  command -v "$tool" >/dev/null || {
    echo "skipped: no $tool here (deploy/packages-test.txt)"
    exit 77
  }
done
status=0
fail() {
  echo "man_pages_test: $*" >&2
  status=1
}
flags_in() { grep -oE '(^|[ ,`])--[a-z][a-z0-9-]*' | grep -oE -- '--[a-z0-9-]+' | sort -u; }

# help_of PROGRAM [COMMAND...]: its help, and that of its commands and theirs.
help_of() {
  local help command
  help=$("$@" --help)
  printf '%s\n' "$help"
  while read -r command; do
    help_of "$@" "$command"
  done < <(sed -n '/^Subcommands:$/,/^[^ ]/s/^  \([a-z]*\) .*/\1/p' <<<"$help")
}

for page in "$pages"/*.[158]; do
  said=$(mandoc -T lint -W warning "$page" 2>&1) || fail "mandoc: $said"
  said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=100 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  [ -z "$said" ] || fail "man: $page: $said"
done
for program in "$@"; do
  name=$(basename "$program")
  page=$(echo "$pages/$name".[18])
  [ -f "$page" ] || fail "no page of $name"
  help_of "$program" | flags_in >"$dir/help"
  mandoc -T ascii -O width=200 "$page" | sed 's/.\x08//g' | flags_in >"$dir/page"
  [ -s "$dir/help" ] || fail "$name --help names no flags"
  diff "$dir/help" "$dir/page" || fail "$name: help and page name other flags"
done
[ -s "$pages/a8a.toml.5" ] || fail "no page of a8a.toml"
exit "$status"
