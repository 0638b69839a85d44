package server

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
	"runbook/pkg/runbook"
	"runbook/pkg/store"
)

// Session is a user's container for a runbook. EndReason is set once it has
// ended. Problems are file blocks that a new session could not be given.
type Session struct {
	ID             int64               `json:"id" example:"1"`
	UserID         int64               `json:"userId" example:"1"`
	RunbookID      int64               `json:"runbookId" example:"1"`
	Status         store.SessionStatus `json:"status" enums:"ACTIVE,EXPIRED,TERMINATED"`
	CreatedAt      time.Time           `json:"createdAt"`
	LastActivityAt time.Time           `json:"lastActivityAt"`
	ExpiresAt      time.Time           `json:"expiresAt"`
	EndedAt        *time.Time          `json:"endedAt,omitempty"`
	EndReason      *store.EndReason    `json:"endReason,omitempty" enums:"disconnected,idle,lost,replaced,server_stopped"`
	Problems       []runbook.FileBlock `json:"problems,omitempty"`
} // @name Session

// SessionList is a page of sessions.
type SessionList = List[Session] // @name SessionList

func newSession(row store.Session) Session {
	return Session{
		ID: row.ID, UserID: row.UserID, RunbookID: row.RunbookID, Status: row.Status,
		CreatedAt: row.CreatedAt, LastActivityAt: row.LastActivityAt, ExpiresAt: row.ExpiresAt,
		EndedAt: row.EndedAt, EndReason: row.EndReason,
	}
}

// connect makes a session, or finds the one that is active.
//
//	@Summary	Connect: make a session, or get the active one
//	@Description	Makes a container and puts the file blocks into it. However often it is called at once, there is one session.
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		userId		path		int	true	"The caller"
//	@Param		runbookId	path		int	true	"The runbook"
//	@Success	200			{object}	Session	"The active session"
//	@Success	201			{object}	Session	"A new session"
//	@Failure	400,401,404,409,422,500,503	{object}	Problem
//	@Router		/sessions/connect/{userId}/{runbookId} [post]
func (s *Server) connect(c echo.Context) error {
	runbookID, err := ownPath(c)
	if err != nil {
		return err
	}
	connected, err := s.Sessions.Connect(c.Request().Context(), userID(c), runbookID)
	if err != nil {
		return err
	}
	answer := newSession(connected.Session)
	answer.Problems = connected.Skipped
	if connected.Created {
		return c.JSON(http.StatusCreated, answer)
	}
	return c.JSON(http.StatusOK, answer)
}

// listSessions lists the own sessions, newest first.
//
//	@Summary	The own sessions, newest first
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		status	query		string	false	"Only those of this status"	Enums(ACTIVE, EXPIRED, TERMINATED)
//	@Param		limit	query		int		false	"How many"	minimum(1)	maximum(100)	default(50)
//	@Param		cursor	query		string	false	"The nextCursor of the page before"
//	@Success	200		{object}	SessionList
//	@Failure	400,401,500,503	{object}	Problem
//	@Router		/sessions [get]
func (s *Server) listSessions(c echo.Context) error {
	beforeID, limit, err := page(c)
	if err != nil {
		return err
	}
	status := store.SessionStatus(c.QueryParam("status"))
	switch status {
	case "", store.Active, store.Expired, store.Terminated:
	default:
		return apperr.New(apperr.Invalid, "The status must be ACTIVE, EXPIRED or TERMINATED.")
	}
	rows, err := s.Store.ListSessions(c.Request().Context(), store.SessionFilter{
		UserID: userID(c), Status: status, BeforeID: beforeID, Limit: limit + 1,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newList(rows, limit, func(row store.Session) int64 { return row.ID }, newSession))
}

// getSession reads a session.
//
//	@Summary	A session
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		id	path		int	true	"The session"
//	@Success	200	{object}	Session
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/sessions/{id} [get]
func (s *Server) getSession(c echo.Context) error {
	row, err := s.ownSession(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newSession(*row))
}

func (s *Server) ownSession(c echo.Context) (*store.Session, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.Store.FindSession(c.Request().Context(), userID(c), id)
}

// activeSession finds the session that connect would return.
//
//	@Summary	The active session of a runbook
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		userId		path		int	true	"The caller"
//	@Param		runbookId	path		int	true	"The runbook"
//	@Success	200			{object}	Session
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/sessions/active/{userId}/{runbookId} [get]
func (s *Server) activeSession(c echo.Context) error {
	runbookID, err := ownPath(c)
	if err != nil {
		return err
	}
	row, err := s.Store.FindActiveSession(c.Request().Context(), userID(c), runbookID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newSession(*row))
}

// keepAlive puts off the end of an idle session.
//
//	@Summary	I am still here: put off the idle end
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		id	path		int	true	"The session"
//	@Success	200	{object}	Session
//	@Failure	400,401,404,409,500,503	{object}	Problem
//	@Router		/sessions/{id}/keepalive [post]
func (s *Server) keepAlive(c echo.Context) error {
	row, err := s.ownSession(c)
	if err != nil {
		return err
	}
	touched, err := s.Sessions.KeepAlive(c.Request().Context(), row.ID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newSession(*touched))
}

// endSession disconnects. Doing so again changes nothing.
//
//	@Summary	Disconnect: stop and remove the container
//	@Tags		sessions
//	@Security	Bearer
//	@Produce	application/problem+json
//	@Param		id	path	int	true	"The session"
//	@Success	204
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/sessions/end/{id} [delete]
func (s *Server) endSession(c echo.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.Sessions.End(c.Request().Context(), userID(c), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
