#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz target of the module for TIME (60s), one after
# the other. Targets are found, not listed. Ends with 1 when any of them found
# something; the find is then under that package's testdata/fuzz. Inputs are
# minimised briefly: coverage of goroutines varies, and Go would do little else.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}

passed=0 failed=()
while IFS=: read -r file name; do
  pkg=./$(dirname "$file")
  echo "== $pkg $name ($time)"
  if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg"; then
    passed=$((passed + 1))
  else
    failed+=("$pkg $name")
  fi
done < <(find . -name '*_test.go' -printf '%P\n' | sort |
  xargs sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/;T;F;p' | paste -d: - -)
for f in ${failed[@]+"${failed[@]}"}; do echo "FAILED $f"; done
[[ $((passed + ${#failed[@]})) -gt 0 ]] || { echo "no fuzz target found" >&2; exit 1; }
echo "$passed passed, ${#failed[@]} failed"
[[ ${#failed[@]} == 0 ]]
