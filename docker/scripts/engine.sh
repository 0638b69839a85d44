#!/usr/bin/env bash
# Makes sure that a Docker engine is in reach.
#
#   engine.sh        says nothing when one answers; otherwise, as root on Debian and
#                    Ubuntu, installs and starts one, elsewhere says what to type
#   engine.sh stop   stops the engine that this script started by hand, if any
#
# Exits with 0 when there is an engine. DATA_DIR/dockerd.pid exists as long as the
# engine is one that was started by hand, DATA_DIR/dockerd.log is its log.
set -euo pipefail

data=${DATA_DIR:-.data}
log=$data/dockerd.log
pidfile=$data/dockerd.pid
socket=/var/run/docker.sock
PATH=$PATH:/usr/sbin:/sbin

say() { echo "runbook: $*" >&2; }

fail() {
	say "$@"
	exit 1
}

# A context chosen for the CLI is not what the server goes by, DOCKER_HOST is. Where
# there is no CLI, there is Node.js: the project needs that anyway.
answers() {
	local host=${DOCKER_HOST:-unix://$socket}
	if command -v docker >/dev/null; then
		DOCKER_HOST=$host timeout 10 docker version --format '{{.Server.Version}}' &>/dev/null
	else
		timeout 10 node -e '
			const host = process.argv[1]
			const target = host.startsWith("unix://")
				? { socketPath: host.slice("unix://".length), path: "/_ping" }
				: host.replace(/^tcp:/, "http:") + "/_ping"
			require("http").get(target, (res) => process.exit(res.statusCode === 200 ? 0 : 1))
				.on("error", () => process.exit(1))' "$host" &>/dev/null
	fi
}

# running PID NAME: a pid file alone proves little, since the pid may have gone to
# another process, and a zombie is nothing to wait for.
running() {
	local status
	status=$(cat "/proc/$1/status" 2>/dev/null) &&
		[[ $status == Name:*"$2"$'\n'* && $status != *$'\n'State:*Z\ * ]]
}

on_debian() {
	[[ -r /etc/os-release ]] && (
		# shellcheck source=/dev/null
		. /etc/os-release
		[[ " $ID ${ID_LIKE:-} " == *\ debian\ * ]]
	)
}

# Nothing recommended comes along, so what the engine fails without is named.
packages() {
	printf '%s\n' docker.io iptables ca-certificates
	# Newer releases ship the command line tool apart.
	if apt-cache show docker-cli &>/dev/null; then echo docker-cli; fi
	if grep -qs Y /sys/module/apparmor/parameters/enabled; then echo apparmor; fi
}

how_to() {
	local sudo=''
	[[ $(id -u) == 0 ]] || sudo='sudo '
	if on_debian; then
		say 'no Docker engine answers. Type these, then try again:'
		command -v dockerd >/dev/null || {
			echo "  ${sudo}apt-get update"
			echo "  ${sudo}apt-get install -y $(packages | xargs)"
		}
		echo "  ${sudo}systemctl start docker"
		[[ -z $sudo ]] || echo "  ${sudo}usermod -aG docker $(id -un) && newgrp docker"
	else
		say 'no Docker engine answers. Install Docker and start it, for example:'
		echo "  Fedora    ${sudo}dnf install -y moby-engine && ${sudo}systemctl start docker"
		echo "  Arch      ${sudo}pacman -S docker && ${sudo}systemctl start docker"
		echo "  Alpine    ${sudo}apk add docker && ${sudo}service docker start"
		echo '  macOS     open -a Docker'
		echo 'or let DOCKER_HOST name an engine elsewhere.'
	fi >&2
}

install_engine() {
	say 'no Docker engine answers: installing one with apt (docker.io, about a minute)'
	export DEBIAN_FRONTEND=noninteractive
	# Without --foreground, Ctrl-C would not reach apt. Known lists may do, so that a
	# failed update decides nothing yet.
	timeout --foreground 300 apt-get -q update >>"$log" 2>&1 || true
	local -a names
	mapfile -t names < <(packages)
	timeout --foreground 900 apt-get -qy -o DPkg::Lock::Timeout=120 \
		install --no-install-recommends "${names[@]}" >>"$log" 2>&1 && return
	tail -n 15 "$log" >&2
	fail "apt could not install the Docker engine; the last lines of $log are above."
}

start_by_hand() {
	# A killed engine leaves its pid files behind. It would not start as long as some
	# other process has one of these pids.
	local stale pid
	for stale in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
		pid=$(cat "$stale" 2>/dev/null) || continue
		case $stale in
		*/docker.pid) running "$pid" dockerd && return ;; # it only needs time
		*) running "$pid" containerd && continue ;;
		esac
		rm -f "$stale"
	done
	say "starting the Docker engine (log: $log)"
	setsid dockerd >>"$log" 2>&1 </dev/null &
	echo $! >"$pidfile"
}

start() {
	if answers; then return; fi
	[[ -z ${DOCKER_HOST:-} ]] ||
		fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST. Start it, or unset DOCKER_HOST to use the one of this machine."
	if [[ -S $socket && ! -w $socket ]]; then
		fail "this user may not use $socket. Type: sudo usermod -aG docker $(id -un) && newgrp docker"
	fi
	if [[ $(id -u) != 0 ]] || ! on_debian; then
		how_to
		exit 1
	fi

	mkdir -p "$data"
	rm -f "$pidfile"
	command -v dockerd >/dev/null || install_engine
	if [[ -d /run/systemd/system ]]; then
		systemctl start docker >>"$log" 2>&1 || true # told below, with the rest
	elif ! answers; then
		start_by_hand
	fi

	local deadline=$((SECONDS + 60)) pid
	pid=$(cat "$pidfile" 2>/dev/null) || pid=''
	until answers; do
		if ((SECONDS > deadline)) || [[ -n $pid ]] && ! running "$pid" dockerd; then
			stop
			if [[ -d /run/systemd/system ]]; then
				journalctl -n 5 --no-pager -u docker >&2 || true
				fail 'the Docker engine does not start; the last lines of its log are above.'
			fi
			tail -n 5 "$log" >&2
			fail "the Docker engine does not start; the last lines of $log are above."
		fi
		sleep 0.3
	done
	# Another start may have been first: then the engine is not ours to stop.
	[[ -z $pid ]] || running "$pid" dockerd || rm -f "$pidfile"
}

stop() {
	local pid deadline=$((SECONDS + 30))
	pid=$(cat "$pidfile" 2>/dev/null) || return 0
	if running "$pid" dockerd; then
		kill "$pid"
		while running "$pid" dockerd; do
			((SECONDS <= deadline)) || fail "the Docker engine (pid $pid) does not stop; see $log."
			sleep 0.2
		done
	fi
	rm -f "$pidfile"
}

case ${1:-start} in
start) start ;;
stop) stop ;;
*) fail "usage: $0 [start|stop]" ;;
esac
