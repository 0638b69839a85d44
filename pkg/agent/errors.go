package agent

import "net/http"

// Code names what the agent could not do.
type Code string

// The codes that the agent answers with.
const (
	CodeNoRun         Code = "no_run"         // no run of that id, or not any more
	CodeRunning       Code = "running"        // the run goes on, or was started before
	CodeInputClosed   Code = "input_closed"   // the program has closed its input or ended
	CodeInputFull     Code = "input_full"     // the program does not read its input
	CodeDiskFull      Code = "disk_full"      // no room left in WorkDir
	CodeNoInterpreter Code = "no_interpreter" // the image lacks the runtime's program
	CodeFailed        Code = "failed"         // anything else
)

func (c Code) status() int {
	switch c {
	case CodeNoRun:
		return http.StatusNotFound
	case CodeRunning, CodeInputClosed, CodeInputFull:
		return http.StatusConflict
	case CodeDiskFull:
		return http.StatusInsufficientStorage
	case CodeNoInterpreter, CodeFailed:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// RemoteError is a failure that the agent answered. The message is for the log.
type RemoteError struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *RemoteError) Error() string { return "agent: " + e.Message }

// Health is what the agent says of itself.
type Health struct {
	Version string `json:"version"`
}
