// Package storetest gives each test a database of its own, on the server that
// TEST_DATABASE_URL names.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jonboulle/clockwork"

	"runbook/migrations"
	"runbook/pkg/config"
	"runbook/pkg/store"
)

const (
	// maxConns is small so that many tests at once stay below what a Postgres
	// out of the box accepts, and large enough for statements to meet.
	maxConns = 10
	timeout  = time.Minute
	// templateLock is taken, in the database of TEST_DATABASE_URL, while a
	// template is made: test binaries run side by side.
	templateLock = 7_264_110
)

// New opens a fresh, migrated database, which is gone when the test ends.
func New(t testing.TB) *store.Store {
	t.Helper()
	return NewWithClock(t, clockwork.NewRealClock())
}

// NewWithClock is New with a clock that the test sets.
func NewWithClock(t testing.TB, clock clockwork.Clock) *store.Store {
	t.Helper()
	return Open(t, store.Options{DSN: DSN(t), Clock: clock})
}

// Open opens what opts say, and closes it when the test ends: a second store on
// one database is a second server.
func Open(t testing.TB, opts store.Options) *store.Store {
	t.Helper()
	if opts.MaxConns == 0 {
		opts.MaxConns = maxConns
	}
	s, err := store.Open(t.Context(), opts)
	if err != nil {
		t.Fatalf("open the test's database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the test's database: %v", err)
		}
	})
	return s
}

// DSN makes a fresh, migrated database, which is gone when the test ends. A test
// without a database server fails: it must not pass for one that ran.
func DSN(t testing.TB) config.DatabaseURL {
	t.Helper()
	return create(t, template)
}

// EmptyDSN is DSN without migrations.
func EmptyDSN(t testing.TB) config.DatabaseURL {
	t.Helper()
	return create(t, func(context.Context, *pgx.Conn, config.DatabaseURL) (string, error) {
		return "template0", nil
	})
}

func create(t testing.TB, template func(context.Context, *pgx.Conn, config.DatabaseURL) (string, error)) config.DatabaseURL {
	t.Helper()
	server := config.TestDatabaseURL()
	if server == "" {
		t.Fatal("no database for tests: run `make test`, or set TEST_DATABASE_URL")
	}
	name := "runbook_test_" + strings.ToLower(rand.Text())
	onServer(t.Context(), t, server, func(ctx context.Context, conn *pgx.Conn) error {
		from, err := template(ctx, conn, server)
		if err != nil {
			return err
		}
		return exec(ctx, conn, "CREATE DATABASE %s TEMPLATE %s", name, from)
	})
	t.Cleanup(func() {
		// The test's own context has ended by now.
		onServer(context.Background(), t, server, func(ctx context.Context, conn *pgx.Conn) error {
			return exec(ctx, conn, "DROP DATABASE %s WITH (FORCE)", name)
		})
	})
	return named(server, name)
}

// template returns the name of a migrated database to copy, which is a good deal
// faster than to migrate each. It is made once per server and set of migrations,
// under another name until it is finished.
func template(ctx context.Context, conn *pgx.Conn, server config.DatabaseURL) (string, error) {
	hash, err := hashOfMigrations()
	if err != nil {
		return "", err
	}
	name := "runbook_template_" + hash
	// The lock ends with the connection, whatever happens.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return "", fmt.Errorf("lock the template: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return "", fmt.Errorf("look for the template: %w", err)
	}
	if !exists {
		if err := makeTemplate(ctx, conn, server, name); err != nil {
			return "", err
		}
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", templateLock); err != nil {
		return "", fmt.Errorf("unlock the template: %w", err)
	}
	return name, nil
}

func makeTemplate(ctx context.Context, conn *pgx.Conn, server config.DatabaseURL, name string) error {
	draft := name + "_draft"
	if err := exec(ctx, conn, "DROP DATABASE IF EXISTS %s WITH (FORCE)", draft); err != nil {
		return err
	}
	if err := exec(ctx, conn, "CREATE DATABASE %s TEMPLATE template0", draft); err != nil {
		return err
	}
	if err := migrate(ctx, named(server, draft)); err != nil {
		return err
	}
	return exec(ctx, conn, "ALTER DATABASE %s RENAME TO %s", draft, name)
}

func migrate(ctx context.Context, dsn config.DatabaseURL) error {
	s, err := store.Open(ctx, store.Options{DSN: dsn})
	if err != nil {
		return err
	}
	if err := s.Migrate(ctx); err != nil {
		_ = s.Close()
		return err
	}
	return s.Close()
}

func hashOfMigrations() (string, error) {
	hash := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, path)
		if err != nil {
			return err
		}
		_, err = io.WriteString(hash, path+"\x00"+string(text)+"\x00")
		return err
	})
	return hex.EncodeToString(hash.Sum(nil))[:16], err
}

func onServer(ctx context.Context, t testing.TB, server config.DatabaseURL, do func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.Reveal())
	if err != nil {
		t.Fatalf("no database for tests: TEST_DATABASE_URL is %s, but: %v", server, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := do(ctx, conn); err != nil {
		t.Fatalf("prepare or remove a test's database: %v", err)
	}
}

// exec runs a statement about databases, whose names can't be parameters.
func exec(ctx context.Context, conn *pgx.Conn, format string, names ...string) error {
	quoted := make([]any, len(names))
	for i, name := range names {
		quoted[i] = pgx.Identifier{name}.Sanitize()
	}
	statement := fmt.Sprintf(format, quoted...)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// named is the URL of another database on the same server.
func named(server config.DatabaseURL, name string) config.DatabaseURL {
	parsed, err := url.Parse(server.Reveal())
	if err != nil {
		return server // pgx.Connect has read it already
	}
	parsed.Path = "/" + name
	return config.DatabaseURL(parsed.String())
}
