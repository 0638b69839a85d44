package execution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The tests of the log run in bubbles of synctest: whether somebody waits is then
// a fact that can be asked for, and half a minute of stalling takes no time.

// chunk is any chunk as a client reads it.
type chunk struct {
	Type    string `json:"type"`
	Seq     int64  `json:"seq"`
	Data    string `json:"data"`
	Bytes   int64  `json:"bytes"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Stream  string `json:"stream"`
	Reason  string `json:"reason"`
}

func (c chunk) final() bool { return c.Type == "exit" || c.Type == "error" }

func parse(line []byte) (chunk, error) {
	var c chunk
	if !bytes.HasSuffix(line, []byte("\n")) || bytes.Count(line, []byte("\n")) != 1 {
		return c, fmt.Errorf("%q is not one line", line)
	}
	return c, json.Unmarshal(line, &c)
}

func output(text string) func(int64) []byte {
	return func(seq int64) []byte {
		return encodeLine(OutputChunk{Type: "output", Seq: seq, Stream: Stdout, Data: text})
	}
}

func exit(seq int64) []byte {
	return encodeLine(ExitChunk{Type: "exit", Seq: seq, Reason: "exited"})
}

// write appends as a program does that prints text.
func write(l *Log, texts ...string) {
	for _, text := range texts {
		l.append(output(text), len(text))
	}
}

// readAll reads a log that has ended, or will, to its final chunk.
func readAll(t testing.TB, f *Follower) []chunk {
	t.Helper()
	var chunks []chunk
	for {
		batch, err := f.Next(t.Context())
		require.NoError(t, err)
		for _, line := range batch.Lines {
			c, err := parse(line)
			require.NoError(t, err)
			chunks = append(chunks, c)
		}
		if batch.Ended {
			return chunks
		}
	}
}

// step is one thing that happens to a log.
type step struct {
	does  string
	who   int // which follower
	size  int // bytes of output
	after int
}

const (
	doPrint  = "print"
	doLose   = "lose" // a gap that the agent reports
	doAttach = "attach"
	doRead   = "read"
	doClose  = "close"
	doPause  = "pause"
	doEnd    = "end"
)

const testStall = 30 * time.Second

func steps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			does: rapid.SampledFrom([]string{
				doPrint, doPrint, doPrint, doPrint, doRead, doRead, doRead, doAttach, doAttach, doClose, doPause, doLose, doEnd,
			}).Draw(t, "does"),
			who:   rapid.IntRange(0, 7).Draw(t, "who"),
			size:  rapid.IntRange(0, 300).Draw(t, "size"),
			after: rapid.IntRange(-1, 40).Draw(t, "after"),
		}
	}), 0, 80)
}

// world is a log with its program, its followers, and what a perfect memory
// remembers of them.
type world struct {
	log      *Log
	program  []byte  // all that was printed or lost
	entries  []entry // all that was ever appended
	longest  int
	followed []*reading

	appending bool
	ended     bool
	failures  []error
}

// reading is a follower and what it got.
type reading struct {
	follower *Follower
	after    int64
	start    int64 // where in the program's output it begins
	exact    bool  // whether the log still knew where that is
	got      []chunk
	tookAt   time.Time

	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // it is the follower's own
	reading bool
	closed  bool
	ended   bool
	stalled bool
}

func (w *world) failf(format string, args ...any) {
	w.failures = append(w.failures, fmt.Errorf(format, args...))
}

// do lets a step happen and everything come to rest.
func (w *world) do(s step) {
	switch s.does {
	case doPrint:
		w.append(output(strings.Repeat(string('a'+rune(len(w.entries)%26)), s.size)), s.size)
	case doLose:
		w.append(func(seq int64) []byte { return encodeTruncated(seq, int64(s.size)) }, s.size)
	case doAttach:
		w.attach(s.after)
	case doRead:
		if r := w.pick(s.who); r != nil {
			w.read(r)
		}
	case doClose:
		if r := w.pick(s.who); r != nil {
			r.close()
		}
	case doPause:
		time.Sleep(testStall / 2)
	case doEnd:
		w.end()
	}
	synctest.Wait()
	w.check()
}

func (w *world) pick(who int) *reading {
	if len(w.followed) == 0 {
		return nil
	}
	return w.followed[who%len(w.followed)]
}

// note remembers what the log makes of an append.
func (w *world) note(encode func(int64) []byte, size int) func(int64) []byte {
	return func(seq int64) []byte {
		if seq != int64(len(w.entries)) {
			w.failf("chunk %d was given the seq %d", len(w.entries), seq)
		}
		if w.ended {
			w.failf("chunk %d was added after the final one", seq)
		}
		line := encode(seq)
		c, err := parse(line)
		if err != nil {
			w.failf("chunk %d: %w", seq, err)
		}
		w.program = append(w.program, c.Data...)
		w.program = append(w.program, make([]byte, c.Bytes)...)
		w.entries = append(w.entries, entry{seq: seq, line: line, size: size, output: int64(len(w.program))})
		w.longest = max(w.longest, len(line))
		return line
	}
}

// append is what the one goroutine of the run does: it must have come back from
// the append before.
func (w *world) append(encode func(int64) []byte, size int) {
	if w.appending {
		return
	}
	w.appending = true
	go func() {
		w.log.append(w.note(encode, size), size)
		w.appending = false
	}()
}

func (w *world) end() {
	won := w.log.end(w.note(exit, 0))
	if won == w.ended {
		w.failf("end told %v when the log had ended: %v", won, w.ended)
	}
	w.ended = true
}

func (w *world) attach(after int) {
	r := &reading{after: int64(min(after, len(w.entries)-1)), tookAt: time.Now()}
	if r.after >= 0 {
		r.start = w.entries[r.after].output
	}
	r.exact = r.after < 0 || w.kept(r.after)
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.follower = w.log.Follow(r.after)
	w.followed = append(w.followed, r)
}

// kept tells whether the log still has a chunk.
func (w *world) kept(seq int64) bool {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for _, entries := range [][]entry{w.log.head, w.log.tail} {
		if i := position(entries, seq); i < len(entries) && entries[i].seq == seq {
			return true
		}
	}
	return false
}

func (w *world) read(r *reading) {
	if r.reading || r.closed || r.ended || r.stalled {
		return
	}
	r.reading = true
	go func() {
		tookAt := time.Now()
		batch, err := r.follower.Next(r.ctx)
		r.reading = false
		switch {
		case errors.Is(err, ErrStalled):
			r.stalled = true
			if idle := tookAt.Sub(r.tookAt); idle < testStall {
				w.failf("a follower that took nothing for only %s was dropped", idle)
			}
			return
		case err != nil:
			if !r.closed {
				w.failf("next: %w", err)
			}
			return
		}
		r.tookAt = time.Now()
		w.take(r, batch)
	}()
}

// take checks what is to be said of a batch by itself.
func (w *world) take(r *reading, batch Batch) {
	for i, line := range batch.Lines {
		c, err := parse(line)
		if err != nil {
			w.failf("batch: %w", err)
		}
		if last := r.last(); c.Seq <= last {
			w.failf("seq %d came after %d", c.Seq, last)
		}
		if c.Type != "truncated" && !bytes.Equal(line, w.entries[c.Seq].line) {
			w.failf("chunk %d came as %q instead of %q", c.Seq, line, w.entries[c.Seq].line)
		}
		if last := i == len(batch.Lines)-1; c.final() && (!batch.Ended || !last) {
			w.failf("the final chunk came as number %d of %d, ended %v", i, len(batch.Lines), batch.Ended)
		}
		r.got = append(r.got, c)
	}
	r.ended = batch.Ended
}

// last is the seq that the follower has.
func (r *reading) last() int64 {
	if len(r.got) == 0 {
		return r.after
	}
	return r.got[len(r.got)-1].Seq
}

func (r *reading) attached() bool { return !r.closed && !r.stalled }

func (r *reading) close() {
	r.closed = true
	r.stop()
	r.follower.Close()
	r.follower.Close() // twice is allowed
}

// behind is how many bytes of chunks a follower has yet to get.
func (w *world) behind(r *reading) int {
	size := 0
	for _, e := range w.entries[r.last()+1:] {
		size += len(e.line)
	}
	return size
}

// check is what holds whenever everything has come to rest.
func (w *world) check() {
	mayWait, attached := false, false
	for _, r := range w.followed {
		attached = attached || r.attached()
		mayWait = mayWait || r.attached() && w.behind(r) > w.log.limits.Tail
		if r.attached() && r.reading && w.behind(r) > 0 {
			w.failf("a follower waits for chunks that are there")
		}
		if r.reading && w.ended {
			w.failf("a follower waits for more after the end")
		}
	}
	if w.appending && (!mayWait || w.ended) {
		w.failf("the program is held back for nobody")
	}
	size, limits := w.log.headSize+w.log.tailSize, w.log.limits
	if kept := w.size(); kept != size {
		w.failf("the log keeps %d bytes and counts %d", kept, size)
	}
	// Beyond the limits there are at most the chunk that waits, one that is
	// larger than the limit by itself, and the final one.
	if bound := limits.Head + limits.Tail + 3*w.longest; size > bound {
		w.failf("the log keeps %d bytes and may keep %d", size, bound)
	}
	if !attached && !w.ended && !w.hasWaited() && size > limits.Head+max(limits.Tail, w.longest) {
		w.failf("with nobody attached the log keeps %d bytes", size)
	}
}

// hasWaited tells whether the last chunk went in while somebody was attached:
// what is too much then goes with the next one.
func (w *world) hasWaited() bool { return len(w.followed) > 0 }

func (w *world) size() int {
	size := 0
	for _, e := range append(append([]entry(nil), w.log.head...), w.log.tail...) {
		size += len(e.line)
	}
	return size
}

// checkReading is what holds of all that a follower got.
func (w *world) checkReading(r *reading) {
	finals, gaps, at := 0, 0, r.start
	next := r.after + 1
	for _, c := range r.got {
		if c.final() {
			finals++
		}
		if int(c.Seq) < len(w.entries) && c.Seq == next && w.isChunk(c) {
			at += int64(len(c.Data)) + c.Bytes
			next++
			continue
		}
		if c.Type == "truncated" && !w.isChunk(c) {
			gaps++
			missing := w.entries[c.Seq].output - at
			if c.Bytes < missing || r.exact && c.Bytes != missing {
				w.failf("after %d: the gap up to seq %d is said to be %d bytes long instead of %d", r.after, c.Seq, c.Bytes, missing)
			}
			at, next = w.entries[c.Seq].output, c.Seq+1
			continue
		}
		w.failf("after %d: seq %d came where %d was due", r.after, c.Seq, next)
		return
	}
	if gaps > 1 {
		w.failf("after %d: there are %d gaps", r.after, gaps)
	}
	if finals > 1 || r.ended != (r.last() == int64(len(w.entries)-1)) && w.ended && !r.closed && !r.stalled {
		w.failf("after %d: %d final chunks, ended %v, seq %d of %d", r.after, finals, r.ended, r.last(), len(w.entries)-1)
	}
}

// isChunk tells a chunk that was appended from one that stands for a gap.
func (w *world) isChunk(c chunk) bool {
	own, err := parse(w.entries[c.Seq].line)
	return err == nil && own == c
}

// TestEveryFollowerGetsEveryChunkOnce lets anything happen to a log, in any order,
// and compares what each follower makes of it with what the program wrote.
func TestEveryFollowerGetsEveryChunkOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := LogLimits{
			Head:  rapid.IntRange(0, 1500).Draw(rt, "head"),
			Tail:  rapid.IntRange(0, 1500).Draw(rt, "tail"),
			Stall: testStall,
		}
		happens := steps().Draw(rt, "steps")
		var failures []error
		// In a bubble neither rapid's draws nor its failures work.
		synctest.Test(t, func(*testing.T) {
			w := &world{log: NewLog(limits)}
			for _, s := range happens {
				w.do(s)
			}
			w.finish()
			failures = w.failures
		})
		if len(failures) > 0 {
			rt.Fatalf("%v", errors.Join(failures...))
		}
	})
}

// finish ends the log, lets late ones come, and lets all who are there read on.
func (w *world) finish() {
	if !w.ended {
		w.do(step{does: doEnd})
	}
	for _, after := range []int{-1, len(w.entries) / 2, len(w.entries) - 2, len(w.entries) - 1} {
		w.do(step{does: doAttach, after: after})
	}
	for _, r := range w.followed {
		for r.attached() && !r.ended && len(w.failures) == 0 {
			w.read(r)
			synctest.Wait()
			w.check()
		}
	}
	for _, r := range w.followed {
		w.checkReading(r)
		if r.attached() && !r.ended {
			w.failf("a follower never saw the end")
		}
		r.close()
	}
}

func TestALateFollowerGetsTheBeginningOneGapAndTheEnd(t *testing.T) {
	t.Parallel()
	line := len(output("0123456789")(1))
	l := NewLog(LogLimits{Head: 2 * line, Tail: 3 * line, Stall: testStall})
	for i := range 10 {
		write(l, fmt.Sprintf("%010d", i))
	}
	require.True(t, l.end(exit))

	got := readAll(t, l.Follow(-1))
	want := []chunk{
		{Type: "output", Seq: 0, Stream: "stdout", Data: "0000000000"},
		{Type: "output", Seq: 1, Stream: "stdout", Data: "0000000001"},
		{Type: "truncated", Seq: 6, Bytes: 50},
		{Type: "output", Seq: 7, Stream: "stdout", Data: "0000000007"},
		{Type: "output", Seq: 8, Stream: "stdout", Data: "0000000008"},
		{Type: "output", Seq: 9, Stream: "stdout", Data: "0000000009"},
		{Type: "exit", Seq: 10, Reason: "exited"},
	}
	require.Equal(t, want, got)
}

func TestWhoComesBackGetsExactlyTheRest(t *testing.T) {
	t.Parallel()
	l := NewLog(LogLimits{Head: 100, Tail: 1 << 20, Stall: testStall})
	write(l, "one", "two", "three", "four")
	l.end(exit)
	whole := readAll(t, l.Follow(-1))
	require.Len(t, whole, 5)
	for after := range whole {
		rest := readAll(t, l.Follow(int64(after)))
		require.Equal(t, whole, append(append([]chunk(nil), whole[:after+1]...), rest...), "after %d", after)
	}
}

func TestWithNobodyAttachedAppendNeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(LogLimits{Head: 10, Tail: 10, Stall: testStall})
		l.Follow(-1).Close() // somebody was
		began := time.Now()
		for range 1000 {
			write(l, strings.Repeat("x", 100))
		}
		require.Zero(t, time.Since(began))
	})
}

func TestAFollowerThatTakesNothingHoldsTheProgramBackAndIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(LogLimits{Head: 0, Tail: 100, Stall: testStall})
		stalled, reader := l.Follow(-1), l.Follow(-1)
		defer stalled.Close()
		defer reader.Close()
		read := make(chan []chunk, 1)
		go func() { read <- readAll(t, reader) }() //nolint:testifylint // a failure shows all the same: nothing is sent

		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			write(l, "one", strings.Repeat("x", 100), "three")
			l.end(exit)
		}()
		synctest.Wait()
		select {
		case <-done:
			require.Fail(t, "the program was not held back")
		default:
		}
		<-done
		require.Equal(t, testStall, time.Since(began), "one stalled follower costs one wait")

		_, err := stalled.Next(t.Context())
		require.ErrorIs(t, err, ErrStalled)
		require.Len(t, <-read, 4, "the other follower misses nothing")
	})
}

func TestAFollowerThatIsSlowButNotStalledIsNeverDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(LogLimits{Head: 0, Tail: 100, Stall: testStall})
		f := l.Follow(-1)
		defer f.Close()
		go func() {
			for range 50 {
				write(l, strings.Repeat("x", 60))
			}
			l.end(exit)
		}()
		chunks := 0
		for {
			time.Sleep(testStall - time.Second)
			batch, err := f.Next(t.Context())
			require.NoError(t, err)
			chunks += len(batch.Lines)
			if batch.Ended {
				break
			}
		}
		require.Equal(t, 51, chunks)
	})
}

func TestAProgramGoesOnWhenTheFollowerThatHeldItLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(LogLimits{Head: 0, Tail: 100, Stall: testStall})
		f := l.Follow(-1)
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			write(l, strings.Repeat("x", 100), strings.Repeat("y", 100))
		}()
		synctest.Wait()
		f.Close()
		<-done
		require.Zero(t, time.Since(began))
	})
}

func TestTheEndReleasesAProgramThatIsHeldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(LogLimits{Head: 0, Tail: 100, Stall: testStall})
		f := l.Follow(-1)
		defer f.Close()
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			write(l, strings.Repeat("x", 100), strings.Repeat("y", 100), "too late")
		}()
		synctest.Wait()
		require.True(t, l.end(exit))
		<-done
		require.Zero(t, time.Since(began))

		got := readAll(t, f)
		require.Equal(t, []string{"output", "output", "exit"}, types(got), "nothing that was printed before the end is lost")
	})
}

func TestNothingIsAddedAfterTheEnd(t *testing.T) {
	t.Parallel()
	l := NewLog(LogLimits{Head: 1000, Tail: 1000, Stall: testStall})
	write(l, "one")
	require.True(t, l.end(exit))
	require.False(t, l.end(exit))
	write(l, "two")
	require.Equal(t, []string{"output", "exit"}, types(readAll(t, l.Follow(-1))))
}

func TestOfManyEndsOneWins(t *testing.T) {
	t.Parallel()
	l := NewLog(LogLimits{Head: 1000, Tail: 1000, Stall: testStall})
	var group sync.WaitGroup
	wins := make(chan bool, 20)
	for range cap(wins) {
		group.Go(func() { wins <- l.end(exit) })
	}
	group.Wait()
	close(wins)
	won := 0
	for win := range wins {
		if win {
			won++
		}
	}
	require.Equal(t, 1, won)
	require.Equal(t, []string{"exit"}, types(readAll(t, l.Follow(-1))))
}

func TestAWaitingFollowerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	l := NewLog(LogLimits{Head: 1000, Tail: 1000, Stall: testStall})
	f := l.Follow(-1)
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	write(l, "one")
	batch, err := f.Next(t.Context())
	require.NoError(t, err, "the follower is good for another try")
	require.Len(t, batch.Lines, 1)
}

// TestFollowersInARaceGetTheSame has no model: it is for the race detector.
func TestFollowersInARaceGetTheSame(t *testing.T) {
	t.Parallel()
	const printed = 2000
	l := NewLog(LogLimits{Head: 4 << 10, Tail: 4 << 10, Stall: time.Minute})
	var group sync.WaitGroup
	fromStart := make([][]chunk, 5)
	for i := range fromStart {
		f := l.Follow(-1)
		group.Go(func() {
			defer f.Close()
			fromStart[i] = readAll(t, f)
		})
	}
	group.Go(func() {
		for range printed {
			write(l, "some text of a line\n")
		}
		l.end(exit)
	})
	for range 20 { // who comes and goes disturbs nobody
		group.Go(func() {
			f := l.Follow(-1)
			defer f.Close()
			_, err := f.Next(t.Context())
			assert.NoError(t, err)
		})
	}
	group.Wait()
	for _, got := range fromStart {
		require.Len(t, got, printed+1)
		require.Equal(t, fromStart[0], got)
	}
}

func types(chunks []chunk) []string {
	var all []string
	for _, c := range chunks {
		all = append(all, c.Type)
	}
	return all
}

func BenchmarkLog(b *testing.B) {
	line := strings.Repeat("x", 80) + "\n"
	for _, followers := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			l := NewLog(LogLimits{Head: 256 << 10, Tail: 1 << 20, Stall: time.Minute})
			var group sync.WaitGroup
			for range followers {
				f := l.Follow(-1)
				group.Go(func() {
					defer f.Close()
					for {
						batch, err := f.Next(b.Context())
						if err != nil || batch.Ended {
							return
						}
					}
				})
			}
			for b.Loop() {
				write(l, line)
			}
			l.end(exit)
			group.Wait()
		})
	}
}
