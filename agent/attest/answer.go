package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// statusError is an answer other than 200. Its text goes to the container that asked.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

// statusOf follows the reference: 400 for what cannot be read, 403 when no report could be made.
func statusOf(err error) int {
	var s *statusError
	switch {
	case errors.As(err, &s):
		return s.status
	case errors.Is(err, ErrDeadline):
		return http.StatusGatewayTimeout
	}
	return http.StatusForbidden
}

// errorAnswer is the one form that errors have.
type errorAnswer struct {
	Error string `json:"error"`
}

// marshalled is a small answer.
func marshalled(v any) (*document, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return literal(b), nil
}

// reply sends one JSON document, whatever happened before: an answer or {"error": "..."}.
func reply(w http.ResponseWriter, d *document, err error) {
	status := http.StatusOK
	if err != nil {
		status = statusOf(err)
		if d, err = marshalled(errorAnswer{err.Error()}); err != nil {
			d = literal([]byte(`{"error":"encode answer"}`))
		}
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
	}
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(d.size())}
	w.WriteHeader(status)
	d.send(w)
}

var contentType = []string{"application/json; charset=utf-8"}

// route is one call: its method and the function that makes the answer.
type route struct {
	method    string
	answer    func(*subject, context.Context, *http.Request) (*document, error)
	ownSocket bool // it names who asks, and is answered at a container's own socket only
}

var routes = map[string]route{
	"/status":          {http.MethodGet, (*subject).status, false},
	"/attest/raw":      {http.MethodPost, (*subject).raw, false},
	"/attest/combined": {http.MethodPost, (*subject).combined, false},
	"/attest/bundle":   {http.MethodPost, (*subject).bundle, false},
	"/v1/evidence":     {http.MethodPost, (*subject).evidence, true},
	"/info":            {http.MethodGet, (*subject).info, false},
	"/aa/evidence":     {http.MethodGet, (*subject).cocoEvidence, false},
}

// absent are calls of the shapes above that this agent does not have, with the reason.
var absent = map[string]string{
	"/attest/maa":             "this agent asks no attestation service: send the evidence of /attest/combined to it yourself",
	"/key/release":            "this agent releases no keys",
	"/aa/additional-evidence": "this guest has no device besides the processor that gives evidence",
	"/aa/token":               "this agent asks no attestation service: send the evidence of /aa/evidence to it yourself",
	"/aa/aael":                "the event log is the agent's own, and workloads do not write to it",
}

// onlyOwnSocket is why nothing that names a container is said on loopback.
const onlyOwnSocket = "identity evidence is given on the container's own socket only: whoever in the pod may open raw sockets can write into a loopback connection"

// dispatch finds the call and makes its answer.
func (s *subject) dispatch(ctx context.Context, r *http.Request) (*document, error) {
	route, ok := routes[r.URL.Path]
	if !ok {
		if why, known := absent[r.URL.Path]; known {
			return nil, refuse(http.StatusNotFound, "%s: %s", r.URL.Path, why)
		}
		return nil, refuse(http.StatusNotFound, "this agent does not have the call %.64q", r.URL.Path)
	}
	if r.Method != route.method {
		return nil, refuse(http.StatusMethodNotAllowed, "got method %.16q, want %s", r.Method, route.method)
	}
	if _, own := r.Context().Value(connKey{}).(*limitConn); route.ownSocket && !own {
		return nil, refuse(http.StatusForbidden, "%s: %s", r.URL.Path, onlyOwnSocket)
	}
	return route.answer(s, ctx, r)
}
