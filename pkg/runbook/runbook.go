// Package runbook turns a Markdown document into the blocks that can run and
// the files they need. It is pure: no I/O, no clock, no state.
//
// A document is CommonMark with GitHub's extensions. Two kinds of fenced code
// block in it are special, told by the first word of the info string:
//
//	```runnable <runtime> [key=value …]
//	```file <language> <path>
//
// Both words are lower case and exact; any other fence is an ordinary listing.
// How an info string is split into words, and how a word may contain spaces,
// see splitInfo.
package runbook

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The first words of the info strings of special blocks.
const (
	runnableKeyword = "runnable"
	fileKeyword     = "file"
)

// The options that mean something on a runnable block.
const (
	nameOption    = "name"
	timeoutOption = "timeout"
)

// minTimeout is the finest timeout that reaches a container, where it is
// counted in milliseconds.
const minTimeout = time.Millisecond

// RunnableBlock is a fenced block that can be run. A block with a Problem
// can't, but is a block all the same and keeps its index.
type RunnableBlock struct {
	// Index is the 0-based position among the document's runnable blocks.
	Index int `json:"index"`
	// Runtime is the canonical name, or the word as written when no runtime is
	// called that; empty when there is none.
	Runtime string `json:"runtime"`
	// Code is exactly what was written, with every line ended by LF: the last
	// one too, and those that ended with CRLF. A lone CR, which CommonMark
	// counts as a line end, stays a CR, except as the very last. Inside lists
	// and quotes their markers and indentation are not part of the code; a tab
	// that is so in part leaves spaces, as CommonMark has it. A block without
	// lines has the code "".
	Code string `json:"code"`
	// Name is the option `name=`.
	Name string `json:"name,omitempty"`
	// Options are all options as written, known or not. A word without "=" is
	// an option with an empty value; of equal keys the last counts. Never nil.
	Options map[string]string `json:"options"`
	// StartLine is the line of the opening fence and EndLine that of the
	// closing one, or the last line of code when the block is ended by the end
	// of the document or of the list, quote or footnote around it. Lines are
	// those of the document as a whole, counted from 1, also for a fence that
	// is inside a container; LF, CRLF and a lone CR each end one. Lines of
	// blocks never overlap: StartLine <= EndLine < StartLine of the next one.
	StartLine int `json:"startLine"`
	EndLine   int `json:"endLine"`
	// Problem says in whole sentences why the block can't run; empty if it can.
	Problem string `json:"problem,omitempty"`
}

// Timeout is how long the block may run: its option `timeout=` if it has a
// valid one, otherwise def.
func (b RunnableBlock) Timeout(def time.Duration) time.Duration {
	timeout, err := time.ParseDuration(b.Options[timeoutOption])
	if err != nil || timeout < minTimeout {
		return def
	}
	return timeout
}

// FileBlock is a fenced block whose content is put into /tmp/Path before
// anything runs. A block with a Problem is not.
type FileBlock struct {
	// Language is the word as written. It is for colouring only.
	Language string `json:"language"`
	// Path is relative to /tmp and canonical (`a/b` for `./a//b`), or as
	// written when there is a Problem.
	Path string `json:"path"`
	// Content follows the same rules as RunnableBlock.Code.
	Content string `json:"content"`
	// StartLine and EndLine are as in RunnableBlock.
	StartLine int `json:"startLine"`
	EndLine   int `json:"endLine"`
	// Problem says in whole sentences why there will be no such file; empty if
	// there will.
	Problem string `json:"problem,omitempty"`
}

// Document is what a runbook consists of besides prose, in document order.
type Document struct {
	// Runnable and Files are never nil.
	Runnable []RunnableBlock
	Files    []FileBlock
	// Problem says in a sentence why the document as a whole can't be read; it
	// then has no blocks. Empty for all but documents made to exhaust the
	// server: see MaxNesting.
	Problem string
}

// Limits are what the server sets and a document has to keep to.
type Limits struct {
	// MaxTimeout is the longest `timeout=`; 0 is no limit.
	MaxTimeout time.Duration
}

