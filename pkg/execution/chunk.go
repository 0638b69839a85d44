package execution

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"runbook/pkg/agent"
)

// The chunks of a stream: one JSON object a line. Exactly one ExitChunk or
// ErrorChunk ends it. Clients skip types that they don't know.

// StartChunk is the first of an execution.
type StartChunk struct {
	Type        string    `json:"type" enums:"start"`
	Seq         int64     `json:"seq"`
	ExecutionID int64     `json:"executionId"`
	BlockIndex  int       `json:"blockIndex"`
	Runtime     string    `json:"runtime"`
	StartedAt   time.Time `json:"startedAt"`
} // @name StartChunk

// OutputChunk is text that the program wrote, in whole characters.
type OutputChunk struct {
	Type   string `json:"type" enums:"output"`
	Seq    int64  `json:"seq"`
	Stream Stream `json:"stream" enums:"stdout,stderr"`
	Data   string `json:"data"`
} // @name OutputChunk

// TruncatedChunk stands for output that is not kept. Bytes counts what the
// program wrote there.
type TruncatedChunk struct {
	Type  string `json:"type" enums:"truncated"`
	Seq   int64  `json:"seq"`
	Bytes int64  `json:"bytes"`
} // @name TruncatedChunk

// ExitChunk ends an execution whose program ended. Signal is set where one ended
// it; the exit code is then 128 + its number.
type ExitChunk struct {
	Type       string       `json:"type" enums:"exit"`
	Seq        int64        `json:"seq"`
	ExitCode   int          `json:"exitCode"`
	Signal     string       `json:"signal,omitempty"`
	Reason     agent.Reason `json:"reason" enums:"exited,timeout,stopped,memory,output_limit"`
	DurationMs int64        `json:"durationMs"`
} // @name ExitChunk

// ErrorChunk ends an execution whose program's end is not known.
type ErrorChunk struct {
	Type    string    `json:"type" enums:"error"`
	Seq     int64     `json:"seq"`
	Code    ErrorCode `json:"code" enums:"session_lost,shutdown,internal"`
	Message string    `json:"message"`
} // @name ErrorChunk

// PingChunk is sent, outside the numbering, when nothing else was for a while.
type PingChunk struct {
	Type string `json:"type" enums:"ping"`
} // @name PingChunk

// Stream is a channel of a program's output.
type Stream string

// The channels.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// ErrorCode says why an execution has no exit.
type ErrorCode string

// The error codes.
const (
	// ErrorSessionLost says that the session's container went away, or was ended.
	ErrorSessionLost ErrorCode = "session_lost"
	// ErrorShutdown says that the server was stopped.
	ErrorShutdown ErrorCode = "shutdown"
	// ErrorInternal is anything unforeseen.
	ErrorInternal ErrorCode = "internal"
)

// Ping is a PingChunk as it goes out.
var Ping = encodeLine(PingChunk{Type: "ping"})

func encodeTruncated(seq, bytes int64) []byte {
	return encodeLine(TruncatedChunk{Type: "truncated", Seq: seq, Bytes: bytes})
}

// encodeLine writes a chunk as a line. Output is full of <, > and &, which need
// no escape outside HTML.
func encodeLine(chunk any) []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(chunk); err != nil {
		panic(fmt.Sprintf("encode chunk %T: %v", chunk, err)) // only strings, numbers and times
	}
	return line.Bytes()
}
