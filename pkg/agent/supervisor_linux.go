package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Every run has a supervisor: a process of its own that is the subreaper of all
// that the run starts. Whatever daemonises below it stays below it, so that a
// stop finds the whole tree, and the trees of two runs are never mixed up. It
// lives as long as anything of its run does.
//
// The agent and a supervisor talk over a SOCK_SEQPACKET pair, one JSON message
// a packet: a superviseRequest with the program's three standard files; then a
// superviseMessage with the listener of the order filter, one that the program
// has started, and one that it has ended.

// superviseFD is the supervisor's end of the pair.
const superviseFD = 3

// childOOMScore makes the kernel kill a program before the agent that could
// report it.
const childOOMScore = "900"

type superviseRequest struct {
	Path string   `json:"path"`
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
}

// superviseMessage is what a supervisor reports: nothing, then PID or Error, then Exit.
type superviseMessage struct {
	PID   int            `json:"pid,omitempty"`
	Error string         `json:"error,omitempty"`
	Errno syscall.Errno  `json:"errno,omitempty"` // where Error is one
	Exit  *superviseExit `json:"exit,omitempty"`
}

type superviseExit struct {
	Status  syscall.WaitStatus `json:"status"`
	EndedAt time.Time          `json:"endedAt"`
}

// Supervise is the supervisor's program. It returns when nothing of its run is
// left, or when the agent gave it nothing to run.
func Supervise() error {
	// A supervisor allocates next to nothing. Without collection it needs no
	// further threads, which a run that exhausted the process limit would deny it.
	debug.SetGCPercent(-1)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	syscall.CloseOnExec(superviseFD)
	var request superviseRequest
	files, err := receivePacket(superviseFD, &request)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := offerOrder(); err != nil {
		return err
	}
	pid, err := startProgram(request, files)
	for _, fd := range files {
		_ = unix.Close(fd)
	}
	if err != nil {
		var errno syscall.Errno
		_ = errors.As(err, &errno)
		return sendPacket(superviseFD, superviseMessage{Error: err.Error(), Errno: errno})
	}
	if err := sendPacket(superviseFD, superviseMessage{PID: pid}); err != nil {
		return err
	}
	return reapAll(pid)
}

// offerOrder puts the order filter on what is started next, and hands the
// listener to the agent. It must be there before the program is: what leads up
// to the program's first instruction is held by the filter too.
func offerOrder() error {
	runtime.LockOSThread() // for good: the filter is on this thread
	listener, err := installOrderFilter()
	if err != nil {
		return sendPacket(superviseFD, superviseMessage{})
	}
	defer unix.Close(listener)
	return sendPacket(superviseFD, superviseMessage{}, listener)
}

// reapAll waits for every descendant and reports the end of the program.
func reapAll(program int) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		}
		if pid != program {
			continue
		}
		exit := superviseExit{Status: status, EndedAt: time.Now()}
		// The agent may have gone on without it; what is left is reaped all the same.
		_ = sendPacket(superviseFD, superviseMessage{Exit: &exit})
	}
}

func startProgram(request superviseRequest, files []int) (int, error) {
	if len(files) != 3 {
		return 0, fmt.Errorf("received %d files instead of 3", len(files))
	}
	attr := &syscall.ProcAttr{
		Dir:   request.Dir,
		Env:   request.Env,
		Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := syscall.ForkExec(request.Path, request.Argv, attr)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", request.Argv[0], err)
	}
	// Best effort: where it fails, the kernel chooses by size alone.
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(childOOMScore), 0)
	return pid, nil
}

// supervisor is the agent's side of a supervisor process.
type supervisor struct {
	pid int
	fd  int // the agent's end of the pair
}

// spawnSupervisor starts a supervisor that waits for its request.
func spawnSupervisor(executable string) (*supervisor, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	defer unix.Close(pair[1])
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := syscall.ForkExec(executable, []string{"agent", "supervise"}, attr)
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	return &supervisor{pid: pid, fd: pair[0]}, nil
}

// start hands over the request and waits until the program has started. It
// returns the listener of the order filter, or -1 where there is none.
func (s *supervisor) start(request superviseRequest, files [3]int) (listener int, err error) {
	if err := sendPacket(s.fd, request, files[:]...); err != nil {
		return -1, err
	}
	var message superviseMessage
	received, err := receivePacket(s.fd, &message)
	if err != nil {
		return -1, err
	}
	listener = -1
	if len(received) == 1 {
		listener = received[0]
	}
	if err := s.awaitStart(request, listener); err != nil {
		closeAll(received...)
		return -1, err
	}
	return listener, nil
}

// awaitStart lets held calls go on until the program has started.
func (s *supervisor) awaitStart(request superviseRequest, listener int) error {
	fds := []unix.PollFd{pollIn(listener), pollIn(s.fd)}
	for fds[1].Revents == 0 {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for start: %w", err)
		}
		if fds[0].Revents&unix.POLLIN != 0 {
			if call, err := receiveCall(listener); err == nil {
				call.resume(listener)
			}
		}
	}
	var message superviseMessage
	if _, err := receivePacket(s.fd, &message); err != nil {
		return err
	}
	if message.Errno != 0 {
		return fmt.Errorf("start %s: %w", request.Argv[0], message.Errno)
	}
	if message.Error != "" {
		return errors.New(message.Error)
	}
	return nil
}

// isLost tells whether err means that the supervisor has died.
func isLost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// wait returns how the program ended, or an error when the supervisor died
// before it could tell.
func (s *supervisor) wait() (superviseExit, error) {
	var message superviseMessage
	if _, err := receivePacket(s.fd, &message); err != nil {
		return superviseExit{}, err
	}
	if message.Exit == nil {
		return superviseExit{}, errors.New("supervisor sent no exit")
	}
	return *message.Exit, nil
}

func (s *supervisor) close() { _ = unix.Close(s.fd) }

// maxPacket bounds a packet; a request's environment is the most of it.
const maxPacket = 128 << 10

func sendPacket(fd int, message any, files ...int) error {
	packet, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode packet: %w", err)
	}
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	for {
		err := unix.Sendmsg(fd, packet, rights, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send packet: %w", err)
		}
		return nil
	}
}

// receivePacket returns the files that came with the packet, and io.EOF when
// the other end is closed.
func receivePacket(fd int, message any) ([]int, error) {
	packet := make([]byte, maxPacket)
	rights := make([]byte, unix.CmsgSpace(3*4))
	n, oobn, err := retryReceive(fd, packet, rights)
	if err != nil {
		return nil, fmt.Errorf("receive packet: %w", err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := parseFiles(rights[:oobn])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(packet[:n], message); err != nil {
		return nil, fmt.Errorf("decode packet: %w", err)
	}
	return files, nil
}

func retryReceive(fd int, packet, rights []byte) (n, oobn int, err error) {
	for {
		n, oobn, _, _, err = unix.Recvmsg(fd, packet, rights, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			return n, oobn, err
		}
	}
}

func parseFiles(rights []byte) ([]int, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("receive files: %w", err)
	}
	var files []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("receive files: %w", err)
		}
		files = append(files, fds...)
	}
	return files, nil
}
