package store_test

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/config"
	"runbook/pkg/store"
	"runbook/pkg/store/storetest"
)

// manyAtOnce is how many callers a race has.
const manyAtOnce = 20

// atOnce calls f many times at the same moment and waits for all.
func atOnce(f func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(manyAtOnce)
	for i := range manyAtOnce {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			f(i)
		})
	}
	done.Wait()
}

// countOf counts what is true.
func countOf(all []bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// newClock is at a time that Postgres can't keep exactly, in a zone that isn't UTC.
func newClock() *clockwork.FakeClock {
	return clockwork.NewFakeClockAt(time.Date(2026, 11, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600)))
}

func query[T any](t *testing.T, dsn config.DatabaseURL, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn.Reveal())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	var value T
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&value))
	return value
}

const tables = `SELECT coalesce(string_agg(table_name, ' ' ORDER BY table_name), '')
	FROM information_schema.tables WHERE table_schema = 'public' AND table_name <> 'goose_db_version'`

func TestMigrationsGoUpDownAndUpAgain(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	s := storetest.Open(t, store.Options{DSN: dsn})
	assert.Empty(t, query[string](t, dsn, tables), "Open leaves the schema alone")

	const all = "executions runbooks sessions users"
	require.NoError(t, s.Migrate(t.Context()))
	assert.Equal(t, all, query[string](t, dsn, tables))
	require.NoError(t, s.Migrate(t.Context()), "with nothing to do")

	require.NoError(t, s.MigrateDown(t.Context()))
	assert.Empty(t, query[string](t, dsn, tables))

	require.NoError(t, s.Migrate(t.Context()))
	assert.Equal(t, all, query[string](t, dsn, tables))
}

func TestServersThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	servers := []*store.Store{
		storetest.Open(t, store.Options{DSN: dsn}),
		storetest.Open(t, store.Options{DSN: dsn}),
		storetest.Open(t, store.Options{DSN: dsn}),
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { assert.NoError(t, s.Migrate(t.Context())) })
	}
	wg.Wait()
	assert.Equal(t, "executions runbooks sessions users", query[string](t, dsn, tables))
}

func TestAMigrationThatFailsIsInternalAndSaysSo(t *testing.T) {
	t.Parallel()
	dsn := storetest.EmptyDSN(t)
	conn, err := pgx.Connect(t.Context(), dsn.Reveal())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE executions ()")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	err = storetest.Open(t, store.Options{DSN: dsn}).Migrate(t.Context())
	assert.Equal(t, apperr.Internal, apperr.CodeOf(err))
	require.ErrorContains(t, err, "The database's schema can't be brought up to date.")
	assert.Equal(t, "executions", query[string](t, dsn, tables), "the failed migration left nothing behind")
}

func TestTimesAreReadBackAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	user := storetest.CreateUser(t, s)
	assert.Equal(t, time.Date(2026, 11, 1, 11, 0, 0, 123456000, time.UTC), user.CreatedAt)

	found, err := s.FindUserByID(t.Context(), user.ID)
	require.NoError(t, err)
	assert.Equal(t, user, found, "zone and precision included")
}

func TestTextThatPostgresCanNotKeepIsTheCallersFault(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	for name, bad := range map[string]string{"NUL": "a\x00b", "invalid UTF-8": "a\xffb", "half a character": "\xe2\x82"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			owner := session.UserID
			attempts := map[string]error{
				"create user":      s.CreateUser(ctx, &store.User{Username: bad, Email: bad}, nil),
				"create runbook":   s.CreateRunbook(ctx, &store.Runbook{OwnerID: owner, Title: "x", Content: bad}),
				"create execution": s.CreateExecution(ctx, &store.Execution{SessionID: session.ID, Code: bad}, time.Hour),
			}
			_, attempts["update runbook"] = s.UpdateRunbook(ctx, owner, session.RunbookID, 1, store.RunbookUpdate{Content: &bad})
			_, attempts["list runbooks"] = s.ListRunbooks(ctx, store.RunbookFilter{OwnerID: owner, Query: bad})
			_, attempts["find user"] = s.FindUserByEmail(ctx, bad)
			_, attempts["set container"] = s.SetSessionContainer(ctx, session.ID, bad)
			for what, err := range attempts {
				assert.Equal(t, apperr.Invalid, apperr.CodeOf(err), what)
			}
		})
	}
}

func TestACancelledCallerIsToldSoWhateverTheCall(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := s.FindRunbook(ctx, session.UserID, session.RunbookID)
	require.ErrorIs(t, err, context.Canceled)
	err = s.CreateExecution(ctx, &store.Execution{SessionID: session.ID}, time.Hour)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Ping(ctx), context.Canceled)
}

