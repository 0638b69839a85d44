package runbook

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
)

// GoFiles returns the paths of the Go files that every Go runnable block of
// the document is compiled with, in document order and relative to /tmp: the
// file blocks without a problem whose path is a bare name ending in `.go`.
//
// Left out is what the go command would refuse or ignore there: tests, names
// that start with "_" or ".", another package than main, and a file with a
// main function of its own, which is a program by itself (for a Bash block to
// start, say).
func (d Document) GoFiles() []string {
	files := []string{}
	for _, f := range d.Files {
		if f.Problem == "" && isGoName(f.Path) && isPartOfProgram(f.Content) {
			files = append(files, f.Path)
		}
	}
	return files
}

func isGoName(name string) bool {
	return path.Ext(name) == ".go" &&
		!strings.Contains(name, "/") &&
		!strings.HasSuffix(name, "_test.go") &&
		!strings.HasPrefix(name, "_") &&
		!strings.HasPrefix(name, ".")
}

// isPartOfProgram tells whether a file can share a program with a main
// function elsewhere. A file that can't be parsed is part of it as far as one
// can tell: the compiler then says what is wrong with it.
func isPartOfProgram(content string) bool {
	file, _ := parser.ParseFile(token.NewFileSet(), "", content, parser.SkipObjectResolution)
	if file == nil {
		return true
	}
	switch file.Name.Name {
	case "main":
		return !slices.ContainsFunc(file.Decls, isMainFunction)
	case "", "_": // the parser's names for a missing one
		return true
	default:
		return false
	}
}

func isMainFunction(declaration ast.Decl) bool {
	function, ok := declaration.(*ast.FuncDecl)
	return ok && function.Recv == nil && function.Name.Name == "main"
}
