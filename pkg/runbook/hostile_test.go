package runbook_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/runbook"
)

// hostileDocuments are documents of about the given size in bytes, each made to
// be as expensive as possible in its own way.
func hostileDocuments(size int) map[string]string {
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	deep := strings.Repeat("- ", 99)
	return map[string]string{
		"quotes in quotes":                 fill(">"),
		"quotes in quotes with spaces":     fill("> "),
		"lists in lists":                   fill("- ") + "x",
		"numbered lists in lists":          fill("1. ") + "x",
		"lists in quotes in lists":         fill("> - ") + "x",
		"footnotes in footnotes":           fill("[^1]: "),
		"blank lines in deep lists":        deep + "x\n" + fill("\n"),
		"spaces in deep lists":             deep + "x\n" + fill(" ") + "a",
		"tabs in deep lists":               deep + "x\n" + fill("\t") + "a",
		"tabs in a fence in deep lists":    deep + "```\n" + fill("\t"),
		"tab-indented lines in deep lists": deep + "x\n" + fill(strings.Repeat("\t", 50)+"a\n"),
		"deep lists again and again":       fill(deep + "a\n"),
		"lists that alternate with quotes": fill("> a\n- b\n"),
		"empty items":                      fill("-\n"),
		"items":                            fill("- a\n"),
		"almost a thematic break":          fill("* ") + "a",
		"fences":                           fill("```runnable bash\necho hi\n```\n\n"),
		"unclosed fences":                  fill("- ```runnable bash\n"),
		"one long fence":                   fill("`"),
		"a long fence and a shorter one":   fill("`") + "\n" + fill("`")[1:],
		"one long line":                    fill("word "),
		"one long info string":             "~~~runnable bash " + fill("a"),
		"quotes in an info string":         "~~~runnable bash " + fill(`a" `),
		"escapes in an info string":        "~~~runnable bash " + fill(`\`),
		"references in an info string":     "~~~runnable bash " + fill("&"),
		"options in an info string":        "~~~runnable bash " + fill("a=b "),
		"brackets":                         fill("["),
		"lines of brackets":                fill("[\n"),
		"link definitions":                 fill("[a]: b\n"),
		"link definitions without end":     fill("[a]:\n"),
		"link titles without end":          fill("[a]: b \"\n"),
		"a wide and long table":            strings.Repeat("|a", 1000) + "\n" + strings.Repeat("|-", 1000) + "\n" + fill("a\n"),
		"tables of delimiters":             fill("-|-\n"),
		"tags":                             fill("<"),
		"a tag with many attributes":       "<x " + fill("a=b "),
		"lines of tags":                    fill("<x a='\n"),
		"comments":                         fill("<!--\n\n"),
		"headings":                         fill("a\n=\n"),
		"lone carriage returns":            fill("\r"),
		"NUL":                              fill("\x00"),
		"bytes that are no UTF-8":          fill("\xff\xfe```\n"),
		"files in deep folders":            fill("```file text " + strings.Repeat("a/", 500) + "b\n```\n"),
		"Go with deep parentheses":         "```file go a.go\npackage main\nvar a = " + fill("("),
		"Go with deep types":               "```file go a.go\npackage main\nvar a " + fill("[]"),
	}
}

// TestHostileDocumentsAreNoBurden bounds time and memory. The bounds are loose,
// for a slow machine and the race detector: what they are there to catch takes
// minutes, and all the memory there is.
func TestHostileDocumentsAreNoBurden(t *testing.T) {
	const size = 1 << 18
	for name, markdown := range hostileDocuments(size) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			doc := runbook.Parse(markdown, runbook.Limits{})
			files := doc.GoFiles()
			took := time.Since(start)
			runtime.ReadMemStats(&after)

			assert.Less(t, took, 20*time.Second)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8000*size))
			assert.LessOrEqual(t, len(files), 1)
			if doc.Problem != "" {
				assert.Empty(t, doc.Runnable)
				assert.Empty(t, doc.Files)
			}
		})
	}
}

func TestTenThousandBlocks(t *testing.T) {
	doc := parse(strings.Repeat("```runnable bash\necho\n```\n", 10_000))
	require.Len(t, doc.Runnable, 10_000)
	last := doc.Runnable[9_999]
	assert.Equal(t, 9_999, last.Index)
	assert.Equal(t, [2]int{29_998, 30_000}, [2]int{last.StartLine, last.EndLine})
}

func TestBlocksAreFoundUpToTheDeepestNesting(t *testing.T) {
	for _, marker := range []string{"> ", "- ", "[^1]: "} {
		doc := parse(strings.Repeat(marker, runbook.MaxNesting) + "```runnable bash\n")
		assert.Empty(t, doc.Problem)
		assert.Len(t, doc.Runnable, 1)
	}
}

func TestADocumentThatNestsDeeperHasAProblemAndNoBlocks(t *testing.T) {
	for _, marker := range []string{">", "> ", "- ", "1. ", "[^1]: "} {
		doc := parse("```runnable bash\n```\n\n" + strings.Repeat(marker, runbook.MaxNesting+1) + "x\n\n```file text a\n```\n")
		assert.Equal(t, fmt.Sprintf("Line 4 nests quotes and lists more than %d levels deep.", runbook.MaxNesting), doc.Problem)
		assert.Empty(t, doc.Runnable)
		assert.Empty(t, doc.Files)
	}
}

func TestNestingIsCountedPerLineNotPerDocument(t *testing.T) {
	deep := strings.Repeat("> ", 60) + "a\n"
	doc := parse(deep + strings.Repeat("- ", 60) + "b\n" + deep + "\n```runnable bash\n```\n")
	assert.Empty(t, doc.Problem)
	assert.Len(t, doc.Runnable, 1)
}

func TestLongOrdinaryDocumentsHaveNoProblem(t *testing.T) {
	tests := map[string]string{
		"a megabyte of items":              strings.Repeat("- item\n", 150_000),
		"a megabyte of nested items":       strings.Repeat("- a\n  - b\n    - c\n\n      text\n", 35_000),
		"ten thousand blocks in one item":  "1. a\n" + strings.Repeat("\n   ```runnable bash\n   echo\n   ```\n", 10_000),
		"a hundred thousand quoted lines":  strings.Repeat("> > quoted\n", 100_000),
		"a program of 100,000 blank lines": "- ```runnable bash\n" + strings.Repeat("\n", 100_000) + "  ```\n",
	}
	for name, markdown := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Empty(t, parse(markdown).Problem)
		})
	}
}

// BenchmarkParse parses 1 MB of what a runbook consists of.
func BenchmarkParse(b *testing.B) {
	const page = "# Title\n\nSome prose with `code`, *emphasis* and a [link](https://example.com).\n\n" +
		"- a list\n  - of two levels\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n" +
		"```file python stats.py\ndef one():\n    return 1\n```\n\n" +
		"```runnable python name=\"The block\" timeout=30s\nfrom stats import one\n\nfor _ in range(10):\n\tprint(one())\n```\n\n"
	markdown := strings.Repeat(page, (1<<20)/len(page))
	b.SetBytes(int64(len(markdown)))
	b.ReportAllocs()
	for b.Loop() {
		runbook.Parse(markdown, runbook.Limits{})
	}
}
