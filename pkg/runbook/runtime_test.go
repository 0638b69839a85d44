package runbook_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/runbook"
)

func TestRuntimesAreInTheOrderInWhichTheyAreShown(t *testing.T) {
	var names []string
	for _, r := range runbook.Runtimes() {
		names = append(names, r.Name)
	}
	assert.Equal(t, []string{"python", "node", "bash", "golang"}, names)
}

func TestEveryRuntimeIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range runbook.Runtimes() {
		assert.NotEmpty(t, r.Label)
		assert.Regexp(t, `^\.[a-z]+$`, r.Extension)
		assert.NotEmpty(t, r.Command)
		assert.NotEmpty(t, r.VersionCommand)
		for _, name := range append(r.Aliases, r.Name) {
			assert.False(t, seen[name], "%s means two runtimes", name)
			seen[name] = true
			found, ok := runbook.FindRuntime(name)
			require.True(t, ok)
			assert.Equal(t, r.Name, found.Name)
		}
	}
}

func TestAnUnknownRuntimeIsNotFound(t *testing.T) {
	for _, name := range []string{"", "cobol", "python2", " bash"} {
		_, ok := runbook.FindRuntime(name)
		assert.False(t, ok, name)
	}
}

func TestCallersCanNotChangeTheTable(t *testing.T) {
	runbook.Runtimes()[0].Command[0] = "rm"
	found, _ := runbook.FindRuntime("python")
	found.Command[1] = "-rf"
	again, _ := runbook.FindRuntime("python")
	assert.Equal(t, []string{"python3", "-u"}, again.Command)
}
