package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// warmThreads are started before any user code runs: where a program has used
	// up the container's process limit, the agent must get by with what it has.
	warmThreads = 10
	// keptRuns bounds the ended runs that nobody has asked to forget.
	keptRuns = 8
	// inputPatience is how long a program may leave its standard input unread.
	inputPatience = 10 * time.Second
	// maxBody bounds a request: a document's files, or a script.
	maxBody = 64 << 20
)

// server is the agent's state: the runs of one session.
type server struct {
	executable string
	spare      chan *supervisor // one that waits, so that a run starts at once

	mu          sync.Mutex
	runs        map[string]*run
	ended       []string     // ids of kept ended runs, oldest first
	supervisors map[int]bool // pids of living supervisors
}

// Serve is the agent's program: it serves the socket until ctx ends.
func Serve(ctx context.Context) error {
	startThreads(warmThreads)
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	s := &server{
		executable:  executable,
		spare:       make(chan *supervisor, 1),
		runs:        make(map[string]*run),
		supervisors: make(map[int]bool),
	}
	go s.reap(ctx)
	s.prepareSpare()

	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", SocketPath)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	httpServer := &http.Server{
		Handler:           s.routes(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() { _ = httpServer.Close() })
	defer stop()
	if err := httpServer.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("PUT /runs/{id}", s.putRun)
	mux.HandleFunc("GET /runs/{id}/output", s.getOutput)
	mux.HandleFunc("POST /runs/{id}/input", s.postInput)
	mux.HandleFunc("POST /runs/{id}/stop", s.postStop)
	mux.HandleFunc("DELETE /runs/{id}", s.deleteRun)
	mux.HandleFunc("POST /files", s.postFiles)
	return mux
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, Health{Version: Version})
}

// putRun starts a run and makes the caller its follower.
func (s *server) putRun(w http.ResponseWriter, r *http.Request) {
	var spec RunSpec
	if !readJSON(w, r, &spec) {
		return
	}
	run, err := s.start(r.PathValue("id"), spec)
	if err != nil {
		writeError(w, err)
		return
	}
	stream(w, r, run.spool, 0)
}

func (s *server) getOutput(w http.ResponseWriter, r *http.Request) {
	run, ok := s.find(w, r)
	if !ok {
		return
	}
	var offset int64
	if _, err := fmt.Sscan(r.URL.Query().Get("offset"), &offset); err != nil {
		http.Error(w, "offset must be a number", http.StatusBadRequest)
		return
	}
	stream(w, r, run.spool, offset)
}

// stream sends frames, each batch when it happens, until the run has ended or
// the follower is gone.
func stream(w http.ResponseWriter, r *http.Request, spool *spool, offset int64) {
	follower := spool.attach(offset)
	defer spool.detach(follower)
	controller := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	if err := controller.Flush(); err != nil {
		return
	}
	var buffer []byte
	for {
		batch, err := spool.next(r.Context(), follower)
		if err != nil {
			return
		}
		for _, frame := range batch {
			buffer = appendFrame(buffer[:0], frame)
			if _, err := w.Write(buffer); err != nil {
				return
			}
		}
		if err := controller.Flush(); err != nil {
			return
		}
		if batch[len(batch)-1].Kind == FrameExit {
			return
		}
	}
}

