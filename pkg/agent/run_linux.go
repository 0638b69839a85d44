package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a program that is stopped may take to clean up after
// SIGTERM before it is killed.
const stopGrace = time.Second

// run is one execution of a script, from its start until its program has ended.
// Processes that it leaves in the background live on.
type run struct {
	spec       RunSpec
	script     string
	spool      *spool
	supervisor *supervisor
	started    time.Time
	oomKills   int64 // before the start
	stdout     int
	stderr     int
	stdin      *os.File
	listener   int // of held calls, see orderFilter; -1 where there is none

	mu       sync.Mutex
	reason   Reason         // why it is being stopped, if it is
	stops    sync.WaitGroup // the stops under way
	reported chan struct{}  // closed when the program has ended
	done     chan struct{}  // closed when the run has, and its exit is known
}

// startRun writes the script and starts it. The supervisor is used up, whatever
// the result.
func startRun(spec RunSpec, supervisor *supervisor) (*run, error) {
	script, err := writeScript(spec)
	if err != nil {
		supervisor.close()
		return nil, err
	}
	r := &run{
		spec:       spec,
		script:     script,
		spool:      newSpool(),
		supervisor: supervisor,
		oomKills:   oomKills(),
		reported:   make(chan struct{}),
		done:       make(chan struct{}),
	}
	if err := r.start(); err != nil {
		supervisor.close()
		_ = os.Remove(script)
		return nil, err
	}
	go r.follow()
	return r, nil
}

// start makes the pipes and hands the program's ends to the supervisor.
func (r *run) start() error {
	path, err := exec.LookPath(r.spec.Command[0])
	if err != nil {
		return fmt.Errorf("find interpreter: %w", err)
	}
	var ends [3][2]int // of stdin, stdout, stderr: read, write
	for i := range ends {
		if err := unix.Pipe2(ends[i][:], unix.O_CLOEXEC); err != nil {
			for _, opened := range ends[:i] {
				closeAll(opened[:]...)
			}
			return fmt.Errorf("make pipe: %w", err)
		}
	}
	stdin, stdout, stderr := ends[0], ends[1], ends[2]
	r.started = time.Now()
	r.listener, err = r.supervisor.start(superviseRequest{
		Path: path,
		Argv: r.argv(),
		Env:  os.Environ(),
		Dir:  WorkDir,
	}, [3]int{stdin[0], stdout[1], stderr[1]})
	closeAll(stdin[0], stdout[1], stderr[1])
	if err != nil {
		closeAll(stdin[1], stdout[0], stderr[0])
		return err
	}
	for _, fd := range []int{stdin[1], stdout[0], stderr[0]} {
		_ = unix.SetNonblock(fd, true)
	}
	r.stdout, r.stderr = stdout[0], stderr[0]
	r.stdin = os.NewFile(uintptr(stdin[1]), "stdin")
	return nil
}

func (r *run) argv() []string {
	argv := append([]string{}, r.spec.Command...)
	argv = append(argv, r.script)
	for _, file := range r.spec.ExtraFiles {
		path := filepath.Join(WorkDir, file)
		if _, err := os.Stat(path); err == nil {
			argv = append(argv, path)
		}
	}
	return argv
}

// follow carries output from the pipes to the spool until the program has
// ended, then says how. It is the run's own goroutine.
func (r *run) follow() {
	timeout := time.AfterFunc(r.spec.Timeout, func() { r.stop(ReasonTimeout) })
	status, err := newPump(r).toEnd()
	timeout.Stop()
	r.mu.Lock()
	close(r.reported)
	r.mu.Unlock()
	go answerRest(r.listener)
	for _, fd := range []int{r.stdout, r.stderr} {
		go discard(fd)
	}
	r.stops.Wait() // a stopped run has ended when nothing of its tree is left

	exit := r.exitOf(status, err)
	r.supervisor.close()
	_ = r.stdin.Close()
	_ = os.Remove(r.script)
	encoded, _ := json.Marshal(exit) //nolint:errchkjson // can't fail: strings and numbers
	close(r.done)
	r.spool.close(encoded)
}

// discard reads what background processes go on writing, so that they don't
// fail for want of a reader. It ends with the last of them.
func discard(fd int) {
	pipe := os.NewFile(uintptr(fd), "output")
	defer pipe.Close()
	_, _ = io.Copy(io.Discard, pipe)
}

// stop ends the run's whole tree: politely first, unless the program is beyond
// it. It returns when nothing of the tree is left. The first reason counts; what
// a program that has ended left in the background is not touched.
func (r *run) stop(reason Reason) {
	if !r.beginStop(reason) {
		return
	}
	defer r.stops.Done()
	if reason != ReasonOutputLimit {
		r.terminate()
	}
	_ = killTree(r.supervisor.pid)
	r.ensureReport()
}

func (r *run) beginStop(reason Reason) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isClosed(r.reported) {
		return false
	}
	r.stops.Add(1)
	if r.reason == "" {
		r.reason = reason
	}
	return true
}

// terminate gives the tree stopGrace to end by itself.
func (r *run) terminate() {
	if _, err := signalTree(r.supervisor.pid, syscall.SIGTERM); err != nil {
		return
	}
	for deadline := time.Now().Add(stopGrace); time.Now().Before(deadline); time.Sleep(killPause) {
		if all, err := processes(); err != nil || len(descendants(all, r.supervisor.pid)) == 0 {
			return
		}
	}
}

// ensureReport deals with a supervisor that the program has stopped: it must
// wake to report, and is killed if it doesn't.
func (r *run) ensureReport() {
	_ = syscall.Kill(r.supervisor.pid, syscall.SIGCONT)
	select {
	case <-r.reported:
	case <-time.After(stopGrace):
		_ = syscall.Kill(r.supervisor.pid, syscall.SIGKILL)
	}
}

func (r *run) ended() bool { return isClosed(r.done) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (r *run) exitOf(exit superviseExit, lost error) Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost != nil {
		exit = superviseExit{Status: syscall.WaitStatus(syscall.SIGKILL), EndedAt: time.Now()}
	}
	result := Exit{
		ExitCode: exit.Status.ExitStatus(),
		Reason:   r.reason,
		Duration: max(exit.EndedAt.Sub(r.started), 0),
	}
	if exit.Status.Signaled() {
		result.ExitCode = 128 + int(exit.Status.Signal())
		result.Signal = unix.SignalName(exit.Status.Signal())
	}
	if result.Reason == "" {
		result.Reason = ReasonExited
		if result.ExitCode != 0 && oomKills() > r.oomKills {
			result.Reason = ReasonMemory
		}
	}
	return result
}

// writeInput passes data to the program's standard input. It waits while the
// program doesn't read, until the deadline.
func (r *run) writeInput(data []byte, deadline time.Time) error {
	if err := r.stdin.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := r.stdin.Write(data)
	return err
}

func (r *run) closeInput() error { return r.stdin.Close() }

// maxScripts bounds the search for a free script name.
const maxScripts = 1000

// writeScript stores the code under the first free name.
func writeScript(spec RunSpec) (string, error) {
	for i := 1; i <= maxScripts; i++ {
		name := spec.ScriptName
		if i > 1 {
			name += "-" + strconv.Itoa(i)
		}
		path := filepath.Join(WorkDir, name+spec.Extension)
		err := writeNew(path, spec.Code)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("write script: %w", err)
		}
		return path, nil
	}
	return "", fmt.Errorf("write script: no free name for %s%s", spec.ScriptName, spec.Extension)
}

func writeNew(path, content string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
