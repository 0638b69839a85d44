package runbook

import (
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
// of the containers that are open there, where a line that is indented far
// counts as several. No document written by hand comes near it: it takes
// 20,000 lines that are 50 levels deep.
const maxWork = 1_000_000

// openingWork is what it costs to open a container, in the same measure.
const openingWork = 2

// maxTransformed is the size in bytes up to which a paragraph is examined for
// being a table or link definitions after all. It only decides whether an
// underline below one makes it a heading, which can matter to a fence in
// contrived cases only, and takes goldmark quadratic time.
const maxTransformed = 1000

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
//
// To goldmark a table is a paragraph until it ends, so that the few things that
// can't follow a paragraph without a blank line can't follow a table either; on
// GitHub they can.
var blockParser = parser.NewParser(
	parser.WithBlockParsers(
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(limited{itemParser{}}, 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(fenceParser{}, 700),
		util.Prioritized(limited{parser.NewBlockquoteParser()}, 800),
		util.Prioritized(htmlParser{}, 900),
		util.Prioritized(limited{noteParser{}}, 950),
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

// spend accounts for work, see maxWork.
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

// opener is what our block parsers have in common: their blocks need no
// closing, may follow a paragraph directly, and start with less than four
// columns of indentation.
type opener struct{}

func (opener) Close(ast.Node, text.Reader, parser.Context) {}
func (opener) CanInterruptParagraph() bool                 { return true }
func (opener) CanAcceptIndentedLine() bool                 { return false }

// runLength is how often the byte is repeated at the start of the line.
func runLength(line []byte, c byte) int {
	n := 0
	for n < len(line) && line[n] == c {
		n++
	}
	return n
}
