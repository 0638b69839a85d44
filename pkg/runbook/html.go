package runbook

import (
	"bytes"
	"regexp"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// htmlKind is one of the seven start and end conditions of HTML blocks in
// https://spec.commonmark.org/0.31.2/#html-blocks. A fence inside such a block
// is no fence.
type htmlKind struct {
	start *regexp.Regexp // matches the line that opens the block
	end   *regexp.Regexp // matches the last line; nil: the block ends before a blank line
	// afterParagraph is whether the block may follow a paragraph directly.
	afterParagraph bool
}

// Attributes may not span lines here, because conditions are about one line.
const (
	htmlTag       = `[A-Za-z][A-Za-z0-9-]*`
	htmlValue     = "(?:[^ \"'=<>`]+|'[^']*'|\"[^\"]*\")"
	htmlAttribute = ` +[A-Za-z_:][A-Za-z0-9:._-]*(?: *= *` + htmlValue + `)?`
	htmlBlockTags = `address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|` +
		`details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|` +
		`header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|` +
		`search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul`
)

var htmlKinds = []htmlKind{
	{
		start:          regexp.MustCompile(`(?i)^<(?:pre|script|style|textarea)(?: |>|$)`),
		end:            regexp.MustCompile(`(?i)</(?:pre|script|style|textarea)>`),
		afterParagraph: true,
	},
	{start: regexp.MustCompile(`^<!--`), end: regexp.MustCompile(`-->`), afterParagraph: true},
	{start: regexp.MustCompile(`^<\?`), end: regexp.MustCompile(`\?>`), afterParagraph: true},
	{start: regexp.MustCompile(`^<![A-Za-z]`), end: regexp.MustCompile(`>`), afterParagraph: true},
	{start: regexp.MustCompile(`^<!\[CDATA\[`), end: regexp.MustCompile(`\]\]>`), afterParagraph: true},
	{start: regexp.MustCompile(`(?i)^</?(?:` + htmlBlockTags + `)(?: |/?>|$)`), afterParagraph: true},
	{start: regexp.MustCompile(`^(?:<` + htmlTag + `(?:` + htmlAttribute + `)* */?>|</` + htmlTag + ` *>) *$`)},
}

// htmlBlock is how the block that opened last ends.
type htmlBlock struct {
	end *regexp.Regexp // as in htmlKind
	// ended is set when its first line is its last one already, for goldmark
	// can only close a block on the line after.
	ended bool
}

// htmlParser finds HTML blocks. It stands in for goldmark's own, which takes
// some tags for text that open a block, and the other way round.
type htmlParser struct{ opener }

func (htmlParser) Trigger() []byte { return []byte{'<'} }

func (htmlParser) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	at := pc.BlockOffset()
	if at < 0 {
		return nil, parser.NoChildren
	}
	line = bytes.TrimSuffix(line[at:], []byte{'\n'})
	for _, kind := range htmlKinds {
		if !kind.start.Match(line) {
			continue
		}
		if !kind.afterParagraph && ast.IsParagraph(pc.LastOpenedBlock().Node) {
			continue
		}
		scanOf(pc).html = htmlBlock{end: kind.end, ended: kind.end != nil && kind.end.Match(line)}
		return ast.NewHTMLBlock(ast.HTMLBlockType1), parser.NoChildren
	}
	return nil, parser.NoChildren
}

func (htmlParser) Continue(_ ast.Node, reader text.Reader, pc parser.Context) parser.State {
	block := scanOf(pc).html
	line, _ := reader.PeekLine()
	if block.ended || block.end == nil && util.IsBlank(line) {
		return parser.Close
	}
	reader.AdvanceToEOL()
	if block.end != nil && block.end.Match(line) {
		return parser.Close
	}
	return parser.Continue | parser.NoChildren
}
