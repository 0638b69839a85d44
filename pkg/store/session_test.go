package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/store"
	"runbook/pkg/store/storetest"
)

const idle = storetest.Idle

func TestASecondConnectFindsTheActiveSession(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	ann := storetest.CreateUser(t, s)
	runbook := storetest.CreateRunbook(t, s, ann.ID, "x", "")

	first := &store.Session{UserID: ann.ID, RunbookID: runbook.ID}
	created, err := s.CreateSession(t.Context(), first, idle)
	require.NoError(t, err)
	assert.True(t, created)
	now := clock.Now().UTC().Truncate(time.Microsecond)
	assert.Equal(t, &store.Session{
		ID: first.ID, UserID: ann.ID, RunbookID: runbook.ID, Status: store.Active,
		CreatedAt: now, LastActivityAt: now, ExpiresAt: now.Add(idle),
	}, first)

	clock.Advance(time.Minute)
	second := &store.Session{UserID: ann.ID, RunbookID: runbook.ID}
	created, err = s.CreateSession(t.Context(), second, idle)
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, first, second)

	endSession(t, s, first.ID)
	third := &store.Session{UserID: ann.ID, RunbookID: runbook.ID}
	created, err = s.CreateSession(t.Context(), third, idle)
	require.NoError(t, err)
	assert.True(t, created, "the one before has ended")
	assert.NotEqual(t, first.ID, third.ID)
}

func TestOtherUsersAndOtherRunbooksHaveSessionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann, bob := storetest.CreateUser(t, s), storetest.CreateUser(t, s)
	one := storetest.CreateRunbook(t, s, ann.ID, "one", "")
	two := storetest.CreateRunbook(t, s, ann.ID, "two", "")
	for _, session := range []store.Session{
		{UserID: ann.ID, RunbookID: one.ID},
		{UserID: ann.ID, RunbookID: two.ID},
		{UserID: bob.ID, RunbookID: one.ID}, // a reader of a shared runbook
	} {
		created, err := s.CreateSession(t.Context(), &session, idle)
		require.NoError(t, err)
		assert.True(t, created)
	}
	active, err := s.ListActiveSessions(t.Context())
	require.NoError(t, err)
	assert.Len(t, active, 3)
}

func TestTwentyTabsAtOnceMakeOneSession(t *testing.T) {
	t.Parallel()
	dsn := storetest.DSN(t)
	servers := []*store.Store{storetest.Open(t, store.Options{DSN: dsn}), storetest.Open(t, store.Options{DSN: dsn})}
	ann := storetest.CreateUser(t, servers[0])
	runbook := storetest.CreateRunbook(t, servers[0], ann.ID, "x", "")

	created := make([]bool, manyAtOnce)
	sessions := make([]store.Session, manyAtOnce)
	atOnce(func(i int) {
		sessions[i] = store.Session{UserID: ann.ID, RunbookID: runbook.ID}
		var err error
		created[i], err = servers[i%len(servers)].CreateSession(t.Context(), &sessions[i], idle)
		assert.NoError(t, err)
	})
	assert.Equal(t, 1, countOf(created))
	for _, session := range sessions {
		assert.Equal(t, sessions[0], session)
	}
	assert.Equal(t, 1, query[int](t, dsn, "SELECT count(*) FROM sessions"))
}

func TestConnectingWhileTheSessionEndsGivesAnActiveOne(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	runbook := storetest.CreateRunbook(t, s, ann.ID, "x", "")
	for range 5 {
		atOnce(func(i int) {
			session := store.Session{UserID: ann.ID, RunbookID: runbook.ID}
			_, err := s.CreateSession(t.Context(), &session, idle)
			assert.NoError(t, err) //nolint:testifylint // require must not be called outside the test's goroutine
			assert.Positive(t, session.ID)
			if i%2 == 0 {
				_, err = s.EndSession(t.Context(), session.ID, store.Terminated, store.EndDisconnected)
				assert.NoError(t, err)
			}
		})
	}
	active, err := s.ListActiveSessions(t.Context())
	require.NoError(t, err)
	assert.LessOrEqual(t, len(active), 1)
}

