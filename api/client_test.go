package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"runbook/pkg/config"
	"runbook/pkg/sandbox/sandboxtest"
	"runbook/pkg/store/storetest"
)

// world is a real server on a database and a deployment of its own.
type world struct {
	app        *app
	url        string
	deployment string
	environ    map[string]string
	log        *lockedBuffer
	stop       func() error // ends the server and waits for it; may be called twice
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newWorld(t testing.TB, clock clockwork.Clock) *world {
	t.Helper()
	deployment := sandboxtest.Deployment(t)
	return boot(t, clock, deployment, map[string]string{
		"HOST":         "127.0.0.1",
		"PORT":         "0",
		"DATABASE_URL": storetest.EmptyDSN(t).Reveal(),
		"DATA_DIR":     t.TempDir(),
		"DEPLOYMENT":   deployment,
		"LOG_LEVEL":    "debug",
	})
}

func boot(t testing.TB, clock clockwork.Clock, deployment string, environ map[string]string) *world {
	t.Helper()
	cfg, err := config.Load(environ)
	require.NoError(t, err)
	log := &lockedBuffer{}
	a, err := start(t.Context(), cfg, clock, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: cfg.LogLevel})), t.Logf)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.wait(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		_ = stop()
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	return &world{
		app: a, url: "http://127.0.0.1:" + strconv.Itoa(a.port()), deployment: deployment,
		environ: environ, log: log, stop: stop,
	}
}

// user is somebody with an account.
type user struct {
	t     testing.TB
	url   string
	id    int64
	token string
}

var names sync.Map // of users, so that each is new

func (w *world) signUp(t testing.TB) *user {
	t.Helper()
	count, _ := names.LoadOrStore(w.url, new(int))
	number, ok := count.(*int)
	require.True(t, ok)
	*number++
	u := &user{t: t, url: w.url}
	var answer struct {
		AccessToken string
		User        struct{ ID int64 }
	}
	u.call(http.MethodPost, "/auth/signup", map[string]any{
		"username": fmt.Sprintf("user-%d", *number),
		"email":    fmt.Sprintf("user-%d@example.org", *number),
		"password": password,
	}).want(http.StatusCreated, &answer)
	u.id, u.token = answer.User.ID, answer.AccessToken
	return u
}

const password = "correct horse battery"

// answer is a response that has been read.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

