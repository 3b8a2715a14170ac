// Package fault makes a service misbehave: answer late, refuse, answer with garbage, or be cut off in the middle. Tests say how often.
package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is a way to misbehave.
type Kind string

// The ways.
const (
	Slow    Kind = "slow"    // the answer comes Delay later
	Fail    Kind = "fail"    // Status, with an error document, in place of an answer
	Garbage Kind = "garbage" // an answer that is no document
	Cut     Kind = "cut"     // half of the answer, then the connection ends
)

// Fault is one way, for so many answers.
type Fault struct {
	Kind   Kind
	Count  int // of answers; 0 is all
	Status int // of Fail; 0 is 503
	Delay  time.Duration
}

// Parse reads a fault as flags and queries write it: KIND[,count=N][,status=N][,delay=DURATION].
func Parse(text string) (Fault, error) {
	options := strings.Split(text, ",")
	kind := options[0]
	f := Fault{Kind: Kind(kind)}
	switch f.Kind {
	case Slow, Fail, Garbage, Cut:
	default:
		return f, fmt.Errorf("fault %.64q: got kind %.32q, want slow, fail, garbage or cut", text, kind)
	}
	for _, option := range options[1:] {
		name, value, _ := strings.Cut(option, "=")
		var err error
		switch name {
		case "count":
			f.Count, err = number(value, 1, 1_000_000)
		case "status":
			f.Status, err = number(value, 400, 599)
		case "delay":
			f.Delay, err = time.ParseDuration(value)
		default:
			err = errors.New("want count, status or delay")
		}
		if err != nil {
			return f, fmt.Errorf("fault %.64q: %.32q: %w", text, option, err)
		}
	}
	return f, nil
}

func number(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && (n < least || n > most) {
		err = fmt.Errorf("want %d to %d", least, most)
	}
	return n, err
}

// maxBody bounds what is read of a request before it waits, in bytes.
const maxBody = 64 << 20

// Handler is a service that misbehaves as it is told. It is safe for concurrent use.
type Handler struct {
	next http.Handler

	mu     sync.Mutex
	script []Fault
}

// Wrap makes a Handler of a service.
func Wrap(next http.Handler) *Handler { return &Handler{next: next} }

// Play replaces what is still to be played. Faults follow each other; one without a count stays.
func (h *Handler) Play(script ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script = append([]Fault(nil), script...)
}

// take is the fault of the next answer.
func (h *Handler) take() (Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.script) == 0 {
		return Fault{}, false
	}
	f := h.script[0]
	if f.Count == 1 {
		h.script = h.script[1:]
	} else if f.Count > 1 {
		h.script[0].Count--
	}
	return f, true
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := h.take()
	if !ok {
		h.next.ServeHTTP(w, r)
		return
	}
	switch f.Kind {
	case Slow:
		// A server notices that its client left only when nothing of the request is still to come.
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			h.next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case Fail:
		status := f.Status
		if status == 0 {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":"Emulated","message":"told to fail"}}`)
	case Garbage:
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("\x00\xff{\"token\":"))
	case Cut:
		h.cut(w, r)
	}
}

// cut announces the whole answer and sends half of it.
func (h *Handler) cut(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	answer.Body = new(bytes.Buffer)
	h.next.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
	http.NewResponseController(w).Flush() // a client that got nothing would ask again by itself
	panic(http.ErrAbortHandler)
}
