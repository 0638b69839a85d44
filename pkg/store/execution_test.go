package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/store"
	"runbook/pkg/store/storetest"
)

func TestAnExecutionIsARowFromItsStartToItsEnd(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	session := storetest.CreateSession(t, s)

	clock.Advance(time.Minute)
	execution := &store.Execution{SessionID: session.ID, BlockIndex: 3, Runtime: "bash", Code: "exit 7\n"}
	require.NoError(t, s.CreateExecution(t.Context(), execution, idle))
	started := clock.Now().UTC().Truncate(time.Microsecond)
	want := &store.Execution{
		ID: execution.ID, SessionID: session.ID, UserID: session.UserID, RunbookID: session.RunbookID,
		BlockIndex: 3, Runtime: "bash", Code: "exit 7\n", State: store.Running, StartedAt: started,
	}
	assert.Equal(t, want, execution)
	found, err := s.FindExecution(t.Context(), session.UserID, execution.ID)
	require.NoError(t, err)
	assert.Equal(t, want, found)
	active, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, started.Add(idle), active.ExpiresAt, "running is activity")

	clock.Advance(time.Second)
	code := 7
	won, err := s.FinishExecution(t.Context(), execution.ID, store.ExecutionResult{
		ExitCode: &code, Reason: "exited", Duration: 12345 * time.Microsecond, OutputBytes: 99,
	}, idle)
	require.NoError(t, err)
	assert.True(t, won)
	ended, reason, ms := clock.Now().UTC().Truncate(time.Microsecond), "exited", int64(12)
	want.State, want.EndedAt, want.ExitCode, want.Reason, want.DurationMS, want.OutputBytes = store.Ended, &ended, &code, &reason, &ms, 99
	found, err = s.FindExecution(t.Context(), session.UserID, execution.ID)
	require.NoError(t, err)
	assert.Equal(t, want, found)
	active, err = s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, ended.Add(idle), active.ExpiresAt, "so is its end")
}

func TestAnExecutionEndsWithAReasonOrAnErrorAndNotWithBothOrNone(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	for _, tt := range []struct {
		result store.ExecutionResult
		good   bool
	}{
		{store.ExecutionResult{Reason: "exited"}, true},
		{store.ExecutionResult{Reason: "timeout", Signal: "SIGKILL"}, true},
		{store.ExecutionResult{Reason: "stopped"}, true},
		{store.ExecutionResult{Reason: "memory"}, true},
		{store.ExecutionResult{Reason: "output_limit"}, true},
		{store.ExecutionResult{ErrorCode: "session_lost"}, true},
		{store.ExecutionResult{ErrorCode: "shutdown"}, true},
		{store.ExecutionResult{ErrorCode: "internal"}, true},
		{store.ExecutionResult{}, false},
		{store.ExecutionResult{Reason: "exited", ErrorCode: "internal"}, false},
		{store.ExecutionResult{Reason: "bored"}, false},
		{store.ExecutionResult{ErrorCode: "bored"}, false},
	} {
		t.Run(fmt.Sprintf("%+v", tt.result), func(t *testing.T) {
			t.Parallel()
			execution := createExecution(t, s, session.ID)
			won, err := s.FinishExecution(t.Context(), execution.ID, tt.result, idle)
			assert.Equal(t, tt.good, won)
			assert.Equal(t, tt.good, err == nil)
			found, err := s.FindExecution(t.Context(), session.UserID, execution.ID)
			require.NoError(t, err)
			assert.Equal(t, tt.good, found.State == store.Ended)
		})
	}
}

func TestNothingRunsInASessionThatHasEnded(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	endSession(t, s, session.ID)

	err := s.CreateExecution(t.Context(), &store.Execution{SessionID: session.ID}, idle)
	assert.Equal(t, apperr.SessionEnded, apperr.CodeOf(err))
	err = s.CreateExecution(t.Context(), &store.Execution{SessionID: session.ID + 1}, idle)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	running, err := s.ListRunningExecutions(t.Context())
	require.NoError(t, err)
	assert.Empty(t, running)
}

func TestOfManyWhoFinishAnExecutionOneWins(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	execution := createExecution(t, s, session.ID)
	won := make([]bool, manyAtOnce)
	atOnce(func(i int) {
		var err error
		won[i], err = s.FinishExecution(t.Context(), execution.ID, store.ExecutionResult{Reason: "exited", OutputBytes: int64(i)}, idle)
		assert.NoError(t, err)
	})
	require.Equal(t, 1, countOf(won))
	found, err := s.FindExecution(t.Context(), session.UserID, execution.ID)
	require.NoError(t, err)
	assert.True(t, won[found.OutputBytes])
}

func TestTheLateEndOfAnExecutionDoesNotReviveItsSession(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	session := storetest.CreateSession(t, s)
	execution := createExecution(t, s, session.ID)
	endSession(t, s, session.ID)
	before, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)

	clock.Advance(time.Minute)
	finish(t, s, execution.ID)
	after, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, before, after)

	nobody, err := s.FinishExecution(t.Context(), execution.ID+1, store.ExecutionResult{Reason: "exited"}, idle)
	require.NoError(t, err)
	assert.False(t, nobody, "an execution that isn't there")
}

func TestSomebodyElsesExecutionIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	execution := createExecution(t, s, storetest.CreateSession(t, s).ID)
	bob := storetest.CreateUser(t, s)
	_, err := s.FindExecution(t.Context(), bob.ID, execution.ID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
}