func (u *user) request(method, path string, body any, header ...string) *http.Request {
	u.t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	case io.Reader:
		reader = body
	default:
		encoded, err := json.Marshal(body)
		require.NoError(u.t, err)
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequest(method, u.url+"/api"+path, reader)
	require.NoError(u.t, err)
	if reader != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if u.token != "" {
		request.Header.Set("Authorization", "Bearer "+u.token)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return request
}

func (u *user) call(method, path string, body any, header ...string) answer {
	u.t.Helper()
	response, err := http.DefaultClient.Do(u.request(method, path, body, header...))
	require.NoError(u.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(u.t, err)
	return answer{t: u.t, status: response.StatusCode, header: response.Header, body: content}
}

// want checks the status and decodes the body.
func (a answer) want(status int, into any) {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "body: %s", a.body)
	if into != nil {
		require.NoError(a.t, json.Unmarshal(a.body, into))
	}
}

// problem checks that the answer is a problem of the code.
func (a answer) problem(status int, code string) {
	a.t.Helper()
	var p struct {
		Code, Detail string
		Status       int
	}
	a.want(status, &p)
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"))
	require.Equal(a.t, code, p.Code, "body: %s", a.body)
	require.Equal(a.t, status, p.Status)
	require.NotEmpty(a.t, p.Detail)
}

type sessionAnswer struct {
	ID        int64
	Status    string
	EndReason string
	Problems  []struct{ Path, Problem string }
}

func (u *user) createRunbook(content string) int64 {
	u.t.Helper()
	var created struct{ ID int64 }
	u.call(http.MethodPost, "/runbooks", map[string]any{"title": "A runbook", "content": content}).want(http.StatusCreated, &created)
	return created.ID
}

func (u *user) connectPath(runbook int64) string {
	return fmt.Sprintf("/sessions/connect/%d/%d", u.id, runbook)
}

func (u *user) connect(runbook int64) sessionAnswer {
	u.t.Helper()
	var session sessionAnswer
	u.call(http.MethodPost, u.connectPath(runbook), nil).want(http.StatusCreated, &session)
	return session
}

func (u *user) end(session int64) answer {
	u.t.Helper()
	return u.call(http.MethodDelete, fmt.Sprintf("/sessions/end/%d", session), nil)
}

// chunk is a line of a stream.
type chunk struct {
	Type        string
	Seq         *int64
	ExecutionID int64
	BlockIndex  int
	Runtime     string
	Stream      string
	Data        string
	ExitCode    *int
	Reason      string
	Code        string
	DurationMs  int64
}

func (c chunk) final() bool { return c.Type == "exit" || c.Type == "error" }

// stream is a run that is being read.
type stream struct {
	t        testing.TB
	response *http.Response
	lines    *bufio.Reader
	chunks   []chunk
}

// run starts a block and returns after its first chunk.
func (u *user) run(session int64, block int, code ...string) *stream {
	u.t.Helper()
	body := map[string]any{"sessionId": session, "blockIndex": block}
	if len(code) == 1 {
		body["code"] = code[0]
	}
	response, err := http.DefaultClient.Do(u.request(http.MethodPost, "/executions/exec-block", body))
	require.NoError(u.t, err)
	u.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		require.Equal(u.t, http.StatusOK, response.StatusCode, "body: %s", text)
	}
	require.Equal(u.t, "application/x-ndjson", response.Header.Get("Content-Type"))
	s := &stream{t: u.t, response: response, lines: bufio.NewReader(response.Body)}
	require.Equal(u.t, "start", s.next().Type)
	return s
}

// next reads a chunk, and checks that its seq has grown.
func (s *stream) next() chunk {
	s.t.Helper()
	for {
		line, err := s.lines.ReadBytes('\n')
		require.NoError(s.t, err, "the stream ended without a final chunk")
		var c chunk
		require.NoError(s.t, json.Unmarshal(line, &c))
		if c.Type == "ping" {
			continue
		}
		require.NotNil(s.t, c.Seq)
		if n := len(s.chunks); n > 0 {
			require.Greater(s.t, *c.Seq, *s.chunks[n-1].Seq)
		}
		s.chunks = append(s.chunks, c)
		return c
	}
}

// await reads until standard output holds what is wanted.
func (s *stream) await(wanted string) {
	s.t.Helper()
	for !strings.Contains(s.text("stdout"), wanted) {
		require.False(s.t, s.next().final(), "ended before %q came", wanted)
	}
}

// rest reads to the end: exactly one final chunk, and nothing after it.
func (s *stream) rest() chunk {
	s.t.Helper()
	for {
		if c := s.next(); c.final() {
			_, err := s.lines.ReadByte()
			require.ErrorIs(s.t, err, io.EOF, "something came after the final chunk")
			return c
		}
	}
}

func (s *stream) text(channel string) string {
	var text strings.Builder
	for _, c := range s.chunks {
		if c.Type == "output" && c.Stream == channel {
			text.WriteString(c.Data)
		}
	}
	return text.String()
}

func (s *stream) execution() int64 { return s.chunks[0].ExecutionID }

// answer writes to the run's standard input.
func (u *user) answer(execution int64, data string) answer {
	u.t.Helper()
	return u.call(http.MethodPost, fmt.Sprintf("/executions/%d/stdin", execution), map[string]any{"data": data})
}

// eventually waits for something that comes by itself.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	require.Eventually(t, happened, 20*time.Second, 10*time.Millisecond, what)
}
