package session

import (
	"os"
	"sync"
	"time"
)

// inboxSize is how much a session may receive ahead of its reader. One whole frame always fits into an empty inbox.
const inboxSize = 64 << 10

// inbox is the bounded buffer between the goroutine that reads the port and the reader of one connection.
type inbox struct {
	mu       sync.Mutex
	readable sync.Cond
	writable sync.Cond
	buf      []byte // ring
	start, n int
	err      error // what Read returns once the ring is empty
	deadline time.Time
	timer    *time.Timer
}

func newInbox() *inbox {
	b := &inbox{buf: make([]byte, inboxSize)}
	b.readable.L, b.writable.L = &b.mu, &b.mu
	return b
}

// push appends p, waiting for room; it reports false when the inbox ended instead.
func (b *inbox) push(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && b.n+len(p) > len(b.buf) {
		b.writable.Wait()
	}
	if b.err != nil {
		return false
	}
	end := (b.start + b.n) % len(b.buf)
	copied := copy(b.buf[end:], p)
	copy(b.buf, p[copied:])
	b.n += len(p)
	b.readable.Broadcast()
	return true
}

// end makes reads return err: at once when discard is set, else after what is buffered. The first call counts.
func (b *inbox) end(err error, discard bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if discard {
		b.n = 0
	}
	if b.err != nil {
		return
	}
	b.err = err
	if b.timer != nil {
		b.timer.Stop()
	}
	b.readable.Broadcast()
	b.writable.Broadcast()
}

func (b *inbox) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for b.n == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if !b.deadline.IsZero() && !time.Now().Before(b.deadline) {
			return 0, os.ErrDeadlineExceeded
		}
		b.readable.Wait()
	}
	read := copy(p, b.buf[b.start:min(b.start+b.n, len(b.buf))])
	b.start = (b.start + read) % len(b.buf)
	b.n -= read
	b.writable.Broadcast()
	return read, nil
}

func (b *inbox) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if !t.IsZero() && b.err == nil {
		b.timer = time.AfterFunc(time.Until(t), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.readable.Broadcast()
		})
	}
	b.readable.Broadcast()
}
