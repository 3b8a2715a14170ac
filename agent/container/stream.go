package container

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// streamBuffer is how much output waits in the guest for a reader. When it is full the pump stops, the pipe fills and the
// workload blocks, as it would on any pipe.
const streamBuffer = 256 << 10

// stream keeps what a process wrote until somebody reads it. A reader that goes away loses nothing: bytes leave the buffer
// only into an answer (a host that was killed and comes back reads on).
type stream struct {
	src io.ReadCloser

	mu    sync.Mutex
	buf   []byte
	eof   bool
	event chan struct{} // closed and replaced on each change
}

func newStream(src io.ReadCloser) *stream {
	s := &stream{src: src, event: make(chan struct{})}
	go s.pump()
	return s
}

// pump moves bytes from the process to the buffer until end of file, an error, or the read deadline that close sets.
func (s *stream) pump() {
	chunk := make([]byte, 32<<10)
	for {
		n, err := s.src.Read(chunk)
		s.mu.Lock()
		s.buf = append(s.buf, chunk[:n]...)
		if err != nil {
			s.eof = true
		}
		s.changed()
		for len(s.buf) >= streamBuffer && !s.eof {
			event := s.event
			s.mu.Unlock()
			<-event
			s.mu.Lock()
		}
		done := s.eof
		s.mu.Unlock()
		if done {
			s.src.Close()
			return
		}
	}
}

// changed wakes all waiters; the lock is held.
func (s *stream) changed() {
	close(s.event)
	s.event = make(chan struct{})
}

// read returns between 1 and max bytes, or nothing at end of stream.
func (s *stream) read(ctx context.Context, max int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == 0 {
		if s.eof {
			return nil, nil
		}
		event := s.event
		s.mu.Unlock()
		select {
		case <-event:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return nil, context.Cause(ctx)
		}
	}
	n := min(max, len(s.buf))
	out := make([]byte, n)
	copy(out, s.buf)
	s.buf = append(s.buf[:0], s.buf[n:]...)
	s.changed()
	return out, nil
}

// finish ends the stream at the latest when deadline says: a daemon that the process left behind may hold the pipe open.
func (s *stream) finish() {
	if f, ok := s.src.(*os.File); ok {
		if err := f.SetReadDeadline(drainUntil()); err == nil || !errors.Is(err, os.ErrNoDeadline) {
			return
		}
	}
	s.src.Close()
}

// discard forgets what is buffered and ends the stream; used when the container is removed.
func (s *stream) discard() {
	s.src.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf, s.eof = nil, true
	s.changed()
}
