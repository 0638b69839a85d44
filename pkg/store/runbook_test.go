package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"runbook/pkg/apperr"
	"runbook/pkg/store"
	"runbook/pkg/store/storetest"
)

func TestARunbookIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	content := "\ufeff# T\r\n\ttab  \n\n\u2028 🧪 'quote\" \\ ? $1 @name\n"
	runbook := storetest.CreateRunbook(t, s, ann.ID, "Title ?", content)
	assert.Equal(t, int64(1), runbook.Revision)
	assert.Equal(t, store.Private, runbook.Privacy)
	assert.Equal(t, runbook.CreatedAt, runbook.UpdatedAt)

	found, err := s.FindRunbook(t.Context(), ann.ID, runbook.ID)
	require.NoError(t, err)
	assert.Equal(t, runbook, found)
	assert.Equal(t, content, found.Content)
}

func TestARunbookWithoutAnOwnerIsNotFound(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	err := s.CreateRunbook(t.Context(), &store.Runbook{OwnerID: 1, Title: "x"})
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
}

func TestSomebodyElsesRunbookIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann, bob := storetest.CreateUser(t, s), storetest.CreateUser(t, s)
	runbook := storetest.CreateRunbook(t, s, ann.ID, "Ann's", "text")
	title := "Bob's"
	for name, id := range map[string]int64{"foreign": runbook.ID, "missing": runbook.ID + 1, "zero": 0, "negative": -1} {
		_, err := s.FindRunbook(t.Context(), bob.ID, id)
		assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), name)
		_, err = s.UpdateRunbook(t.Context(), bob.ID, id, 1, store.RunbookUpdate{Title: &title})
		assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), name)
		err = s.DeleteRunbook(t.Context(), bob.ID, id)
		assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), name)
	}
	found, err := s.FindRunbook(t.Context(), ann.ID, runbook.ID)
	require.NoError(t, err)
	assert.Equal(t, runbook, found)
}

func TestAnUpdateChangesWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := storetest.NewWithClock(t, clock)
	ann := storetest.CreateUser(t, s)
	want := *storetest.CreateRunbook(t, s, ann.ID, "Title", "Content")

	clock.Advance(time.Hour)
	title, content, privacy := "New title", "", store.Public
	for _, step := range []struct {
		update store.RunbookUpdate
		apply  func()
	}{
		{store.RunbookUpdate{Title: &title}, func() { want.Title = title }},
		{store.RunbookUpdate{Content: &content}, func() { want.Content = content }},
		{store.RunbookUpdate{Privacy: &privacy}, func() { want.Privacy = privacy }},
		{store.RunbookUpdate{}, func() {}},
	} {
		got, err := s.UpdateRunbook(t.Context(), ann.ID, want.ID, want.Revision, step.update)
		require.NoError(t, err)
		step.apply()
		want.Revision++
		want.UpdatedAt = clock.Now().UTC().Truncate(time.Microsecond)
		assert.Equal(t, want, *got)

		found, err := s.FindRunbook(t.Context(), ann.ID, want.ID)
		require.NoError(t, err)
		assert.Equal(t, want, *found)
	}
}

func TestAnUpdateOfAnOldRevisionIsStaleAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	runbook := storetest.CreateRunbook(t, s, ann.ID, "Title", "one")
	two, three := "two", "three"
	updated, err := s.UpdateRunbook(t.Context(), ann.ID, runbook.ID, 1, store.RunbookUpdate{Content: &two})
	require.NoError(t, err)

	for _, revision := range []int64{1, 3, 0, -1} {
		_, err = s.UpdateRunbook(t.Context(), ann.ID, runbook.ID, revision, store.RunbookUpdate{Content: &three})
		assert.Equal(t, apperr.StaleRevision, apperr.CodeOf(err), revision)
		require.ErrorContains(t, err, "it is at revision 2")
	}
	found, err := s.FindRunbook(t.Context(), ann.ID, runbook.ID)
	require.NoError(t, err)
	assert.Equal(t, updated, found)
}

func TestOfManyUpdatesOfOneRevisionOneSucceeds(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	runbook := storetest.CreateRunbook(t, s, ann.ID, "Title", "")
	won := make([]bool, manyAtOnce)
	atOnce(func(i int) {
		content := fmt.Sprint(i)
		_, err := s.UpdateRunbook(t.Context(), ann.ID, runbook.ID, 1, store.RunbookUpdate{Content: &content})
		won[i] = err == nil
		if err != nil {
			assert.Equal(t, apperr.StaleRevision, apperr.CodeOf(err))
		}
	})
	require.Equal(t, 1, countOf(won))
	found, err := s.FindRunbook(t.Context(), ann.ID, runbook.ID)
	require.NoError(t, err)
	assert.Equal(t, int64(2), found.Revision)
	for i, winner := range won {
		assert.Equal(t, winner, found.Content == fmt.Sprint(i))
	}
}

