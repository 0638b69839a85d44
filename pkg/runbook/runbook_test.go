package runbook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/runbook"
)

// parse parses under the limits of a server.
func parse(markdown string) runbook.Document {
	return runbook.Parse(markdown, runbook.Limits{MaxTimeout: 10 * time.Minute})
}

// runnable parses a document that has exactly one runnable block.
func runnable(t *testing.T, markdown string) runbook.RunnableBlock {
	t.Helper()
	doc := parse(markdown)
	requireInvariants(t, markdown, doc)
	require.Len(t, doc.Runnable, 1)
	return doc.Runnable[0]
}

func TestADocumentOfBothKindsOfBlocks(t *testing.T) {
	doc := parse(strings.Join([]string{
		"# Title",
		"```file python lib/stats.py",
		"def one(): return 1",
		"```",
		"",
		"```python",
		"print('a listing')",
		"```",
		"",
		"```runnable py name=count timeout=30s",
		"from lib.stats import one",
		"",
		"  print(one())  ",
		"```",
		"~~~runnable node",
		"~~~",
	}, "\n"))

	want := runbook.Document{
		Runnable: []runbook.RunnableBlock{
			{
				Index: 0, Runtime: "python", Code: "from lib.stats import one\n\n  print(one())  \n", Name: "count",
				Options:   map[string]string{"name": "count", "timeout": "30s"},
				StartLine: 10, EndLine: 14,
			},
			{Index: 1, Runtime: "node", Options: map[string]string{}, StartLine: 15, EndLine: 16},
		},
		Files: []runbook.FileBlock{
			{Language: "python", Path: "lib/stats.py", Content: "def one(): return 1\n", StartLine: 2, EndLine: 4},
		},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAnEmptyDocumentHasEmptyListsNotNull(t *testing.T) {
	for _, markdown := range []string{"", "\n", "\uFEFF", "text", "```\ncode\n```"} {
		doc := parse(markdown)
		assert.NotNil(t, doc.Runnable)
		assert.NotNil(t, doc.Files)
		assert.Empty(t, doc.Runnable)
		assert.Empty(t, doc.Files)
		assert.Empty(t, doc.Problem)
	}
}

func TestBlocksInJSON(t *testing.T) {
	doc := parse("```runnable cobol\n```\n```file text /a\n```\n")
	got, err := json.Marshal([]any{doc.Runnable, doc.Files})
	require.NoError(t, err)
	require.JSONEq(t, `[
		[{"index": 0, "runtime": "cobol", "code": "", "options": {}, "startLine": 1, "endLine": 2,
			"problem": "The runtime \"cobol\" is unknown; use python, node, bash or golang."}],
		[{"language": "text", "path": "/a", "content": "", "startLine": 3, "endLine": 4,
			"problem": "The path \"/a\" is absolute; write it relative to /tmp."}]
	]`, string(got))
}

func TestCode(t *testing.T) {
	tests := map[string]struct{ markdown, code string }{
		"nothing is trimmed":                             {"```runnable sh\n\n  a  \t\n\n\n```", "\n  a  \t\n\n\n"},
		"a block without lines is empty":                 {"```runnable sh\n```", ""},
		"a block with one empty line is that line":       {"```runnable sh\n\n```", "\n"},
		"a last line without line end gets one":          {"```runnable sh\na", "a\n"},
		"an opening fence at the very end has no code":   {"```runnable sh", ""},
		"CRLF becomes LF":                                {"```runnable sh\r\na\r\n\r\nb\r\n```\r\n", "a\n\nb\n"},
		"a lone CR ends a line and stays":                {"```runnable sh\na\rb\n```", "a\rb\n"},
		"the final newline is LF, whatever it was":       {"```runnable sh\ra\r```\r", "a\n"},
		"form feed and vertical tab are text":            {"```runnable sh\n\f\v\n```\f\n```", "\f\v\n```\f\n"},
		"other Unicode line separators are text":         {"```runnable sh\na\u2028b\u0085c\n```", "a\u2028b\u0085c\n"},
		"NUL and bytes that are no UTF-8 stay":           {"```runnable sh\n\x00\xff\n```", "\x00\xff\n"},
		"whitespace beyond a list's indentation stays":   {"- ```runnable sh\n  a\n     \n  b\n  ```", "a\n   \nb\n"},
		"a blank line in a list may be short":            {"-   ```runnable sh\n    a\n \n\n    b\n    ```", "a\n\n\nb\n"},
		"a tab that is half indentation becomes spaces":  {"- ```runnable sh\n\ta\n  ```", "  a\n"},
		"a tab after the indentation stays":              {"- ```runnable sh\n  \ta\n  ```", "\ta\n"},
		"tabs in a quote count from the line's start":    {"> ```runnable sh\n> \ta\n>\tb\n> ```", "\ta\n  b\n"},
		"a tab after non-ASCII text does no harm":        {"> ```runnable sh\n> é\tü\t\n> ```", "é\tü\t\n"},
		"a quote's space is optional on every line":      {">```runnable sh\n>a\n> b\n>  c\n>```", "a\nb\n c\n"},
		"an unclosed fence in a quote ends with it":      {"> ```runnable sh\n> a\nb", "a\n"},
		"trailing blank lines of an unclosed fence stay": {"```runnable sh\na\n\n\n", "a\n\n\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.code, runnable(t, test.markdown).Code)
		})
	}
}

func TestLineRanges(t *testing.T) {
	tests := map[string]struct {
		markdown   string
		start, end int
	}{
		"opening to closing fence":                   {"a\n\n```runnable sh\nx\n```\nb", 3, 5},
		"unclosed: to the last line of code":         {"```runnable sh\nx\ny\n", 1, 3},
		"unclosed and empty: the fence alone":        {"a\n\n```runnable sh\n", 3, 3},
		"unclosed in an item: not what follows it":   {"- ```runnable sh\n  x\n\n\nb", 1, 4},
		"in a list: lines of the document":           {"1. a\n\n   - ```runnable sh\n     x\n     ```\n", 3, 5},
		"CRLF is one line end":                       {"a\r\n\r\n```runnable sh\r\nx\r\n```\r\n", 3, 5},
		"a lone CR is one, too":                      {"a\r\r```runnable sh\rx\r```\r", 3, 5},
		"a byte order mark is no line":               {"\uFEFF```runnable sh\nx\n```\n", 1, 3},
		"a fence that interrupts a paragraph":        {"a\n```runnable sh\nx\n```\n", 2, 4},
		"a fence opened while another's list closes": {"- ```sh\n  x\n```runnable sh\ny\n```\n", 3, 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			block := runnable(t, test.markdown)
			assert.Equal(t, [2]int{test.start, test.end}, [2]int{block.StartLine, block.EndLine})
		})
	}
}

