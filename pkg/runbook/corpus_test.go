package runbook_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"runbook/pkg/runbook"
)

var update = flag.Bool("update", false, "write what Parse returns into testdata/corpus/*.json")

const corpus = "testdata/corpus"

// TestCorpus parses whole documents. Each NAME.md has its blocks in NAME.json.
func TestCorpus(t *testing.T) {
	for name, markdown := range corpusDocuments(t) {
		t.Run(name, func(t *testing.T) {
			doc := runbook.Parse(markdown, runbook.Limits{MaxTimeout: time.Hour})
			requireInvariants(t, markdown, doc)
			got, err := json.MarshalIndent(map[string]any{"runnable": doc.Runnable, "files": doc.Files}, "", "  ")
			require.NoError(t, err)
			golden := filepath.Join(corpus, name+".json")
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("blocks differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// corpusDocuments reads the corpus: names without extension and Markdown.
func corpusDocuments(tb testing.TB) map[string]string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(corpus, "*.md"))
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	documents := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(tb, err)
		documents[strings.TrimSuffix(filepath.Base(file), ".md")] = string(content)
	}
	return documents
}
