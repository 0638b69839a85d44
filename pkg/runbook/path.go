package runbook

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What Linux allows for one name, and what leaves room for the folder that the
// files are put into, in bytes.
const (
	maxNameLength = 255
	maxPathLength = 1024
)

// cleanPath gives a file block's path its one canonical form, `a/b` for
// `./a//b`, or says why it can't be a file below /tmp.
func cleanPath(name string) (cleaned, problem string) {
	switch {
	case name == "":
		return "", "The path is empty."
	case !utf8.ValidString(name):
		return "", "The path is not valid UTF-8."
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", "The path contains a control character."
	case strings.Contains(name, `\`):
		return "", `The path contains a backslash; folders are separated by "/".`
	case strings.HasPrefix(name, "/"):
		return "", fmt.Sprintf("The path %s is absolute; write it relative to /tmp.", quote(name))
	case len(name) > maxPathLength:
		return "", fmt.Sprintf("The path is longer than %d bytes.", maxPathLength)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Sprintf(`The path %s contains ".."; files stay inside /tmp.`, quote(name))
		}
		if len(part) > maxNameLength {
			return "", fmt.Sprintf("The path contains a name longer than %d bytes.", maxNameLength)
		}
	}
	if base := name[strings.LastIndexByte(name, '/')+1:]; base == "" || base == "." {
		return "", fmt.Sprintf("The path %s names a folder, not a file.", quote(name))
	}
	return path.Clean(name), ""
}

// tree is the files of a document and the folders they need.
type tree struct {
	files   map[string]bool
	folders map[string]bool
}

func newTree() *tree {
	return &tree{files: map[string]bool{}, folders: map[string]bool{}}
}

// add puts a file with a canonical path into the tree, or says why it doesn't
// fit in.
func (t *tree) add(file string) (problem string) {
	if t.files[file] {
		return fmt.Sprintf("The file %s is already in this document.", quote(file))
	}
	if t.folders[file] {
		return fmt.Sprintf("The path %s is both a file and a folder of another file.", quote(file))
	}
	// No folder above a known one can be a file.
	for folder := parent(file); folder != "" && !t.folders[folder]; folder = parent(folder) {
		if t.files[folder] {
			return fmt.Sprintf("The path %s needs a folder %s, which is a file.", quote(file), quote(folder))
		}
	}
	t.files[file] = true
	for folder := parent(file); folder != "" && !t.folders[folder]; folder = parent(folder) {
		t.folders[folder] = true
	}
	return ""
}

// parent is the folder that a canonical path is in; "" is /tmp itself.
func parent(file string) string {
	return file[:max(strings.LastIndexByte(file, '/'), 0)]
}

// quote shows a word out of a document inside a sentence, cut to a length that
// leaves the sentence readable.
func quote(word string) string {
	const most = 60
	if runes := []rune(word); len(runes) > most {
		word = string(runes[:most]) + "…"
	}
	return `"` + strings.ToValidUTF8(strings.Map(visible, word), "\uFFFD") + `"`
}

func visible(r rune) rune {
	if unicode.IsControl(r) {
		return utf8.RuneError
	}
	return r
}