func TestADeletedRunbookTakesItsSessionsAndExecutionsWithIt(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	session := storetest.CreateSession(t, s)
	execution := &store.Execution{SessionID: session.ID, Runtime: "bash"}
	require.NoError(t, s.CreateExecution(t.Context(), execution, storetest.Idle))

	require.NoError(t, s.DeleteRunbook(t.Context(), session.UserID, session.RunbookID))

	_, err := s.FindRunbook(t.Context(), session.UserID, session.RunbookID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	_, err = s.FindSession(t.Context(), session.UserID, session.ID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	_, err = s.FindExecution(t.Context(), session.UserID, execution.ID)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(s.DeleteRunbook(t.Context(), session.UserID, session.RunbookID)), "again")
}

func TestPagesHoldEveryRunbookOnceNewestFirstWithoutContent(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann, bob := storetest.CreateUser(t, s), storetest.CreateUser(t, s)
	var want []int64
	for i := range 25 {
		runbook := storetest.CreateRunbook(t, s, ann.ID, fmt.Sprintf("Runbook %d", i), "content")
		storetest.CreateRunbook(t, s, bob.ID, "Bob's", "content")
		want = append([]int64{runbook.ID}, want...)
	}
	for _, size := range []int{1, 7, 25, 100} {
		var got []int64
		for before := int64(0); ; before = got[len(got)-1] {
			page, err := s.ListRunbooks(t.Context(), store.RunbookFilter{OwnerID: ann.ID, BeforeID: before, Limit: size})
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			assert.LessOrEqual(t, len(page), size)
			for _, runbook := range page {
				assert.Empty(t, runbook.Content)
				assert.NotEmpty(t, runbook.Title)
				got = append(got, runbook.ID)
			}
			// What is new, or was changed, doesn't disturb who is turning pages.
			late := storetest.CreateRunbook(t, s, ann.ID, "Late", "")
			defer func() { assert.NoError(t, s.DeleteRunbook(t.Context(), ann.ID, late.ID)) }()
		}
		assert.Equal(t, want, got[len(got)-len(want):])
		for _, runbook := range got[:len(got)-len(want)] {
			assert.Greater(t, runbook, want[0], "only late ones of an earlier round")
		}
	}
}

func TestAListWithoutALimitHasTheDefaultLength(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	for range store.DefaultLimit + 1 {
		storetest.CreateRunbook(t, s, ann.ID, "x", "")
	}
	page, err := s.ListRunbooks(t.Context(), store.RunbookFilter{OwnerID: ann.ID})
	require.NoError(t, err)
	assert.Len(t, page, store.DefaultLimit)
}

func TestAQueryFindsTitlesThatContainItInAnyCase(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	for _, title := range []string{"Deploy 100%", "Deploy 100 times", "snake_case", "snakeXcase", `back\slash`, "%", "_"} {
		storetest.CreateRunbook(t, s, ann.ID, title, "deploy")
	}
	for query, want := range map[string][]string{
		"":        {"_", "%", `back\slash`, "snakeXcase", "snake_case", "Deploy 100 times", "Deploy 100%"},
		"DEPLOY":  {"Deploy 100 times", "Deploy 100%"},
		"100%":    {"Deploy 100%"},
		"%":       {"%", "Deploy 100%"},
		"_":       {"_", "snake_case"},
		"e_c":     {"snake_case"},
		`\`:       {`back\slash`},
		`k\s`:     {`back\slash`},
		`\%`:      nil,
		"nothing": nil,
	} {
		page, err := s.ListRunbooks(t.Context(), store.RunbookFilter{OwnerID: ann.ID, Query: query})
		require.NoError(t, err)
		var got []string
		for _, runbook := range page {
			got = append(got, runbook.Title)
		}
		assert.Equal(t, want, got, query)
	}
}

func TestAQueryStandsForItself(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := storetest.CreateUser(t, s)
	text := rapid.StringOfN(rapid.RuneFrom([]rune(`%_\ab`)), 0, 6, -1)
	rapid.Check(t, func(rt *rapid.T) {
		title, query := text.Draw(rt, "title"), text.Draw(rt, "query")
		runbook := storetest.CreateRunbook(t, s, ann.ID, title, "")
		page, err := s.ListRunbooks(t.Context(), store.RunbookFilter{OwnerID: ann.ID, Query: query, Limit: 1})
		if err != nil {
			rt.Fatal(err)
		}
		found := len(page) == 1 && page[0].ID == runbook.ID
		if found != strings.Contains(title, query) {
			rt.Fatalf("found: %v", found)
		}
	})
}
