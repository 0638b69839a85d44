package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (u *user) cancel(execution int64) answer {
	u.t.Helper()
	return u.call(http.MethodPost, fmt.Sprintf("/executions/%d/cancel", execution), nil)
}

func TestExecutions(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	session := u.connect(u.createRunbook(waits + "```runnable python\n```\n")).ID

	t.Run("output arrives while the program goes on", func(t *testing.T) {
		// The program waits for an answer to each line, so a line must have come before.
		s := u.run(session, 0, `for i in 1 2 3; do printf "tick $i "; read -r _; done`)
		for i := 1; i <= 3; i++ {
			s.await(fmt.Sprintf("tick %d ", i))
			u.answer(s.execution(), "go on\n").want(204, nil)
		}
		assert.Equal(t, "exited", s.rest().Reason)
	})

	t.Run("closing the connection does not end the run", func(t *testing.T) {
		s := u.run(session, 0, `echo started; read -r line; echo "$line" >/tmp/survived`)
		s.await("started")
		require.NoError(t, s.response.Body.Close())
		u.answer(s.execution(), "yes\n").want(204, nil)
		check := u.run(session, 0, `until [ -s /tmp/survived ]; do sleep 0.01; done; cat /tmp/survived`)
		check.rest()
		assert.Equal(t, "yes\n", check.text("stdout"))
	})

	t.Run("cancel ends the whole process tree", func(t *testing.T) {
		s := u.run(session, 0, `trap "" TERM; setsid sleep 12345 & (sleep 12345 &); echo started; wait`)
		s.await("started")
		u.cancel(s.execution()).want(204, nil)
		assert.Equal(t, "stopped", s.rest().Reason)
		eventually(t, "the execution is known to have ended", func() bool { return u.cancel(s.execution()).status == 409 })
		u.answer(s.execution(), "x").problem(409, "execution_ended")
		check := u.run(session, 0, `pgrep -f "sleep 1234[5]" || echo none`)
		check.rest()
		assert.Equal(t, "none\n", check.text("stdout"))
	})

	t.Run("stdout and stderr keep their order", func(t *testing.T) {
		s := u.run(session, 0, `for i in $(seq 100); do echo "out $i"; echo "err $i" >&2; done`)
		s.rest()
		var all strings.Builder
		for _, c := range s.chunks {
			all.WriteString(c.Data)
		}
		var want strings.Builder
		for i := range 100 {
			fmt.Fprintf(&want, "out %d\nerr %d\n", i+1, i+1)
		}
		assert.Equal(t, want.String(), all.String())
	})

	t.Run("five megabytes arrive whole", func(t *testing.T) {
		s := u.run(session, 0, `seq -w 1 700000`)
		s.rest()
		lines := strings.Fields(s.text("stdout"))
		require.Len(t, lines, 700000)
		assert.Equal(t, "700000", lines[len(lines)-1])
	})

	t.Run("after a fork bomb in the background the session is of use", func(t *testing.T) {
		u.run(session, 0, `:(){ :|:& };:`).rest()
		s := u.run(session, 0, `echo hi; ls / | wc -l`)
		assert.Equal(t, 0, *s.rest().ExitCode, s.text("stderr"))
		assert.Contains(t, s.text("stdout"), "hi\n")
	})

	t.Run("a program that kills its supervisor still has an end", func(t *testing.T) {
		assert.Equal(t, 137, *u.run(session, 0, `kill -9 $PPID; sleep 100`).rest().ExitCode)
	})

	t.Run("user code has no rights", func(t *testing.T) {
		s := u.run(session, 0, `id -u; grep -E "CapEff|CapPrm|CapBnd|NoNewPrivs" /proc/self/status | tr -d "\t"; touch /etc/x 2>/dev/null || echo readonly`)
		s.rest()
		assert.Equal(t, "1000\nCapPrm:0000000000000000\nCapEff:0000000000000000\nCapBnd:0000000000000000\nNoNewPrivs:1\nreadonly\n", s.text("stdout"))
	})

	t.Run("a full disk is said so and loses nothing", func(*testing.T) {
		u.run(session, 0, `head -c 400M /dev/zero >/tmp/big; true`).rest()
		u.call(http.MethodPost, "/executions/exec-block", map[string]any{"sessionId": session, "blockIndex": 0, "code": strings.Repeat("# filler\n", 1000)}).problem(409, "conflict")
	})
}

func TestShutdownEndsStreamsAndTheNextServerTakesTheSessionBack(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	session := u.connect(u.createRunbook(waits)).ID
	s := u.run(session, 0)
	s.await("started")
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	assert.Equal(t, "shutdown", s.rest().Code)
	require.NoError(t, <-ended)

	again := boot(t, clockwork.NewRealClock(), w.deployment, w.environ)
	u.url = again.url
	s = u.run(session, 0, "echo back")
	s.rest()
	assert.Equal(t, "back\n", s.text("stdout"))
	rows, err := again.app.store.ListRunningExecutions(t.Context())
	require.NoError(t, err)
	assert.LessOrEqual(t, len(rows), 1, "the run that was cut off is not left running")
}

func BenchmarkBashBlock(b *testing.B) {
	w := newWorld(b, clockwork.NewRealClock())
	u := w.signUp(b)
	session := u.connect(u.createRunbook("```runnable bash\necho hello\n```\n")).ID
	for b.Loop() {
		u.run(session, 0).rest()
	}
}

func BenchmarkConnectAndEnd(b *testing.B) {
	w := newWorld(b, clockwork.NewRealClock())
	u := w.signUp(b)
	runbook := u.createRunbook("")
	for b.Loop() {
		session := u.connect(runbook)
		u.end(session.ID).want(http.StatusNoContent, nil)
	}
}

func BenchmarkEndSession(b *testing.B) {
	w := newWorld(b, clockwork.NewRealClock())
	u := w.signUp(b)
	runbook := u.createRunbook("")
	for b.Loop() {
		b.StopTimer()
		session := u.connect(runbook)
		b.StartTimer()
		u.end(session.ID).want(http.StatusNoContent, nil)
	}
}
