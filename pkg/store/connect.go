package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"runbook/pkg/apperr"
	"runbook/pkg/config"
)

const (
	dialTimeout = 5 * time.Second
	dialPause   = 200 * time.Millisecond
)

// connect returns a pool that has reached the database once.
func connect(ctx context.Context, opts Options) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(opts.DSN.Reveal())
	if err != nil {
		// The parser's complaint may quote the URL: it is not passed on.
		return nil, apperr.New(apperr.Unavailable,
			"DATABASE_URL can't be read. Give a URL such as postgres://user:password@host:5432/name.")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = dialTimeout
	}
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(readTimesInUTC))
	pool.SetMaxOpenConns(opts.MaxConns)
	pool.SetMaxIdleConns(opts.MaxConns)
	pool.SetConnMaxIdleTime(connMaxIdle)
	pool.SetConnMaxLifetime(connMaxLifetime)
	if err := await(ctx, pool, opts); err != nil {
		_ = pool.Close()
		return nil, err
	}
	return pool, nil
}

// readTimesInUTC saves every reader of a time from the zone of the machine.
func readTimesInUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name:  "timestamptz",
		OID:   pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// await tries until the database answers, until it refuses in a way that
// waiting doesn't help, or until the time is up.
func await(ctx context.Context, pool *sql.DB, opts Options) error {
	waiting, cancel := context.WithTimeout(ctx, opts.ConnectTimeout)
	defer cancel()
	var last error
	for attempt := 0; ; attempt++ {
		err := pool.PingContext(waiting)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return translate(ctx, err)
		}
		if refusal := refused(err, opts.DSN); refusal != nil {
			return refusal
		}
		if last == nil || waiting.Err() == nil {
			last = err // what the database said, rather than that the time was up
		}
		if attempt == 0 {
			opts.Logger.InfoContext(ctx, "waiting for the database", "database", opts.DSN, "at most", opts.ConnectTimeout)
		}
		select {
		case <-waiting.Done():
			return apperr.Wrap(last, apperr.Unavailable,
				"No answer from the database at %s within %s. Check that Postgres is running there and that DATABASE_URL is right.", opts.DSN, opts.ConnectTimeout)
		case <-time.After(dialPause):
		}
	}
}

// refused says what an answer means that another attempt won't change. It is
// nil if there is hope.
func refused(err error, dsn config.DatabaseURL) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return nil
	}
	switch {
	case classOf(pgErr) == "28":
		return apperr.Wrap(err, apperr.Unavailable, "The database at %s refused the user or the password. Check DATABASE_URL.", dsn)
	case pgErr.Code == "3D000":
		return apperr.Wrap(err, apperr.Unavailable, "The database %s doesn't exist on its server. Create it, or change DATABASE_URL.", dsn)
	default:
		return nil
	}
}
