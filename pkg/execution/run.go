package execution

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"runbook/pkg/agent"
	"runbook/pkg/sandbox"
	"runbook/pkg/store"
)

// run carries the agent's stream into the log until the run has ended, however
// that comes. It is the execution's own goroutine.
func (r *Registry) run(ctx context.Context, x *Execution, output *agent.Output) {
	defer r.unregister(x)
	reader := newReader(x)
	err := reader.read(ctx, output)
	switch {
	case err == nil:
		r.forget(ctx, x)
	case ctx.Err() != nil: // it was ended from outside, with its final chunk
		r.stopAbandoned(ctx, x)
	case errors.Is(err, sandbox.ErrGone), errors.Is(err, agent.ErrNoRun):
		x.end(ErrorSessionLost, "The session's container is gone, and the run with it. Connect again to get a new one.")
		r.SessionLost(context.WithoutCancel(ctx), x.SessionID)
	default:
		r.log.ErrorContext(ctx, "follow an execution", "execution", x.ID, "session", x.SessionID, "error", err)
		x.end(ErrorSessionLost, "The session's container can't be reached any more.")
	}
	x.mu.Lock()
	result := x.result
	x.mu.Unlock()
	result.OutputBytes = reader.offset
	r.finish(ctx, x, result)
}

// forget lets the agent drop what the log has by now.
func (r *Registry) forget(ctx context.Context, x *Execution) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience)
	defer cancel()
	if err := x.agent.Forget(ctx, x.agentID()); err != nil && !errors.Is(err, agent.ErrNoRun) {
		r.log.WarnContext(ctx, "have the agent forget an execution", "execution", x.ID, "error", err)
	}
}

// stopPatience bounds the attempt to stop a run that nobody follows any more.
const stopPatience = 3 * time.Second

// stopAbandoned stops a run whose execution has ended without it. Where its
// container is being removed there is nothing to stop.
func (r *Registry) stopAbandoned(ctx context.Context, x *Execution) {
	x.mu.Lock()
	code := ErrorCode(x.result.ErrorCode)
	x.mu.Unlock()
	if code == ErrorSessionLost {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	if err := x.agent.Stop(ctx, x.agentID()); err != nil {
		r.log.WarnContext(ctx, "stop an abandoned run", "execution", x.ID, "error", err)
	}
}

// end ends the execution with an error chunk, unless it has ended already.
func (x *Execution) end(code ErrorCode, message string) {
	defer x.cancel()
	x.mu.Lock()
	defer x.mu.Unlock()
	ended := x.log.end(func(seq int64) []byte {
		return encodeLine(ErrorChunk{Type: "error", Seq: seq, Code: code, Message: message})
	})
	if ended {
		x.result = store.ExecutionResult{ErrorCode: string(code)}
	}
}

// exit ends the execution with an exit chunk, unless it has ended already.
func (x *Execution) exit(exit agent.Exit) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ended := x.log.end(func(seq int64) []byte {
		return encodeLine(ExitChunk{
			Type: "exit", Seq: seq, ExitCode: exit.ExitCode, Signal: exit.Signal,
			Reason: exit.Reason, DurationMs: exit.Duration.Milliseconds(),
		})
	})
	if ended {
		x.result = store.ExecutionResult{
			ExitCode: &exit.ExitCode, Signal: exit.Signal, Reason: string(exit.Reason), Duration: exit.Duration,
		}
	}
}

// reader turns frames into chunks.
type reader struct {
	execution *Execution
	decoders  map[Stream]*textDecoder
	offset    int64 // bytes of output that have arrived
}

func newReader(x *Execution) *reader {
	return &reader{
		execution: x,
		decoders:  map[Stream]*textDecoder{Stdout: newTextDecoder(), Stderr: newTextDecoder()},
	}
}

// read returns nil after the exit. A stream that is lost is taken up again where
// it ended.
func (r *reader) read(ctx context.Context, output *agent.Output) error {
	for {
		exited, err := r.readStream(output)
		_ = output.Close()
		if err == nil && exited {
			return nil
		}
		if output, err = r.takeUp(ctx); err != nil {
			return err
		}
	}
}

func (r *reader) readStream(output *agent.Output) (exited bool, err error) {
	for {
		frame, err := output.Next()
		if err != nil {
			return false, err
		}
		if frame.Kind == agent.FrameExit {
			return true, r.exit(frame)
		}
		if err := r.frame(frame); err != nil {
			return false, err
		}
	}
}

func (r *reader) frame(frame agent.Frame) error {
	switch frame.Kind {
	case agent.FrameStdout:
		r.output(Stdout, frame.Data, false)
	case agent.FrameStderr:
		r.output(Stderr, frame.Data, false)
	case agent.FrameGap:
		lost, err := frame.GapBytes()
		if err != nil {
			return fmt.Errorf("read gap: %w", err)
		}
		r.execution.log.append(func(seq int64) []byte { return encodeTruncated(seq, lost) }, 0)
	case agent.FrameExit:
	}
	r.offset = frame.End
	return nil
}

func (r *reader) output(stream Stream, data []byte, final bool) {
	text := r.decoders[stream].decode(data, final)
	if text == "" {
		return
	}
	r.execution.log.append(func(seq int64) []byte {
		return encodeLine(OutputChunk{Type: "output", Seq: seq, Stream: stream, Data: text})
	}, len(data))
}

func (r *reader) exit(frame agent.Frame) error {
	exit, err := frame.DecodeExit()
	if err != nil {
		return err
	}
	r.output(Stdout, nil, true)
	r.output(Stderr, nil, true)
	r.execution.exit(exit)
	return nil
}

// takeUpPatience bounds the attempts to reach the agent of a run again.
const takeUpPatience = 30 * time.Second

func (r *reader) takeUp(ctx context.Context) (*agent.Output, error) {
	return backoff.Retry(ctx, func() (*agent.Output, error) {
		output, err := r.execution.agent.Follow(ctx, r.execution.agentID(), r.offset)
		if errors.Is(err, sandbox.ErrGone) || errors.Is(err, agent.ErrNoRun) {
			return nil, backoff.Permanent(err)
		}
		return output, err
	}, backoff.WithMaxElapsedTime(takeUpPatience), backoff.WithBackOff(takeUpBackOff()))
}

func takeUpBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 20 * time.Millisecond
	b.MaxInterval = 2 * time.Second
	return b
}
