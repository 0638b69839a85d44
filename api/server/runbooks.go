package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
	"runbook/pkg/runbook"
	"runbook/pkg/store"
)

// CreateRunbookRequest makes a runbook.
type CreateRunbookRequest struct {
	Title   string        `json:"title" validate:"required,max=200" maxLength:"200" example:"Restore the database"`
	Content string        `json:"content,omitempty" example:"# Restore the database"`
	Privacy store.Privacy `json:"privacy,omitempty" validate:"omitempty,oneof=PRIVATE SHARED PUBLIC" enums:"PRIVATE,SHARED,PUBLIC" default:"PRIVATE"`
} // @name CreateRunbookRequest

// UpdateRunbookRequest changes the fields that it has.
type UpdateRunbookRequest struct {
	Title   *string        `json:"title,omitempty" validate:"omitempty,min=1,max=200" minLength:"1" maxLength:"200"`
	Content *string        `json:"content,omitempty"`
	Privacy *store.Privacy `json:"privacy,omitempty" validate:"omitempty,oneof=PRIVATE SHARED PUBLIC" enums:"PRIVATE,SHARED,PUBLIC"`
} // @name UpdateRunbookRequest

// RunbookSummary is a runbook in a list.
type RunbookSummary struct {
	ID        int64         `json:"id" example:"1"`
	OwnerID   int64         `json:"ownerId" example:"1"`
	Title     string        `json:"title" example:"Restore the database"`
	Privacy   store.Privacy `json:"privacy" enums:"PRIVATE,SHARED,PUBLIC"`
	Revision  int64         `json:"revision" example:"1"`
	CreatedAt time.Time     `json:"createdAt"`
	UpdatedAt time.Time     `json:"updatedAt"`
} // @name RunbookSummary

// Runbook is a document with its blocks. Problem is set where the document as a
// whole can't be read for blocks.
type Runbook struct {
	RunbookSummary
	Content string                  `json:"content"`
	Blocks  []runbook.RunnableBlock `json:"blocks"`
	Files   []runbook.FileBlock     `json:"files"`
	Problem string                  `json:"problem,omitempty"`
} // @name Runbook

// RunbookList is a page of runbooks.
type RunbookList = List[RunbookSummary] // @name RunbookList

func newRunbookSummary(row store.Runbook) RunbookSummary {
	return RunbookSummary{
		ID: row.ID, OwnerID: row.OwnerID, Title: row.Title, Privacy: row.Privacy,
		Revision: row.Revision, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
}

// answerRunbook writes a runbook with its ETag.
func (s *Server) answerRunbook(c echo.Context, status int, row *store.Runbook) error {
	document := runbook.Parse(row.Content, s.settings.Limits)
	c.Response().Header().Set(headerETag, etag(row.Revision))
	return c.JSON(status, Runbook{
		RunbookSummary: newRunbookSummary(*row),
		Content:        row.Content,
		Blocks:         document.Runnable,
		Files:          document.Files,
		Problem:        document.Problem,
	})
}

func etag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }

// ifMatch reads the revision that a change is based on.
func ifMatch(c echo.Context) (int64, error) {
	header := strings.TrimSpace(c.Request().Header.Get(headerIfMatch))
	if header == "" {
		return 0, apperr.New(apperr.PreconditionRequired,
			"Send the header If-Match with the ETag that you read, so that nobody's change is lost.")
	}
	revision, err := strconv.ParseInt(strings.Trim(header, `"`), 10, 64)
	if err != nil {
		return 0, apperr.New(apperr.StaleRevision, "The header If-Match does not name a revision of this runbook. Read it again.")
	}
	return revision, nil
}

