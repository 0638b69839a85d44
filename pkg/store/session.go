package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"runbook/pkg/apperr"
)

// SessionStatus is where a session is in its life: Active, then one of the two
// others for ever.
type SessionStatus string

// The statuses.
const (
	Active     SessionStatus = "ACTIVE"
	Expired    SessionStatus = "EXPIRED"    // fell idle
	Terminated SessionStatus = "TERMINATED" // was ended, by its user or by a fault
)

// EndReason says why a session ended.
type EndReason string

// The reasons.
const (
	EndDisconnected  EndReason = "disconnected"   // its user ended it
	EndIdle          EndReason = "idle"           // no activity for too long
	EndLost          EndReason = "lost"           // its container or engine died
	EndReplaced      EndReason = "replaced"       // a newer one took its place
	EndServerStopped EndReason = "server_stopped" // the server went away with its containers
)

// Session is one user's container for one runbook. A user has at most one
// Active session per runbook.
type Session struct {
	ID             int64
	UserID         int64
	RunbookID      int64
	Status         SessionStatus
	ContainerID    *string // nil while the container is starting
	CreatedAt      time.Time
	LastActivityAt time.Time
	ExpiresAt      time.Time  // when it ends unless there is activity before
	EndedAt        *time.Time // nil while Active
	EndReason      *EndReason // nil while Active
}

// SessionFilter selects sessions of one user for a list, newest first.
type SessionFilter struct {
	UserID    int64
	RunbookID int64         // 0: of every runbook
	Status    SessionStatus // empty: in every status
	BeforeID  int64         // only what comes after the session with this id; 0: from the newest on
	Limit     int           // 0: DefaultLimit
}

// createSessionAttempts bounds how often the active session may end just
// between the attempt to insert and the attempt to find it.
const createSessionAttempts = 5

// CreateSession makes session the active one of its UserID and RunbookID; it
// expires after idle. If there is an active one already, session becomes that
// one, and created is false: of many calls at once exactly one creates. Without
// the user or the runbook the error is NotFound.
func (s *Store) CreateSession(ctx context.Context, session *Session, idle time.Duration) (created bool, err error) {
	now := s.now()
	fresh := Session{
		UserID: session.UserID, RunbookID: session.RunbookID, Status: Active,
		CreatedAt: now, LastActivityAt: now, ExpiresAt: now.Add(idle),
	}
	err = s.run(ctx, func(db *gorm.DB) error {
		for range createSessionAttempts {
			done := db.Clauses(unlessActive()).Create(&fresh)
			if done.Error != nil {
				return done.Error
			}
			if done.RowsAffected == 1 {
				*session, created = fresh, true
				return nil
			}
			active, err := take[Session](activeSession(db, fresh.UserID, fresh.RunbookID), "session")
			if err == nil {
				*session = *active
				return nil
			}
			if !apperr.Is(err, apperr.NotFound) {
				return err
			}
		}
		return apperr.New(apperr.Conflict, "This session is being ended and made anew elsewhere. Connect again.")
	})
	return created, err
}

// unlessActive names the partial unique index. Its condition has to be a
// literal: Postgres doesn't match a parameter with the index.
func unlessActive() clause.OnConflict {
	return clause.OnConflict{
		Columns:     []clause.Column{{Name: "user_id"}, {Name: "runbook_id"}},
		TargetWhere: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "status = 'ACTIVE'"}}},
		DoNothing:   true,
	}
}

func activeSession(db *gorm.DB, userID, runbookID int64) *gorm.DB {
	return db.Where("user_id = ? AND runbook_id = ? AND status = 'ACTIVE'", userID, runbookID)
}

// SetSessionContainer notes the container of a session that has started. If
// stillActive is false the session ended meanwhile, nothing was noted, and the
// caller removes the container.
func (s *Store) SetSessionContainer(ctx context.Context, id int64, containerID string) (stillActive bool, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		done := db.Model(&Session{}).Where("id = ? AND status = 'ACTIVE'", id).Update("container_id", containerID)
		stillActive = done.RowsAffected == 1
		return done.Error
	})
	return stillActive, err
}

// FindSession returns the user's session in whatever status. If there is none
// with the id, or it is somebody else's, the error is NotFound.
func (s *Store) FindSession(ctx context.Context, userID, id int64) (session *Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		session, err = take[Session](db.Where("id = ? AND user_id = ?", id, userID), "session")
		return err
	})
	return session, err
}

