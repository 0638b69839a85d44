package execution

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"
)

// LogLimits bound what a log keeps in memory.
type LogLimits struct {
	// Head is how many bytes of the beginning are kept for later readers.
	Head int
	// Tail is how many bytes of the end are kept, and how far an attached follower
	// may fall behind before it holds the program back.
	Tail int
	// Stall is how long an attached follower may take nothing while it holds the
	// program back; then it is dropped.
	Stall time.Duration
}

// ErrStalled says that a follower took nothing for too long and was dropped.
var ErrStalled = errors.New("the reader stalled and was dropped")

// entry is one chunk as it goes out: a line of JSON with its line feed.
type entry struct {
	seq    int64
	line   []byte
	size   int   // bytes of output in this chunk
	output int64 // bytes of output up to and with this chunk
}

// Log is the account of one execution: its chunks in order, numbered by seq,
// from the first to the final one. One goroutine appends; any number follow, from
// any position. Anybody may end it. It keeps the head and the tail within its
// limits, and what attached followers have yet to get, for which it makes the
// appender wait.
type Log struct {
	limits LogLimits

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change
	head      []entry
	tail      []entry
	headSize  int
	tailSize  int
	headFull  bool
	output    int64 // bytes of output so far
	nextSeq   int64
	ended     bool
	followers map[*Follower]struct{}
}

// NewLog makes an empty log.
func NewLog(limits LogLimits) *Log {
	return &Log{
		limits:    limits,
		changed:   make(chan struct{}),
		followers: make(map[*Follower]struct{}),
	}
}

// append adds a chunk that encode writes for its seq, which carries the given
// number of bytes of output. It waits while an attached follower is a whole tail
// behind. After the end it does nothing.
func (l *Log) append(encode func(seq int64) []byte, output int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.add(encode, output)
	l.signal()
	l.trim()
}

// end adds the final chunk, and tells whether it was the first to do so. It waits
// for nobody: what is left to read stays readable.
func (l *Log) end(encode func(seq int64) []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.add(encode, 0)
	l.ended = true
	l.signal()
	return true
}

func (l *Log) add(encode func(seq int64) []byte, output int) {
	l.output += int64(output)
	e := entry{seq: l.nextSeq, line: encode(l.nextSeq), size: output, output: l.output}
	l.nextSeq++
	if !l.headFull && l.headSize+len(e.line) <= l.limits.Head {
		l.head = append(l.head, e)
		l.headSize += len(e.line)
		return
	}
	l.headFull = true
	l.tail = append(l.tail, e)
	l.tailSize += len(e.line)
}

// trim drops the oldest of the tail, once all attached followers have got it.
func (l *Log) trim() {
	began := time.Now()
	for l.tailSize > l.limits.Tail && len(l.tail) > 1 && !l.ended {
		if slow := l.slowest(); slow != nil && slow.next <= l.tail[0].seq {
			l.awaitProgress(slow, began)
			continue
		}
		l.tailSize -= len(l.tail[0].line)
		l.tail[0] = entry{}
		l.tail = l.tail[1:]
	}
}

func (l *Log) slowest() *Follower {
	var slow *Follower
	for f := range l.followers {
		if slow == nil || f.next < slow.next {
			slow = f
		}
	}
	return slow
}

// awaitProgress waits for a change, and drops the follower if it has stalled
// since the appender began to wait.
func (l *Log) awaitProgress(f *Follower, began time.Time) {
	if f.progress.After(began) {
		began = f.progress
	}
	left := l.limits.Stall - time.Since(began)
	if left <= 0 {
		f.stalled = true
		delete(l.followers, f)
		l.signal()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), left)
	defer cancel()
	_ = l.wait(ctx)
}

// Follow attaches a follower that gets every chunk after seq; -1 is the start.
// The caller must close it.
func (l *Log) Follow(after int64) *Follower {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &Follower{log: l, next: after + 1, output: l.outputUpTo(after), progress: time.Now()}
	l.followers[f] = struct{}{}
	return f
}

// outputUpTo is how many bytes of output there were up to and with seq, or, where
// that is no longer kept, up to the last chunk before it that is.
func (l *Log) outputUpTo(seq int64) int64 {
	for _, entries := range [][]entry{l.tail, l.head} {
		if i := position(entries, seq+1); i > 0 {
			return entries[i-1].output
		}
	}
	return 0
}

// position is the index of the first entry that has the seq or a later one.
func position(entries []entry, seq int64) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].seq >= seq })
}

// signal wakes all who wait; l.mu is held.
func (l *Log) signal() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait releases l.mu until something changed or ctx ended.
func (l *Log) wait(ctx context.Context) error {
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Follower reads a log. It is attached until it is closed, and holds the program
// back when it falls behind.
type Follower struct {
	log *Log

	// Guarded by log.mu.
	next     int64 // seq of the chunk it gets next
	output   int64 // bytes of output it has got, or was told of
	progress time.Time
	stalled  bool
}

// Batch is what a follower gets at once.
type Batch struct {
	// Lines are chunks, each a line of JSON with its line feed.
	Lines [][]byte
	// Ended tells that the final chunk is among them.
	Ended bool
}

// maxBatch bounds a batch, so that progress is seen.
const maxBatch = 256 << 10

// Next waits for chunks that the follower hasn't got yet. What is no longer kept
// is replaced by one chunk that says how much it was. It fails with ctx's error,
// or with ErrStalled. Past the final chunk there is nothing but the end.
func (f *Follower) Next(ctx context.Context) (Batch, error) {
	l := f.log
	l.mu.Lock()
	defer l.mu.Unlock()
	f.advanced()
	for !f.stalled && !l.ended && f.next >= l.nextSeq {
		if err := l.wait(ctx); err != nil {
			return Batch{}, err
		}
	}
	if f.stalled {
		return Batch{}, ErrStalled
	}
	batch := f.take()
	batch.Ended = l.ended && f.next >= l.nextSeq
	return batch, nil
}

// advanced notes that what was taken before has been dealt with.
func (f *Follower) advanced() {
	f.progress = time.Now()
	f.log.signal()
}

func (f *Follower) take() Batch {
	var batch Batch
	size := 0
	for _, entries := range [][]entry{f.log.head, f.log.tail} {
		for _, e := range entries[position(entries, f.next):] {
			if size > 0 && size+len(e.line) > maxBatch {
				return batch
			}
			if e.seq > f.next {
				lost := e.output - int64(e.size) - f.output
				batch.Lines = append(batch.Lines, encodeTruncated(e.seq-1, lost))
			}
			batch.Lines = append(batch.Lines, e.line)
			size += len(e.line)
			f.next, f.output = e.seq+1, e.output
		}
	}
	return batch
}

// Close detaches the follower. It may be called twice.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	delete(f.log.followers, f)
	f.log.signal()
}
