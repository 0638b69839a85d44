package sandbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// dialer opens streams to the agent of a container: each is an exec whose
// standard streams the agent's dial program joins with the agent's socket.
func (e *Engine) dialer(id string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		created, err := e.docker.ContainerExecCreate(ctx, id, container.ExecOptions{
			User:         sandboxUser,
			Cmd:          []string{agentPath, "dial"},
			AttachStdin:  true,
			AttachStdout: true,
			AttachStderr: true,
		})
		if err != nil {
			return nil, dialError(err)
		}
		attached, err := e.docker.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
		if err != nil {
			return nil, dialError(err)
		}
		return &execConn{Conn: attached.Conn, reader: attached.Reader}, nil
	}
}

// dialError tells a container that is gone, or that has stopped, from an engine
// that can't be reached.
func dialError(err error) error {
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return translate(err, "reach the agent")
}

// execConn is an exec's hijacked connection. What comes in is multiplexed: each
// piece has a header of eight bytes that names its channel and its length.
type execConn struct {
	net.Conn
	reader *bufio.Reader
	left   int // of the piece that is being read
}

const (
	pieceHeader = 8
	pieceStdout = 1
	// maxComplaint bounds what is read of the dial program's standard error.
	maxComplaint = 4 << 10
)

func (c *execConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.nextPiece(); err != nil {
			return 0, err
		}
	}
	n, err := c.reader.Read(p[:min(len(p), c.left)])
	c.left -= n
	if errors.Is(err, io.EOF) && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *execConn) nextPiece() error {
	var header [pieceHeader]byte
	if _, err := io.ReadFull(c.reader, header[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(header[4:]))
	if header[0] == pieceStdout {
		c.left = size
		return nil
	}
	complaint := make([]byte, min(size, maxComplaint))
	if _, err := io.ReadFull(c.reader, complaint); err != nil {
		return err
	}
	return fmt.Errorf("dial program: %s", complaint)
}
