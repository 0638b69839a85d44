#!/usr/bin/env bash
# Makes sure that debian:trixie-slim is on the engine, for the Dockerfiles to build
# upon. Says nothing when it is. Otherwise it is pulled or, where no registry is in
# reach, made with debootstrap and imported under the same name.
set -euo pipefail

suite=trixie
image=debian:$suite-slim
PATH=$PATH:/usr/sbin:/sbin

say() { echo "runbook: $*" >&2; }

fail() {
	say "$@"
	exit 1
}

# As the original does it: no manuals, no translations, but every licence; with
# security updates; and no word from apt about what it can't translate.
slim() {
	rm -rf "$1"/usr/share/{man,info,groff,lintian,linda,locale}/* "$1"/var/lib/apt/lists/* \
		"$1"/var/cache/apt/* "$1"/var/log/*.log
	find "$1/usr/share/doc" -type f ! -name copyright -delete
	sed -i -E "s|^deb (\S+) $suite main.*|&\ndeb \1 $suite-updates main\ndeb \1-security $suite-security main|" \
		"$1/etc/apt/sources.list"
	echo 'Acquire::Languages "none";' >"$1/etc/apt/apt.conf.d/no-languages"
	printf 'path-exclude /usr/share/%s/*\n' doc man info groff lintian linda locale >"$1/etc/dpkg/dpkg.cfg.d/slim"
	echo 'path-include /usr/share/doc/*/copyright' >>"$1/etc/dpkg/dpkg.cfg.d/slim"
}

command -v docker >/dev/null ||
	fail 'the docker command is missing. As root type: apt-get install -y docker-cli || apt-get install -y docker.io'
if docker image inspect "$image" &>/dev/null; then exit 0; fi
arch=$(docker version --format '{{.Server.Arch}}' 2>/dev/null) ||
	fail 'no Docker engine answers: run docker/scripts/engine.sh first.'

# --foreground lets Ctrl-C through.
say "pulling $image (30 MB)"
if timeout --foreground 120 docker pull --quiet "$image" &>/dev/null; then exit 0; fi

elsewhere="Where a registry is in reach type: docker pull $image && docker save -o trixie.tar $image; then here: docker load -i trixie.tar"
command -v apt-get >/dev/null ||
	fail "$image can't be pulled, and without apt it can't be made here. $elsewhere"
[[ $arch == "$(dpkg --print-architecture)" ]] ||
	fail "$image can't be pulled, and it can't be made here for an engine of another architecture ($arch). $elsewhere"
[[ $(id -u) == 0 ]] || fail "$image can't be pulled, and only root can make it. Type: sudo $0"

say 'no registry in reach: making it with debootstrap instead (about a minute)'
# Not in /tmp, which is often mounted without devices.
dir=$(mktemp -d /var/tmp/runbook-base.XXXXXX)
finish() {
	local status=$?
	if ((status)); then
		tail -n 15 "$dir/log" >&2
		say "$image could not be made; the last lines of the log are above."
	fi
	rm -rf --one-file-system "$dir"
}
trap finish EXIT
{
	command -v debootstrap >/dev/null || {
		timeout --foreground 300 apt-get -q update
		DEBIAN_FRONTEND=noninteractive timeout --foreground 300 apt-get -qy -o DPkg::Lock::Timeout=120 \
			install --no-install-recommends debootstrap debian-archive-keyring
	}
	timeout --foreground 900 debootstrap --variant=minbase "$suite" "$dir/root"
	slim "$dir/root"
	tar --one-file-system -C "$dir/root" -c . | docker import \
		--change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
		--change 'CMD ["bash"]' - "$image"
} >"$dir/log" 2>&1
