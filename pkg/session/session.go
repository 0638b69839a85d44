// Package session ties a user, a runbook and a container together: connect, end,
// expire. The database decides who is first; the engine follows.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"runbook/pkg/agent"
	"runbook/pkg/apperr"
	"runbook/pkg/runbook"
	"runbook/pkg/sandbox"
	"runbook/pkg/store"
)

// Settings are what a deployment may choose of its sessions.
type Settings struct {
	// Idle is how long a session lives without activity.
	Idle time.Duration
	// Limits are what documents have to keep to.
	Limits runbook.Limits
}

const (
	// startPatience bounds the making of a container, and how long somebody else
	// is trusted to be making one.
	startPatience = 60 * time.Second
	// endPatience bounds the removal of a container.
	endPatience = 30 * time.Second
	// awaitInterval is how often a session that somebody else starts is looked at.
	awaitInterval = 20 * time.Millisecond
	// connectAttempts bounds how often a session that turns out to be lost is
	// replaced in one connect.
	connectAttempts = 3
)

// Runs ends what runs in a session.
type Runs interface {
	EndSession(sessionID int64, message string)
}

// Service makes and ends sessions. It is safe for concurrent use, and by several
// servers over one database.
type Service struct {
	store    *store.Store
	engine   *sandbox.Engine
	runs     Runs
	settings Settings
	log      *slog.Logger
	awaiting singleflight.Group // of sessions that somebody else starts
}

// NewService makes a service.
func NewService(st *store.Store, engine *sandbox.Engine, runs Runs, settings Settings, log *slog.Logger) *Service {
	return &Service{store: st, engine: engine, runs: runs, settings: settings, log: log}
}

// Connected is a session that is ready for use.
type Connected struct {
	Session store.Session
	// Created tells that this call made it.
	Created bool
	// Skipped are the file blocks of the document that could not be seeded, each
	// with its Problem.
	Skipped []runbook.FileBlock
}

// Connect returns the active session of the user and the runbook, and makes one
// where there is none: container, agent and file blocks. However many call at
// once, one container is made. The error is NotFound for a runbook that the user
// may not run, or Unavailable.
func (s *Service) Connect(ctx context.Context, userID, runbookID int64) (Connected, error) {
	book, err := s.store.FindRunbook(ctx, userID, runbookID)
	if err != nil {
		return Connected{}, err
	}
	document := runbook.Parse(book.Content, s.settings.Limits)
	for range connectAttempts {
		session := store.Session{UserID: userID, RunbookID: runbookID}
		created, err := s.store.CreateSession(ctx, &session, s.settings.Idle)
		if err != nil {
			return Connected{}, err
		}
		if created {
			err = s.start(ctx, &session, document)
			return Connected{Session: session, Created: true, Skipped: skipped(document)}, err
		}
		alive, err := s.await(ctx, &session)
		if err != nil {
			return Connected{}, err
		}
		if alive {
			return Connected{Session: session, Skipped: skipped(document)}, nil
		}
	}
	return Connected{}, apperr.New(apperr.Unavailable, "The session's container keeps going away. Try again in a moment.")
}

// start gives a new session its container. It doesn't end with the request that
// asked for it: others wait for the same session.
func (s *Service) start(ctx context.Context, session *store.Session, document runbook.Document) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	container, err := s.makeContainer(ctx, *session, document)
	if err != nil {
		s.giveUp(ctx, session.ID)
		return err
	}
	active, err := s.store.SetSessionContainer(ctx, session.ID, container)
	if err == nil && active {
		session.ContainerID = &container
		return nil
	}
	s.remove(ctx, session.ID, container)
	if err != nil {
		s.giveUp(ctx, session.ID)
		return err
	}
	return apperr.New(apperr.SessionEnded, "The session was ended while it was starting. Connect again.")
}

func (s *Service) makeContainer(ctx context.Context, session store.Session, document runbook.Document) (string, error) {
	owner := sandbox.Owner{SessionID: session.ID, UserID: session.UserID, RunbookID: session.RunbookID}
	container, err := s.engine.Create(ctx, owner)
	if err != nil {
		return "", err
	}
	if err := s.seed(ctx, container, document); err != nil {
		s.remove(ctx, session.ID, container)
		return "", err
	}
	return container, nil
}

// seed writes the document's file blocks into the container.
func (s *Service) seed(ctx context.Context, container string, document runbook.Document) error {
	var files []agent.File
	for _, block := range document.Files {
		if block.Problem == "" {
			files = append(files, agent.File{Path: block.Path, Content: block.Content})
		}
	}
	if len(files) == 0 {
		return nil
	}
	err := s.engine.Agent(container).WriteFiles(ctx, files)
	var remote *agent.RemoteError
	if errors.As(err, &remote) && remote.Code == agent.CodeDiskFull {
		return apperr.Wrap(err, apperr.BlockProblem, "The document's files are larger than a session's disk.")
	}
	if err != nil {
		return fmt.Errorf("seed files: %w", err)
	}
	return nil
}

