#!/bin/sh
# Makes the certificate authorities in $1 trusted, for builds and sessions
# behind a proxy that re-signs TLS. Nothing to do when there is no such file.
#
# Only those the system does not know yet are added, one per file: OpenSSL looks
# up an authority by the hash of its name, which needs one certificate a file,
# and that spares every program reading a doubled bundle.
set -eu

bundle=$1
[ -s "$bundle" ] || exit 0

awk '
	/-----BEGIN CERTIFICATE-----/ { pem = ""; body = ""; inside = 1 }
	inside { sub(/\r$/, ""); pem = pem $0 "\n"; if ($0 !~ /-----/) body = body $0 }
	/-----END CERTIFICATE-----/ {
		inside = 0
		if (body in seen) next
		seen[body] = 1
		if (FILENAME == ARGV[1]) next
		file = sprintf("/usr/local/share/ca-certificates/runbook-%03d.crt", ++added)
		printf "%s", pem >file
		close(file)
	}
' /etc/ssl/certs/ca-certificates.crt "$bundle"

update-ca-certificates
