#!/usr/bin/env bash
# Runs the acceptance program NAME with ARGS, or every one that is not long. Each runs even if one before it failed.
# usage: test/accept.sh [NAME [ARGS...]]
set -euo pipefail
cd "$(dirname "$0")/acceptance"

long=(newcomer) # too long for `make test`; `make soak` runs them

programs=()
if [ $# -gt 0 ]; then
	programs=("$1")
	shift
else
	for main in */main.go; do
		name=${main%/main.go}
		[[ " ${long[*]} " = *" $name "* ]] || programs+=("$name")
	done
fi

failed=()
for name in "${programs[@]}"; do
	if [ ! -e "$name/main.go" ]; then
		echo "no acceptance program $name; there are: $(echo */main.go | sed 's:/main.go::g')" >&2
		exit 2
	fi
	go run -C "$name" . "$@" || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
