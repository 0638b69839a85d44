package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/sandbox/sandboxtest"
)

const waits = "```runnable bash\necho started; read -r line; echo \"got $line\"\n```\n"

func TestTwentyConnectsAtOnceMakeOneSessionAndOneContainer(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	runbook := u.createRunbook(waits)
	var mu sync.Mutex
	var group sync.WaitGroup
	statuses, sessions := map[int]int{}, map[int64]bool{}
	for range 20 {
		group.Go(func() {
			var session sessionAnswer
			a := u.call(http.MethodPost, u.connectPath(runbook), nil)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			if assert.Less(t, a.status, 300, "body: %s", a.body) {
				a.want(a.status, &session)
				sessions[session.ID] = true
			}
		})
	}
	group.Wait()
	assert.Equal(t, map[int]int{http.StatusCreated: 1, http.StatusOK: 19}, statuses)
	assert.Len(t, sessions, 1)
	assert.Len(t, sandboxtest.Containers(t, w.deployment), 1)
}

func TestASessionLivesFromConnectToEnd(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	runbook := u.createRunbook("```file text a/b/c.txt\nhello\n```\n```file text ../x\n```\n```runnable bash\ncat a/b/c.txt\n```\n")
	session := u.connect(runbook)
	require.Len(t, session.Problems, 1)
	assert.Equal(t, "../x", session.Problems[0].Path)
	s := u.run(session.ID, 0)
	s.rest()
	assert.Equal(t, "hello\n", s.text("stdout"))

	var found sessionAnswer
	u.call(http.MethodGet, fmt.Sprintf("/sessions/active/%d/%d", u.id, runbook), nil).want(200, &found)
	assert.Equal(t, session.ID, found.ID)
	u.call(http.MethodPost, fmt.Sprintf("/sessions/%d/keepalive", session.ID), nil).want(200, nil)
	var list struct{ Items []sessionAnswer }
	u.call(http.MethodGet, "/sessions?status=ACTIVE", nil).want(200, &list)
	assert.Len(t, list.Items, 1)

	u.end(session.ID).want(http.StatusNoContent, nil)
	assert.Empty(t, sandboxtest.Containers(t, w.deployment), "the container is really gone")
	u.end(session.ID).want(http.StatusNoContent, nil)
	u.call(http.MethodGet, fmt.Sprintf("/sessions/%d", session.ID), nil).want(200, &found)
	assert.Equal(t, "TERMINATED", found.Status)
	assert.Equal(t, "disconnected", found.EndReason)
	u.call(http.MethodPost, fmt.Sprintf("/sessions/%d/keepalive", session.ID), nil).problem(409, "session_ended")
	u.call(http.MethodPost, "/executions/exec-block", map[string]any{"sessionId": session.ID, "blockIndex": 0}).problem(409, "session_ended")

	again := u.connect(runbook)
	assert.NotEqual(t, session.ID, again.ID)
	running := u.run(again.ID, 0, "echo started; sleep 600")
	running.await("started")
	u.call(http.MethodDelete, fmt.Sprintf("/runbooks/%d", runbook), nil).want(204, nil)
	assert.Equal(t, "session_lost", running.rest().Code, "deleting a runbook ends what runs in it")
	assert.Empty(t, sandboxtest.Containers(t, w.deployment))
}

func TestAnIdleSessionExpiresButNotWhileABlockRuns(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Now())
	w := newWorld(t, clock)
	u := w.signUp(t)
	idle := u.connect(u.createRunbook(waits))
	busy := u.connect(u.createRunbook(waits))
	s := u.run(busy.ID, 0)
	s.await("started")

	require.NoError(t, clock.BlockUntilContext(t.Context(), 1))
	clock.Advance(31 * time.Minute)
	var found sessionAnswer
	eventually(t, "the idle session expires", func() bool {
		u.call(http.MethodGet, fmt.Sprintf("/sessions/%d", idle.ID), nil).want(200, &found)
		return found.Status == "EXPIRED"
	})
	assert.Equal(t, "idle", found.EndReason)
	eventually(t, "its container goes", func() bool { return len(sandboxtest.Containers(t, w.deployment)) == 1 })
	u.answer(s.execution(), "you\n").want(204, nil)
	assert.Equal(t, "exited", s.rest().Reason)
	u.call(http.MethodGet, fmt.Sprintf("/sessions/%d", busy.ID), nil).want(200, &found)
	assert.Equal(t, "ACTIVE", found.Status)
}

func TestAContainerRemovedBehindTheServersBackIsSaidSo(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	runbook := u.createRunbook(waits)
	remove := func() { sandboxtest.RemoveContainers(t, w.deployment) }
	var found sessionAnswer

	session := u.connect(runbook)
	remove()
	u.call(http.MethodPost, "/executions/exec-block", map[string]any{"sessionId": session.ID, "blockIndex": 0}).problem(409, "session_lost")
	u.call(http.MethodGet, fmt.Sprintf("/sessions/%d", session.ID), nil).want(200, &found)
	assert.Equal(t, "lost", found.EndReason)

	session = u.connect(runbook)
	s := u.run(session.ID, 0)
	s.await("started")
	remove()
	assert.Equal(t, "session_lost", s.rest().Code)

	eventually(t, "the session is marked lost", func() bool {
		u.call(http.MethodGet, fmt.Sprintf("/sessions/%d", session.ID), nil).want(200, &found)
		return found.EndReason == "lost"
	})
	session = u.connect(runbook)
	remove()
	assert.NotEqual(t, session.ID, u.connect(runbook).ID, "connect alone finds out too")
}
