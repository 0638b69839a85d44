package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// clientStreamWindow bounds what is on its way to a reader that doesn't read.
	clientStreamWindow = 256 << 10
	// pingAfter and pingPatience notice a stream that died without a word.
	pingAfter    = 10 * time.Second
	pingPatience = 5 * time.Second
)

// ErrNoRun says that the agent knows no run of that id: it never started, was
// forgotten, or its container was replaced.
var ErrNoRun = errors.New("agent knows no such run")

// Client talks to the agent of one container. It dials when it needs to, and
// again after a lost stream. It is safe for concurrent use.
type Client struct {
	transport *http.Transport
	http      *http.Client
}

// NewClient makes a client that reaches the agent through streams from dial.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:   protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: clientStreamWindow,
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingPatience,
		},
		DisableCompression: true,
	}
	return &Client{transport: transport, http: &http.Client{Transport: transport}}
}

// Close drops the streams that are idle; those in use end with their requests.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Health asks whether the agent is there.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var health Health
	response, err := c.do(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		return health, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&health); err != nil {
		return health, fmt.Errorf("read health: %w", err)
	}
	return health, nil
}

// WriteFiles writes files below WorkDir, as the sandbox user.
func (c *Client) WriteFiles(ctx context.Context, files []File) error {
	return c.call(ctx, http.MethodPost, "/files", files)
}

// Start starts a run under an id that is new to the container, and follows it.
// The caller closes the returned Output.
func (c *Client) Start(ctx context.Context, id string, spec RunSpec) (*Output, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode run: %w", err)
	}
	return c.output(ctx, http.MethodPut, runPath(id, ""), body)
}

// Follow follows a run from an offset in bytes: the End of the last frame that
// the caller has. It takes the place of a follower before.
func (c *Client) Follow(ctx context.Context, id string, offset int64) (*Output, error) {
	return c.output(ctx, http.MethodGet, runPath(id, "/output?offset="+strconv.FormatInt(offset, 10)), nil)
}

func (c *Client) output(ctx context.Context, method, path string, body []byte) (*Output, error) {
	response, err := c.do(ctx, method, path, body) //nolint:bodyclose // Output.Close does
	if err != nil {
		return nil, err
	}
	return &Output{body: response.Body}, nil
}

// Input writes to the run's standard input, and closes it if eof is set.
func (c *Client) Input(ctx context.Context, id string, data []byte, eof bool) error {
	path := runPath(id, "/input")
	if eof {
		path += "?eof"
	}
	return c.send(ctx, http.MethodPost, path, data)
}

// Stop ends the run's whole process tree; its output then ends with an exit
// frame. It returns when the tree is gone.
func (c *Client) Stop(ctx context.Context, id string) error {
	return c.send(ctx, http.MethodPost, runPath(id, "/stop"), nil)
}

// Forget lets the agent drop the output of a run that has ended.
func (c *Client) Forget(ctx context.Context, id string) error {
	return c.send(ctx, http.MethodDelete, runPath(id, ""), nil)
}

func (c *Client) call(ctx context.Context, method, path string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.send(ctx, method, path, encoded)
}

func (c *Client) send(ctx context.Context, method, path string, body []byte) error {
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// do returns a response of success only.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("call agent: %w", err)
	}
	if response.StatusCode < http.StatusBadRequest {
		return response, nil
	}
	defer response.Body.Close()
	return nil, readError(response)
}

func readError(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read agent's error: %w", err)
	}
	remote := &RemoteError{}
	if err := json.Unmarshal(text, remote); err != nil || remote.Code == "" {
		return fmt.Errorf("agent answered %s: %s", response.Status, text)
	}
	if remote.Code == CodeNoRun {
		return ErrNoRun
	}
	return remote
}

func runPath(id, rest string) string { return "/runs/" + id + rest }

// Output is the stream of a run's frames.
type Output struct {
	body io.ReadCloser
}

// Next waits for the next frame; the last one is a FrameExit. Any error before
// it means that the stream was lost, not the run: Follow goes on from the last
// frame's End.
func (o *Output) Next() (Frame, error) { return readFrame(o.body) }

// Close stops following. The run goes on.
func (o *Output) Close() error { return o.body.Close() }

// DecodeExit reads the frame that ends a run.
func (f Frame) DecodeExit() (Exit, error) {
	var exit Exit
	if err := json.Unmarshal(f.Data, &exit); err != nil {
		return exit, fmt.Errorf("read exit: %w", err)
	}
	return exit, nil
}