func skipped(document runbook.Document) []runbook.FileBlock {
	var blocks []runbook.FileBlock
	for _, block := range document.Files {
		if block.Problem != "" {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// giveUp ends a session that got no container.
func (s *Service) giveUp(ctx context.Context, id int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	if _, err := s.store.EndSession(ctx, id, store.Terminated, store.EndLost); err != nil {
		s.log.ErrorContext(ctx, "end a session that did not start", "session", id, "error", err)
	}
}

// await waits until a session that somebody else made is ready, and tells
// whether it is alive. One that is not is ended.
func (s *Service) await(ctx context.Context, session *store.Session) (bool, error) {
	if session.ContainerID == nil {
		ready, err := s.awaitContainer(ctx, *session)
		if err != nil || ready == nil {
			return false, err
		}
		*session = *ready
		return true, nil // it has just come up
	}
	running, err := s.engine.Running(ctx, *session.ContainerID)
	if err != nil || running {
		return running, err
	}
	s.Lost(ctx, session.ID)
	return false, nil
}

// awaitContainer returns the session once it has a container, or nil when it has
// ended. One look serves all who wait.
func (s *Service) awaitContainer(ctx context.Context, session store.Session) (*store.Session, error) {
	result := s.awaiting.DoChan(strconv.FormatInt(session.ID, 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
		defer cancel()
		return s.pollContainer(ctx, session)
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for session: %w", ctx.Err())
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		ready, _ := r.Val.(*store.Session)
		return ready, nil
	}
}

func (s *Service) pollContainer(ctx context.Context, session store.Session) (*store.Session, error) {
	ticker := time.NewTicker(awaitInterval)
	defer ticker.Stop()
	for {
		found, err := s.store.FindActiveSession(ctx, session.UserID, session.RunbookID)
		if apperr.Is(err, apperr.NotFound) || err == nil && found.ID != session.ID {
			return nil, nil //nolint:nilnil // ended; documented
		}
		if err != nil {
			return nil, err
		}
		if found.ContainerID != nil {
			return found, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			// Whoever was making it is gone: let the next attempt make a new one.
			s.giveUp(ctx, session.ID)
			return nil, nil //nolint:nilnil // ended; documented
		}
	}
}

// End ends the user's session and removes its container; it returns when the
// container is gone. Ending an ended session does nothing. The error is NotFound
// for a session that is not the user's.
func (s *Service) End(ctx context.Context, userID, id int64) error {
	session, err := s.store.FindSession(ctx, userID, id)
	if err != nil {
		return err
	}
	return s.end(ctx, *session, store.EndDisconnected)
}

func (s *Service) end(ctx context.Context, session store.Session, reason store.EndReason) error {
	won, err := s.store.EndSession(ctx, session.ID, store.Terminated, reason)
	if err != nil || !won {
		return err
	}
	s.clear(ctx, session, "The session was disconnected.")
	return nil
}

// clear ends what runs in a session that has ended, and removes its container.
func (s *Service) clear(ctx context.Context, session store.Session, message string) {
	s.runs.EndSession(session.ID, message)
	if session.ContainerID != nil {
		s.remove(ctx, session.ID, *session.ContainerID)
	}
}

// remove removes a container, whatever becomes of the request. Its failure is no
// failure of the request: the session has ended all the same.
func (s *Service) remove(ctx context.Context, sessionID int64, container string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	if err := s.engine.Remove(ctx, container); err != nil {
		s.log.ErrorContext(ctx, "remove a session's container", "session", sessionID, "container", container, "error", err)
	}
}

// endAll ends the active sessions of a runbook of the user.
func (s *Service) endAll(ctx context.Context, userID, runbookID int64) error {
	sessions, err := s.store.ListSessions(ctx, store.SessionFilter{
		UserID: userID, RunbookID: runbookID, Status: store.Active,
	})
	if err != nil {
		return err
	}
	for _, session := range sessions {
		if err := s.end(ctx, session, store.EndDisconnected); err != nil {
			return err
		}
	}
	return nil
}

// Lost notes that a session's container is gone, and removes what is left of it.
func (s *Service) Lost(ctx context.Context, id int64) {
	won, err := s.store.EndSession(ctx, id, store.Terminated, store.EndLost)
	if err != nil {
		s.log.ErrorContext(ctx, "end a lost session", "session", id, "error", err)
		return
	}
	if !won {
		return
	}
	s.log.WarnContext(ctx, "session lost its container", "session", id)
	if err := s.engine.RemoveSession(ctx, id); err != nil {
		s.log.ErrorContext(ctx, "remove what is left of a lost session", "session", id, "error", err)
	}
}

// expireBatch is how many sessions one round of ExpireIdle ends at most.
const expireBatch = 100

// ExpireIdle ends the sessions that were idle for too long and in which nothing
// runs.
func (s *Service) ExpireIdle(ctx context.Context) error {
	sessions, err := s.store.ListExpiredSessions(ctx, expireBatch)
	if err != nil {
		return fmt.Errorf("list idle sessions: %w", err)
	}
	for _, session := range sessions {
		won, err := s.store.ExpireSession(ctx, session.ID)
		if err != nil {
			return fmt.Errorf("expire session %d: %w", session.ID, err)
		}
		if !won {
			continue // it has become active, or another server was first
		}
		s.log.InfoContext(ctx, "session expired", "session", session.ID, "user", session.UserID)
		s.clear(ctx, session, "The session was idle for too long.")
	}
	return nil
}

// KeepAlive puts off the end of an idle session. The error is SessionEnded for
// one that has ended.
func (s *Service) KeepAlive(ctx context.Context, id int64) (*store.Session, error) {
	return s.store.TouchSession(ctx, id, s.settings.Idle)
}

// DeleteRunbook deletes a runbook of the user and ends all sessions in it. The
// error is NotFound for one that is not the user's.
func (s *Service) DeleteRunbook(ctx context.Context, userID, id int64) error {
	if err := s.endAll(ctx, userID, id); err != nil {
		return err
	}
	if err := s.store.DeleteRunbook(ctx, userID, id); err != nil {
		return err
	}
	// A connect may have come in between: its session is gone with the runbook.
	if err := s.engine.RemoveRunbook(ctx, id); err != nil {
		s.log.ErrorContext(ctx, "remove containers of a deleted runbook", "runbook", id, "error", err)
	}
	return nil
}
