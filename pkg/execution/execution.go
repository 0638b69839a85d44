// Package execution runs blocks. An execution belongs to the server, not to the
// connection that asked for it: a goroutine of its own reads the agent's stream
// into the execution's log, and whoever wants to see it follows the log.
package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"runbook/pkg/agent"
	"runbook/pkg/apperr"
	"runbook/pkg/runbook"
	"runbook/pkg/sandbox"
	"runbook/pkg/store"
)

// Settings are what a deployment may choose of its executions.
type Settings struct {
	// Timeout is the limit of a block that names none.
	Timeout time.Duration
	// OutputLimit, in bytes, ends a run that prints more.
	OutputLimit int64
	// SessionIdle is how long a session lives without activity; a run's start and
	// end are activity.
	SessionIdle time.Duration
	// Log bounds what is kept of a run in memory.
	Log LogLimits
}

// Execution is one run of one block, running or ended.
type Execution struct {
	ID        int64
	SessionID int64
	UserID    int64

	log    *Log
	agent  *agent.Client
	cancel context.CancelFunc // stops following the agent
	done   chan struct{}      // closed when all about it is recorded

	mu     sync.Mutex
	result store.ExecutionResult // set by whoever ends the log
}

// Follow attaches a follower that gets every chunk after seq; -1 is the start.
// The caller must close it.
func (x *Execution) Follow(after int64) *Follower { return x.log.Follow(after) }

// agentID names the run to the agent.
func (x *Execution) agentID() string { return strconv.FormatInt(x.ID, 10) }

// Registry starts executions and keeps those that run. It is safe for concurrent
// use.
type Registry struct {
	store    *store.Store
	engine   *sandbox.Engine
	settings Settings
	log      *slog.Logger

	// SessionLost is told, once per loss, that a session's container is gone. It
	// must be set before the first Start.
	SessionLost func(ctx context.Context, sessionID int64)

	mu      sync.Mutex
	running map[int64]*Execution
	closed  bool
	tasks   sync.WaitGroup
}

// NewRegistry makes an empty registry.
func NewRegistry(st *store.Store, engine *sandbox.Engine, settings Settings, log *slog.Logger) *Registry {
	return &Registry{
		store:    st,
		engine:   engine,
		settings: settings,
		log:      log,
		running:  make(map[int64]*Execution),
	}
}

// Request is what to run, and where.
type Request struct {
	Session store.Session
	Block   runbook.RunnableBlock
	// Code is run in the place of the block's own, if it is set.
	Code *string
	// GoFiles are the document's Go file blocks, which Go code is compiled with.
	GoFiles []string
}

// finishPatience bounds what is done about an execution after its request, or
// the whole server, has been given up.
const finishPatience = 10 * time.Second

// Start starts a run and returns once the agent has begun it. The row is
// committed first. The run goes on when ctx ends. The error is SessionEnded,
// SessionLost, BlockProblem, or Unavailable.
func (r *Registry) Start(ctx context.Context, request Request) (*Execution, error) {
	if request.Block.Problem != "" {
		return nil, apperr.New(apperr.BlockProblem, "Block %d can't run: %s", request.Block.Index, request.Block.Problem)
	}
	runtime, ok := runbook.FindRuntime(request.Block.Runtime)
	if !ok {
		return nil, apperr.New(apperr.BlockProblem, "Block %d can't run: there is no runtime %q.", request.Block.Index, request.Block.Runtime)
	}
	if request.Session.ContainerID == nil {
		return nil, apperr.New(apperr.Conflict, "The session is still starting. Try again in a moment.")
	}
	row := &store.Execution{
		SessionID:  request.Session.ID,
		BlockIndex: request.Block.Index,
		Runtime:    runtime.Name,
		Code:       request.Block.Code,
	}
	if request.Code != nil {
		row.Code = *request.Code
	}
	// From here on the run is the server's, not the request's.
	ctx = context.WithoutCancel(ctx)
	if err := r.store.CreateExecution(ctx, row, r.settings.SessionIdle); err != nil {
		return nil, err
	}
	following, cancel := context.WithCancel(ctx)
	x := &Execution{
		ID:        row.ID,
		SessionID: row.SessionID,
		UserID:    row.UserID,
		log:       NewLog(r.settings.Log),
		agent:     r.engine.Agent(*request.Session.ContainerID),
		cancel:    cancel,
		done:      make(chan struct{}),
	}
	if !r.register(x) {
		cancel()
		r.abort(ctx, x, ErrorShutdown)
		return nil, apperr.New(apperr.Unavailable, "The server is being stopped. Try again in a moment.")
	}
	output, err := x.agent.Start(following, x.agentID(), r.spec(request, runtime, row.Code))
	if err != nil {
		defer r.unregister(x)
		return nil, r.startFailed(ctx, x, err)
	}
	x.log.append(func(seq int64) []byte {
		return encodeLine(StartChunk{
			Type: "start", Seq: seq, ExecutionID: x.ID, BlockIndex: row.BlockIndex,
			Runtime: row.Runtime, StartedAt: row.StartedAt,
		})
	}, 0)
	go r.run(following, x, output)
	return x, nil
}

func (r *Registry) spec(request Request, runtime runbook.Runtime, code string) agent.RunSpec {
	spec := agent.RunSpec{
		ScriptName:  "block-" + strconv.Itoa(request.Block.Index),
		Extension:   runtime.Extension,
		Code:        code,
		Command:     runtime.Command,
		Timeout:     request.Block.Timeout(r.settings.Timeout),
		OutputLimit: r.settings.OutputLimit,
	}
	if runtime.Name == "golang" {
		spec.ExtraFiles = request.GoFiles
	}
	return spec
}

