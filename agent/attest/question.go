package attest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// questions is how one container's questions reach the device: equal ones that meet are asked once, an answer stands for the same question for
// a moment, different ones go one after the other, and each costs a token. So a thousand requests that ask the same cost the guest's one device one call,
// and a container has at most one call waiting while its neighbours wait for theirs.
//
// Nothing is shared between containers, not even the answer to an equal question: what one asked, or how long ago, is nobody else's business.
type questions struct {
	broker *Broker
	tokens *bucket
	turn   chan struct{}

	mu      sync.Mutex
	flights map[[64]byte]*flight
	last    answered
}

// flight is a question on its way to the device. It is made by the first caller, on that caller's own goroutine: handing it to another would cost more than
// all the rest of the broker.
type flight struct {
	done    chan struct{} // closed once there are an answer and an error
	ev      snp.Evidence
	err     error
	waiting int
	cancel  context.CancelFunc
}

// answered is the last question with its answer.
type answered struct {
	data [64]byte
	ev   snp.Evidence
	at   time.Time
}

func newQuestions(b *Broker) *questions {
	return &questions{
		broker: b, tokens: newBucket(b.opt.Rate, b.opt.Burst, b.now()), turn: make(chan struct{}, 1), flights: make(map[[64]byte]*flight),
	}
}

// report asks for a report over data. The question does not end with the caller that put it while others wait for the answer; when the last of them
// has left, it does.
func (q *questions) report(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	q.mu.Lock()
	if ev, ok := q.recent(data); ok {
		q.mu.Unlock()
		return ev, nil
	}
	if f := q.flights[data]; f != nil {
		f.waiting++
		q.mu.Unlock()
		return q.join(ctx, data, f)
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.broker.opt.Deadline)
	defer cancel()
	f := &flight{done: make(chan struct{}), waiting: 1, cancel: cancel}
	q.flights[data] = f
	q.mu.Unlock()
	defer context.AfterFunc(ctx, func() { q.leave(data, f) })()
	ev, err := q.ask(asking, data)
	q.land(data, f, ev, err)
	if ctx.Err() != nil {
		return snp.Evidence{}, context.Cause(ctx)
	}
	return ev, err
}

// join waits for another caller's answer.
func (q *questions) join(ctx context.Context, data [64]byte, f *flight) (snp.Evidence, error) {
	select {
	case <-f.done:
		return f.ev, f.err
	case <-ctx.Done():
		q.leave(data, f)
		return snp.Evidence{}, context.Cause(ctx)
	}
}

// leave ends the question with its last caller; whoever asks the same from then on asks anew.
func (q *questions) leave(data [64]byte, f *flight) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.cancel()
	if q.flights[data] == f {
		delete(q.flights, data)
	}
}

// land gives the answer to whoever waits, and remembers it.
func (q *questions) land(data [64]byte, f *flight, ev snp.Evidence, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flights[data] == f {
		delete(q.flights, data)
	}
	if err == nil {
		q.last = answered{data, ev, q.broker.now()}
	}
	f.ev, f.err = ev, err
	close(f.done)
}

// ask puts the question to the device, for a token and after the container's earlier ones.
func (q *questions) ask(ctx context.Context, data [64]byte) (snp.Evidence, error) {
	if !q.tokens.take(q.broker.now()) {
		return snp.Evidence{}, refuse(http.StatusTooManyRequests, "more than %g questions a second to the report device", q.broker.opt.Rate)
	}
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return snp.Evidence{}, ErrDeadline
	}
	return q.broker.ask(ctx, data)
}

// recent is the last answer, if it was to this question and a moment ago. Its freshness is the caller's nonce: the report was made after the
// caller, or whoever asked the same, knew it. The lock is held.
func (q *questions) recent(data [64]byte) (snp.Evidence, bool) {
	if q.last.ev.Report == nil || q.last.data != data {
		return snp.Evidence{}, false
	}
	if age := q.broker.now().Sub(q.last.at); age < 0 || age > q.broker.opt.Reuse {
		return snp.Evidence{}, false
	}
	return q.last.ev, true
}

// forget makes the next question a new one: the answer turned out to be of no use.
func (q *questions) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = answered{}
}
