#!/usr/bin/env bash
# reference_test.sh DOXYFILE: Doxygen finds nothing to warn of in the public headers: everything that is public has a comment.
set -euo pipefail
doxyfile=$1
command -v doxygen >/dev/null || {
  echo "skipped: no doxygen here (deploy/packages-package.txt)"
  exit 77
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# The last word counts. All warnings first, then the status.
{
  cat "$doxyfile"
  echo "OUTPUT_DIRECTORY = $dir"
  echo "WARN_AS_ERROR = FAIL_ON_WARNINGS"
} | doxygen -
for page in a8a_8h classa8a_1_1Client classa8a_1_1Group; do
  [ -s "$dir/html/$page.html" ] || {
    echo "reference_test: no page $page"
    exit 1
  }
done
