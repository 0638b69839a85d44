package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/sandbox/sandboxtest"
)

func TestTheReadmesCurlSessionWorksAsWritten(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "<!-- tested: begin -->\n````bash\n")
	require.True(t, found)
	script, _, found := strings.Cut(rest, "````\n<!-- tested: end -->")
	require.True(t, found)

	w := newWorld(t, clockwork.NewRealClock())
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(), "RUNBOOK_URL="+w.url)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Contains(t, string(output), `/tmp\n`)
	assert.Contains(t, string(output), "All well, Ada.")
	assert.Equal(t, 2, strings.Count(string(output), `"exitCode":0,"reason":"exited"`), "%s", output)
	assert.Empty(t, sandboxtest.Containers(t, w.deployment), "the last command disconnects")
}
