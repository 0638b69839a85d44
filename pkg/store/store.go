// Package store keeps what has to outlive the server, in Postgres. It is the
// only package that knows of GORM and of the driver: models are plain structs,
// and every error that leaves it is an *apperr.Error, except for the
// cancellation of the caller's context, which stays recognisable with
// errors.Is(err, context.Canceled).
//
// What several requests, or several servers, may do at once is decided by single
// conditional statements and by unique indexes, never by reading first and
// writing later. A method that returns won or created tells the one caller who
// was first.
//
// Times come from the store's clock and are kept in UTC with microseconds, so
// that a struct just written equals the one read back.
package store

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"runbook/pkg/config"
)

const (
	defaultConnectTimeout = 30 * time.Second
	defaultQueryTimeout   = 10 * time.Second
	defaultMaxConns       = 20
	connMaxIdle           = 5 * time.Minute
	connMaxLifetime       = 30 * time.Minute

	// DefaultLimit is the length of a list whose filter sets no Limit.
	DefaultLimit = 50
)

// Options say where the database is and how to treat it. DSN is the only one
// without a default.
type Options struct {
	DSN    config.DatabaseURL
	Logger *slog.Logger    // nil: logs nothing
	Clock  clockwork.Clock // nil: the real one

	// ConnectTimeout is how long Open waits for a database that is just
	// starting. 0: 30 s.
	ConnectTimeout time.Duration
	// QueryTimeout bounds every call but Migrate, so that a database that no
	// longer answers fails a request instead of holding it. 0: 10 s.
	QueryTimeout time.Duration
	// MaxConns is how many connections are open at most. 0: 20.
	MaxConns int
}

// Store is an open database. It may be used by many goroutines at once.
type Store struct {
	db           *gorm.DB
	sql          *sql.DB
	clock        clockwork.Clock
	logger       *slog.Logger
	queryTimeout time.Duration
}

// Open connects to the database, and waits for it if it is just starting. It
// doesn't touch the schema: see Migrate. The error is Unavailable, with a
// sentence for the operator that doesn't show the password.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	pool, err := connect(ctx, opts)
	if err != nil {
		return nil, err
	}
	// No PrepareStmt: the driver caches prepared statements for each connection
	// already, and GORM's cache makes everybody who waits for a statement share
	// the fate of the one request that prepares it, its cancellation too.
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
		TranslateError:         true,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		Logger:                 queryLog{logger: opts.Logger},
	})
	if err != nil {
		_ = pool.Close()
		return nil, translate(ctx, err)
	}
	return &Store{db: db, sql: pool, clock: opts.Clock, logger: opts.Logger, queryTimeout: opts.QueryTimeout}, nil
}

// Close ends every connection. Calls that are under way fail.
func (s *Store) Close() error {
	return s.sql.Close()
}

// Ping tells whether the database answers: nil, or an Unavailable error.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.queryTimeout)
	defer cancel()
	return translate(ctx, s.sql.PingContext(ctx))
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = defaultConnectTimeout
	}
	if o.QueryTimeout == 0 {
		o.QueryTimeout = defaultQueryTimeout
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultMaxConns
	}
	return o
}

// run gives query a database bound to ctx and to the query timeout, and
// translates its error.
func (s *Store) run(ctx context.Context, query func(db *gorm.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.queryTimeout)
	defer cancel()
	return translate(ctx, query(s.db.WithContext(ctx)))
}

// inTx is run within a transaction, which an error rolls back.
func (s *Store) inTx(ctx context.Context, queries func(tx *gorm.DB) error) error {
	return s.run(ctx, func(db *gorm.DB) error { return db.Transaction(queries) })
}

// now is the time as Postgres will give it back.
func (s *Store) now() time.Time {
	return s.clock.Now().UTC().Truncate(time.Microsecond)
}

func limitOf(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return limit
}
