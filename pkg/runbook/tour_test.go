package runbook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"runbook/pkg/runbook"
)

func TestTheTourHasNoProblems(t *testing.T) {
	doc := parse(runbook.Tour)
	requireInvariants(t, runbook.Tour, doc)
	assert.Empty(t, doc.Problem)
	for _, block := range doc.Runnable {
		assert.Empty(t, block.Problem, "line %d", block.StartLine)
	}
	for _, block := range doc.Files {
		assert.Empty(t, block.Problem, "line %d", block.StartLine)
	}
}

func TestTheTourShowsEverything(t *testing.T) {
	doc := parse(runbook.Tour)
	runtimes, names := map[string]bool{}, map[string]bool{}
	shortest := time.Hour
	for _, block := range doc.Runnable {
		runtimes[block.Runtime] = true
		assert.NotEmpty(t, block.Name, "line %d", block.StartLine)
		assert.False(t, names[block.Name], "two blocks are called %s", block.Name)
		names[block.Name] = true
		shortest = min(shortest, block.Timeout(time.Hour))
	}
	for _, r := range runbook.Runtimes() {
		assert.True(t, runtimes[r.Name], "no block in %s", r.Label)
	}
	assert.NotEmpty(t, doc.Files)
	assert.NotEmpty(t, doc.GoFiles())
	assert.LessOrEqual(t, shortest, 3*time.Second, "a block shows what a timeout does")
}

func TestTheTourStartsWithItsTitle(t *testing.T) {
	assert.True(t, strings.HasPrefix(runbook.Tour, "# "+runbook.TourTitle+"\n"))
}
