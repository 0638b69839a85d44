package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Two pipes don't say which of them was written to first, and a reader that is
// woken late finds both full. So the kernel is asked to hold a program back, by
// a seccomp filter, at two moments: before it writes to descriptor 2, until what
// it wrote to standard output before has been read; and before it puts another
// file in the place of descriptor 1 or 2, as a shell does for `echo >&2`, until
// both pipes have been read. Writes to standard output, the bulk, are never held.
//
// Where the kernel or the container runtime has no such filter, order is what
// the reader happens to see.

// orderFilter is the program that the kernel runs at each system call.
func orderFilter() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give  = unix.BPF_RET | unix.BPF_K

		numberAt = 0  // seccomp_data.nr
		archAt   = 4  // seccomp_data.arch
		arg0At   = 16 // low half of seccomp_data.args[0]
		arg1At   = 24 // low half of seccomp_data.args[1]
	)
	return []unix.SockFilter{
		{Code: load, K: archAt},
		{Code: equal, K: auditArch, Jf: 11}, // to allow
		{Code: load, K: numberAt},
		{Code: equal, K: unix.SYS_WRITE, Jt: 4},
		{Code: equal, K: unix.SYS_WRITEV, Jt: 3},
		{Code: equal, K: sysDup2, Jt: 4},
		{Code: equal, K: unix.SYS_DUP3, Jt: 3},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: arg0At}, // write: which descriptor?
		{Code: equal, K: 2, Jt: 4, Jf: 3},
		{Code: load, K: arg1At}, // dup: in whose place?
		{Code: equal, K: 1, Jt: 2},
		{Code: equal, K: 2, Jt: 1},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: give, K: unix.SECCOMP_RET_USER_NOTIF},
	}
}

// installOrderFilter puts the filter on the calling thread, to which the caller
// has locked itself, and on all that it starts from now on. It returns the
// listener at which the held calls arrive; somebody must answer it for as long
// as anything with the filter lives.
func installOrderFilter() (int, error) {
	filter := orderFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	var errno syscall.Errno
	for _, flags := range []uintptr{
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, // before Linux 5.19
	} {
		var fd uintptr
		fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
		if errno == 0 {
			runtime.KeepAlive(filter)
			return int(fd), nil
		}
	}
	return -1, fmt.Errorf("install filter: %w", errno)
}

// heldCall is the kernel's struct seccomp_notif.
type heldCall struct {
	id    uint64
	pid   uint32
	flags uint32
	data  struct {
		number  int32
		arch    uint32
		pointer uint64
		args    [6]uint64
	}
}

// callAnswer is the kernel's struct seccomp_notif_resp.
type callAnswer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// receiveCall takes a held call off a listener that polls readable. It fails
// when the caller was killed meanwhile.
func receiveCall(listener int) (heldCall, error) {
	var call heldCall
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call)))
	if errno != 0 {
		return call, errno
	}
	return call, nil
}

// resume lets a held call go on. That its caller is gone is nobody's concern.
func (c heldCall) resume(listener int) {
	answer := callAnswer{id: c.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer)))
}

func (c heldCall) isWrite() bool {
	return c.data.number == unix.SYS_WRITE || c.data.number == unix.SYS_WRITEV
}

// length is how many bytes a write is about to add, as far as it tells.
func (c heldCall) length() int {
	if c.data.number == unix.SYS_WRITEV {
		return 1
	}
	return int(min(c.data.args[2], maxFrame))
}

// writesTo tells whether descriptor 2 of the caller is the given pipe.
func (c heldCall) writesTo(pipe []byte) bool {
	var link [64]byte
	n, err := unix.Readlink("/proc/"+strconv.Itoa(int(c.pid))+"/fd/2", link[:])
	return err == nil && bytes.Equal(link[:n], pipe)
}

// pipeName is what /proc calls a pipe.
func pipeName(fd int) []byte {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil
	}
	return []byte("pipe:[" + strconv.FormatUint(stat.Ino, 10) + "]")
}

// arrivalPatience bounds the wait for a write that was let go on: its caller may
// be killed on the way.
const arrivalPatience = 50 * time.Millisecond

// answer deals with a held call while the run's output is being read.
func (p *pump) answer() {
	call, err := receiveCall(p.run.listener)
	if err != nil {
		return
	}
	p.drain(p.run.stdout, FrameStdout)
	if !call.isWrite() {
		p.drain(p.run.stderr, FrameStderr)
		call.resume(p.run.listener)
		return
	}
	toStderr := call.writesTo(p.stderrName)
	call.resume(p.run.listener)
	if toStderr {
		p.awaitStderr(call.length())
	}
}

// awaitStderr reads the given number of bytes before anything else is read.
func (p *pump) awaitStderr(length int) {
	fds := []unix.PollFd{pollIn(p.run.stderr), pollIn(p.run.listener), pollIn(p.run.supervisor.fd)}
	for length > 0 {
		n, err := unix.Poll(fds, int(arrivalPatience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 || fds[0].Revents == 0 {
			return
		}
		read := p.read(p.run.stderr, FrameStderr)
		if read <= 0 {
			return
		}
		length -= read
	}
}

// answerRest lets all calls go on that background processes make after their
// run has ended. It ends with the last of them.
func answerRest(listener int) {
	if listener < 0 {
		return
	}
	_ = unix.SetNonblock(listener, true) // has the Go runtime wait for it without a thread
	file := os.NewFile(uintptr(listener), "listener")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool {
		for {
			fds := []unix.PollFd{pollIn(int(fd))}
			if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
				return true
			}
			if fds[0].Revents&unix.POLLHUP != 0 {
				return true
			}
			if fds[0].Revents&unix.POLLIN == 0 {
				return false
			}
			if call, err := receiveCall(int(fd)); err == nil {
				call.resume(int(fd))
			}
		}
	})
}

func pollIn(fd int) unix.PollFd {
	return unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
}
