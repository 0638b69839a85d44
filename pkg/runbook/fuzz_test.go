package runbook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"runbook/pkg/runbook"
)

// FuzzParse checks what holds for every document, and what must not change a
// document's blocks.
func FuzzParse(f *testing.F) {
	for _, markdown := range corpusDocuments(f) {
		f.Add(markdown)
	}
	for _, document := range hostileDocuments(1 << 10) {
		f.Add(document)
	}
	f.Add(runbook.Tour)
	f.Fuzz(func(t *testing.T, markdown string) {
		limits := runbook.Limits{MaxTimeout: time.Hour}
		doc := runbook.Parse(markdown, limits)
		requireInvariants(t, markdown, doc)
		if doc.Problem != "" {
			return
		}
		if !strings.Contains(markdown, "\r") {
			requireEqual(t, doc, runbook.Parse(strings.ReplaceAll(markdown, "\n", "\r\n"), limits), 0)
		}
		if strings.HasPrefix(markdown, "\uFEFF") {
			return
		}
		requireEqual(t, doc, runbook.Parse("Prose.\n\n"+markdown, limits), 2)
		// Elsewhere on the line, a tab has another width.
		if strings.ContainsAny(markdown, "\t\r") || markdown == "" {
			return
		}
		requireEqual(t, doc, runbook.Parse(contained(markdown, "> ", "> "), limits), 0)
		requireEqual(t, doc, runbook.Parse(contained(markdown, "- An item.\n\n  ", "  "), limits), 2)
	})
}

// contained is a document inside a quote or a list item.
func contained(markdown, firstPrefix, prefix string) string {
	return firstPrefix + strings.ReplaceAll(strings.TrimSuffix(markdown, "\n"), "\n", "\n"+prefix) + "\n"
}

// requireEqual compares a document with one that has the same blocks some
// lines further down.
func requireEqual(t *testing.T, want, got runbook.Document, below int) {
	t.Helper()
	if got.Problem != "" {
		return // one level more was too much
	}
	for i := range got.Runnable {
		got.Runnable[i].StartLine -= below
		got.Runnable[i].EndLine -= below
	}
	for i := range got.Files {
		got.Files[i].StartLine -= below
		got.Files[i].EndLine -= below
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}
