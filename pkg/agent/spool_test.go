package agent

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"sort"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// largestWrite is the most that is appended at once: what the pump reads.
const largestWrite = 64 << 10

// TestSpool has a program write and a server follow, lose its stream and come
// back, in any order. In its bubble, "is still waiting" is a fact and not a
// matter of how long one looks.
func TestSpool(t *testing.T) {
	t.Run("whoever comes and goes, no byte is lost without a gap, doubled or moved", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			// Hidden behind an interface, because a deadline means nothing in a bubble.
			rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
				m := newSpoolModel()
				defer m.release()
				t.Repeat(map[string]func(*rapid.T){
					"":          m.check,
					"write":     m.write,
					"flood":     m.flood,
					"attach":    m.attach,
					"detach":    m.detach,
					"read":      m.read,
					"lose some": m.readAndLose,
				})
				m.finish(t)
			})
		})
	})

	t.Run("a program that nobody follows is never held back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			written := goAppend(s)
			synctest.Wait()
			require.True(t, isClosed(written))
		})
	})

	t.Run("a follower that doesn't read holds the program back, until it reads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			follower := s.attach(0)
			written := goAppend(s)
			synctest.Wait()
			require.False(t, isClosed(written), "the program waits")
			require.InDelta(t, spoolWindow, s.end, 2*largestWrite, "and was not held back before the window was full")

			for !isClosed(written) {
				_, err := s.next(t.Context(), follower)
				require.NoError(t, err)
				synctest.Wait()
			}
		})
	})

	t.Run("a program that is held back goes on when its follower goes away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			follower := s.attach(0)
			written := goAppend(s)
			synctest.Wait()
			require.False(t, isClosed(written))
			s.detach(follower)
			synctest.Wait()
			require.True(t, isClosed(written))
		})
	})

	t.Run("a follower waits for output and gets it when it comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			reading := goNext(t.Context(), s, s.attach(0))
			synctest.Wait()
			require.Empty(t, reading)
			s.append(FrameStdout, []byte("hello"))
			require.Equal(t, nextResult{frames: []Frame{{Kind: FrameStdout, End: 5, Data: []byte("hello")}}}, <-reading)
		})
	})

	t.Run("a follower that waits can give up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			ctx, cancel := context.WithCancel(t.Context())
			reading := goNext(ctx, s, s.attach(0))
			synctest.Wait()
			cancel()
			require.Equal(t, nextResult{err: context.Canceled}, <-reading)
		})
	})

	t.Run("a follower that waits is told when another takes its place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			old := s.attach(0)
			reading := goNext(t.Context(), s, old)
			synctest.Wait()
			current := s.attach(0)
			require.Equal(t, nextResult{err: errReplaced}, <-reading)

			s.append(FrameStdout, []byte("hello"))
			_, err := s.next(t.Context(), old)
			require.ErrorIs(t, err, errReplaced, "even when there is something to read")

			// The one that was replaced leaves late: that is not the new one's end.
			s.detach(old)
			written := goAppend(s)
			synctest.Wait()
			require.False(t, isClosed(written), "the new one still holds the program back")
			s.detach(current)
		})
	})

	t.Run("the exit comes once and last, to everyone who follows to the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			follower := s.attach(0)
			s.append(FrameStdout, []byte("out"))
			s.append(FrameStderr, []byte("err"))
			s.close([]byte("exit"))
			// Something that was on its way when the run ended comes too late.
			s.append(FrameStderr, []byte("late"))

			exit := Frame{Kind: FrameExit, End: 6, Data: []byte("exit")}
			batch, err := s.next(t.Context(), follower)
			require.NoError(t, err)
			require.Equal(t, []Frame{
				{Kind: FrameStdout, End: 3, Data: []byte("out")},
				{Kind: FrameStderr, End: 6, Data: []byte("err")},
				exit,
			}, batch)

			batch, err = s.next(t.Context(), s.attach(6))
			require.NoError(t, err)
			require.Equal(t, []Frame{exit}, batch)
		})
	})

	t.Run("a run that ends while its program is held back is no trap", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			follower := s.attach(0)
			written := goAppend(s)
			synctest.Wait()
			require.False(t, isClosed(written))
			s.close([]byte("exit"))
			synctest.Wait()
			require.True(t, isClosed(written))
			batch, err := s.next(t.Context(), follower)
			require.NoError(t, err)
			require.Equal(t, FrameExit, batch[len(batch)-1].Kind)
		})
	})

	for _, test := range []struct {
		name   string
		offset int64
	}{
		{"an offset before the start is the start", -7},
		{"an offset beyond the end is the end", 1 << 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSpool()
			s.append(FrameStdout, []byte("hello"))
			s.close(nil)
			batch, err := s.next(t.Context(), s.attach(test.offset))
			require.NoError(t, err)
			last := batch[len(batch)-1]
			require.Equal(t, FrameExit, last.Kind)
			require.EqualValues(t, 5, last.End)
			require.Equal(t, test.offset < 0, len(batch) == 2)
		})
	}

	t.Run("writes that wait together become one frame, and are never mixed", func(t *testing.T) {
		s := newSpool()
		follower := s.attach(0)
		for _, piece := range []string{"a", "b", "c"} {
			s.append(FrameStdout, []byte(piece))
		}
		s.append(FrameStderr, []byte("!"))
		s.append(FrameStdout, []byte("d"))
		batch, err := s.next(t.Context(), follower)
		require.NoError(t, err)
		require.Equal(t, []Frame{
			{Kind: FrameStdout, End: 3, Data: []byte("abc")},
			{Kind: FrameStderr, End: 4, Data: []byte("!")},
			{Kind: FrameStdout, End: 5, Data: []byte("d")},
		}, batch)

		// What was sent is not added to: its follower would miss the rest.
		s.append(FrameStdout, []byte("e"))
		batch, err = s.next(t.Context(), follower)
		require.NoError(t, err)
		require.Equal(t, []Frame{{Kind: FrameStdout, End: 6, Data: []byte("e")}}, batch)
	})
}

