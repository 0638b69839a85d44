package runbook

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark/util"
)

// splitInfo splits an info string into its words, at spaces and tabs. A
// stretch in double quotes may hold these too, and loses its quotes:
// `name="Load the data"` is one word. A quote that is never closed is an
// ordinary character.
//
// Backslash escapes and character references mean what they mean in
// CommonMark, and take part in neither splitting nor quoting: `\"` and
// `&quot;` are characters of a word, and so is `&#32;`.
func splitInfo(info string) []string {
	var words []string
	for rest := trimBlanks(info); rest != ""; rest = trimBlanks(rest) {
		var word string
		word, rest = cutWord(rest)
		words = append(words, word)
	}
	return words
}

func trimBlanks(s string) string { return strings.TrimLeft(s, " \t") }

func cutWord(info string) (word, rest string) {
	var w strings.Builder
	quoted := false
	for rest = info; rest != ""; {
		switch c := rest[0]; {
		case c == '"' && (quoted || hasClosingQuote(rest[1:])):
			quoted = !quoted
			rest = rest[1:]
		case (c == ' ' || c == '\t') && !quoted:
			return w.String(), rest
		default:
			character, length := unescape(rest)
			w.WriteString(character)
			rest = rest[length:]
		}
	}
	return w.String(), ""
}

func hasClosingQuote(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// unescape reads one byte, escape or reference at the start of s, which must
// not be empty. It returns what that stands for and how long it is in s.
func unescape(s string) (character string, length int) {
	switch {
	case s[0] == '\\' && len(s) > 1 && util.IsPunct(s[1]):
		return s[1:2], 2
	case s[0] == '&':
		end := strings.IndexByte(s[:min(len(s), maxReference)], ';')
		if end < 0 {
			break
		}
		if character, ok := resolve(s[1:end]); ok {
			return character, end + 1
		}
	}
	return s[:1], 1
}

// maxReference is more than the longest character reference has, in bytes.
const maxReference = 40

// resolve is what a reference stands for, given what is between "&" and ";".
func resolve(reference string) (character string, ok bool) {
	number, isNumber := strings.CutPrefix(reference, "#")
	if !isNumber {
		entity, ok := util.LookUpHTML5EntityByName(reference)
		if !ok {
			return "", false
		}
		return string(entity.Characters), true
	}
	base, most := 10, 7
	if strings.HasPrefix(number, "x") || strings.HasPrefix(number, "X") {
		number, base, most = number[1:], 16, 6
	}
	code, err := strconv.ParseUint(number, base, 32)
	if err != nil || len(number) > most {
		return "", false
	}
	if code == 0 {
		return string(utf8.RuneError), true
	}
	return string(rune(code)), true //nolint:gosec // so many digits are at most 24 bits
}