// startFailed ends the row of a run that never began, and says why.
func (r *Registry) startFailed(ctx context.Context, x *Execution, err error) error {
	if errors.Is(err, sandbox.ErrGone) {
		r.abort(ctx, x, ErrorSessionLost)
		r.SessionLost(ctx, x.SessionID)
		return apperr.Wrap(err, apperr.SessionLost, "The session's container is gone. Connect again to get a new one.")
	}
	r.abort(ctx, x, ErrorInternal)
	if remote, ok := errors.AsType[*agent.RemoteError](err); ok {
		switch remote.Code { //nolint:exhaustive // the others are nothing that a user can act on
		case agent.CodeDiskFull:
			return apperr.Wrap(err, apperr.Conflict, "The session's disk is full. Delete files in /tmp, or connect again.")
		case agent.CodeNoInterpreter:
			return apperr.Wrap(err, apperr.BlockProblem, "This server's image lacks the program that runs the block.")
		}
	}
	if apperr.CodeOf(err) != apperr.Internal {
		return err
	}
	return fmt.Errorf("start run: %w", err)
}

func (r *Registry) abort(ctx context.Context, x *Execution, code ErrorCode) {
	r.finish(ctx, x, store.ExecutionResult{ErrorCode: string(code)})
}

// finish ends the row.
func (r *Registry) finish(ctx context.Context, x *Execution, result store.ExecutionResult) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience)
	defer cancel()
	if _, err := r.store.FinishExecution(ctx, x.ID, result, r.settings.SessionIdle); err != nil {
		r.log.ErrorContext(ctx, "record the end of an execution", "execution", x.ID, "error", err)
	}
}

// Find returns a running execution of the user. The error is NotFound, or
// ExecutionEnded for one that has ended.
func (r *Registry) Find(ctx context.Context, userID, id int64) (*Execution, error) {
	r.mu.Lock()
	x, ok := r.running[id]
	r.mu.Unlock()
	if ok && x.UserID == userID {
		return x, nil
	}
	if _, err := r.store.FindExecution(ctx, userID, id); err != nil {
		return nil, err
	}
	return nil, apperr.New(apperr.ExecutionEnded, "The execution has ended.")
}

// Cancel stops a running execution: its whole process tree. It returns when the
// tree is gone; the execution then ends with the reason stopped.
func (r *Registry) Cancel(ctx context.Context, userID, id int64) error {
	x, err := r.Find(ctx, userID, id)
	if err != nil {
		return err
	}
	return answer(x, x.agent.Stop(ctx, x.agentID()))
}

// Input writes to the standard input of a running execution, and closes it if
// eof is set.
func (r *Registry) Input(ctx context.Context, userID, id int64, data []byte, eof bool) error {
	x, err := r.Find(ctx, userID, id)
	if err != nil {
		return err
	}
	if err := answer(x, x.agent.Input(ctx, x.agentID(), data, eof)); err != nil {
		return err
	}
	_, err = r.store.TouchSession(ctx, x.SessionID, r.settings.SessionIdle)
	return err
}

// answer translates what the agent said to a call about a running execution.
func answer(x *Execution, err error) error {
	var remote *agent.RemoteError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sandbox.ErrGone):
		return apperr.Wrap(err, apperr.SessionLost, "The session's container is gone. Connect again to get a new one.")
	case errors.Is(err, agent.ErrNoRun):
		return apperr.Wrap(err, apperr.ExecutionEnded, "The execution has ended.")
	case errors.As(err, &remote) && remote.Code == agent.CodeInputClosed:
		return apperr.Wrap(err, apperr.ExecutionEnded, "The program takes no input any more.")
	case errors.As(err, &remote) && remote.Code == agent.CodeInputFull:
		return apperr.Wrap(err, apperr.Conflict, "The program does not read its input. Try again when it does.")
	default:
		return fmt.Errorf("call agent about execution %d: %w", x.ID, err)
	}
}

func (r *Registry) register(x *Execution) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running[x.ID] = x
	r.tasks.Add(1)
	return true
}

func (r *Registry) unregister(x *Execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, x.ID)
	x.cancel()
	close(x.done)
	r.tasks.Done()
}

// EndSession ends what runs in a session that is being ended, with the given
// sentence as its reason. It returns when all of it has ended.
func (r *Registry) EndSession(sessionID int64, message string) {
	for _, x := range r.of(func(x *Execution) bool { return x.SessionID == sessionID }) {
		x.end(ErrorSessionLost, message)
		<-x.done
	}
}

// Shutdown ends everything that runs, and lets nothing start any more. It returns
// when all is recorded, or when ctx ends.
func (r *Registry) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, x := range r.of(func(*Execution) bool { return true }) {
		x.end(ErrorShutdown, "The server was stopped. The session's files are kept; run the block again.")
	}
	recorded := make(chan struct{})
	go func() {
		r.tasks.Wait()
		close(recorded)
	}()
	select {
	case <-recorded:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end executions: %w", ctx.Err())
	}
}

func (r *Registry) of(wanted func(*Execution) bool) []*Execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*Execution
	for _, x := range r.running {
		if wanted(x) {
			found = append(found, x)
		}
	}
	return found
}
