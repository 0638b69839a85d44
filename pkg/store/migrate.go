package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"runbook/migrations"
	"runbook/pkg/apperr"
)

// How long a server waits for another one that is migrating: attempts, one a
// second.
const migrateLockAttempts = 300

// Migrate brings the schema up to date. Servers that start together take turns;
// with nothing to do it returns at once.
func (s *Store) Migrate(ctx context.Context) error {
	migrator, err := newMigrator(s.sql)
	if err != nil {
		return apperr.Wrap(err, apperr.Internal, "The migrations can't be read.")
	}
	applied, err := migrator.Up(ctx)
	for _, step := range applied {
		s.logger.InfoContext(ctx, "migrated the database", "migration", step.Source.Path, "duration", step.Duration)
	}
	if err = translate(ctx, err); apperr.Is(err, apperr.Internal) {
		return apperr.Wrap(err, apperr.Internal, "The database's schema can't be brought up to date.")
	}
	return err
}

func newMigrator(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrateLockAttempts))
	if err != nil {
		return nil, fmt.Errorf("make the migration lock: %w", err)
	}
	return goose.NewProvider(goose.DialectPostgres, db, migrations.FS,
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
}