func TestWhatIsNoBlock(t *testing.T) {
	tests := map[string]string{
		"an ordinary listing":              "```bash\necho\n```",
		"the keyword in upper case":        "```Runnable bash\necho\n```",
		"the keyword as part of a word":    "```runnable-bash\necho\n```",
		"the keyword as the second word":   "```bash runnable\necho\n```",
		"two backticks":                    "``runnable bash\necho\n``",
		"a backtick in a backtick's info":  "```runnable bash `\necho\n",
		"an indentation of four":           "    ```runnable bash\n    echo\n    ```",
		"a tab's indentation":              "\t```runnable bash\n\techo\n\t```",
		"four more than a list's":          "- a\n\n      ```runnable bash\n",
		"a comment":                        "<!--\n\n```runnable bash\necho\n```\n-->",
		"HTML up to a blank line":          "<div>\n```runnable bash\necho\n```\n",
		"HTML with a tab":                  "<div\tid=a>\n```runnable bash\necho\n```\n",
		"an escaped fence":                 "\\```runnable bash\necho\n",
		"a shorter fence in a longer one":  "````\n```runnable bash\n```\n````",
		"backticks in tildes":              "~~~\n```runnable bash\n```\n~~~",
		"a form feed before the fence":     "\f```runnable bash\n",
		"a paragraph's indented last line": "a\n    ```runnable bash\n",
	}
	for name, markdown := range tests {
		t.Run(name, func(t *testing.T) {
			doc := parse(markdown)
			requireInvariants(t, markdown, doc)
			assert.Empty(t, doc.Runnable)
		})
	}
}

