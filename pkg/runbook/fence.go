package runbook

import (
	"bytes"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// fence is a fenced code block as found. Offsets are in the shadow of the
// source.
type fence struct {
	marker byte  // '`' or '~'
	length int   // of the opening marker
	indent int   // of the opening fence, in columns, inside its container
	open   int   // offset of the opening marker
	lines  []int // offset where the text of each line of content starts
	close  int   // offset of the closing marker; -1 when there is none
}

// info is the raw info string of the opening fence.
func (f *fence) info(src *source) string {
	number, column := src.position(f.open)
	return strings.TrimRight(src.from(number, column)[f.length:], " \t")
}

// content is the text inside the fence; see RunnableBlock.Code.
func (f *fence) content(src *source) string {
	var content strings.Builder
	for i, start := range f.lines {
		number, column := src.position(start)
		content.WriteString(src.from(number, column))
		if i == len(f.lines)-1 {
			content.WriteByte('\n')
			break
		}
		content.WriteString(src.ending(number))
	}
	return content.String()
}

// lineRange is where the block stands; see RunnableBlock.StartLine.
func (f *fence) lineRange(src *source) (start, end int) {
	last := f.open
	if len(f.lines) > 0 {
		last = f.lines[len(f.lines)-1]
	}
	if f.close >= 0 {
		last = f.close
	}
	first, _ := src.position(f.open)
	final, _ := src.position(last)
	return first + 1, final + 1
}

// fenceParser follows https://spec.commonmark.org/0.31.2/#fenced-code-blocks
// and remembers where everything stood.
type fenceParser struct{ opener }

func (fenceParser) Trigger() []byte { return []byte{'`', '~'} }

func (fenceParser) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, segment := reader.PeekLine()
	at := pc.BlockOffset()
	if at < 0 {
		return nil, parser.NoChildren
	}
	marker := line[at]
	length := runLength(line[at:], marker)
	if length < 3 || marker == '`' && bytes.IndexByte(line[at+length:], '`') >= 0 {
		return nil, parser.NoChildren
	}
	found := scanOf(pc)
	found.fences = append(found.fences, &fence{
		marker: marker,
		length: length,
		indent: at,
		open:   segment.Start + at,
		close:  -1,
	})
	return ast.NewFencedCodeBlock(nil), parser.NoChildren
}

func (fenceParser) Continue(_ ast.Node, reader text.Reader, pc parser.Context) parser.State {
	found := scanOf(pc)
	open := found.fences[len(found.fences)-1]
	line, segment := reader.PeekLine()
	reader.AdvanceToEOL()
	indent := runLength(line, ' ')
	if open.isClosedBy(line, indent) {
		open.close = segment.Start + indent
		return parser.Close
	}
	open.lines = append(open.lines, segment.Start+min(indent, open.indent))
	return parser.Continue | parser.NoChildren
}

func (f *fence) isClosedBy(line []byte, indent int) bool {
	length := runLength(line[indent:], f.marker)
	return indent < 4 && length >= f.length && util.IsBlank(line[indent+length:])
}