// Parse finds the blocks of a document. It never fails: what is wrong with a
// block is its Problem, and takes nothing away from the others. Markdown may
// be any string, also one that is not UTF-8, and may start with a byte order
// mark. The time taken is proportional to the length, and below a second per
// megabyte whatever is in it.
func Parse(markdown string, limits Limits) Document {
	doc := Document{Runnable: []RunnableBlock{}, Files: []FileBlock{}}
	src := newSource(markdown)
	fences, problem := findFences(src)
	if problem != "" {
		doc.Problem = problem
		return doc
	}
	files := newTree()
	for _, f := range fences {
		words := splitInfo(f.info(src))
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case runnableKeyword:
			block := runnableBlock(src, f, words[1:], limits)
			block.Index = len(doc.Runnable)
			doc.Runnable = append(doc.Runnable, block)
		case fileKeyword:
			doc.Files = append(doc.Files, fileBlock(src, f, words[1:], files))
		}
	}
	return doc
}

func runnableBlock(src *source, f *fence, words []string, limits Limits) RunnableBlock {
	block := RunnableBlock{Code: f.content(src), Options: map[string]string{}}
	block.StartLine, block.EndLine = f.lineRange(src)
	// An option in the runtime's place means that the runtime was forgotten.
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		block.Runtime = words[0]
		words = words[1:]
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		block.Options[key] = value
	}
	block.Name = block.Options[nameOption]

	var problems []string
	if runtime, ok := FindRuntime(block.Runtime); ok {
		block.Runtime = runtime.Name
	} else {
		problems = append(problems, runtimeProblem(block.Runtime))
	}
	if name, ok := block.Options[nameOption]; ok {
		problems = append(problems, nameProblem(name))
	}
	if timeout, ok := block.Options[timeoutOption]; ok {
		problems = append(problems, timeoutProblem(timeout, limits.MaxTimeout))
	}
	block.Problem = join(problems)
	return block
}

// join makes one text of the sentences that aren't empty.
func join(sentences []string) string {
	return strings.TrimSpace(strings.Join(sentences, " "))
}

func runtimeProblem(runtime string) string {
	if runtime == "" {
		return fmt.Sprintf("Say after %q which runtime runs this block: %s.", runnableKeyword, runtimeNames())
	}
	return fmt.Sprintf("The runtime %s is unknown; use %s.", quote(runtime), runtimeNames())
}

func nameProblem(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "The name is empty; write name=hello or leave it out."
	case strings.ContainsFunc(name, unicode.IsControl):
		return "The name contains a control character."
	}
	return ""
}

func timeoutProblem(timeout string, most time.Duration) string {
	d, err := time.ParseDuration(timeout)
	switch {
	case err != nil:
		return fmt.Sprintf("The timeout %s is not a duration; write it like 30s or 5m.", quote(timeout))
	case d < minTimeout:
		return fmt.Sprintf("The timeout %s is too short; write it like 30s or 5m.", quote(timeout))
	case most > 0 && d > most:
		return fmt.Sprintf("The timeout %s is over this server's limit of %s.", quote(timeout), most)
	}
	return ""
}

func fileBlock(src *source, f *fence, words []string, files *tree) FileBlock {
	block := FileBlock{Content: f.content(src)}
	block.StartLine, block.EndLine = f.lineRange(src)
	if len(words) > 0 {
		block.Language = words[0]
	}
	if len(words) < 2 {
		block.Problem = "Say after \"file\" which language and which path, like ```file python lib/stats.py."
		return block
	}
	block.Path = words[1]
	if problem := extraWordsProblem(words[2:]); problem != "" {
		block.Problem = problem
		return block
	}
	cleaned, problem := cleanPath(block.Path)
	if problem == "" {
		problem = files.add(cleaned)
	}
	if problem != "" {
		block.Problem = problem
		return block
	}
	block.Path = cleaned
	return block
}

// extraWordsProblem objects to words after a path: without quotes, a path with
// spaces would silently lose all but its first word. Options mean nothing on a
// file block, and are ignored like unknown ones anywhere.
func extraWordsProblem(words []string) string {
	for _, word := range words {
		if !strings.Contains(word, "=") {
			return fmt.Sprintf("There is %s after the path; a path with spaces needs double quotes around it.", quote(word))
		}
	}
	return ""
}