// An expiry that is held up by the start of a run must not go on from what it
// saw before.
func TestAnExpiryThatMeetsTheStartOfARunGivesWay(t *testing.T) {
	t.Parallel()
	clock := newClock()
	dsn := storetest.DSN(t)
	s := storetest.Open(t, store.Options{DSN: dsn, Clock: clock})
	session := storetest.CreateSession(t, s)
	clock.Advance(idle)

	// The start of a run, halted between its two statements.
	conn, err := pgx.Connect(t.Context(), dsn.Reveal())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(t.Context())) }()
	start, err := conn.Begin(t.Context())
	require.NoError(t, err)
	now := clock.Now()
	_, err = start.Exec(t.Context(), "UPDATE sessions SET last_activity_at = $1, expires_at = $2 WHERE id = $3 AND status = 'ACTIVE'", now, now.Add(idle), session.ID)
	require.NoError(t, err)

	type result struct {
		won bool
		err error
	}
	expired := make(chan result, 1)
	go func() {
		won, err := s.ExpireSession(t.Context(), session.ID)
		expired <- result{won, err}
	}()
	const waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	require.Eventually(t, func() bool { return query[bool](t, dsn, waiting) }, 10*time.Second, 10*time.Millisecond)

	_, err = start.Exec(t.Context(), `INSERT INTO executions (session_id, runbook_id, user_id, block_index, runtime, code, started_at, state)
		VALUES ($1, $2, $3, 0, 'bash', '', $4, 'running')`, session.ID, session.RunbookID, session.UserID, now)
	require.NoError(t, err)
	require.NoError(t, start.Commit(t.Context()))
	got := <-expired
	require.NoError(t, got.err)
	assert.False(t, got.won)
}

func TestNoSessionExpiresUnderARun(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	for range 10 {
		session := storetest.CreateSession(t, s)
		clock.Advance(idle)
		started, expired := make([]bool, manyAtOnce), make([]bool, manyAtOnce)
		atOnce(func(i int) {
			var err error
			if i%2 == 0 {
				expired[i], err = s.ExpireSession(t.Context(), session.ID)
				assert.NoError(t, err)
				return
			}
			err = s.CreateExecution(t.Context(), &store.Execution{SessionID: session.ID, Runtime: "bash"}, idle)
			started[i] = err == nil
			if err != nil {
				assert.Equal(t, apperr.SessionEnded, apperr.CodeOf(err))
			}
		})
		if countOf(expired) > 0 {
			assert.Equal(t, 1, countOf(expired))
			assert.Zero(t, countOf(started))
		} else {
			assert.Equal(t, manyAtOnce/2, countOf(started))
		}
	}
}

// Deleting locks runbook, session, execution; starting and ending a run must
// not lock them the other way round.
func TestDeletingARunbookWhileItsBlocksStartAndEndIsNoDeadlock(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for range 5 {
		session := storetest.CreateSession(t, s)
		atOnce(func(i int) {
			if i == manyAtOnce/2 {
				assert.NoError(t, s.DeleteRunbook(t.Context(), session.UserID, session.RunbookID))
				return
			}
			execution := &store.Execution{SessionID: session.ID, Runtime: "bash"}
			if err := s.CreateExecution(t.Context(), execution, idle); err != nil {
				assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), "%v", err)
				return
			}
			_, err := s.FinishExecution(t.Context(), execution.ID, store.ExecutionResult{Reason: "exited"}, idle)
			assert.NoError(t, err)
		})
	}
}

func TestAfterACrashWhatRanIsFailed(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	lost, kept := storetest.CreateSession(t, s), storetest.CreateSession(t, s)
	done, cutOff, alive := createExecution(t, s, lost.ID), createExecution(t, s, lost.ID), createExecution(t, s, kept.ID)
	finish(t, s, done.ID)
	clock.Advance(1500 * time.Millisecond)

	none, err := s.FailRunningExecutions(t.Context(), "shutdown")
	require.NoError(t, err)
	assert.Zero(t, none, "of no session")
	failed, err := s.FailRunningExecutions(t.Context(), "shutdown", lost.ID, lost.ID+1000)
	require.NoError(t, err)
	assert.Equal(t, int64(1), failed)

	found, err := s.FindExecution(t.Context(), lost.UserID, cutOff.ID)
	require.NoError(t, err)
	code, ended, ms := "shutdown", clock.Now().UTC().Truncate(time.Microsecond), int64(1500)
	cutOff.State, cutOff.ErrorCode, cutOff.EndedAt, cutOff.DurationMS = store.Ended, &code, &ended, &ms
	assert.Equal(t, cutOff, found)

	running, err := s.ListRunningExecutions(t.Context())
	require.NoError(t, err)
	require.Len(t, running, 1)
	assert.Equal(t, alive.ID, running[0].ID)
	won, err := s.FinishExecution(t.Context(), cutOff.ID, store.ExecutionResult{Reason: "exited"}, idle)
	require.NoError(t, err)
	assert.False(t, won, "it has ended already")
}

func createExecution(t *testing.T, s *store.Store, sessionID int64) *store.Execution {
	t.Helper()
	execution := &store.Execution{SessionID: sessionID, Runtime: "bash", Code: "true\n"}
	require.NoError(t, s.CreateExecution(t.Context(), execution, idle))
	return execution
}

func finish(t *testing.T, s *store.Store, id int64) {
	t.Helper()
	won, err := s.FinishExecution(t.Context(), id, store.ExecutionResult{Reason: "exited"}, idle)
	require.NoError(t, err)
	require.True(t, won)
}
