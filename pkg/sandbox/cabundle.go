package sandbox

import (
	"bytes"
	"os"
	"path/filepath"

	"runbook/pkg/apperr"
)

// noCABundle as a setting switches the hand-over of authorities off.
const noCABundle = "none"

// localAuthorities is where Linux distributions keep the authorities that were
// added on this machine: those that no image knows.
var localAuthorities = []string{
	"/usr/local/share/ca-certificates/*.crt",
	"/etc/pki/ca-trust/source/anchors/*",
	"/etc/ca-certificates/trust-source/anchors/*",
}

// caBundle is the certificate authorities, in PEM, that images must trust beyond
// their own: those of a company proxy that signs outgoing TLS again, say. The
// setting names a file; empty means what was added on this machine.
func caBundle(setting string) ([]byte, error) {
	switch setting {
	case noCABundle:
		return nil, nil
	case "":
		return readAuthorities(localAuthorities)
	}
	bundle, err := os.ReadFile(setting) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, apperr.Wrap(err, apperr.Invalid, "CA_BUNDLE names a file that can't be read: %s.", setting)
	}
	return bundle, nil
}

func readAuthorities(patterns []string) ([]byte, error) {
	var bundle bytes.Buffer
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			content, err := os.ReadFile(file) //nolint:gosec // the system's own files
			if err != nil {
				return nil, apperr.Wrap(err, apperr.Invalid,
					"The certificate authority %s can't be read. Set CA_BUNDLE to a readable file, or to %q.", file, noCABundle)
			}
			bundle.Write(content)
			if !bytes.HasSuffix(content, []byte("\n")) {
				bundle.WriteByte('\n')
			}
		}
	}
	return bundle.Bytes(), nil
}