func TestADatabaseThatGoesAwayIsUnavailableAndComesBack(t *testing.T) {
	t.Parallel()
	between, dsn := newProxy(t, storetest.DSN(t))
	s := storetest.Open(t, store.Options{DSN: dsn})
	user := storetest.CreateUser(t, s)

	between.cut()
	for range 3 { // connections from the pool, then new ones
		_, err := s.FindUserByID(t.Context(), user.ID)
		assertUnavailable(t, err)
		assertUnavailable(t, s.CreateUser(t.Context(), &store.User{Username: "bob", Email: "bob@example.org"}, nil))
		assertUnavailable(t, s.Ping(t.Context()))
		assertUnavailable(t, s.Migrate(t.Context()))
	}

	between.start()
	require.NoError(t, s.Ping(t.Context()))
	found, err := s.FindUserByID(t.Context(), user.ID)
	require.NoError(t, err)
	assert.Equal(t, user, found)
}

func TestADatabaseThatNoLongerAnswersIsUnavailable(t *testing.T) {
	t.Parallel()
	between, dsn := newProxy(t, storetest.DSN(t))
	s := storetest.Open(t, store.Options{DSN: dsn, QueryTimeout: 100 * time.Millisecond})
	user := storetest.CreateUser(t, s)

	thaw := between.freeze()
	_, err := s.FindUserByID(t.Context(), user.ID)
	thaw()
	assertUnavailable(t, err)
}

func TestASessionThatPostgresEndsIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	s := storetest.Open(t, store.Options{DSN: dsn, MaxConns: 1})
	session := storetest.CreateSession(t, s)

	// A row lock holds the statement for as long as it takes to kill its connection.
	conn, err := pgx.Connect(t.Context(), dsn.Reveal())
	require.NoError(t, err)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM sessions WHERE id = $1 FOR UPDATE", session.ID)
	require.NoError(t, err)

	killed := make(chan error, 1)
	go func() {
		_, err := s.EndSession(t.Context(), session.ID, store.Terminated, store.EndDisconnected)
		killed <- err
	}()
	const kill = `SELECT coalesce(bool_or(pg_terminate_backend(pid)), false)
		FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	require.Eventually(t, func() bool { return query[bool](t, dsn, kill) }, 10*time.Second, 10*time.Millisecond)
	assertUnavailable(t, <-killed)

	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
	won, err := s.EndSession(t.Context(), session.ID, store.Terminated, store.EndDisconnected)
	require.NoError(t, err)
	assert.True(t, won)
}

func TestOpenWaitsForADatabaseThatIsStarting(t *testing.T) {
	t.Parallel()
	between, dsn := newProxy(t, storetest.DSN(t))
	between.cut()
	waiting := make(waitingLog, 1)
	opened := make(chan error, 1)
	go func() {
		s, err := store.Open(t.Context(), store.Options{DSN: dsn, Logger: slog.New(slog.NewTextHandler(waiting, nil))})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	assert.Contains(t, <-waiting, "waiting for the database")
	between.start()
	require.NoError(t, <-opened)
}

// waitingLog passes on each line that is logged.
type waitingLog chan string

func (w waitingLog) Write(line []byte) (int, error) {
	w <- string(line)
	return len(line), nil
}

func TestOpenSaysWhatIsWrongWithoutThePassword(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(storetest.EmptyDSN(t).Reveal())
	require.NoError(t, err)
	host := net.JoinHostPort(good.Hostname(), "1") // nothing listens there
	wrongName, wrongUser := *good, *good
	wrongName.Path += "_gone"
	wrongUser.User = url.UserPassword("ann", "hunter2")

	for name, tt := range map[string]struct {
		dsn  config.DatabaseURL
		want string
	}{
		"nobody there":     {config.DatabaseURL("postgres://ann:hunter2@" + host + "/x"), "No answer from the database at postgres://ann:[hidden]@" + host + "/x within 300ms."},
		"no such database": {config.DatabaseURL(wrongName.String()), "_gone doesn't exist on its server"},
		"no such user":     {config.DatabaseURL(wrongUser.String()), "refused the user or the password"},
		"no URL":           {"postgres://ann:hunter2@[::1/x", "DATABASE_URL can't be read."},
		"no number":        {"postgres://ann:hunter2@db/x?connect_timeout=soon", "DATABASE_URL can't be read."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := store.Open(t.Context(), store.Options{DSN: tt.dsn, ConnectTimeout: 300 * time.Millisecond})
			assert.Equal(t, apperr.Unavailable, apperr.CodeOf(err))
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestOpenGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Open(ctx, store.Options{DSN: "postgres://127.0.0.1:1/x"})
	require.ErrorIs(t, err, context.Canceled)
}

func TestTheLogShowsStatementsButNoValues(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := storetest.Open(t, store.Options{
		DSN:    storetest.DSN(t),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := s.FindUserByEmail(t.Context(), "hunter2@example.org")
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	assert.Contains(t, log.String(), "lower(email) = lower($1")
	assert.NotContains(t, log.String(), "hunter2")
}

func assertUnavailable(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	assert.Equal(t, apperr.Unavailable, apperr.CodeOf(err), "%v", err)
	assert.ErrorContains(t, err, "The database is out of reach. Try again in a moment.")
}
