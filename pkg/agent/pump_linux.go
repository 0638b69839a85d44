package agent

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// pump reads a run's pipes, in the order in which they are written.
type pump struct {
	run        *run
	stderrName []byte
	buffer     []byte
	taken      int64 // bytes of output so far
}

func newPump(r *run) *pump {
	return &pump{run: r, stderrName: pipeName(r.stderr), buffer: make([]byte, 64<<10)}
}

// toEnd returns once the program has ended and all it wrote is in the spool.
// The error says that the supervisor is gone, and with it the status.
func (p *pump) toEnd() (superviseExit, error) {
	r := p.run
	fds := []unix.PollFd{pollIn(r.listener), pollIn(r.stdout), pollIn(r.stderr), pollIn(r.supervisor.fd)}
	for {
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return superviseExit{}, fmt.Errorf("wait for output: %w", err)
		}
		switch {
		case fds[0].Revents&unix.POLLIN != 0:
			p.answer() // which reads the pipes in order
		case fds[0].Revents != 0:
			fds[0].Fd = -1 // nobody can be held any more; poll skips it
		default:
			p.readReady(fds[1:3])
		}
		if fds[3].Revents != 0 {
			exit, err := r.supervisor.wait()
			p.drain(r.stdout, FrameStdout)
			p.drain(r.stderr, FrameStderr)
			return exit, err
		}
	}
}

func (p *pump) readReady(fds []unix.PollFd) {
	for i, kind := range []FrameKind{FrameStdout, FrameStderr} {
		if fds[i].Revents != 0 && p.read(int(fds[i].Fd), kind) == 0 {
			fds[i].Fd = -1 // nobody writes any more
		}
	}
}

// read passes on what one read gives: its length, 0 at the end of the pipe, or
// -1 when there is nothing now.
func (p *pump) read(fd int, kind FrameKind) int {
	n, err := unix.Read(fd, p.buffer)
	if n > 0 {
		p.append(kind, p.buffer[:n])
		return n
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return -1
	}
	return 0
}

// drain reads what is in the pipe now. It doesn't wait for its end, which a
// background process may hold open, nor for what such a process still adds.
func (p *pump) drain(fd int, kind FrameKind) {
	left, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	for err == nil && left > 0 {
		n := p.read(fd, kind)
		if n <= 0 {
			return
		}
		left -= n
	}
}

// append cuts the output at the run's limit and ends the run there.
func (p *pump) append(kind FrameKind, data []byte) {
	left := p.run.spec.OutputLimit - p.taken
	if left <= 0 {
		return
	}
	data = data[:min(int64(len(data)), left)]
	p.taken += int64(len(data))
	p.run.spool.append(kind, data)
	if p.taken == p.run.spec.OutputLimit {
		go p.run.stop(ReasonOutputLimit)
	}
}