func TestASessionOfARunbookThatIsGoneIsNotFound(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	created, err := s.CreateSession(t.Context(), &store.Session{UserID: ann.ID, RunbookID: 1}, idle)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	assert.False(t, created)
}

func TestTheContainerIsNotedOnlyWhileTheSessionIsActive(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	assert.Nil(t, session.ContainerID)

	active, err := s.SetSessionContainer(t.Context(), session.ID, "c0ffee")
	require.NoError(t, err)
	assert.True(t, active)
	found, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	require.NotNil(t, found.ContainerID)
	assert.Equal(t, "c0ffee", *found.ContainerID)

	endSession(t, s, session.ID)
	active, err = s.SetSessionContainer(t.Context(), session.ID, "decaf")
	require.NoError(t, err)
	assert.False(t, active)
	found, err = s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, "c0ffee", *found.ContainerID)
}

func TestSomebodyElsesSessionIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	bob := storetest.CreateUser(t, s)

	_, err := s.FindSession(t.Context(), bob.ID, session.ID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	_, err = s.FindActiveSession(t.Context(), bob.ID, session.RunbookID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	require.EqualError(t, err, "Active session not found.")
	page, err := s.ListSessions(t.Context(), store.SessionFilter{UserID: bob.ID})
	require.NoError(t, err)
	assert.Empty(t, page)
}

func TestTheActiveSessionIsFoundUntilItEnds(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	found, err := s.FindActiveSession(t.Context(), session.UserID, session.RunbookID)
	require.NoError(t, err)
	assert.Equal(t, session, found)

	endSession(t, s, session.ID)
	_, err = s.FindActiveSession(t.Context(), session.UserID, session.RunbookID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
}

func TestSessionsAreListedNewestFirstByFilter(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	one := storetest.CreateRunbook(t, s, ann.ID, "one", "")
	two := storetest.CreateRunbook(t, s, ann.ID, "two", "")
	connect := func(runbookID int64) int64 {
		session := &store.Session{UserID: ann.ID, RunbookID: runbookID}
		_, err := s.CreateSession(t.Context(), session, idle)
		require.NoError(t, err)
		return session.ID
	}
	a := connect(one.ID)
	endSession(t, s, a)
	b, c := connect(one.ID), connect(two.ID)

	for name, tt := range map[string]struct {
		filter store.SessionFilter
		want   []int64
	}{
		"all":             {store.SessionFilter{}, []int64{c, b, a}},
		"one runbook":     {store.SessionFilter{RunbookID: one.ID}, []int64{b, a}},
		"active":          {store.SessionFilter{Status: store.Active}, []int64{c, b}},
		"ended":           {store.SessionFilter{Status: store.Terminated}, []int64{a}},
		"the first page":  {store.SessionFilter{Limit: 2}, []int64{c, b}},
		"the second page": {store.SessionFilter{Limit: 2, BeforeID: b}, []int64{a}},
		"after the last":  {store.SessionFilter{BeforeID: a}, nil},
	} {
		tt.filter.UserID = ann.ID
		page, err := s.ListSessions(t.Context(), tt.filter)
		require.NoError(t, err)
		var got []int64
		for _, session := range page {
			got = append(got, session.ID)
		}
		assert.Equal(t, tt.want, got, name)
	}
}

func TestActivityPutsOffTheExpiry(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	session := storetest.CreateSession(t, s)

	clock.Advance(20 * time.Minute)
	touched, err := s.TouchSession(t.Context(), session.ID, time.Hour)
	require.NoError(t, err)
	session.LastActivityAt = clock.Now().UTC().Truncate(time.Microsecond)
	session.ExpiresAt = session.LastActivityAt.Add(time.Hour)
	assert.Equal(t, session, touched)
	found, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, session, found)
}

func TestActivityInAnEndedSessionIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	won, err := s.EndSession(t.Context(), session.ID, store.Terminated, store.EndLost)
	require.NoError(t, err)
	require.True(t, won)

	_, err = s.TouchSession(t.Context(), session.ID, idle)
	assert.Equal(t, apperr.SessionEnded, apperr.CodeOf(err))
	require.EqualError(t, err, "This session has ended (lost). Connect again.")
	_, err = s.TouchSession(t.Context(), session.ID+1, idle)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
}

