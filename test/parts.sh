#!/usr/bin/env bash
# Installs what `make test` needs and Go does not bring: a C compiler (for the race detector only), Python's JWT library,
# Node, and the npm packages of test/*. It installs only what is missing and says what; it fails if it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

python=/usr/bin/python3 # Debian's: another python3 that comes first in PATH does not see Debian's packages

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
"$python" -c 'import jwt, cryptography' 2>/dev/null || packages+=(python3 python3-jwt python3-cryptography)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

if [ ${#packages[@]} -gt 0 ]; then
	echo "parts: missing ${packages[*]}; installing with apt-get"
	as_root=()
	if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi
	if ! command -v apt-get >/dev/null || ! command -v "${as_root[@]:-true}" >/dev/null; then
		echo "parts: needs apt-get, and root or sudo. Install these yourself: ${packages[*]}" >&2
		exit 1
	fi
	"${as_root[@]}" apt-get update -q
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
	"$python" -c 'import jwt, cryptography'
fi

for lock in test/*/package-lock.json; do
	[ -e "$lock" ] || continue
	dir=${lock%/package-lock.json}
	# npm leaves its own copy of the lock file behind when it is done.
	if [ "$dir/node_modules/.package-lock.json" -ot "$lock" ]; then
		echo "parts: npm ci in $dir"
		npm ci --prefix "$dir" --no-audit --no-fund --ignore-scripts
	fi
done
