package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"runbook/pkg/apperr"
)

// Problem is an error as RFC 9457 writes it. Code is stable and meant for
// programs, Detail is a sentence for people, and Errors tells of single fields.
type Problem struct {
	Type      string         `json:"type" example:"about:blank"`
	Title     string         `json:"title" example:"Not Found"`
	Status    int            `json:"status" example:"404"`
	Code      apperr.Code    `json:"code" example:"not_found"`
	Detail    string         `json:"detail" example:"There is no such runbook."`
	RequestID string         `json:"requestId,omitempty"`
	Errors    []apperr.Field `json:"errors,omitempty"`
} // @name Problem

const mimeProblem = "application/problem+json"

// statusOf is the one place where codes meet statuses.
var statusOf = map[apperr.Code]int{
	apperr.Invalid:              http.StatusBadRequest,
	apperr.Validation:           http.StatusUnprocessableEntity,
	apperr.Unauthorized:         http.StatusUnauthorized,
	apperr.BadCredentials:       http.StatusUnauthorized,
	apperr.NotFound:             http.StatusNotFound,
	apperr.MethodNotAllowed:     http.StatusMethodNotAllowed,
	apperr.Conflict:             http.StatusConflict,
	apperr.StaleRevision:        http.StatusPreconditionFailed,
	apperr.TooLarge:             http.StatusRequestEntityTooLarge,
	apperr.UnsupportedMediaType: http.StatusUnsupportedMediaType,
	apperr.PreconditionRequired: http.StatusPreconditionRequired,
	apperr.BlockProblem:         http.StatusUnprocessableEntity,
	apperr.SessionEnded:         http.StatusConflict,
	apperr.SessionLost:          http.StatusConflict,
	apperr.ExecutionEnded:       http.StatusConflict,
	apperr.TooManyRequests:      http.StatusTooManyRequests,
	apperr.Unavailable:          http.StatusServiceUnavailable,
	apperr.Internal:             http.StatusInternalServerError,
}

// handleError answers with a problem, unless the response has begun: what goes
// wrong in a stream is said in the stream.
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed || errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		return
	}
	problem := problemOf(err)
	problem.RequestID = c.Response().Header().Get(echo.HeaderXRequestID)
	if problem.Status == http.StatusUnauthorized {
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, "Bearer")
	}
	if err := writeProblem(c, problem); err != nil {
		s.log.WarnContext(c.Request().Context(), "answer with a problem", "error", err)
	}
}

func problemOf(err error) Problem {
	e := asError(err)
	status, known := statusOf[e.Code]
	if !known {
		status = http.StatusInternalServerError
	}
	return Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: e.Code, Detail: e.Message, Errors: e.Fields,
	}
}

// asError keeps what is safe to show: anything unknown is an internal error, and
// only the log says more.
func asError(err error) *apperr.Error {
	if e, ok := errors.AsType[*apperr.Error](err); ok && e.Code != apperr.Internal {
		return e
	}
	if routed, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch routed.Code {
		case http.StatusNotFound:
			return apperr.New(apperr.NotFound, "There is no such route. The routes are at /swagger/index.html.")
		case http.StatusMethodNotAllowed:
			return apperr.New(apperr.MethodNotAllowed, "The route does not take this method.")
		}
	}
	return apperr.New(apperr.Internal, "Something went wrong on the server. Try again; if it stays, tell its operator the requestId.")
}

func writeProblem(c echo.Context, problem Problem) error {
	if c.Request().Method == http.MethodHead {
		return c.NoContent(problem.Status)
	}
	body, err := json.Marshal(problem)
	if err != nil {
		return err
	}
	return c.Blob(problem.Status, mimeProblem, append(body, '\n'))
}
