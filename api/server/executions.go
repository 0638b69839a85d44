package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
	"runbook/pkg/execution"
	"runbook/pkg/runbook"
)

// ExecBlockRequest runs a block of the session's runbook. Runtime, if it is set,
// must be the block's: a sign that the caller means the same document. Code is
// run in the place of the block's own.
type ExecBlockRequest struct {
	SessionID  int64   `json:"sessionId" validate:"required,min=1" minimum:"1" example:"1"`
	BlockIndex *int    `json:"blockIndex" validate:"required,min=0" minimum:"0" example:"0"`
	Runtime    string  `json:"runtime,omitempty" enums:"python,node,bash,golang" example:"bash"`
	Code       *string `json:"code,omitempty" example:"echo hello"`
} // @name ExecBlockRequest

// StdinRequest answers a prompt.
type StdinRequest struct {
	Data string `json:"data,omitempty" example:"Ada\n"`
	EOF  bool   `json:"eof,omitempty"`
} // @name StdinRequest

// execBlock runs a block and streams what it does.
//
//	@Summary	Run a block and stream its output
//	@Description	Answers with NDJSON, a chunk a line: start, output, truncated, then one exit or error; ping when nothing else is sent. Closing the connection does not end the run.
//	@Tags		executions
//	@Security	Bearer
//	@Accept		json
//	@Produce	application/x-ndjson,application/problem+json
//	@Param		body	body		ExecBlockRequest	true	"What to run"
//	@Success	200		{object}	execution.OutputChunk	"One chunk a line; see StartChunk, OutputChunk, TruncatedChunk, ExitChunk and ErrorChunk"
//	@Failure	400,401,404,409,413,415,422,500,503	{object}	Problem
//	@Router		/executions/exec-block [post]
func (s *Server) execBlock(c echo.Context) error {
	var request ExecBlockRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	ctx := c.Request().Context()
	session, err := s.Store.FindSession(ctx, userID(c), request.SessionID)
	if err != nil {
		return err
	}
	row, err := s.Store.FindRunbook(ctx, userID(c), session.RunbookID)
	if err != nil {
		return err
	}
	document := runbook.Parse(row.Content, s.settings.Limits)
	block, err := findBlock(document, *request.BlockIndex, request.Runtime)
	if err != nil {
		return err
	}
	started, err := s.Executions.Start(ctx, execution.Request{
		Session: *session, Block: block, Code: request.Code, GoFiles: document.GoFiles(),
	})
	if err != nil {
		return err
	}
	return s.stream(c, started.Follow(-1))
}

func findBlock(document runbook.Document, index int, runtime string) (runbook.RunnableBlock, error) {
	if document.Problem != "" {
		return runbook.RunnableBlock{}, apperr.New(apperr.BlockProblem, "The runbook has no blocks: %s", document.Problem)
	}
	if index >= len(document.Runnable) {
		return runbook.RunnableBlock{}, &apperr.Error{
			Code: apperr.Validation, Message: "The runbook has no block of this index.",
			Fields: []apperr.Field{{Field: "blockIndex", Message: rangeAdvice(len(document.Runnable))}},
		}
	}
	block := document.Runnable[index]
	if runtime == "" || runtime == block.Runtime {
		return block, nil
	}
	if known, ok := runbook.FindRuntime(runtime); ok && known.Name == block.Runtime {
		return block, nil
	}
	return runbook.RunnableBlock{}, &apperr.Error{
		Code: apperr.Validation, Message: "The block has another runtime. Read the runbook again: it may have changed.",
		Fields: []apperr.Field{{Field: "runtime", Message: "is " + block.Runtime + " for this block"}},
	}
}

// stream sends a follower's chunks, each when it happens, until the final one or
// until the reader is gone. The execution doesn't depend on it.
func (s *Server) stream(c echo.Context, follower *execution.Follower) error {
	defer follower.Close()
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, "application/x-ndjson")
	header.Set(echo.HeaderCacheControl, "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies must not hold chunks back
	c.Response().WriteHeader(http.StatusOK)
	writer := &chunkWriter{
		response:   c.Response(),
		controller: http.NewResponseController(c.Response()),
		stall:      s.settings.StallLimit,
	}
	for {
		batch, err := s.next(c.Request().Context(), follower)
		if err != nil {
			return nil // the reader is gone, and the run goes on
		}
		if err := writer.write(batch.Lines...); err != nil {
			return nil
		}
		if batch.Ended {
			return nil
		}
	}
}

// next waits for chunks, and makes up a ping when there are none for a while.
func (s *Server) next(ctx context.Context, follower *execution.Follower) (execution.Batch, error) {
	waiting, cancel := context.WithTimeout(ctx, s.settings.PingInterval)
	defer cancel()
	batch, err := follower.Next(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return execution.Batch{Lines: [][]byte{execution.Ping}}, nil
	}
	return batch, err
}

// chunkWriter writes lines and has them sent at once. A reader that takes
// nothing for the stall limit is given up.
type chunkWriter struct {
	response   http.ResponseWriter
	controller *http.ResponseController
	stall      time.Duration
}

func (w *chunkWriter) write(lines ...[]byte) error {
	if err := w.controller.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := w.response.Write(line); err != nil {
			return err
		}
	}
	return w.controller.Flush()
}

// cancelExecution stops a run.
//
//	@Summary	Stop a running execution
//	@Description	Returns when the whole process tree is gone. The stream ends with an exit of the reason stopped.
//	@Tags		executions
//	@Security	Bearer
//	@Produce	application/problem+json
//	@Param		id	path	int	true	"The execution"
//	@Success	204
//	@Failure	400,401,404,409,500,503	{object}	Problem
//	@Router		/executions/{id}/cancel [post]
func (s *Server) cancelExecution(c echo.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.Executions.Cancel(c.Request().Context(), userID(c), id); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// writeStdin writes to the standard input of a run.
//
//	@Summary	Write to a running execution's standard input
//	@Tags		executions
//	@Security	Bearer
//	@Accept		json
//	@Produce	application/problem+json
//	@Param		id		path	int				true	"The execution"
//	@Param		body	body	StdinRequest	true	"What to write, and whether to close the input afterwards"
//	@Success	204
//	@Failure	400,401,404,409,413,415,422,500,503	{object}	Problem
//	@Router		/executions/{id}/stdin [post]
func (s *Server) writeStdin(c echo.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	var request StdinRequest
	if err := s.decode(c, &request); err != nil {
		return err
	}
	if err := s.Executions.Input(c.Request().Context(), userID(c), id, []byte(request.Data), request.EOF); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func rangeAdvice(blocks int) string {
	if blocks == 0 {
		return "the runbook has no runnable block"
	}
	return "must be from 0 to " + strconv.Itoa(blocks-1)
}
