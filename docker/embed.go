// Package docker carries the folders that the server builds its images from.
package docker

import (
	"embed"
	"io/fs"
)

//go:embed runtime
var files embed.FS

// Runtime is the build context of the image that sessions run in.
var Runtime = sub("runtime")

// Postgres is the build context of the image of the provided Postgres.
var Postgres = sub("postgres")

func sub(name string) fs.FS {
	folder, err := fs.Sub(files, name)
	if err != nil {
		panic(err)
	}
	return folder
}
