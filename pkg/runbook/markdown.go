package runbook

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// MaxNesting is how many levels of quotes, list items and footnotes may stand
// inside each other, 100 as on GitHub (cmark-gfm). Each level costs time on
// every line, so that without a limit a document of 1 MB could keep the server
// busy for hours.
const MaxNesting = 100

// maxWork bounds what nesting below MaxNesting costs: the sum over all lines
// of the containers that are open there, of which a level of a list is two. A
// line that is indented far counts as several, see visit. No document written
// by hand comes near it: it takes 10,000 lines that are 50 levels deep.
const maxWork = 1_000_000

// openingWork is what it costs to open a container, in the same measure.
const openingWork = 4

// maxTransformed is the size in bytes up to which a paragraph is examined for
// being a table or link definitions after all. It only decides whether an
// underline below one makes it a heading, which can matter to a fence in
// contrived cases only, and takes goldmark quadratic time.
const maxTransformed = 1000

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

// scan is what one parse gathers. It travels in goldmark's context.
type scan struct {
	fences  []*fence  // in the order in which they open; the last may be open
	html    htmlBlock // that opened last
	work    int       // see maxWork
	problem string    // why parsing was given up; empty otherwise
}

var scanKey = parser.NewContextKey()

func scanOf(pc parser.Context) *scan { return pc.Get(scanKey).(*scan) } //nolint:forcetypeassert // set by findFences before anything can ask

// blockParser finds blocks only: what is inside a paragraph can't be a fence.
// Where goldmark differs from the CommonMark specification in a way that
// matters to fences, a parser of our own stands in for its own.
var blockParser = parser.NewParser(
	parser.WithBlockParsers(
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(limited{parser.NewListParser()}, 300),
		util.Prioritized(listItemParser{parser.NewListItemParser()}, 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(fenceParser{}, 700),
		util.Prioritized(limited{parser.NewBlockquoteParser()}, 800),
		util.Prioritized(htmlParser{}, 900),
		util.Prioritized(limited{footnoteParser{}}, 950),
		util.Prioritized(parser.NewParagraphParser(), 1000),
	),
	parser.WithParagraphTransformers(
		util.Prioritized(shortOnly{parser.LinkReferenceParagraphTransformer}, 100),
		util.Prioritized(shortOnly{extension.NewTableParagraphTransformer()}, 200),
	),
)

// findFences finds all fenced code blocks of a document, in order. A problem,
// when there is one, says why it can't.
func findFences(s *source) (fences []*fence, problem string) {
	found := &scan{}
	pc := parser.NewContext()
	pc.Set(scanKey, found)
	blockParser.Parse(text.NewReader(s.shadow), parser.WithContext(pc))
	if found.problem != "" {
		return nil, found.problem
	}
	return found.fences, ""
}

// leaf is what the parsers of blocks without children have in common.
type leaf struct{}

func (leaf) Close(ast.Node, text.Reader, parser.Context) {}
func (leaf) CanInterruptParagraph() bool                 { return true }
func (leaf) CanAcceptIndentedLine() bool                 { return false }

// fenceParser follows https://spec.commonmark.org/0.31.2/#fenced-code-blocks
// and remembers where everything stood.
type fenceParser struct{ leaf }

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

// runLength is how often the byte is repeated at the start of the line.
func runLength(line []byte, c byte) int {
	n := 0
	for n < len(line) && line[n] == c {
		n++
	}
	return n
}

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
	if !scanOf(pc).visit(reader) {
		return parser.Close
	}
	return l.BlockParser.Continue(node, reader, pc)
}

// visit accounts for one container on one line, and tells whether to go on.
// Each container looks at the line's indentation again.
func (s *scan) visit(reader text.Reader) bool {
	const columns = 32
	line, _ := reader.PeekLine()
	s.spend(1 + runLength(line, ' ')/columns)
	return s.problem == ""
}

func (s *scan) spend(work int) {
	s.work += work
	if s.work > maxWork && s.problem == "" {
		s.problem = "The document has too many lines inside lists, quotes or footnotes."
	}
}

// shortOnly leaves paragraphs alone that are longer than maxTransformed.
type shortOnly struct{ parser.ParagraphTransformer }

func (s shortOnly) Transform(node *ast.Paragraph, reader text.Reader, pc parser.Context) {
	lines := node.Lines()
	if lines.Len() == 0 || lines.At(lines.Len()-1).Stop-lines.At(0).Start > maxTransformed {
		return
	}
	s.ParagraphTransformer.Transform(node, reader, pc)
}

func nesting(node ast.Node) int {
	levels := 0
	for ; node != nil; node = node.Parent() {
		if kind := node.Kind(); kind == ast.KindListItem || kind == ast.KindBlockquote {
			levels++
		}
	}
	return levels
}

// listItemParser keeps what a whitespace-only line has beyond the item's own
// indentation: it belongs to the code of a fence in the item, and code is not
// trimmed. A list item is never refused, for goldmark counts on a list having
// one; its list is.
type listItemParser struct{ parser.BlockParser }

func (p listItemParser) Continue(node ast.Node, reader text.Reader, pc parser.Context) parser.State {
	if !scanOf(pc).visit(reader) {
		return parser.Close
	}
	line, _ := reader.PeekLine()
	item, ok := node.(*ast.ListItem)
	if !ok || !util.IsBlank(line) {
		return p.BlockParser.Continue(node, reader, pc)
	}
	reader.Advance(min(item.Offset, len(line)-1))
	return parser.Continue | parser.HasChildren
}

// footnoteParser finds footnote definitions, `[^label]: text`, which GitHub
// and the web app's renderer know beyond the GFM specification: what is
// indented by four columns below one belongs to it, and may be a fence. To
// goldmark they are quotes; only the nesting matters here.
type footnoteParser struct{}

// A label has no whitespace, and no brackets but escaped ones.
var footnoteStart = regexp.MustCompile(`^\[\^(?:\\[\[\]\\]|[^\[\]\s])+\]: *`)

const footnoteIndent = 4

func (footnoteParser) Trigger() []byte { return []byte{'['} }

func (footnoteParser) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	at := pc.BlockOffset()
	if at < 0 {
		return nil, parser.NoChildren
	}
	start := footnoteStart.Find(line[at:])
	if start == nil {
		return nil, parser.NoChildren
	}
	reader.Advance(at + len(start))
	return ast.NewBlockquote(), parser.HasChildren
}

func (footnoteParser) Continue(_ ast.Node, reader text.Reader, _ parser.Context) parser.State {
	line, _ := reader.PeekLine()
	indent := runLength(line, ' ')
	if indent < footnoteIndent && !util.IsBlank(line) {
		return parser.Close
	}
	reader.Advance(min(indent, footnoteIndent))
	return parser.Continue | parser.HasChildren
}

func (footnoteParser) Close(ast.Node, text.Reader, parser.Context) {}
func (footnoteParser) CanInterruptParagraph() bool                 { return true }
func (footnoteParser) CanAcceptIndentedLine() bool                 { return false }
