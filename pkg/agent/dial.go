package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
)

// Dial is the program that carries the server's stream: it joins the agent's
// socket with the standard streams until either ends.
func Dial(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", SocketPath)
	if err != nil {
		return fmt.Errorf("reach agent: %w", err)
	}
	defer conn.Close()
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(conn, os.Stdin)
		ended <- err
	}()
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		ended <- err
	}()
	return <-ended
}
