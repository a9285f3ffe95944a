#!/usr/bin/env bash
# Runs the acceptance program NAME with ARGS, or every one that is not long. Each runs even if one before it failed.
# usage: test/accept.sh [NAME [ARGS...]]
set -euo pipefail
cd "$(dirname "$0")/acceptance"

long=" newcomer " # too long for `make test`; `make soak` runs them

# brief prints what keeps a program short when it runs among all the others.
brief() {
	case $1 in
	bench) echo -rounds 3 -length 1s ;; # `make bench` takes its time
	esac
}

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
		[[ $long = *" $name "* ]] || run "$name" $(brief "$name")
	done
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
