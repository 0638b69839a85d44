package store_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/apperr"
	"runbook/pkg/store"
	"runbook/pkg/store/storetest"
)

func TestAUserIsFoundByIDAndByEmailInAnyCase(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := &store.User{Username: "Ann", Email: "Ann@Example.org", PasswordHash: "hash"}
	require.NoError(t, s.CreateUser(t.Context(), ann, nil))
	assert.Positive(t, ann.ID)

	found, err := s.FindUserByID(t.Context(), ann.ID)
	require.NoError(t, err)
	assert.Equal(t, ann, found)

	found, err = s.FindUserByEmail(t.Context(), "aNN@eXAMPLE.org")
	require.NoError(t, err)
	assert.Equal(t, ann, found)

	for _, email := range []string{"", "ann", "%", "ann_example.org"} {
		_, err = s.FindUserByEmail(t.Context(), email)
		assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), email)
	}
	_, err = s.FindUserByID(t.Context(), ann.ID+1)
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err))
	assert.EqualError(t, err, "User not found.")
}

func TestAUserIsMadeTogetherWithTheirFirstRunbook(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	ann := &store.User{Username: "ann", Email: "ann@example.org", PasswordHash: "hash"}
	tour := &store.Runbook{Title: "Tour", Content: "# Hello"}
	require.NoError(t, s.CreateUser(t.Context(), ann, tour))
	found, err := s.FindRunbook(t.Context(), ann.ID, tour.ID)
	require.NoError(t, err)
	assert.Equal(t, tour, found)

	bob := &store.User{Username: "bob", Email: "bob@example.org", PasswordHash: "hash"}
	require.Error(t, s.CreateUser(t.Context(), bob, &store.Runbook{Title: "bad \x00"}))
	_, err = s.FindUserByEmail(t.Context(), "bob@example.org")
	assert.Equal(t, apperr.NotFound, apperr.CodeOf(err), "no user without the runbook")
}

func TestATakenNameOrAddressIsAConflictThatNamesTheField(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	require.NoError(t, s.CreateUser(t.Context(), &store.User{Username: "ann", Email: "ann@example.org"}, nil))
	for name, tt := range map[string]struct {
		user  store.User
		field string
	}{
		"name":             {store.User{Username: "ann", Email: "other@example.org"}, "username"},
		"name, upper case": {store.User{Username: "ANN", Email: "other@example.org"}, "username"},
		"address":          {store.User{Username: "other", Email: "ANN@example.org"}, "email"},
	} {
		err := s.CreateUser(t.Context(), &tt.user, nil)
		assert.Equal(t, apperr.Conflict, apperr.CodeOf(err), name)
		var conflict *apperr.Error
		require.ErrorAs(t, err, &conflict)
		require.Len(t, conflict.Fields, 1, name)
		assert.Equal(t, tt.field, conflict.Fields[0].Field, name)
		assert.NotContains(t, conflict.Message, "users_", name)
	}
}

func TestOfManyWhoSignUpWithOneNameOneSucceeds(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	won := make([]bool, manyAtOnce)
	atOnce(func(i int) {
		err := s.CreateUser(t.Context(), &store.User{Username: "ann", Email: "ann@example.org"}, &store.Runbook{Title: "Tour"})
		won[i] = err == nil
		if err != nil {
			assert.Equal(t, apperr.Conflict, apperr.CodeOf(err))
		}
	})
	assert.Equal(t, 1, countOf(won))
}
