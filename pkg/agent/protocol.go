// Package agent is the program that runs inside every session's container, the
// client that the server talks to it with, and the types both share.
//
// The agent is PID 1 of the container. It listens on a Unix socket, which the
// server reaches through one exec stream per session (`agent dial` pipes the
// socket to its standard streams), and speaks HTTP/2 without TLS on it.
package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Version names the protocol and behaviour of the agent. The server puts the
// agent into a volume of this version, so it changes with every change of this
// package or of the program.
const Version = "1"

// SocketPath is where the agent listens inside the container.
const SocketPath = "/run/agent.sock"

// WorkDir is where blocks run and file blocks are seeded.
const WorkDir = "/tmp"

// RunSpec is what to run. The script is written beside the session's files, so
// that relative imports work, and removed when the run ends.
type RunSpec struct {
	// ScriptName is the script's file name without its extension. A suffix is
	// added when the name is taken.
	ScriptName string `json:"scriptName"`
	// Extension is the script's extension with its dot.
	Extension string `json:"extension"`
	// Code is written to the script as it is.
	Code string `json:"code"`
	// Command is the interpreter with its flags; the script's path and then
	// ExtraFiles are appended to it.
	Command []string `json:"command"`
	// ExtraFiles are paths below WorkDir; those that no longer exist are left out.
	ExtraFiles []string `json:"extraFiles,omitempty"`
	// Timeout stops the run with ReasonTimeout.
	Timeout time.Duration `json:"timeout"`
	// OutputLimit, in bytes over both channels, stops the run with ReasonOutputLimit.
	OutputLimit int64 `json:"outputLimit"`
}

// Reason says why a run ended.
type Reason string

// The reasons of a run's end.
const (
	ReasonExited      Reason = "exited"
	ReasonTimeout     Reason = "timeout"
	ReasonStopped     Reason = "stopped"
	ReasonMemory      Reason = "memory"
	ReasonOutputLimit Reason = "output_limit"
)

// Exit is how a run ended. A program that a signal ended has the exit code
// 128 + the signal's number, as in a shell, and the signal's name.
type Exit struct {
	ExitCode int           `json:"exitCode"`
	Signal   string        `json:"signal,omitempty"`
	Reason   Reason        `json:"reason"`
	Duration time.Duration `json:"duration"`
}

// File is a file to be written below WorkDir.
type File struct {
	Path    string `json:"path"`
	Content string `json:"content"`
}

// FrameKind tells what a frame of a run's output carries.
type FrameKind byte

// The kinds of frames.
const (
	FrameStdout FrameKind = 1 + iota // raw bytes
	FrameStderr                      // raw bytes
	FrameGap                         // decimal count of bytes that were lost here
	FrameExit                        // JSON of Exit; always the last frame
)

// Frame is one piece of a run's output. End is the run's count of output bytes
// up to and with this frame, by which a follower says where to go on.
type Frame struct {
	Kind FrameKind
	End  int64
	Data []byte
}

// maxFrame is larger than any frame the agent sends.
const maxFrame = 1 << 20

const frameHeader = 1 + 8 + 4

// appendFrame encodes a frame: kind, end, length, data.
func appendFrame(dst []byte, f Frame) []byte {
	dst = append(dst, byte(f.Kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.End))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Data)))
	return append(dst, f.Data...)
}

// readFrame decodes one frame. It returns io.EOF at the clean end of a stream
// and io.ErrUnexpectedEOF within a frame.
func readFrame(r io.Reader) (Frame, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return Frame{}, err
	}
	size := binary.BigEndian.Uint32(header[9:])
	if size > maxFrame {
		return Frame{}, fmt.Errorf("frame of %d bytes is over the limit", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	end := int64(binary.BigEndian.Uint64(header[1:9]))
	return Frame{Kind: FrameKind(header[0]), End: end, Data: data}, nil
}

// GapBytes is how many bytes of output a gap stands for.
func (f Frame) GapBytes() (int64, error) {
	return strconv.ParseInt(string(f.Data), 10, 64)
}
