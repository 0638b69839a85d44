#!/usr/bin/env bash
# Makes the cluster in $PGDATA at the first start, then becomes PostgreSQL.
# Arguments are handed on to it, such as -c max_connections=50.
#
#   POSTGRES_PASSWORD   required at the first start
#   POSTGRES_USER       the superuser's name, default postgres
#   POSTGRES_DB         the database to make, default the user's name
set -euo pipefail

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

fail() {
	echo "runbook: $*" >&2
	exit 1
}

# The cluster is made in .new and renamed to .done when it is complete. Moving it
# into place from there can be taken up again, and PG_VERSION, which marks a
# finished cluster, comes last: however a start ends, the next one gets further.
init() {
	[[ -n ${POSTGRES_PASSWORD:-} ]] || fail 'set POSTGRES_PASSWORD for the first start.'
	local others
	others=$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name .new ! -name lost+found)
	[[ -z $others ]] || fail "$PGDATA is neither empty nor a PostgreSQL cluster."

	rm -rf "$PGDATA/.new"
	initdb --pgdata="$PGDATA/.new" --username="$user" \
		--pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
		--auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
		--locale=C.UTF-8 --locale-provider=builtin --builtin-locale=C.UTF-8
	echo 'host all all all scram-sha-256' >>"$PGDATA/.new/pg_hba.conf"
	if [[ $database != postgres ]]; then
		# Without a server, so that nobody can connect before all is there.
		echo "CREATE DATABASE \"${database//\"/\"\"}\"" |
			postgres --single -j -D "$PGDATA/.new" postgres >/dev/null
	fi
	mv "$PGDATA/.new" "$PGDATA/.done"
}

chmod 700 "$PGDATA" || fail "$PGDATA must belong to $(id -un) (uid $(id -u))."
if [[ ! -e $PGDATA/PG_VERSION ]]; then
	[[ -d $PGDATA/.done ]] || init
	find "$PGDATA/.done" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
	mv "$PGDATA/.done/PG_VERSION" "$PGDATA/"
	rmdir "$PGDATA/.done"
fi

unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c listen_addresses='*' "$@"
