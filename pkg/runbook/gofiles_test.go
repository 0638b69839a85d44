package runbook_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGoFiles(t *testing.T) {
	const helper = "package main\nfunc help() {}\n"
	tests := map[string]struct {
		info, content string
		compiled      bool
	}{
		"a helper":                           {"go a.go", helper, true},
		"a helper in the other name of Go":   {"golang a.go", helper, true},
		"a helper whose language is no name": {"text a.go", helper, true},
		"a helper with a method called main": {"go a.go", "package main\ntype t int\nfunc (t) main() {}\n", true},
		"a helper with a syntax error":       {"go a.go", "package main\nfunc {", true},
		"an empty file":                      {"go a.go", "", true},
		"text that is not Go":                {"go a.go", "hello\n", true},
		"a file in a folder":                 {"go a/b.go", helper, false},
		"a file with another extension":      {"go a.txt", helper, false},
		"a test":                             {"go a_test.go", helper, false},
		"a name that the go command ignores": {"go _a.go", helper, false},
		"a hidden name":                      {"go .a.go", helper, false},
		"another package":                    {"go a.go", "package utils\n", false},
		"a program of its own":               {"go a.go", "package main\nfunc main() {}\n", false},
		"a file with a problem":              {"go /a.go", helper, false},
		"a file that something comes after":  {"go a.go b.go", helper, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			doc := parse("```file " + test.info + "\n" + test.content + "```\n")
			if !test.compiled {
				assert.Empty(t, doc.GoFiles())
				return
			}
			assert.Equal(t, []string{"a.go"}, doc.GoFiles())
		})
	}
}

func TestGoFilesAreInDocumentOrder(t *testing.T) {
	doc := parse("```file go b.go\npackage main\n```\n```file go a.go\npackage main\n```\n```file go ./a.go\n```\n")
	assert.Equal(t, []string{"b.go", "a.go"}, doc.GoFiles())
}