func TestRuntimeOfABlock(t *testing.T) {
	tests := map[string]string{
		"python": "python", "py": "python", "python3": "python", "Python": "python", "PY": "python",
		"node": "node", "js": "node", "javascript": "node", "JavaScript": "node",
		"bash": "bash", "sh": "bash", "shell": "bash",
		"golang": "golang", "go": "golang", "Go": "golang",
	}
	for written, canonical := range tests {
		t.Run(written, func(t *testing.T) {
			block := runnable(t, "```runnable "+written+"\n```")
			assert.Equal(t, canonical, block.Runtime)
			assert.Empty(t, block.Problem)
		})
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		info    string
		options map[string]string
	}{
		"none":                                     {"bash", map[string]string{}},
		"several":                                  {"bash name=a timeout=5s", map[string]string{"name": "a", "timeout": "5s"}},
		"unknown ones are kept":                    {"bash colour=blue", map[string]string{"colour": "blue"}},
		"a word is an option without value":        {"bash verbose", map[string]string{"verbose": ""}},
		"only the first = separates":               {"bash a=b=c", map[string]string{"a": "b=c"}},
		"the last of equal keys counts":            {"bash name=a name=b", map[string]string{"name": "b"}},
		"keys are case-sensitive":                  {"bash Name=a", map[string]string{"Name": "a"}},
		"tabs and runs of spaces separate":         {"bash\t name=a  \tx=y \t", map[string]string{"name": "a", "x": "y"}},
		"other spaces don't":                       {"bash name=a\u00A0b\u3000c", map[string]string{"name": "a\u00A0b\u3000c"}},
		"quotes hold words together":               {`bash name="a b" x="c	d"`, map[string]string{"name": "a b", "x": "c	d"}},
		"quotes may be empty":                      {`bash x=""`, map[string]string{"x": ""}},
		"an unclosed quote is a character":         {`bash name="a b`, map[string]string{"name": `"a`, "b": ""}},
		"an escaped quote is a character":          {`bash name="a \"b\" c"`, map[string]string{"name": `a "b" c`}},
		"a quote written as entity is a character": {"bash name=&quot;a&quot;", map[string]string{"name": `"a"`}},
		"a space written as entity separates not":  {"bash name=a&#32;b", map[string]string{"name": "a b"}},
		"entities: decimal, hexadecimal, named":    {"bash x=&#65;&#x42;&amp;&ouml;", map[string]string{"x": "AB&ö"}},
		"what is no entity stays":                  {"bash x=&#;&nope;&copy&#x;&&", map[string]string{"x": "&#;&nope;&copy&#x;&&"}},
		"impossible characters are replaced":       {"bash x=&#0;&#xD800;&#x110000;", map[string]string{"x": "\uFFFD\uFFFD\uFFFD"}},
		"backslash escapes punctuation only":       {`bash x=\*\a\\\&amp;`, map[string]string{"x": `*\a\&amp;`}},
		"a final backslash is one":                 {`bash x=\`, map[string]string{"x": `\`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			block := runnable(t, "~~~runnable "+test.info+"\n~~~")
			assert.Equal(t, test.options, block.Options)
			assert.Equal(t, test.options["name"], block.Name)
			assert.Equal(t, "bash", block.Runtime)
			assert.Empty(t, block.Problem)
		})
	}
}

func TestProblemsOfRunnableBlocks(t *testing.T) {
	const (
		names    = "python, node, bash or golang."
		duration = "is not a duration; write it like 30s or 5m."
	)
	tests := map[string]struct{ info, problem string }{
		"an unknown runtime":         {" ruby", `The runtime "ruby" is unknown; use ` + names},
		"no runtime":                 {"", `Say after "runnable" which runtime runs this block: ` + names},
		"options but no runtime":     {" timeout=5s", `Say after "runnable" which runtime runs this block: ` + names},
		"a timeout without unit":     {" bash timeout=30", `The timeout "30" ` + duration},
		"a timeout in words":         {" bash timeout=soon", `The timeout "soon" ` + duration},
		"an empty timeout":           {" bash timeout=", `The timeout "" ` + duration},
		"a timeout without value":    {" bash timeout", `The timeout "" ` + duration},
		"a timeout of nothing":       {" bash timeout=0s", `The timeout "0s" is too short; write it like 30s or 5m.`},
		"a bare zero":                {" bash timeout=0", `The timeout "0" is too short; write it like 30s or 5m.`},
		"a negative timeout":         {" bash timeout=-5s", `The timeout "-5s" is too short; write it like 30s or 5m.`},
		"a timeout that rounds to 0": {" bash timeout=1us", `The timeout "1us" is too short; write it like 30s or 5m.`},
		"a timeout over the limit":   {" bash timeout=11m", `The timeout "11m" is over this server's limit of 10m0s.`},
		"a timeout beyond all":       {" bash timeout=99999999999h", `The timeout "99999999999h" ` + duration},
		"an empty name":              {" bash name=", "The name is empty; write name=hello or leave it out."},
		"a name of spaces":           {` bash name="  "`, "The name is empty; write name=hello or leave it out."},
		"a name without value":       {" bash name", "The name is empty; write name=hello or leave it out."},
		"a name with a line break":   {" bash name=a&#10;b", "The name contains a control character."},
		"several at once": {
			" ruby timeout=x",
			`The runtime "ruby" is unknown; use ` + names + ` The timeout "x" ` + duration,
		},
		"a word too long to repeat": {
			" " + strings.Repeat("ä", 100),
			`The runtime "` + strings.Repeat("ä", 60) + `…" is unknown; use ` + names,
		},
		"a word that can't be shown": {" \x01\xff", "The runtime \"\uFFFD\uFFFD\" is unknown; use " + names},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			block := runnable(t, "```runnable"+test.info+"\necho\n```")
			assert.Equal(t, test.problem, block.Problem)
			assert.Equal(t, "echo\n", block.Code)
		})
	}
}

