package storetest

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"runbook/pkg/store"
)

// Idle is after how long the sessions of CreateSession expire.
const Idle = 30 * time.Minute

// CreateUser adds a user with a name that no other has.
func CreateUser(t testing.TB, s *store.Store) *store.User {
	t.Helper()
	name := "u" + strings.ToLower(rand.Text()[:12])
	user := &store.User{Username: name, Email: name + "@example.org", PasswordHash: "no password"}
	if err := s.CreateUser(t.Context(), user, nil); err != nil {
		t.Fatalf("create a user: %v", err)
	}
	return user
}

// CreateRunbook adds a private runbook.
func CreateRunbook(t testing.TB, s *store.Store, ownerID int64, title, content string) *store.Runbook {
	t.Helper()
	runbook := &store.Runbook{OwnerID: ownerID, Title: title, Content: content}
	if err := s.CreateRunbook(t.Context(), runbook); err != nil {
		t.Fatalf("create a runbook: %v", err)
	}
	return runbook
}

// CreateSession adds an active session of a new user and their new runbook. It
// has no container.
func CreateSession(t testing.TB, s *store.Store) *store.Session {
	t.Helper()
	user := CreateUser(t, s)
	runbook := CreateRunbook(t, s, user.ID, "Title", "Content")
	session := &store.Session{UserID: user.ID, RunbookID: runbook.ID}
	if _, err := s.CreateSession(t.Context(), session, Idle); err != nil {
		t.Fatalf("create a session: %v", err)
	}
	return session
}
