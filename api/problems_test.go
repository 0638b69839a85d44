package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/sandbox/sandboxtest"
)

func TestBadInputGetsAClearProblemAndLosesNothing(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u, other, nobody := w.signUp(t), w.signUp(t), &user{t: t, url: w.url}
	runbook := u.createRunbook(waits)
	session := u.connect(runbook).ID
	running := u.run(session, 0)
	execution := running.execution()
	body := fmt.Sprintf
	huge := strings.Repeat("x", 3<<20)

	for _, c := range []struct {
		name         string
		who          *user
		method, path string
		body         any
		status       int
		code         string
	}{
		{"no token", nobody, "GET", "/runbooks", nil, 401, "unauthorized"},
		{"garbage for a token", &user{t: t, url: w.url, token: "garbage"}, "GET", "/auth/profile", nil, 401, "unauthorized"},
		{"an unknown route", u, "GET", "/nothing", nil, 404, "not_found"},
		{"a wrong method", u, "PATCH", "/runbooks", nil, 405, "method_not_allowed"},
		{"an id that is no number", u, "GET", "/runbooks/abc", nil, 400, "invalid_request"},
		{"an id beyond all numbers", u, "GET", "/runbooks/9223372036854775808", nil, 400, "invalid_request"},
		{"a runbook that is not there", u, "GET", "/runbooks/999999", nil, 404, "not_found"},
		{"somebody else's runbook", other, "GET", body("/runbooks/%d", runbook), nil, 404, "not_found"},
		{"somebody else's blocks", other, "GET", body("/runbooks/%d/runnable-blocks", runbook), nil, 404, "not_found"},
		{"deleting somebody else's runbook", other, "DELETE", body("/runbooks/%d", runbook), nil, 404, "not_found"},
		{"connecting to somebody else's runbook", other, "POST", other.connectPath(runbook), nil, 404, "not_found"},
		{"connecting as somebody else", other, "POST", u.connectPath(runbook), nil, 404, "not_found"},
		{"somebody else's session", other, "GET", body("/sessions/%d", session), nil, 404, "not_found"},
		{"ending somebody else's session", other, "DELETE", body("/sessions/end/%d", session), nil, 404, "not_found"},
		{"keeping somebody else's session alive", other, "POST", body("/sessions/%d/keepalive", session), nil, 404, "not_found"},
		{"running in somebody else's session", other, "POST", "/executions/exec-block", body(`{"sessionId":%d,"blockIndex":0}`, session), 404, "not_found"},
		{"cancelling somebody else's execution", other, "POST", body("/executions/%d/cancel", execution), nil, 404, "not_found"},
		{"answering somebody else's execution", other, "POST", body("/executions/%d/stdin", execution), `{"data":"x\n"}`, 404, "not_found"},
		{"an unknown session", u, "POST", "/executions/exec-block", `{"sessionId":999999,"blockIndex":0}`, 404, "not_found"},
		{"an index out of range", u, "POST", "/executions/exec-block", body(`{"sessionId":%d,"blockIndex":1}`, session), 422, "validation_failed"},
		{"a negative index", u, "POST", "/executions/exec-block", body(`{"sessionId":%d,"blockIndex":-1}`, session), 422, "validation_failed"},
		{"no index", u, "POST", "/executions/exec-block", body(`{"sessionId":%d}`, session), 422, "validation_failed"},
		{"another runtime", u, "POST", "/executions/exec-block", body(`{"sessionId":%d,"blockIndex":0,"runtime":"node"}`, session), 422, "validation_failed"},
		{"malformed JSON", u, "POST", "/runbooks", `{"title":`, 400, "invalid_request"},
		{"something after the JSON", u, "POST", "/runbooks", `{"title":"x"} {}`, 400, "invalid_request"},
		{"a wrong type", u, "POST", "/runbooks", `{"title":7}`, 400, "invalid_request"},
		{"a NUL", u, "POST", "/runbooks", `{"title":"a\u0000b"}`, 400, "invalid_request"},
		{"invalid UTF-8", u, "POST", "/runbooks", "{\"title\":\"\xff\"}", 400, "invalid_request"},
		{"no title", u, "POST", "/runbooks", `{"content":"x"}`, 422, "validation_failed"},
		{"a privacy that is none", u, "POST", "/runbooks", `{"title":"x","privacy":"SECRET"}`, 422, "validation_failed"},
		{"a body over the limit", u, "POST", "/runbooks", body(`{"title":"x","content":"%s"}`, huge), 413, "body_too_large"},
		{"a chunked body over the limit", u, "POST", "/runbooks", struct{ *strings.Reader }{strings.NewReader(`{"title":"` + huge)}, 413, "body_too_large"},
		{"a change without If-Match", u, "PUT", body("/runbooks/%d", runbook), `{"title":"new"}`, 428, "precondition_required"},
		{"a bad limit", u, "GET", "/runbooks?limit=0", nil, 400, "invalid_request"},
		{"a bad cursor", u, "GET", "/sessions?cursor=x", nil, 400, "invalid_request"},
		{"a bad query", u, "GET", "/runbooks?query=%00", nil, 400, "invalid_request"},
		{"a taken name", nobody, "POST", "/auth/signup", `{"username":"USER-1","email":"new@example.org","password":"long enough"}`, 409, "conflict"},
		{"a short password", nobody, "POST", "/auth/signup", `{"username":"someone","email":"new@example.org","password":"short"}`, 422, "validation_failed"},
		{"a bad email", nobody, "POST", "/auth/signup", `{"username":"someone","email":"nowhere","password":"long enough"}`, 422, "validation_failed"},
		{"a wrong password", nobody, "POST", "/auth/signin", `{"email":"user-1@example.org","password":"wrong"}`, 401, "bad_credentials"},
		{"an unknown email", nobody, "POST", "/auth/signin", `{"email":"unknown@example.org","password":"wrong"}`, 401, "bad_credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			who := *c.who
			who.t = t
			who.call(c.method, c.path, c.body).problem(c.status, c.code)
		})
	}

	u.call("POST", "/runbooks", `{"title":"x"}`, "Content-Type", "text/plain").problem(415, "unsupported_media")
	u.call("PUT", fmt.Sprintf("/runbooks/%d", runbook), `{"content":"lost"}`, "If-Match", `"7"`).problem(412, "stale_revision")
	read := u.call("GET", fmt.Sprintf("/runbooks/%d", runbook), nil)
	assert.Contains(t, string(read.body), "got $line", "nothing was written")
	etag := read.header.Get("ETag")
	u.call("PUT", fmt.Sprintf("/runbooks/%d", runbook), `{"title":"new"}`, "If-Match", etag).want(200, nil)
	u.call("PUT", fmt.Sprintf("/runbooks/%d", runbook), `{"title":"newer"}`, "If-Match", etag).problem(412, "stale_revision")

	u.answer(execution, "me\n").want(204, nil)
	running.rest()
	assert.Equal(t, "started\ngot me\n", running.text("stdout"), "the run has noticed nothing")
	assert.Len(t, sandboxtest.Containers(t, w.deployment), 1)
	for _, secret := range []string{password, u.token, "long enough"} {
		assert.NotContains(t, w.log.String(), secret)
	}
}