func TestAProblemTakesNothingFromTheOtherBlocks(t *testing.T) {
	doc := parse("```runnable cobol\n```\n\n```runnable bash\necho\n```\n")
	require.Len(t, doc.Runnable, 2)
	assert.NotEmpty(t, doc.Runnable[0].Problem)
	assert.Empty(t, doc.Runnable[1].Problem)
	assert.Equal(t, 1, doc.Runnable[1].Index)
}

func TestTwoBlocksMayHaveTheSameName(t *testing.T) {
	doc := parse("```runnable bash name=a\n```\n\n```runnable bash name=a\n```\n")
	require.Len(t, doc.Runnable, 2)
	assert.Empty(t, doc.Runnable[1].Problem)
}

func TestTimeout(t *testing.T) {
	tests := map[string]struct {
		info string
		want time.Duration
	}{
		"of the block":                 {"timeout=30s", 30 * time.Second},
		"minutes":                      {"timeout=5m", 5 * time.Minute},
		"of several units":             {"timeout=1m30s", 90 * time.Second},
		"exactly the limit":            {"timeout=10m", 10 * time.Minute},
		"the default when none is set": {"name=a", time.Minute},
		"the default for a bad one":    {"timeout=soon", time.Minute},
		"the default for a short one":  {"timeout=0s", time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, runnable(t, "```runnable bash "+test.info+"\n```").Timeout(time.Minute))
		})
	}
}

func TestDocumentsAreParsedAtTheSameTime(t *testing.T) {
	want := parse(runbook.Tour)
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, want, parse(runbook.Tour))
		})
	}
}

func TestNoLimitMeansAnyTimeout(t *testing.T) {
	doc := runbook.Parse("```runnable bash timeout=10000h\n```", runbook.Limits{})
	assert.Empty(t, doc.Runnable[0].Problem)
}

