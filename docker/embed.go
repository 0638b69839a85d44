// Package docker holds what images are built from, so that the server can build
// those it needs by itself, wherever its binary was carried to.
//
// Embedding keeps neither modes nor owners: no file in here may count on being
// executable.
package docker

import (
	"embed"
	"io/fs"
)

//go:embed runtime/Dockerfile runtime/trust-ca.sh runtime/gocache/main.go
//go:embed postgres
var files embed.FS

// The build contexts of the images, each with its Dockerfile at the root. Runtime
// takes an optional further file, ca-bundle.crt: the certificate authorities (PEM)
// to trust while building and in sessions.
var (
	Runtime  = context("runtime")
	Postgres = context("postgres")
)

func context(dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // only for an invalid path, and those above are not
	}
	return sub
}
