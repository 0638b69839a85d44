package store

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// ExecutionState is running, then ended for ever.
type ExecutionState string

// The states.
const (
	Running ExecutionState = "running"
	Ended   ExecutionState = "ended"
)

// Execution is one run of one block. It is a row from its start. An ended one
// has either a Reason or an ErrorCode.
type Execution struct {
	ID          int64
	SessionID   int64
	RunbookID   int64
	UserID      int64
	BlockIndex  int // 0-based, among the runnable blocks
	Runtime     string
	Code        string // as run
	StartedAt   time.Time
	EndedAt     *time.Time
	State       ExecutionState
	ExitCode    *int
	Signal      *string
	Reason      *string // exited, timeout, stopped, memory or output_limit
	ErrorCode   *string // session_lost, shutdown or internal
	DurationMS  *int64
	OutputBytes int64
}

// ExecutionResult is how an execution ended: with a Reason if the program did,
// with an ErrorCode if something else prevented it from ending. Exactly one of
// the two is set.
type ExecutionResult struct {
	ExitCode    *int
	Signal      string // empty: none
	Reason      string // see Execution
	ErrorCode   string // see Execution
	Duration    time.Duration
	OutputBytes int64
}

// CreateExecution adds a running execution of the session named in it. Id, user,
// runbook, state and start are filled in. It counts as activity: the session
// expires after idle. The error is SessionEnded if the session isn't active, or
// NotFound.
func (s *Store) CreateExecution(ctx context.Context, execution *Execution, idle time.Duration) error {
	now := s.now()
	return s.inTx(ctx, func(tx *gorm.DB) error {
		// This locks the session until the row is there: it can't expire in between.
		session, err := touch(tx, execution.SessionID, now, idle)
		if err != nil {
			return err
		}
		execution.UserID, execution.RunbookID = session.UserID, session.RunbookID
		execution.State, execution.StartedAt = Running, now
		return tx.Create(execution).Error
	})
}

// FinishExecution ends a running execution. Of many calls at once exactly one
// wins; for an execution that has ended, or isn't there, nobody does. It counts
// as activity: the session, if still active, expires after idle.
func (s *Store) FinishExecution(ctx context.Context, id int64, result ExecutionResult, idle time.Duration) (won bool, err error) {
	now := s.now()
	err = s.inTx(ctx, func(tx *gorm.DB) error {
		// The session first: it is the order in which deleting a runbook locks.
		touched := tx.Model(&Session{}).
			Where("status = 'ACTIVE' AND id = (SELECT session_id FROM executions WHERE id = ? AND state = 'running')", id).
			Updates(activity(now, idle))
		if touched.Error != nil {
			return touched.Error
		}
		done := tx.Model(&Execution{}).Where("id = ? AND state = 'running'", id).Updates(result.changes(now))
		won = done.RowsAffected == 1
		return done.Error
	})
	return won && err == nil, err
}

func (r ExecutionResult) changes(now time.Time) map[string]any {
	return map[string]any{
		"state":        Ended,
		"ended_at":     now,
		"exit_code":    r.ExitCode,
		"signal":       nullable(r.Signal),
		"reason":       nullable(r.Reason),
		"error_code":   nullable(r.ErrorCode),
		"duration_ms":  r.Duration.Milliseconds(),
		"output_bytes": r.OutputBytes,
	}
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// FindExecution returns the user's execution. If there is none with the id, or
// it is somebody else's, the error is NotFound.
func (s *Store) FindExecution(ctx context.Context, userID, id int64) (execution *Execution, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		execution, err = take[Execution](db.Where("id = ? AND user_id = ?", id, userID), "execution")
		return err
	})
	return execution, err
}

// ListRunningExecutions returns every running execution, of all users and in
// sessions of any status, oldest first and without their Code: what a server
// that starts has to take up or to end.
func (s *Store) ListRunningExecutions(ctx context.Context) (executions []Execution, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		return db.Omit("code").Where("state = 'running'").Order("id").Find(&executions).Error
	})
	return executions, err
}

// FailRunningExecutions ends what is still running in the sessions with
// errorCode (see Execution) and tells how many that were: for after a crash,
// when nobody is left to finish them. Without sessions it does nothing.
func (s *Store) FailRunningExecutions(ctx context.Context, errorCode string, sessionIDs ...int64) (failed int64, err error) {
	if len(sessionIDs) == 0 {
		return 0, nil
	}
	now := s.now()
	err = s.run(ctx, func(db *gorm.DB) error {
		done := db.Model(&Execution{}).Where("state = 'running' AND session_id IN ?", sessionIDs).
			Updates(map[string]any{
				"state": Ended, "ended_at": now, "error_code": errorCode,
				"duration_ms": gorm.Expr("greatest(0, extract(epoch FROM ?::timestamptz - started_at) * 1000)::bigint", now),
			})
		failed = done.RowsAffected
		return done.Error
	})
	return failed, err
}