// FindActiveSession returns the user's active session of the runbook, or a
// NotFound error.
func (s *Store) FindActiveSession(ctx context.Context, userID, runbookID int64) (session *Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		session, err = take[Session](activeSession(db, userID, runbookID), "active session")
		return err
	})
	return session, err
}

// ListSessions returns a page of sessions, newest first. The next page is the
// one before the last id of this one.
func (s *Store) ListSessions(ctx context.Context, filter SessionFilter) (page []Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		db = db.Where("user_id = ?", filter.UserID)
		if filter.RunbookID != 0 {
			db = db.Where("runbook_id = ?", filter.RunbookID)
		}
		if filter.Status != "" {
			db = db.Where("status = ?", filter.Status)
		}
		return newestFirst(db, filter.BeforeID, filter.Limit).Find(&page).Error
	})
	return page, err
}

// ListActiveSessions returns every active session, of all users, oldest first:
// what a server that starts compares with the containers it finds.
func (s *Store) ListActiveSessions(ctx context.Context) (sessions []Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		return db.Where("status = 'ACTIVE'").Order("id").Find(&sessions).Error
	})
	return sessions, err
}

// TouchSession notes activity: the session now expires after idle. It returns
// the session, or a NotFound error, or SessionEnded if it has ended.
func (s *Store) TouchSession(ctx context.Context, id int64, idle time.Duration) (session *Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		session, err = touch(db, id, s.now(), idle)
		return err
	})
	return session, err
}

func touch(db *gorm.DB, id int64, now time.Time, idle time.Duration) (*Session, error) {
	var session Session
	done := db.Model(&session).Clauses(clause.Returning{}).
		Where("id = ? AND status = 'ACTIVE'", id).
		Updates(activity(now, idle))
	if done.Error != nil {
		return nil, done.Error
	}
	if done.RowsAffected == 0 {
		return nil, whyNotActive(db, id)
	}
	return &session, nil
}

func activity(now time.Time, idle time.Duration) map[string]any {
	return map[string]any{"last_activity_at": now, "expires_at": now.Add(idle)}
}

func whyNotActive(db *gorm.DB, id int64) error {
	session, err := take[Session](db.Where("id = ?", id), "session")
	if err != nil {
		return err
	}
	if session.EndReason == nil {
		return apperr.New(apperr.SessionEnded, "This session has ended. Connect again.")
	}
	return apperr.New(apperr.SessionEnded, "This session has ended (%s). Connect again.", *session.EndReason)
}

// EndSession ends an active session with status Expired or Terminated. Of many
// calls at once exactly one wins; for a session that has ended, or isn't there,
// nobody does. Executions that are still running are the caller's to finish.
func (s *Store) EndSession(ctx context.Context, id int64, status SessionStatus, reason EndReason) (won bool, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		won, err = end(db.Where("id = ?", id), status, reason, s.now())
		return err
	})
	return won, err
}

func end(db *gorm.DB, status SessionStatus, reason EndReason, now time.Time) (won bool, err error) {
	done := db.Model(&Session{}).Where("status = 'ACTIVE'").
		Updates(map[string]any{"status": status, "end_reason": reason, "ended_at": now})
	return done.RowsAffected == 1, done.Error
}

// ListExpiredSessions returns at most limit of the active sessions that have
// been idle for too long and run nothing, the longest idle first: candidates
// for ExpireSession.
func (s *Store) ListExpiredSessions(ctx context.Context, limit int) (sessions []Session, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		return idleSince(db, s.now()).Order("expires_at, id").Limit(limitOf(limit)).Find(&sessions).Error
	})
	return sessions, err
}

// ExpireSession ends the session as Expired if it is still active, idle and
// without a running execution. Of many calls at once exactly one wins, and
// activity at the same time wins over all of them.
//
// The one statement is enough because CreateExecution and FinishExecution
// change expires_at of the row too: an UPDATE that had to wait for them sees the
// new time. The condition on executions alone would not be looked at again.
func (s *Store) ExpireSession(ctx context.Context, id int64) (won bool, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		now := s.now()
		won, err = end(idleSince(db.Where("id = ?", id), now), Expired, EndIdle, now)
		return err
	})
	return won, err
}

func idleSince(db *gorm.DB, now time.Time) *gorm.DB {
	return db.Where("status = 'ACTIVE' AND expires_at <= ?", now).
		Where("NOT EXISTS (SELECT FROM executions WHERE session_id = sessions.id AND state = 'running')")
}
