#!/usr/bin/env bash
# Runs every fuzz target of the main module for TIME, one after the other.
# usage: test/fuzz.sh TIME
set -euo pipefail
cd "$(dirname "$0")/.."

targets=$(grep -rHoE --include='*_test.go' --exclude-dir={node_modules,.cache} '^func Fuzz[A-Za-z0-9_]*' . | sort) || true
if [ -z "$targets" ]; then
	echo 'no fuzz targets found' >&2
	exit 1
fi
while IFS= read -r line; do
	file=${line%%:*} target=${line##*func }
	echo "fuzzing $target in $(dirname "$file") for $1"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$(dirname "$file")" </dev/null
done <<<"$targets"