func TestOfManyWhoEndASessionOneWins(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	session := storetest.CreateSession(t, s)
	reasons := []store.EndReason{store.EndDisconnected, store.EndLost, store.EndReplaced, store.EndServerStopped}
	won := make([]bool, manyAtOnce)
	atOnce(func(i int) {
		var err error
		won[i], err = s.EndSession(t.Context(), session.ID, store.Terminated, reasons[i%len(reasons)])
		assert.NoError(t, err)
	})
	require.Equal(t, 1, countOf(won))

	found, err := s.FindSession(t.Context(), session.UserID, session.ID)
	require.NoError(t, err)
	assert.Equal(t, store.Terminated, found.Status)
	assert.Equal(t, clock.Now().UTC().Truncate(time.Microsecond), *found.EndedAt)
	for i := range won {
		if won[i] {
			assert.Equal(t, reasons[i%len(reasons)], *found.EndReason)
		}
	}

	again, err := s.EndSession(t.Context(), session.ID, store.Expired, store.EndIdle)
	require.NoError(t, err)
	assert.False(t, again)
	nobody, err := s.EndSession(t.Context(), session.ID+1, store.Expired, store.EndIdle)
	require.NoError(t, err)
	assert.False(t, nobody, "a session that isn't there")
}

func TestOnlyIdleSessionsWithoutARunExpire(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	idleOne, busy, touched, ended := storetest.CreateSession(t, s), storetest.CreateSession(t, s), storetest.CreateSession(t, s), storetest.CreateSession(t, s)
	run := &store.Execution{SessionID: busy.ID, Runtime: "bash"}
	require.NoError(t, s.CreateExecution(t.Context(), run, idle))
	endSession(t, s, ended.ID)
	assert.Empty(t, expirable(t, s), "it is too early")

	clock.Advance(idle - time.Microsecond)
	assert.Empty(t, expirable(t, s), "it is a moment too early")
	_, err := s.TouchSession(t.Context(), touched.ID, idle)
	require.NoError(t, err)
	clock.Advance(time.Microsecond)
	assert.Equal(t, []int64{idleOne.ID}, expirable(t, s))

	for session, want := range map[*store.Session]bool{idleOne: true, busy: false, touched: false, ended: false} {
		won, err := s.ExpireSession(t.Context(), session.ID)
		require.NoError(t, err)
		assert.Equal(t, want, won)
	}
	found, err := s.FindSession(t.Context(), idleOne.UserID, idleOne.ID)
	require.NoError(t, err)
	assert.Equal(t, store.Expired, found.Status)
	assert.Equal(t, store.EndIdle, *found.EndReason)
	assert.Equal(t, clock.Now().UTC().Truncate(time.Microsecond), *found.EndedAt)

	// The end of a run counts as activity; the time starts anew.
	clock.Advance(time.Hour)
	finish(t, s, run.ID)
	assert.Equal(t, []int64{touched.ID}, expirable(t, s))
	clock.Advance(idle)
	assert.Equal(t, []int64{touched.ID, busy.ID}, expirable(t, s), "the longest idle first")

	first, err := s.ListExpiredSessions(t.Context(), 1)
	require.NoError(t, err)
	assert.Len(t, first, 1)
}

func TestOfManyWhoExpireASessionOneWins(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	session := storetest.CreateSession(t, s)
	clock.Advance(idle)
	won := make([]bool, manyAtOnce)
	atOnce(func(i int) {
		var err error
		won[i], err = s.ExpireSession(t.Context(), session.ID)
		assert.NoError(t, err)
	})
	assert.Equal(t, 1, countOf(won))
}

// expirable gives the ids that ListExpiredSessions does.
func expirable(t *testing.T, s *store.Store) (ids []int64) {
	t.Helper()
	sessions, err := s.ListExpiredSessions(t.Context(), 100)
	require.NoError(t, err)
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func endSession(t *testing.T, s *store.Store, id int64) {
	t.Helper()
	won, err := s.EndSession(t.Context(), id, store.Terminated, store.EndDisconnected)
	require.NoError(t, err)
	require.True(t, won)
}
