package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// expected is what a document of testdata/runbooks must give, block by block.
type expected struct {
	Files  []string
	Blocks []struct {
		Runtime           string
		ExitCode          *int
		Reason            string
		Stdout            *string
		Stderr            *string
		StderrContains    string
		Stdin             string
		PromptBeforeStdin string
		MinChunks         int
		MinDurationMs     int64
		MaxDurationMs     int64
		Problem           bool
	}
}

func TestEveryDocumentGivesItsKnownResults(t *testing.T) {
	w := newWorld(t, clockwork.NewRealClock())
	u := w.signUp(t)
	documents, err := filepath.Glob("testdata/runbooks/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, documents)
	for _, path := range documents {
		t.Run(filepath.Base(path), func(t *testing.T) {
			markdown, err := os.ReadFile(path)
			require.NoError(t, err)
			var want expected
			wanted, err := os.ReadFile(strings.TrimSuffix(path, ".md") + ".expect.json")
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(wanted, &want))
			runDocument(t, u, string(markdown), want)
		})
	}
}

func runDocument(t *testing.T, u *user, markdown string, want expected) {
	t.Helper()
	u = &user{t: t, url: u.url, id: u.id, token: u.token}
	session := u.connect(u.createRunbook(markdown))
	defer u.end(session.ID)
	for _, file := range want.Files {
		s := u.run(session.ID, 0, `import os; print(os.path.getsize("/tmp/`+file+`"))`)
		assert.Equal(t, 0, *s.rest().ExitCode, "there is no %s", file)
	}
	for i, block := range want.Blocks {
		if block.Problem {
			u.call("POST", "/executions/exec-block", map[string]any{
				"sessionId": session.ID, "blockIndex": i, "runtime": block.Runtime,
			}).problem(422, "block_problem")
			continue
		}
		s := u.run(session.ID, i)
		assert.Equal(t, block.Runtime, s.chunks[0].Runtime)
		if block.Stdin != "" {
			s.await(block.PromptBeforeStdin)
			u.answer(s.execution(), block.Stdin).want(204, nil)
		}
		exit := s.rest()
		require.Equal(t, "exit", exit.Type, "block %d", i)
		if block.ExitCode != nil {
			assert.Equal(t, *block.ExitCode, *exit.ExitCode, "block %d: %s", i, s.text("stderr"))
		}
		if block.Reason != "" {
			assert.Equal(t, block.Reason, exit.Reason, "block %d", i)
		}
		if block.Stdout != nil {
			assert.Equal(t, *block.Stdout, s.text("stdout"), "block %d", i)
		}
		if block.Stderr != nil {
			assert.Equal(t, *block.Stderr, s.text("stderr"), "block %d", i)
		}
		assert.Contains(t, s.text("stderr"), block.StderrContains, "block %d", i)
		assert.GreaterOrEqual(t, len(s.chunks)-2, block.MinChunks, "block %d", i)
		assert.GreaterOrEqual(t, exit.DurationMs, block.MinDurationMs, "block %d", i)
		if block.MaxDurationMs > 0 {
			assert.LessOrEqual(t, exit.DurationMs, block.MaxDurationMs, "block %d", i)
		}
	}
}
