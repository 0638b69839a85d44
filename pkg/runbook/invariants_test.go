package runbook_test

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"runbook/pkg/runbook"
)

var lineEnding = regexp.MustCompile(`\r\n|\n|\r`)

// sourceLines splits a document as CommonMark does, independently of the code
// under test.
func sourceLines(markdown string) []string {
	lines := lineEnding.Split(markdown, -1)
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// span is the part that both kinds of blocks share.
type span struct {
	start, end int
	text       string
}

// requireInvariants checks what holds for every document whatever is in it.
func requireInvariants(t require.TestingT, markdown string, doc runbook.Document) {
	require.NotNil(t, doc.Runnable)
	require.NotNil(t, doc.Files)
	require.NotNil(t, doc.GoFiles())
	if doc.Problem != "" {
		require.Empty(t, doc.Runnable)
		require.Empty(t, doc.Files)
	}
	var spans []span
	for i, block := range doc.Runnable {
		requireRunnable(t, i, block)
		spans = append(spans, span{block.StartLine, block.EndLine, block.Code})
	}
	paths := map[string]bool{}
	for _, block := range doc.Files {
		requireFile(t, block, paths)
		spans = append(spans, span{block.StartLine, block.EndLine, block.Content})
	}
	requireAscending(t, doc)
	requireSpans(t, sourceLines(markdown), spans)
	_, err := json.Marshal(doc)
	require.NoError(t, err)
}

func requireRunnable(t require.TestingT, index int, block runbook.RunnableBlock) {
	require.Equal(t, index, block.Index)
	require.NotNil(t, block.Options)
	require.Equal(t, block.Options["name"], block.Name)
	runtime, known := runbook.FindRuntime(block.Runtime)
	if known {
		require.Equal(t, runtime.Name, block.Runtime)
	} else {
		require.NotEmpty(t, block.Problem)
	}
	require.Positive(t, block.Timeout(1))
}

func requireFile(t require.TestingT, block runbook.FileBlock, paths map[string]bool) {
	if block.Problem != "" {
		return
	}
	require.NotEmpty(t, block.Language)
	require.Equal(t, path.Clean(block.Path), block.Path)
	require.False(t, path.IsAbs(block.Path), block.Path)
	require.NotContains(t, strings.Split(block.Path, "/"), "..")
	require.NotEqual(t, ".", block.Path)
	require.False(t, paths[block.Path], "%s is there twice", block.Path)
	for other := range paths {
		require.False(t, strings.HasPrefix(other, block.Path+"/"), "%s is file and folder", block.Path)
		require.False(t, strings.HasPrefix(block.Path, other+"/"), "%s is file and folder", other)
	}
	paths[block.Path] = true
}

func requireAscending(t require.TestingT, doc runbook.Document) {
	require.True(t, slices.IsSortedFunc(doc.Runnable, func(a, b runbook.RunnableBlock) int { return a.StartLine - b.StartLine }))
	require.True(t, slices.IsSortedFunc(doc.Files, func(a, b runbook.FileBlock) int { return a.StartLine - b.StartLine }))
}

// requireSpans checks that line ranges are inside the document, don't overlap,
// and point at the text of their block.
func requireSpans(t require.TestingT, lines []string, spans []span) {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	previous := 0
	for _, s := range spans {
		require.Greater(t, s.start, previous)
		require.LessOrEqual(t, s.start, s.end)
		require.LessOrEqual(t, s.end, len(lines))
		require.Regexp(t, "```|~~~", lines[s.start-1])
		requireText(t, lines[s.start:s.end], s.text)
		previous = s.end
	}
}

// requireText checks that the lines after the opening fence are the text, with
// or without a closing fence. In front of the text a line may have the
// markers and the indentation of containers.
func requireText(t require.TestingT, lines []string, text string) {
	if text == "" {
		require.LessOrEqual(t, len(lines), 1)
		return
	}
	code := codeLines(text)
	require.Contains(t, []int{len(code), len(code) + 1}, len(lines))
	for i, line := range code {
		line = strings.TrimLeft(line, " ")
		require.True(t, strings.HasSuffix(lines[i], line), "%q does not end with %q", lines[i], line)
	}
	if len(lines) > len(code) {
		require.Regexp(t, "(```|~~~)[ \t]*$", lines[len(lines)-1])
	}
}

// codeLines splits code at every LF and CR. CR LF does not end one line here
// but two: a lone CR before an empty line.
func codeLines(text string) []string {
	var lines []string
	for text != "" {
		end := strings.IndexAny(text, "\r\n")
		if end < 0 {
			return append(lines, "the last line has no line end")
		}
		lines = append(lines, text[:end])
		text = text[end+1:]
	}
	return lines
}
