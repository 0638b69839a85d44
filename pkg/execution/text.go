package execution

import (
	"errors"
	"slices"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// textDecoder makes text of a channel's bytes as they come: a character that is
// cut in two waits for its rest, and bytes that are not UTF-8 become U+FFFD.
type textDecoder struct {
	transformer transform.Transformer
	rest        []byte // the beginning of a character
}

func newTextDecoder() *textDecoder {
	return &textDecoder{transformer: unicode.UTF8.NewDecoder()}
}

// decode returns the text that data completes. With final set nothing waits any
// more.
func (d *textDecoder) decode(data []byte, final bool) string {
	source := slices.Concat(d.rest, data)
	text := make([]byte, 0, len(source)+len(source)/2+replacementSize)
	for {
		written, read, err := d.transformer.Transform(text[len(text):cap(text)], source, final)
		text, source = text[:len(text)+written], source[read:]
		if !errors.Is(err, transform.ErrShortDst) {
			break
		}
		text = append(make([]byte, 0, 2*cap(text)), text...)
	}
	d.rest = source
	return string(text)
}

// replacementSize is the length of U+FFFD in UTF-8.
const replacementSize = 3
