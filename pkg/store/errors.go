package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"runbook/pkg/apperr"
)

// taken says by the name of a unique index which field clashes.
var taken = map[string]apperr.Field{
	"users_username_key": {Field: "username", Message: "This username is taken."},
	"users_email_key":    {Field: "email", Message: "There is an account with this email address already."},
}

// translate turns what GORM, database/sql and the driver return into the errors
// that the package promises. It is the only place that knows theirs.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*apperr.Error](err); ok {
		return err
	}
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return missing("record")
	}
	if known := translatePostgres(err); known != nil {
		return known
	}
	// Checked on ctx: a statement of a cancelled transaction fails with an error
	// that doesn't name the cause.
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	if ctx.Err() != nil || isOutOfReach(err) {
		return outOfReach(err)
	}
	return apperr.Wrap(err, apperr.Internal, "Internal error")
}

// translatePostgres knows what Postgres itself reports; nil means it doesn't.
// Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
func translatePostgres(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return nil
	}
	switch pgErr.Code {
	case "23505": // unique_violation
		return clash(err, pgErr.ConstraintName)
	case "23503": // foreign_key_violation
		return apperr.Wrap(err, apperr.NotFound, "What this belongs to is gone.")
	case "22021", "22P05": // a NUL or bytes that are not UTF-8
		return apperr.Wrap(err, apperr.Invalid, "Text must be valid UTF-8 without NUL characters.")
	case "57P01", "57P02", "57P03", "57P05", // shutting down, crashed, starting up, idle too long
		"25006": // read-only: the other half of a failover
		return outOfReach(err)
	}
	switch classOf(pgErr) {
	case "08", "28", "53", "3D": // connection, authorization, resources, no such database
		return outOfReach(err)
	}
	return nil
}

// classOf is what a group of codes has in common: their first two characters.
func classOf(err *pgconn.PgError) string {
	return err.Code[:min(2, len(err.Code))]
}

func clash(err error, constraint string) error {
	field, ok := taken[constraint]
	if !ok {
		return apperr.Wrap(err, apperr.Conflict, "This clashes with what is there already.")
	}
	return &apperr.Error{Code: apperr.Conflict, Message: field.Message, Fields: []apperr.Field{field}, Err: err}
}

func outOfReach(err error) error {
	return apperr.Wrap(err, apperr.Unavailable, "The database is out of reach. Try again in a moment.")
}

// isOutOfReach recognises a connection that couldn't be made or broke.
func isOutOfReach(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, broken := range []error{
		driver.ErrBadConn, sql.ErrConnDone, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded,
	} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// missing is the answer for what doesn't exist and for what is somebody else's:
// the two must not be told apart.
func missing(what string) error {
	return apperr.New(apperr.NotFound, "%s not found.", strings.ToUpper(what[:1])+what[1:])
}

// take returns the one row that db selects, or the NotFound error of what.
func take[T any](db *gorm.DB, what string) (*T, error) {
	var row T
	err := db.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, missing(what)
	}
	if err != nil {
		return nil, err
	}
	return &row, nil
}
