// Package migrations holds the history of the database's schema: one SQL file
// per step, NNNN_name.sql, in the form that goose reads. A file that has been
// released is never changed; a new one is added.
package migrations

import "embed"

// FS holds the migrations, at its root.
//
//go:embed *.sql
var FS embed.FS
