// Package apperr holds the one error type that every layer returns to its
// caller. A code says what went wrong in a way programs can act on; a message
// says it in a way people can. What lies behind it stays inside, for the log.
package apperr

import (
	"errors"
	"fmt"
)

// Code is a stable, machine-readable name of a failure. It is part of the API:
// clients switch on it, so a code is never renamed.
type Code string

// The codes, each with the HTTP status the server answers it with.
const (
	Invalid              Code = "invalid_request"       // 400: malformed JSON, bad parameter
	Validation           Code = "validation_failed"     // 422: well-formed, but a field is wrong; see Fields
	Unauthorized         Code = "unauthorized"          // 401: no token, or one that isn't good
	BadCredentials       Code = "bad_credentials"       // 401: wrong email or password
	NotFound             Code = "not_found"             // 404: missing, or somebody else's
	MethodNotAllowed     Code = "method_not_allowed"    // 405
	Conflict             Code = "conflict"              // 409: clashes with what is there
	StaleRevision        Code = "stale_revision"        // 412: If-Match names an older revision
	TooLarge             Code = "body_too_large"        // 413
	UnsupportedMediaType Code = "unsupported_media"     // 415
	PreconditionRequired Code = "precondition_required" // 428: If-Match is missing
	BlockProblem         Code = "block_problem"         // 422: the block can't run, and says why
	SessionEnded         Code = "session_ended"         // 409: connect again
	SessionLost          Code = "session_lost"          // 409: its container is gone; connect again
	ExecutionEnded       Code = "execution_ended"       // 409: nothing left to cancel or to answer
	TooManyRequests      Code = "too_many_requests"     // 429
	Unavailable          Code = "unavailable"           // 503: database or engine out of reach
	Internal             Code = "internal"              // 500: anything unforeseen
)

// Field is what is wrong with one field of a request.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is a failure with a code and a sentence that is safe to show to a
// client. Err, the cause, is only ever logged.
type Error struct {
	Code    Code
	Message string
	Fields  []Field
	Err     error
}

// New makes an error without a cause.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error with a cause. The message must not repeat the cause.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// InvalidFields makes a Validation error about the given fields.
func InvalidFields(fields ...Field) *Error {
	return &Error{Code: Validation, Message: "Some fields are not valid.", Fields: fields}
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf tells the code of err: Internal for an error that carries none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// Is tells whether err carries the code.
func Is(err error, code Code) bool {
	return err != nil && CodeOf(err) == code
}
