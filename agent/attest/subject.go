package attest

import (
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// subject is one container that may ask: who it is, what it still may ask, and the ways in.
type subject struct {
	broker    *Broker
	id        Identity
	requests  *bucket
	connects  *bucket
	questions *questions
	unix      unixDoor
	once      sync.Once
	cgroup    uint64 // id of its control group once that was looked up; the broker's mutex is held for it

	mu      sync.Mutex
	stopped bool
	active  sync.WaitGroup        // handlers
	conns   map[net.Conn]struct{} // over TCP
}

func newSubject(b *Broker, id Identity) *subject {
	return &subject{
		broker: b, id: id,
		requests:  newBucket(b.opt.Requests, b.opt.RequestBurst, b.now()),
		connects:  newBucket(b.opt.Connects, b.opt.ConnectBurst, b.now()),
		questions: newQuestions(b),
		conns:     make(map[net.Conn]struct{}),
	}
}

// stop closes the socket and every connection, waits for the handlers, and removes what open made.
func (s *subject) stop() {
	s.once.Do(func() {
		s.mu.Lock()
		s.stopped = true
		conns := slices.Collect(maps.Keys(s.conns))
		s.mu.Unlock()
		for _, c := range conns {
			_ = c.Close() // it gives up its place here
		}
		_ = s.unix.server.Close() // its error is that of closing sockets; they are closed
		<-s.unix.served
		s.active.Wait()
		_ = os.Remove(s.unix.path)
		if s.unix.made {
			_ = os.Remove(filepath.Dir(s.unix.path))
		}
		s.broker.mu.Lock()
		defer s.broker.mu.Unlock()
		delete(s.broker.subjects, s.id.Key)
	})
}

// enter counts a handler in, unless the container is going.
func (s *subject) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.active.Add(1)
	return true
}

// adopt takes a TCP connection of the container, unless it is going or has as many as it may.
func (s *subject) adopt(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(s.conns) >= s.broker.opt.Connections {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *subject) release(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// serve answers one request of the container. Every answer is one JSON document; errors are {"error": "..."}.
func (s *subject) serve(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler) // net/http's way to drop a connection
	}
	defer s.active.Done()
	if !s.requests.take(s.broker.now()) {
		reply(w, nil, refuse(http.StatusTooManyRequests, "more than %g requests a second", s.broker.opt.Requests))
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.broker.opt.Deadline, ErrDeadline)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	d, err := s.dispatch(ctx, r)
	reply(w, d, err)
}

// turnAway answers a peer that may not ask, and ends the connection.
func turnAway(w http.ResponseWriter, why error) {
	w.Header().Set("Connection", "close")
	reply(w, nil, refuse(http.StatusForbidden, "%v", why))
}