// listRunbooks lists the own runbooks, newest first, without their content.
//
//	@Summary	The own runbooks, newest first
//	@Tags		runbooks
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		query	query		string	false	"Only titles with this text"
//	@Param		limit	query		int		false	"How many"	minimum(1)	maximum(100)	default(50)
//	@Param		cursor	query		string	false	"The nextCursor of the page before"
//	@Success	200		{object}	RunbookList
//	@Failure	400,401,500,503	{object}	Problem
//	@Router		/runbooks [get]
func (s *Server) listRunbooks(c echo.Context) error {
	beforeID, limit, err := page(c)
	if err != nil {
		return err
	}
	query, err := queryText(c, "query")
	if err != nil {
		return err
	}
	rows, err := s.Store.ListRunbooks(c.Request().Context(), store.RunbookFilter{
		OwnerID: userID(c), Query: query, BeforeID: beforeID, Limit: limit + 1,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, newList(rows, limit, func(row store.Runbook) int64 { return row.ID }, newRunbookSummary))
}

// createRunbook saves a new runbook.
//
//	@Summary	Make a runbook
//	@Tags		runbooks
//	@Security	Bearer
//	@Accept		json
//	@Produce	json,application/problem+json
//	@Param		body	body		CreateRunbookRequest	true	"The runbook"
//	@Success	201		{object}	Runbook
//	@Header		201		{string}	ETag		"The revision"
//	@Header		201		{string}	Location	"Where it is"
//	@Failure	400,401,413,415,422,500,503	{object}	Problem
//	@Router		/runbooks [post]
func (s *Server) createRunbook(c echo.Context) error {
	var request CreateRunbookRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	row := &store.Runbook{
		OwnerID: userID(c), Title: request.Title, Content: request.Content, Privacy: request.Privacy,
	}
	if err := s.Store.CreateRunbook(c.Request().Context(), row); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/runbooks/"+strconv.FormatInt(row.ID, 10))
	return s.answerRunbook(c, http.StatusCreated, row)
}

// getRunbook reads a runbook.
//
//	@Summary	A runbook with its content and blocks
//	@Tags		runbooks
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		id	path		int	true	"The runbook"
//	@Success	200	{object}	Runbook
//	@Header		200	{string}	ETag	"The revision"
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/runbooks/{id} [get]
func (s *Server) getRunbook(c echo.Context) error {
	row, err := s.ownRunbook(c)
	if err != nil {
		return err
	}
	return s.answerRunbook(c, http.StatusOK, row)
}

func (s *Server) ownRunbook(c echo.Context) (*store.Runbook, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.Store.FindRunbook(c.Request().Context(), userID(c), id)
}

// updateRunbook changes a runbook, if it is still the one that was read.
//
//	@Summary	Change a runbook
//	@Description	Fields that are left out stay as they are. If the runbook has changed since it was read, nothing is written and the answer is 412.
//	@Tags		runbooks
//	@Security	Bearer
//	@Accept		json
//	@Produce	json,application/problem+json
//	@Param		id			path		int						true	"The runbook"
//	@Param		If-Match	header		string					true	"The ETag that was read"
//	@Param		body		body		UpdateRunbookRequest	true	"What changes"
//	@Success	200			{object}	Runbook
//	@Header		200			{string}	ETag	"The new revision"
//	@Failure	400,401,404,412,413,415,422,428,500,503	{object}	Problem
//	@Router		/runbooks/{id} [put]
func (s *Server) updateRunbook(c echo.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	revision, err := ifMatch(c)
	if err != nil {
		return err
	}
	var request UpdateRunbookRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	row, err := s.Store.UpdateRunbook(c.Request().Context(), userID(c), id, revision, store.RunbookUpdate{
		Title: request.Title, Content: request.Content, Privacy: request.Privacy,
	})
	if err != nil {
		return err
	}
	return s.answerRunbook(c, http.StatusOK, row)
}

// deleteRunbook removes a runbook, and ends its sessions.
//
//	@Summary	Delete a runbook and end its sessions
//	@Tags		runbooks
//	@Security	Bearer
//	@Produce	application/problem+json
//	@Param		id	path	int	true	"The runbook"
//	@Success	204
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/runbooks/{id} [delete]
func (s *Server) deleteRunbook(c echo.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.Sessions.DeleteRunbook(c.Request().Context(), userID(c), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// runnableBlocks lists the blocks that can be run.
//
//	@Summary	The runnable blocks of a runbook
//	@Tags		runbooks
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		id	path		int	true	"The runbook"
//	@Success	200	{array}		runbook.RunnableBlock
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/runbooks/{id}/runnable-blocks [get]
func (s *Server) runnableBlocks(c echo.Context) error {
	row, err := s.ownRunbook(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, runbook.Parse(row.Content, s.settings.Limits).Runnable)
}

// fileBlocks lists the files that a session starts with.
//
//	@Summary	The file blocks of a runbook
//	@Tags		runbooks
//	@Security	Bearer
//	@Produce	json,application/problem+json
//	@Param		id	path		int	true	"The runbook"
//	@Success	200	{array}		runbook.FileBlock
//	@Failure	400,401,404,500,503	{object}	Problem
//	@Router		/runbooks/{id}/file-blocks [get]
func (s *Server) fileBlocks(c echo.Context) error {
	row, err := s.ownRunbook(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, runbook.Parse(row.Content, s.settings.Limits).Files)
}
