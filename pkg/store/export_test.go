package store

import "context"

// MigrateDown undoes every migration.
func (s *Store) MigrateDown(ctx context.Context) error {
	migrator, err := newMigrator(s.sql)
	if err != nil {
		return err
	}
	_, err = migrator.DownTo(ctx, 0)
	return err
}
