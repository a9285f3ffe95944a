#!/usr/bin/env bash
# Runs the acceptance program NAME with ARGS, or every one that is not long. Each runs even if one before it failed.
# usage: test/accept.sh [NAME [ARGS...]]
set -euo pipefail
cd "$(dirname "$0")/acceptance"

# Not among all: newcomer runs `make test` itself, and bench's bars need a machine with nothing else to do.
# `make soak` runs both.
long=" newcomer bench "

failed=()
run() {
	name=$1 && shift
	go run -C "$name" . "$@" || failed+=("$name")
}

if [ $# -gt 0 ]; then
	if [ ! -e "$1/main.go" ]; then
		echo "no acceptance program $1; there are: $(echo */main.go | sed 's:/main.go::g')" >&2
		exit 2
	fi
	run "$@"
else
	for main in */main.go; do
		name=${main%/main.go}
		[[ $long = *" $name "* ]] || run "$name"
	done
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