func (s *server) postInput(w http.ResponseWriter, r *http.Request) {
	run, ok := s.find(w, r)
	if !ok {
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "read input", http.StatusBadRequest)
		return
	}
	err = run.writeInput(data, time.Now().Add(inputPatience))
	if err == nil && r.URL.Query().Has("eof") {
		err = run.closeInput()
	}
	if err != nil {
		writeError(w, inputError(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func inputError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &RemoteError{Code: CodeInputFull, Message: "the program does not read its input"}
	}
	return &RemoteError{Code: CodeInputClosed, Message: "the program's input is closed"}
}

func (s *server) postStop(w http.ResponseWriter, r *http.Request) {
	run, ok := s.find(w, r)
	if !ok {
		return
	}
	run.stop(ReasonStopped)
	w.WriteHeader(http.StatusNoContent)
}

// deleteRun forgets an ended run, and leaves one that goes on alone.
func (s *server) deleteRun(w http.ResponseWriter, r *http.Request) {
	run, ok := s.find(w, r)
	if !ok {
		return
	}
	if !run.ended() {
		writeError(w, &RemoteError{Code: CodeRunning, Message: "the run has not ended"})
		return
	}
	s.mu.Lock()
	delete(s.runs, r.PathValue("id"))
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) postFiles(w http.ResponseWriter, r *http.Request) {
	var files []File
	if !readJSON(w, r, &files) {
		return
	}
	if err := writeFiles(files); err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// writeFiles writes below WorkDir and nowhere else, whatever links are there.
func writeFiles(files []File) error {
	root, err := os.OpenRoot(WorkDir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range files {
		if err := root.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(file.Path, []byte(file.Content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) find(w http.ResponseWriter, r *http.Request) (*run, bool) {
	s.mu.Lock()
	run, ok := s.runs[r.PathValue("id")]
	s.mu.Unlock()
	if !ok {
		writeError(w, &RemoteError{Code: CodeNoRun, Message: "no such run"})
	}
	return run, ok
}

func (s *server) start(id string, spec RunSpec) (*run, error) {
	s.mu.Lock()
	_, taken := s.runs[id]
	s.mu.Unlock()
	if taken {
		return nil, &RemoteError{Code: CodeRunning, Message: "the run has been started before"}
	}
	run, err := s.startSupervised(spec)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.runs[id] = run
	s.mu.Unlock()
	go s.retire(id, run)
	return run, nil
}

const (
	// startAttempts bounds how often a run is started anew after room was made.
	startAttempts = 3
	// processReserve is how many processes a block must find left to start at all.
	processReserve = 8
	// refusalInterval is how long processes must be refused in a row before what
	// runs in the background is held to be at fault.
	refusalInterval = 250 * time.Millisecond
)

// startSupervised starts a run under the supervisor that waits. Where what
// earlier blocks left in the background has used up the container's processes,
// it is killed: otherwise a single fork bomb would end the session's use.
func (s *server) startSupervised(spec RunSpec) (*run, error) {
	defer func() { go s.prepareSpare() }()
	killed := 0
	if left, limited := processesLeft(); limited && left < processReserve {
		killed = s.killBackground()
	}
	run, err := s.tryStart(spec)
	for attempt := 1; attempt < startAttempts && isExhausted(err); attempt++ {
		killed += s.killBackground()
		run, err = s.tryStart(spec)
	}
	if err != nil {
		return nil, err
	}
	if killed > 0 {
		run.spool.append(FrameStderr, []byte(backgroundNotice))
	}
	go s.guard(run)
	return run, nil
}

// guard makes room for a run that the background leaves no processes.
func (s *server) guard(run *run) {
	ticker := time.NewTicker(refusalInterval)
	defer ticker.Stop()
	refused, refusals := refusedForks(), 0
	for {
		select {
		case <-run.done:
			return
		case <-ticker.C:
		}
		now := refusedForks()
		if now == refused {
			refusals = 0
			continue
		}
		refused = now
		if refusals++; refusals > 1 && s.killBackground() > 0 {
			run.spool.append(FrameStderr, []byte(backgroundNotice))
		}
	}
}

const backgroundNotice = "runbook: what earlier blocks had left in the background was ended: " +
	"it had used up the processes of this session\n"

// isExhausted tells whether a start may have failed for want of processes: the
// Go runtime of a supervisor that can't start its threads just dies.
func isExhausted(err error) bool {
	return isLost(err) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM)
}

func (s *server) tryStart(spec RunSpec) (*run, error) {
	select {
	case spare := <-s.spare:
		run, err := startRun(spec, spare)
		if !isExhausted(err) {
			return run, err
		}
	default:
	}
	fresh, err := s.spawn()
	if err != nil {
		return nil, err
	}
	return startRun(spec, fresh)
}

// killBackground ends all that is below supervisors whose run has ended, and
// returns how many such trees there were.
func (s *server) killBackground() int {
	s.mu.Lock()
	background := maps.Clone(s.supervisors)
	for _, run := range s.runs {
		if !run.ended() {
			delete(background, run.supervisor.pid)
		}
	}
	s.mu.Unlock()
	killed := 0
	for pid := range background {
		if n, err := signalTree(pid, syscall.SIGKILL); err == nil && n > 0 {
			killed++
			_ = killTree(pid)
		}
	}
	return killed
}

// retire keeps the ended run for a follower that lost its stream, but not for ever.
func (s *server) retire(id string, run *run) {
	<-run.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, id)
	if len(s.ended) > keptRuns {
		delete(s.runs, s.ended[0])
		s.ended = s.ended[1:]
	}
}

// prepareSpare has a supervisor wait for the next run.
func (s *server) prepareSpare() {
	supervisor, err := s.spawn()
	if err != nil {
		return // the next run tries again, and says why it can't
	}
	select {
	case s.spare <- supervisor:
	default:
		supervisor.close()
	}
}

func (s *server) spawn() (*supervisor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	supervisor, err := spawnSupervisor(s.executable)
	if err != nil {
		return nil, err
	}
	s.supervisors[supervisor.pid] = true
	return supervisor, nil
}

// reap collects ended children, as PID 1 must. Programs are children of their
// supervisors; one that has become the agent's own child has lost its supervisor
// by violence, and is killed.
func (s *server) reap(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			s.reapEnded()
		}
	}
}

func (s *server) reapEnded() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.mu.Lock()
		delete(s.supervisors, pid)
		s.mu.Unlock()
		if status.Signaled() {
			s.killOrphans()
		}
	}
}

func (s *server) killOrphans() {
	all, err := processes()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range all {
		if p.parent == os.Getpid() && !s.supervisors[p.pid] && !p.dead {
			_ = killTree(p.pid)
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

// startThreads makes the Go runtime start n threads, which it keeps for good.
func startThreads(n int) {
	var started, idle sync.WaitGroup
	started.Add(n)
	for range n {
		idle.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			started.Done()
			started.Wait()
		})
	}
	idle.Wait()
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		http.Error(w, "malformed request: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Error("answer", "error", err)
	}
}

func writeError(w http.ResponseWriter, err error) {
	remote := &RemoteError{Code: CodeFailed, Message: err.Error()}
	switch {
	case errors.As(err, &remote):
	case errors.Is(err, unix.ENOSPC):
		remote.Code = CodeDiskFull
	case errors.Is(err, exec.ErrNotFound):
		remote.Code = CodeNoInterpreter
	}
	writeJSON(w, remote.Code.status(), remote)
}
