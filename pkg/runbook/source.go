package runbook

import (
	"sort"
	"strings"
)

// tabStop is the width of CommonMark's tab stops, in columns.
const tabStop = 4

// byteOrderMark may open a file that an editor on Windows wrote.
const byteOrderMark = "\uFEFF"

// source is a document's text together with its shadow: the same lines, as
// simple as a block parser could wish for. In the shadow every line ends with
// LF, tabs are expanded to spaces, and what is only a space to some libraries
// (form feed, vertical tab) is a letter. Blocks are found in the shadow and
// then cut out of the text, so that what the parser thinks of line ends and
// tabs never reaches the code.
//
// CommonMark's own line ends are LF, CRLF and a lone CR, and a tab in it
// behaves like spaces up to the next stop wherever blocks are concerned.
// Columns count bytes from 0, which is exact for all that may stand before a
// block's text: that is ASCII.
type source struct {
	text   string
	lines  []line
	shadow []byte
}

// line is one line of a source.
type line struct {
	start, end int // in the text: first byte, and the line's end
	next       int // in the text: start of the next line
	shadow     int // in the shadow: first byte
}

func newSource(text string) *source {
	text = strings.TrimPrefix(text, byteOrderMark)
	s := &source{
		text:   text,
		lines:  make([]line, 0, strings.Count(text, "\n")+1),
		shadow: make([]byte, 0, len(text)+len(text)/8+1),
	}
	for start := 0; start < len(text); {
		end, next := lineEnd(text, start)
		s.lines = append(s.lines, line{start: start, end: end, next: next, shadow: len(s.shadow)})
		s.shadow = appendShadow(s.shadow, text[start:end])
		start = next
	}
	return s
}

// lineEnd finds the end of the line that begins at start, and the next line.
func lineEnd(text string, start int) (end, next int) {
	i := strings.IndexAny(text[start:], "\r\n")
	if i < 0 {
		return len(text), len(text)
	}
	end = start + i
	if strings.HasPrefix(text[end:], "\r\n") {
		return end, end + 2
	}
	return end, end + 1
}

func appendShadow(shadow []byte, text string) []byte {
	column := 0
	for i := range len(text) {
		width := 1
		switch c := text[i]; c {
		case '\t':
			width = toTabStop(column)
			shadow = append(shadow, "    "[:width]...)
		case '\f', '\v':
			shadow = append(shadow, 'x')
		default:
			shadow = append(shadow, c)
		}
		column += width
	}
	return append(shadow, '\n')
}

// toTabStop is how many columns a tab at the column fills, 1 to 4.
func toTabStop(column int) int { return tabStop - column%tabStop }

// position translates an offset in the shadow, which must not be empty, to a
// 0-based line and column.
func (s *source) position(offset int) (line, column int) {
	line = sort.Search(len(s.lines), func(i int) bool { return s.lines[i].shadow > offset }) - 1
	return line, offset - s.lines[line].shadow
}

// from is the text of a line from a column on, without its line end. Where the
// column falls into a tab, the rest of that tab becomes spaces; this is what
// CommonMark makes of a tab that a list or a quote uses up in part.
func (s *source) from(line, column int) string {
	text := s.text[s.lines[line].start:s.lines[line].end]
	width := 0
	for i := range len(text) {
		if width >= column {
			return strings.Repeat(" ", width-column) + text[i:]
		}
		if text[i] == '\t' {
			width += toTabStop(width)
		} else {
			width++
		}
	}
	return strings.Repeat(" ", max(width-column, 0))
}

// ending is what ends a line in a block's content: LF for LF and CRLF, and a
// lone CR as it is.
func (s *source) ending(line int) string {
	if ending := s.text[s.lines[line].end:s.lines[line].next]; ending == "\r" {
		return ending
	}
	return "\n"
}
