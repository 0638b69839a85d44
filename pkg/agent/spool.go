package agent

import (
	"bytes"
	"context"
	"errors"
	"sort"
	"strconv"
	"sync"
)

// A spool keeps the last spoolSize bytes of a run's output: what waits for the
// follower, and what it was sent lately, so that one that comes back after a
// lost stream misses nothing. A follower that falls spoolWindow behind holds
// the program back.
//
// spoolSize - spoolWindow must exceed what can be on its way to the server: the
// client's receive window and the buffers of the exec stream.
const (
	spoolSize   = 3 << 20
	spoolWindow = 1 << 20

	// frameCost is what a frame costs beyond its bytes, so that a program that
	// writes byte by byte can't make the spool large.
	frameCost = 64
	// frameSize is up to where small writes that wait together become one frame.
	frameSize = 32 << 10
)

var errReplaced = errors.New("another follower took over")

// spool is the output of one run. The run appends; one follower at a time reads, and a new follower takes the place of the one before.
type spool struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	frames  []Frame
	sent    int    // how many of frames the follower was sent
	start   int64  // offset in bytes at which frames[0] starts
	end     int64  // offset at which the last frame ends
	exit    *Frame // set once nothing more follows

	attached int   // how many followers there have been; names the current one
	follower bool  // whether one is attached
	offset   int64 // up to where the follower was sent everything
}

func newSpool() *spool {
	return &spool{changed: make(chan struct{})}
}

// append adds a copy of data. It waits while an attached follower is too far
// behind; without a follower it drops the oldest output instead. What comes
// after the exit is dropped.
func (s *spool) append(kind FrameKind, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.follower && s.exit == nil && s.cost(s.sent) > spoolWindow {
		_ = s.wait(context.Background())
	}
	if s.exit != nil {
		return
	}
	s.end += int64(len(data))
	if last := len(s.frames) - 1; last >= s.sent && s.frames[last].Kind == kind && len(s.frames[last].Data)+len(data) <= frameSize {
		s.frames[last].Data = append(s.frames[last].Data, data...)
		s.frames[last].End = s.end
	} else {
		s.frames = append(s.frames, Frame{Kind: kind, End: s.end, Data: bytes.Clone(data)})
	}
	for s.cost(0) > spoolSize {
		s.start = s.frames[0].End
		s.frames[0] = Frame{}
		s.frames = s.frames[1:]
		s.sent = max(s.sent-1, 0)
	}
	s.signal()
}

// cost is what the frames from the given one on take up.
func (s *spool) cost(from int) int {
	if from == len(s.frames) {
		return 0
	}
	start := s.frames[from].End - int64(len(s.frames[from].Data))
	return int(s.end-start) + frameCost*(len(s.frames)-from)
}

// close marks the end of the output; it stays readable.
func (s *spool) close(exit []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exit = &Frame{Kind: FrameExit, End: s.end, Data: exit}
	s.signal()
}

// attach makes the caller the follower, from offset on, and names it for next
// and detach.
func (s *spool) attach(offset int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached++
	s.follower = true
	s.offset = min(max(offset, 0), s.end)
	s.sent = sort.Search(len(s.frames), func(i int) bool { return s.frames[i].End > s.offset })
	s.signal()
	return s.attached
}

// detach lets the program run free. It does nothing for one that was replaced.
func (s *spool) detach(follower int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attached == follower {
		s.follower = false
		s.signal()
	}
}

// next waits for frames that the follower was not sent yet. The last batch ends
// with the exit frame. It fails when ctx ends or another follower took over.
func (s *spool) next(ctx context.Context, follower int) ([]Frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.attached == follower && s.sent == len(s.frames) && s.exit == nil {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	if s.attached != follower {
		return nil, errReplaced
	}
	var batch []Frame
	if s.offset < s.start {
		batch = append(batch, Frame{Kind: FrameGap, End: s.start, Data: strconv.AppendInt(nil, s.start-s.offset, 10)})
	}
	batch = append(batch, s.frames[s.sent:]...)
	s.sent, s.offset = len(s.frames), s.end
	if s.exit != nil {
		batch = append(batch, *s.exit)
	}
	s.signal()
	return batch, nil
}

// signal wakes all who wait; s.mu is held.
func (s *spool) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait releases s.mu until something changed or ctx ended.
func (s *spool) wait(ctx context.Context) error {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
