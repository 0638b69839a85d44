package agent

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func anyFrame() *rapid.Generator[Frame] {
	return rapid.Custom(func(t *rapid.T) Frame {
		return Frame{
			Kind: rapid.SampledFrom([]FrameKind{FrameStdout, FrameStderr, FrameGap, FrameExit}).Draw(t, "kind"),
			End:  rapid.Int64Range(0, math.MaxInt64).Draw(t, "end"),
			Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"),
		}
	})
}

func TestFramesArriveAsTheyWereSent(t *testing.T) {
	t.Run("in whatever pieces the stream comes", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			sent := rapid.SliceOfN(anyFrame(), 0, 8).Draw(t, "frames")
			var stream []byte
			for _, f := range sent {
				stream = appendFrame(stream, f)
			}
			received, err := readAll(iotest.OneByteReader(bytes.NewReader(stream)))
			require.Equal(t, io.EOF, err, "the stream ended between two frames")
			require.Empty(t, cmp.Diff(sent, received, cmpopts.EquateEmpty()))
		})
	})

	t.Run("up to the largest one", func(t *testing.T) {
		sent := Frame{Kind: FrameStdout, End: maxFrame, Data: bytes.Repeat([]byte("x"), maxFrame)}
		received, err := readFrame(bytes.NewReader(appendFrame(nil, sent)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent.Data, received.Data))
	})
}

func TestACutStreamIsNeverTakenForACleanEnd(t *testing.T) {
	frames := []Frame{
		{Kind: FrameStdout, End: 5, Data: []byte("hello")},
		{Kind: FrameGap, End: 5},
		{Kind: FrameExit, End: 5, Data: []byte(`{"exitCode":0}`)},
	}
	var stream []byte
	ends := map[int]int{0: 0} // where a frame ends → how many have
	for i, f := range frames {
		stream = appendFrame(stream, f)
		ends[len(stream)] = i + 1
	}
	whole := 0
	for cut := range len(stream) + 1 {
		wanted := io.ErrUnexpectedEOF
		if n, clean := ends[cut]; clean {
			whole, wanted = n, io.EOF
		}
		received, err := readAll(bytes.NewReader(stream[:cut]))
		require.Equal(t, wanted, err, "cut after %d bytes", cut)
		require.Len(t, received, whole, "cut after %d bytes", cut)
	}
}

func TestAFrameOverTheLimitIsRefusedBeforeItIsRead(t *testing.T) {
	header := appendFrame(nil, Frame{Kind: FrameStdout})
	binary.BigEndian.PutUint32(header[9:], maxFrame+1)
	rest := &countingReader{}
	_, err := readFrame(io.MultiReader(bytes.NewReader(header), rest))
	require.ErrorContains(t, err, "over the limit")
	require.Zero(t, rest.reads, "nothing of it was waited for")
}

type countingReader struct{ reads int }

func (r *countingReader) Read([]byte) (int, error) {
	r.reads++
	return 0, io.EOF
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3})
	f.Add(appendFrame(nil, Frame{Kind: FrameStdout, End: 5, Data: []byte("hello")}))
	f.Add(appendFrame(nil, Frame{Kind: FrameGap, End: 1 << 40, Data: []byte("1048576")}))
	f.Add(appendFrame(nil, Frame{Kind: FrameExit, Data: []byte(`{"exitCode":137,"signal":"SIGKILL","reason":"memory"}`)}))
	f.Add(bytes.Repeat([]byte{0xff}, frameHeader+4))
	f.Fuzz(func(t *testing.T, stream []byte) {
		reader := bytes.NewReader(stream)
		frame, err := readFrame(reader)
		if err != nil {
			return
		}
		consumed := stream[:len(stream)-reader.Len()]
		require.Equal(t, consumed, appendFrame(nil, frame), "a frame that was read is written the same")
		// What is in it came out of a container: reading it must not panic either.
		_, _ = frame.GapBytes()
		_, _ = frame.DecodeExit()
	})
}

// readAll reads frames up to the error that ends the stream.
func readAll(r io.Reader) ([]Frame, error) {
	var frames []Frame
	for {
		frame, err := readFrame(r)
		if err != nil {
			return frames, err
		}
		frames = append(frames, frame)
	}
}
