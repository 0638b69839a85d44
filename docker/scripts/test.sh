#!/usr/bin/env bash
# Runs all that CI runs, or with the argument `bench` the benchmarks: on a real
# engine and a real Postgres, which it provides, and takes away again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# A data folder of its own: an engine that runs already is left running.
engine() { DATA_DIR=.data/test docker/scripts/engine.sh "$@"; }

finish() {
	local status=$?
	trap - EXIT
	if [ -x bin/testservices ]; then
		timeout 120 bin/testservices down || status=1
	fi
	engine stop || status=1
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf 'runbook: %s\n' "$*" >&2; }

step "providing an engine, images and a database"
engine
docker/scripts/base-image.sh
make --no-print-directory agent
go build -o bin/testservices ./docker/testservices
services="$(timeout 1800 bin/testservices up)"
eval "$services"

if [ "${1:-}" = bench ]; then
	go test -run '^$' -bench . -benchmem ./...
	exit
fi

step "checking go.mod, generated files and style"
make --no-print-directory tidy check-generated lint
step "running the Go tests"
make --no-print-directory test-go