func TestASpoolCostsWhatItMayWhateverAProgramWrites(t *testing.T) {
	tests := []struct {
		name string
		next func(i int) (FrameKind, int)
	}{
		{"large writes", func(int) (FrameKind, int) { return FrameStdout, largestWrite }},
		{"single bytes", func(int) (FrameKind, int) { return FrameStdout, 1 }},
		{"single bytes to either channel in turn", func(i int) (FrameKind, int) { return FrameStdout + FrameKind(i%2), 1 }},
		{"just over half a frame", func(int) (FrameKind, int) { return FrameStdout, frameSize/2 + 1 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := heap()
			s := newSpool()
			data := make([]byte, largestWrite)
			for i := 0; s.end < 8<<20 && i < 200_000; i++ {
				kind, size := test.next(i)
				s.append(kind, data[:size])
			}
			after := heap()
			// Twice, because a slice that grows has room to spare.
			require.Less(t, after-before, int64(2*spoolSize))
			runtime.KeepAlive(s)
		})
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// spoolModel knows what the program wrote, and what its follower received.
type spoolModel struct {
	spool   *spool
	spans   []span // what the program wrote
	total   int64
	pending chan struct{} // of the write that is held back; nil for none

	follower int
	attached bool
	fresh    bool  // attached, and nothing was read yet
	since    int   // writes since the follower last read
	sent     int64 // up to where the agent has handed output out
	have     int64 // up to where the server has it
}

// span is what one write added.
type span struct {
	kind FrameKind
	end  int64
}

func newSpoolModel() *spoolModel { return &spoolModel{spool: newSpool()} }

// pattern is what a program writes: which byte follows from its position alone.
// Its length is a prime, so that no slip of a whole frame goes unseen.
var pattern = func() []byte {
	p := make([]byte, 104_729)
	random := rand.NewChaCha8([32]byte{})
	_, _ = io.ReadFull(random, p)
	return p
}()

func source(from, to int64) []byte {
	var data []byte
	for from < to {
		start := from % int64(len(pattern))
		piece := pattern[start:min(int64(len(pattern)), start+to-from)]
		data = append(data, piece...)
		from += int64(len(piece))
	}
	return data
}

func (m *spoolModel) write(t *rapid.T) {
	if m.pending != nil {
		t.Skip("a program does one write at a time")
	}
	kind := rapid.SampledFrom([]FrameKind{FrameStdout, FrameStderr}).Draw(t, "kind")
	size := rapid.OneOf(
		rapid.IntRange(1, 20),
		rapid.IntRange(frameSize-2, frameSize+2),
		rapid.IntRange(1, largestWrite),
	).Draw(t, "size")
	m.append(t, kind, size)
}

// flood is what makes a spool overflow, or a window fill.
func (m *spoolModel) flood(t *rapid.T) {
	for range rapid.IntRange(1, 60).Draw(t, "writes") {
		if m.pending != nil {
			return
		}
		m.append(t, FrameStdout, largestWrite)
	}
}

func (m *spoolModel) append(t *rapid.T, kind FrameKind, size int) {
	data := source(m.total, m.total+int64(size))
	m.total += int64(size)
	m.spans = append(m.spans, span{kind, m.total})
	m.since++
	unread := m.total - int64(size) - m.sent

	done := make(chan struct{})
	go func() {
		defer close(done)
		m.spool.append(kind, data)
		clear(data) // the pump reads into the same buffer again
	}()
	synctest.Wait()
	held := !isClosed(done)
	if held {
		m.pending = done
	}
	switch {
	case !m.attached && held:
		t.Fatal("a program that nobody follows is held back")
	case m.attached && !held && unread > spoolWindow:
		t.Fatalf("a program goes on though its follower is %d bytes behind", unread)
	case held && unread+frameCost*int64(m.since) <= spoolWindow:
		t.Fatalf("a program is held back though its follower is only %d bytes behind", unread)
	}
}

func (m *spoolModel) attach(t *rapid.T) {
	old, had := m.follower, m.attached
	m.follower = m.spool.attach(m.have)
	m.attached, m.fresh, m.sent, m.since = true, true, m.have, len(m.spans)
	if had {
		_, err := m.spool.next(t.Context(), old)
		require.ErrorIs(t, err, errReplaced)
	}
	m.settle()
}

func (m *spoolModel) detach(*rapid.T) {
	m.spool.detach(m.follower)
	m.attached = false
	m.settle()
}

func (m *spoolModel) read(t *rapid.T) {
	for _, frame := range m.next(t) {
		m.receive(t, frame)
	}
}

// readAndLose is a stream that breaks: the agent has sent what never arrives.
func (m *spoolModel) readAndLose(t *rapid.T) {
	batch := m.next(t)
	for _, frame := range batch[:rapid.IntRange(0, len(batch)).Draw(t, "arriving")] {
		m.receive(t, frame)
	}
	m.detach(t)
}

func (m *spoolModel) next(t *rapid.T) []Frame {
	if !m.attached || m.sent == m.appended() {
		t.Skip("there is nothing to read")
	}
	batch, err := m.spool.next(t.Context(), m.follower)
	require.NoError(t, err)
	require.NotEmpty(t, batch)
	for i, frame := range batch {
		require.True(t, frame.Kind != FrameGap || m.fresh && i == 0, "a follower that was there has lost something")
	}
	m.fresh, m.sent, m.since = false, batch[len(batch)-1].End, 0
	require.Equal(t, m.appended(), m.sent, "a read gives all there is")
	m.settle()
	return batch
}

// receive checks that a frame is what comes next of what the program wrote.
func (m *spoolModel) receive(t *rapid.T, frame Frame) {
	require.LessOrEqual(t, len(frame.Data), maxFrame)
	if frame.Kind == FrameGap {
		lost, err := frame.GapBytes()
		require.NoError(t, err)
		require.Positive(t, lost)
		m.have += lost
		require.Equal(t, m.have, frame.End)
		return
	}
	end := m.have + int64(len(frame.Data))
	require.Equal(t, end, frame.End)
	require.True(t, bytes.Equal(source(m.have, end), frame.Data), "the bytes of %d to %d", m.have, end)
	first := sort.Search(len(m.spans), func(i int) bool { return m.spans[i].end > m.have })
	for _, s := range m.spans[first:] {
		require.Equal(t, s.kind, frame.Kind, "the channel of %d", s.end)
		if s.end >= end {
			break
		}
	}
	m.have = end
}

// appended is up to where the program has got.
func (m *spoolModel) appended() int64 {
	if m.pending == nil {
		return m.total
	}
	if len(m.spans) == 1 {
		return 0
	}
	return m.spans[len(m.spans)-2].end
}

// settle takes note of a write that goes on.
func (m *spoolModel) settle() {
	synctest.Wait()
	if m.pending != nil && isClosed(m.pending) {
		m.pending = nil
	}
}

func (m *spoolModel) check(t *rapid.T) {
	cost := 0
	for _, frame := range m.spool.frames {
		cost += len(frame.Data) + frameCost
	}
	require.LessOrEqual(t, cost, spoolSize)
}

// finish ends the run and follows it to its end.
func (m *spoolModel) finish(t *rapid.T) {
	m.release()
	m.spool.close([]byte("exit"))
	m.follower = m.spool.attach(m.have)
	batch, err := m.spool.next(t.Context(), m.follower)
	require.NoError(t, err)
	last := len(batch) - 1
	for _, frame := range batch[:last] {
		require.NotEqual(t, FrameExit, frame.Kind)
		m.receive(t, frame)
	}
	require.Equal(t, Frame{Kind: FrameExit, End: m.total, Data: []byte("exit")}, batch[last])
	require.Equal(t, m.total, m.have, "what was received and what was lost is what was written")
}

// release lets a write that is held back go on.
func (m *spoolModel) release() {
	m.spool.detach(m.follower)
	m.settle()
}

// goAppend writes twice what fits, as a program does that writes as fast as it
// can. The result is closed when it has.
func goAppend(s *spool) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for size := 2 * spoolSize; size > 0; size -= largestWrite {
			s.append(FrameStdout, make([]byte, largestWrite))
		}
	}()
	return done
}

type nextResult struct {
	frames []Frame
	err    error
}

func goNext(ctx context.Context, s *spool, follower int) chan nextResult {
	result := make(chan nextResult, 1)
	go func() {
		frames, err := s.next(ctx, follower)
		result <- nextResult{frames, err}
	}()
	return result
}
