package sandbox

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func piece(channel byte, data string) []byte {
	header := make([]byte, pieceHeader)
	header[0] = channel
	binary.BigEndian.PutUint32(header[4:], uint32(len(data)))
	return append(header, data...)
}

func TestAStreamIsReadThroughItsPieces(t *testing.T) {
	t.Parallel()
	input := bytes.Join([][]byte{piece(pieceStdout, "one "), piece(pieceStdout, ""), piece(pieceStdout, "two")}, nil)
	for _, reader := range []io.Reader{bytes.NewReader(input), iotest.OneByteReader(bytes.NewReader(input))} {
		got, err := io.ReadAll(&execConn{reader: bufio.NewReader(reader)})
		require.NoError(t, err)
		assert.Equal(t, "one two", string(got))
	}
}

func TestAStreamThatIsCutOrComplainsFails(t *testing.T) {
	t.Parallel()
	whole := piece(pieceStdout, "data")
	for cut := 1; cut < len(whole); cut++ {
		_, err := io.ReadAll(&execConn{reader: bufio.NewReader(bytes.NewReader(whole[:cut]))})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", cut)
	}
	_, err := io.ReadAll(&execConn{reader: bufio.NewReader(bytes.NewReader(piece(2, "no agent")))})
	require.ErrorContains(t, err, "no agent")
}
