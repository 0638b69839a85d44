package runbook

import (
	"fmt"
	"regexp"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// limited guards a parser of containers against documents that are nested
// without end. Once there is a problem, no container opens and none stays
// open, so that what is left of the document takes no time.
type limited struct{ parser.BlockParser }

func (l limited) Open(parent ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	found := scanOf(pc)
	if found.problem != "" {
		return nil, parser.NoChildren
	}
	number, _ := reader.Position()
	node, state := l.BlockParser.Open(parent, reader, pc)
	if node == nil {
		return node, state
	}
	found.spend(openingWork)
	// What is open is never less than what is nested, and known at once.
	if len(pc.OpenedBlocks()) >= MaxNesting && nesting(parent) >= MaxNesting {
		found.problem = fmt.Sprintf("Line %d nests quotes and lists more than %d levels deep.", number+1, MaxNesting)
	}
	return node, state
}

func (l limited) Continue(node ast.Node, reader text.Reader, pc parser.Context) parser.State {
	// Every container looks at the line's indentation again.
	const columns = 32
	line, _ := reader.PeekLine()
	found := scanOf(pc)
	found.spend(1 + runLength(line, ' ')/columns)
	if found.problem != "" {
		return parser.Close
	}
	return l.BlockParser.Continue(node, reader, pc)
}

// nesting is how many containers a node and its ancestors are.
func nesting(node ast.Node) int {
	levels := -1 // the document is none
	for ; node != nil; node = node.Parent() {
		levels++
	}
	return levels
}

// itemParser finds list items, by the rules of
// https://spec.commonmark.org/0.31.2/#list-items. Which list an item belongs to
// is nothing to a fence, so there are no lists, and none of the cases where
// goldmark's own parsers lose track of an empty item.
//
// Of a whitespace-only line it takes no more than the item's indentation: the
// rest belongs to the code of a fence in the item, and code is not trimmed.
type itemParser struct{ opener }

func (itemParser) Trigger() []byte { return []byte("-+*0123456789") }

func (itemParser) Open(parent ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	at := pc.BlockOffset()
	if at < 0 {
		return nil, parser.NoChildren
	}
	marker, first := listMarker(line[at:])
	if marker == 0 {
		return nil, parser.NoChildren
	}
	rest := line[at+marker:]
	spaces := runLength(rest, ' ')
	blank := util.IsBlank(rest)
	if spaces == 0 && !blank {
		return nil, parser.NoChildren
	}
	if last := pc.LastOpenedBlock().Node; ast.IsParagraph(last) && last.Parent() == parent && (blank || !first) {
		return nil, parser.NoChildren
	}
	reader.Advance(at + marker + min(spaces, 1))
	if blank || spaces > 4 { // beyond that it is an indented listing
		return ast.NewListItem(at + marker + 1), parser.HasChildren
	}
	reader.Advance(spaces - 1)
	return ast.NewListItem(at + marker + spaces), parser.HasChildren
}

// listMarker is the length of the list marker that the line starts with; 0 is
// none. Only the first item of a list may follow a paragraph directly.
func listMarker(line []byte) (length int, first bool) {
	digits := 0
	for digits < len(line) && util.IsNumeric(line[digits]) {
		digits++
	}
	switch {
	case digits == 0:
		return 1, true // one of Trigger's bullets
	case digits > 9 || digits == len(line) || line[digits] != '.' && line[digits] != ')':
		return 0, false
	}
	zeros := runLength(line, '0')
	return digits + 1, zeros == digits-1 && line[zeros] == '1'
}

func (itemParser) Continue(node ast.Node, reader text.Reader, _ parser.Context) parser.State {
	item, ok := node.(*ast.ListItem)
	if !ok {
		return parser.Close
	}
	line, _ := reader.PeekLine()
	indent := runLength(line, ' ')
	if util.IsBlank(line) {
		// An item can begin with at most one blank line, that of its marker.
		if item.ChildCount() == 0 {
			return parser.Close
		}
	} else if indent < item.Offset {
		return parser.Close
	}
	reader.Advance(min(indent, item.Offset))
	return parser.Continue | parser.HasChildren
}

// noteParser finds footnote definitions, `[^label]: text`, which GitHub and the
// web app's renderer know beyond the GFM specification: what is indented by
// four columns below one belongs to it, and may be a fence. To goldmark they
// are quotes; only the nesting matters here.
type noteParser struct{ opener }

// A label has no whitespace, and no brackets but escaped ones.
var noteStart = regexp.MustCompile(`^\[\^(?:\\[\[\]\\]|[^\[\]\s])+\]: *`)

const noteIndent = 4

func (noteParser) Trigger() []byte { return []byte{'['} }

func (noteParser) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	at := pc.BlockOffset()
	if at < 0 {
		return nil, parser.NoChildren
	}
	start := noteStart.Find(line[at:])
	if start == nil {
		return nil, parser.NoChildren
	}
	reader.Advance(at + len(start))
	return ast.NewBlockquote(), parser.HasChildren
}

func (noteParser) Continue(_ ast.Node, reader text.Reader, _ parser.Context) parser.State {
	line, _ := reader.PeekLine()
	indent := runLength(line, ' ')
	if indent < noteIndent && !util.IsBlank(line) {
		return parser.Close
	}
	reader.Advance(min(indent, noteIndent))
	return parser.Continue | parser.HasChildren
}