func TestPathsOfFileBlocks(t *testing.T) {
	long := strings.Repeat("n", 255)
	tests := map[string]struct{ path, want, problem string }{
		"a name":                         {"a.txt", "a.txt", ""},
		"in a folder":                    {"a/b/c.txt", "a/b/c.txt", ""},
		"made canonical":                 {"./a//./b", "a/b", ""},
		"hidden":                         {".env", ".env", ""},
		"of dots":                        {"...", "...", ""},
		"with spaces":                    {`"my file.txt"`, "my file.txt", ""},
		"in any script":                  {"données/数据.txt", "données/数据.txt", ""},
		"a name as long as may be":       {long, long, ""},
		"absolute":                       {"/etc/passwd", "/etc/passwd", `The path "/etc/passwd" is absolute; write it relative to /tmp.`},
		"absolute below /tmp":            {"/tmp/a", "/tmp/a", `The path "/tmp/a" is absolute; write it relative to /tmp.`},
		"up":                             {"../a", "../a", `The path "../a" contains ".."; files stay inside /tmp.`},
		"up and down":                    {"a/../b", "a/../b", `The path "a/../b" contains ".."; files stay inside /tmp.`},
		"ending in up":                   {"a/..", "a/..", `The path "a/.." contains ".."; files stay inside /tmp.`},
		"up, written as entities":        {"&period;&period;/a", "../a", `The path "../a" contains ".."; files stay inside /tmp.`},
		"with backslashes":               {`a\b`, `a\b`, `The path contains a backslash; folders are separated by "/".`},
		"with a control character":       {"a\x01b", "a\x01b", "The path contains a control character."},
		"with NUL":                       {"a\x00b", "a\x00b", "The path contains a control character."},
		"not UTF-8":                      {"a\xff", "a\xff", "The path is not valid UTF-8."},
		"empty":                          {`""`, "", "The path is empty."},
		"a dot":                          {".", ".", `The path "." names a folder, not a file.`},
		"a folder":                       {"a/", "a/", `The path "a/" names a folder, not a file.`},
		"a folder with a dot":            {"a/.", "a/.", `The path "a/." names a folder, not a file.`},
		"a name that is too long":        {long + "n", long + "n", "The path contains a name longer than 255 bytes."},
		"a path that is too long":        {strings.Repeat("a/", 512) + "b", strings.Repeat("a/", 512) + "b", "The path is longer than 1024 bytes."},
		"with an option":                 {"a mode=0755", "a", ""},
		"of two words":                   {"a b", "a", `There is "b" after the path; a path with spaces needs double quotes around it.`},
		"with an unclosed quotation":     {`"a b`, `"a`, `There is "b" after the path; a path with spaces needs double quotes around it.`},
		"with what a shell would expand": {"~/$HOME/*", "~/$HOME/*", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			markdown := "```file text " + test.path + "\nx\n```"
			doc := parse(markdown)
			requireInvariants(t, markdown, doc)
			require.Len(t, doc.Files, 1)
			assert.Equal(t, test.want, doc.Files[0].Path)
			assert.Equal(t, test.problem, doc.Files[0].Problem)
			assert.Equal(t, "text", doc.Files[0].Language)
			assert.Equal(t, "x\n", doc.Files[0].Content)
		})
	}
}

func TestAFileBlockNeedsLanguageAndPath(t *testing.T) {
	for _, info := range []string{"file", "file text"} {
		doc := parse("```" + info + "\n```")
		require.Len(t, doc.Files, 1)
		assert.Contains(t, doc.Files[0].Problem, "which language and which path")
	}
}

func TestFilesThatGetInEachOthersWay(t *testing.T) {
	tests := map[string]struct {
		paths    []string
		problems []string
	}{
		"different files":                  {[]string{"a", "b", "c/a"}, []string{"", "", ""}},
		"names differ in case":             {[]string{"a", "A"}, []string{"", ""}},
		"the same file":                    {[]string{"a", "a"}, []string{"", `The file "a" is already in this document.`}},
		"the same file, written otherwise": {[]string{"a/b", "./a//b"}, []string{"", `The file "a/b" is already in this document.`}},
		"a file and then its folder":       {[]string{"a", "a/b"}, []string{"", `The path "a/b" needs a folder "a", which is a file.`}},
		"a file far above":                 {[]string{"a", "a/b/c/d"}, []string{"", `The path "a/b/c/d" needs a folder "a", which is a file.`}},
		"a folder and then its file":       {[]string{"a/b/c", "a/b"}, []string{"", `The path "a/b" is both a file and a folder of another file.`}},
		"a block with a problem is not in the way": {
			[]string{"/a", "a", "a/b", "a/c"},
			[]string{
				`The path "/a" is absolute; write it relative to /tmp.`, "",
				`The path "a/b" needs a folder "a", which is a file.`,
				`The path "a/c" needs a folder "a", which is a file.`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var markdown strings.Builder
			for _, path := range test.paths {
				markdown.WriteString("```file text " + path + "\n```\n")
			}
			var problems []string
			for _, block := range parse(markdown.String()).Files {
				problems = append(problems, block.Problem)
			}
			assert.Equal(t, test.problems, problems)
		})
	}
}
