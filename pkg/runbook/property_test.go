package runbook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"runbook/pkg/runbook"
)

// fragment is a part of a generated document and what is in it. Line numbers
// are counted from 1 inside the fragment.
type fragment struct {
	lines []string
	doc   runbook.Document
}

// TestParseFindsExactlyTheBlocksThatWereWritten writes documents of known
// blocks, listings, prose and containers, and reads them again.
func TestParseFindsExactlyTheBlocksThatWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := fragments(t, 3)
		finalNewline := rapid.Bool().Draw(t, "finalNewline")
		if rapid.Bool().Draw(t, "unclosed") {
			whole = join(whole, unclosed(t))
			finalNewline = true
		}
		ending := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "ending")
		markdown := strings.Join(whole.lines, ending)
		if finalNewline {
			markdown += ending
		}
		want := number(whole.doc)

		got := runbook.Parse(markdown, runbook.Limits{})
		requireInvariants(t, markdown, got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n(-written +read):\n%s", markdown, diff)
		}
	})
}

func number(doc runbook.Document) runbook.Document {
	for i := range doc.Runnable {
		doc.Runnable[i].Index = i
	}
	// A path may have been drawn before.
	seen := map[string]bool{}
	for i := range doc.Files {
		if path := doc.Files[i].Path; seen[path] {
			doc.Files[i].Problem = fmt.Sprintf("The file %q is already in this document.", path)
		}
		seen[doc.Files[i].Path] = true
	}
	return doc
}

func empty() fragment {
	return fragment{doc: runbook.Document{Runnable: []runbook.RunnableBlock{}, Files: []runbook.FileBlock{}}}
}

// join puts b below a, a blank line between them.
func join(a, b fragment) fragment {
	if len(a.lines) > 0 {
		a.lines = append(a.lines, "")
	}
	above := len(a.lines)
	a.lines = append(a.lines, b.lines...)
	for _, block := range b.doc.Runnable {
		block.StartLine += above
		block.EndLine += above
		a.doc.Runnable = append(a.doc.Runnable, block)
	}
	for _, block := range b.doc.Files {
		block.StartLine += above
		block.EndLine += above
		a.doc.Files = append(a.doc.Files, block)
	}
	return a
}

func fragments(t *rapid.T, depth int) fragment {
	all := empty()
	for range rapid.IntRange(1, 4).Draw(t, "fragments") {
		all = join(all, oneFragment(t, depth))
	}
	return all
}

func oneFragment(t *rapid.T, depth int) fragment {
	kinds := []string{"prose", "block", "block"}
	if depth > 0 {
		kinds = append(kinds, "quote", "item", "footnote")
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "quote":
		return quote(t, fragments(t, depth-1))
	case "item":
		return item(t, join(first(t), fragments(t, depth-1)))
	case "footnote":
		return contain(t, join(text("A note."), fragments(t, depth-1)), "[^1]: ", "    ")
	case "block":
		return block(t, strings.Repeat(" ", rapid.IntRange(0, 3).Draw(t, "indent")), true)
	default:
		return prose(t)
	}
}

// first is what may come first in a list item: something without indentation,
// which would be taken for the item's own.
func first(t *rapid.T) fragment {
	if rapid.Bool().Draw(t, "blockFirst") {
		return block(t, "", true)
	}
	return text("An item.")
}

func quote(t *rapid.T, inner fragment) fragment {
	return contain(t, inner, "> ", "> ")
}

func item(t *rapid.T, inner fragment) fragment {
	marker := rapid.SampledFrom([]string{"- ", "* ", "+   ", "1. ", "10)  "}).Draw(t, "marker")
	return contain(t, inner, marker, strings.Repeat(" ", len(marker)))
}

func contain(t *rapid.T, inner fragment, firstPrefix, prefix string) fragment {
	for i, line := range inner.lines {
		switch {
		case i == 0:
			inner.lines[i] = firstPrefix + line
		case line == "" && rapid.Bool().Draw(t, "short"):
			inner.lines[i] = strings.TrimRight(prefix, " ")
		default:
			inner.lines[i] = prefix + line
		}
	}
	return inner
}

func text(lines ...string) fragment {
	f := empty()
	f.lines = lines
	return f
}

func prose(t *rapid.T) fragment {
	return text(rapid.SampledFrom([][]string{
		{"Some prose with ```inline ticks``` and `code`."},
		{"A line", "and another one."},
		{"# A heading"},
		{"A heading", "---"},
		{"***"},
		{"| a | b |", "| - | - |", "| ``` | 1 |"},
		{"[link]: /url \"title\""},
		{"<!-- ```runnable bash -->"},
		{"<!--", "```runnable bash", "", "```", "-->"},
		{"<div>", "```runnable bash", "hidden", "```", "</div>"},
		{"An indented listing:", "", "    ```runnable bash", "    echo", "    ```"},
		{"````", "```runnable bash", "a listing about runbooks", "```", "````"},
		{"```python", "print('an ordinary listing')", "```"},
	}).Draw(t, "prose")...)
}

func unclosed(t *rapid.T) fragment { return block(t, "", false) }

// block draws a special block; indent is put before all of its lines.
func block(t *rapid.T, indent string, closed bool) fragment {
	marker := rapid.SampledFrom([]string{"`", "~"}).Draw(t, "marker")
	length := rapid.IntRange(3, 6).Draw(t, "length")
	fence := strings.Repeat(marker, length)
	code := code(t, fence)

	f := empty()
	space := rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "space")
	lines := append([]string{fence + space}, code...)
	end := len(lines)
	if closed {
		end++
		lines = append(lines, fence+rapid.SampledFrom([]string{"", marker, "  "}).Draw(t, "closing"))
	}
	content := strings.Join(append(code, ""), "\n")
	if rapid.Bool().Draw(t, "isFile") {
		path := rapid.SampledFrom([]string{"a.txt", "b/c.py", "with space"}).Draw(t, "path")
		lines[0] += fmt.Sprintf("file text %q", path)
		f.doc.Files = append(f.doc.Files, runbook.FileBlock{
			Language: "text", Path: path, Content: content, StartLine: 1, EndLine: end,
		})
	} else {
		runtime := rapid.SampledFrom([]string{"python", "node", "bash", "golang"}).Draw(t, "runtime")
		lines[0] += "runnable " + runtime + "  key=value"
		f.doc.Runnable = append(f.doc.Runnable, runbook.RunnableBlock{
			Runtime: runtime, Code: content, Options: map[string]string{"key": "value"}, StartLine: 1, EndLine: end,
		})
	}
	for _, line := range lines {
		f.lines = append(f.lines, indent+line)
	}
	return f
}

// code draws lines that don't close the fence.
func code(t *rapid.T, fence string) []string {
	lines := rapid.SliceOfN(rapid.SampledFrom([]string{
		"echo hi", "  two spaces", "    four", "\tone tab\t", " \t mixed", "", "", "   ", "trailing  ",
		"> no quote", "- no item", "1. no item", "# no heading", "<!-- no comment", "[^1]: no note", "---",
		"```", "~~~", "`````", "~~~~~~~", "```runnable bash", "é漢字\t🦫", "\\", "    ```", "    ~~~~~~",
	}), 0, 6).Draw(t, "code")
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if !strings.HasPrefix(line[indent:], fence) || strings.Trim(line[indent:], fence[:1]) != "" {
			kept = append(kept, line)
		}
	}
	return kept
}