func TestATokenExpires(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Now())
	u := newWorld(t, clock).signUp(t)
	u.call("GET", "/auth/profile", nil).want(200, nil)
	clock.Advance(13 * time.Hour)
	u.call("GET", "/auth/profile", nil).problem(401, "unauthorized")
}

func TestListsComeInPagesWithoutContent(t *testing.T) {
	u := newWorld(t, clockwork.NewRealClock()).signUp(t)
	for range 4 {
		u.createRunbook("the content")
	}
	var seen []int64
	for path := "/runbooks?limit=2"; path != ""; {
		var page struct {
			Items      []struct{ ID int64 }
			NextCursor string
		}
		a := u.call("GET", path, nil)
		a.want(200, &page)
		assert.NotContains(t, string(a.body), "the content")
		for _, item := range page.Items {
			seen = append(seen, item.ID)
		}
		path = ""
		if page.NextCursor != "" {
			path = "/runbooks?limit=2&cursor=" + page.NextCursor
		}
	}
	assert.Len(t, seen, 5, "four, and the Tour")
	assert.IsDecreasing(t, seen)
	assert.Contains(t, string(u.call("GET", "/runbooks?query=TOUR", nil).body), "tour of Runbook")
}

func TestTheServerSaysWhyItDoesNotStart(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	with := func(name, value string) map[string]string {
		environ := map[string]string{name: value}
		for k, v := range w.environ {
			if k != name {
				environ[k] = v
			}
		}
		return environ
	}
	for _, c := range []struct {
		name    string
		environ map[string]string
		engine  string
		code    int
		says    string
	}{
		{"a bad setting", with("PORT", "abc"), "", 2, "PORT must be"},
		{"a short secret", with("JWT_SECRET", "hush"), "", 2, "JWT_SECRET must be"},
		{"a taken port", with("PORT", fmt.Sprint(w.app.port())), "", 1, "is taken"},
		{"no engine", with("PORT", "0"), "tcp://127.0.0.1:9", 1, "Docker engine is out of reach"},
		{"no image", with("CONTAINER_IMAGE", "localhost:9/nothing"), "", 1, "image localhost:9/nothing is neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.engine != "" {
				t.Setenv("DOCKER_HOST", c.engine)
			}
			out := &lockedBuffer{}
			assert.Equal(t, c.code, run(t.Context(), c.environ, out))
			assert.Contains(t, out.String(), c.says)
			assert.NotContains(t, out.String(), "hush")
		})
	}
	require.Empty(t, sandboxtest.Containers(t, w.deployment))
}
