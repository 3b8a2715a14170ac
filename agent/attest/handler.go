package attest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/cloister-cc/cloister/snp"
)

// maxRawRuntimeData is what CoCo's call may put into REPORT_DATA as it is: the last 16 bytes stay zero.
const maxRawRuntimeData = 48

// statusError is an answer other than 200. Its text goes to the container that asked.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

// route is one call: its method, the function that makes the answer, and whether that can be megabytes.
type route struct {
	method string
	answer func(*listener, context.Context, *http.Request) (any, error)
	large  bool
}

var routes = map[string]route{
	"/attest/raw":      {http.MethodPost, (*listener).raw, false},
	"/attest/combined": {http.MethodPost, (*listener).combined, false},
	"/attest/bundle":   {http.MethodPost, (*listener).bundle, true},
	"/aa/evidence":     {http.MethodGet, (*listener).cocoEvidence, false},
}

// serve answers one request. Every answer is one JSON document; errors are {"error": "..."}.
func (l *listener) serve(w http.ResponseWriter, r *http.Request) {
	if !l.enter() {
		panic(http.ErrAbortHandler) // net/http's way to drop a connection
	}
	defer l.active.Done()
	ctx, cancel := context.WithTimeoutCause(r.Context(), l.broker.opt.Deadline, ErrDeadline)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)

	// One large answer of a container at a time, until it is sent: a container that asks often and reads slowly would
	// otherwise fill the agent's memory with copies of the policy.
	if routes[r.URL.Path].large {
		select {
		case l.large <- struct{}{}:
			defer func() { <-l.large }()
		case <-ctx.Done():
			panic(http.ErrAbortHandler)
		}
	}
	body, err := l.dispatch(ctx, r)
	status := http.StatusOK
	if err != nil {
		status = statusOf(err)
		body = struct {
			Error string `json:"error"`
		}{err.Error()}
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
	}
	out, err := json.Marshal(body)
	if err != nil {
		status, out = http.StatusInternalServerError, []byte(`{"error":"encode answer"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.WriteHeader(status)
	_, _ = w.Write(out)
}

func (l *listener) dispatch(ctx context.Context, r *http.Request) (any, error) {
	if !l.bucket.take(l.broker.now()) {
		return nil, refuse(http.StatusTooManyRequests, "more than %g requests a second", l.broker.opt.Rate)
	}
	route, ok := routes[r.URL.Path]
	if !ok {
		return nil, refuse(http.StatusNotFound, "this agent does not have the call %.64q", r.URL.Path)
	}
	if r.Method != route.method {
		return nil, refuse(http.StatusMethodNotAllowed, "got method %.16q, want %s", r.Method, route.method)
	}
	return route.answer(l, ctx, r)
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

// decode reads one JSON document and nothing after it.
func decode(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	err := dec.Decode(into)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("got more after the document")
		}
	}
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "body: got more than %d bytes", large.Limit)
	default:
		return refuse(http.StatusBadRequest, "body: %v", err)
	}
}

// runtimeData reads the request of the Azure shapes.
func runtimeData(r *http.Request) ([]byte, error) {
	var req struct {
		RuntimeData string `json:"runtime_data"`
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(req.RuntimeData)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "runtime_data: %v", err)
	}
	if len(data) == 0 {
		return nil, refuse(http.StatusBadRequest, "runtime_data: missing")
	}
	return data, nil
}

// rawAnswer is the answer of /attest/raw.
type rawAnswer struct {
	Report string `json:"report"` // hex
}

func (l *listener) raw(ctx context.Context, r *http.Request) (any, error) {
	data, err := runtimeData(r)
	if err != nil {
		return nil, err
	}
	ev, err := l.broker.report(ctx, hashed(data))
	if err != nil {
		return nil, err
	}
	return rawAnswer{hex.EncodeToString(ev.Report)}, nil
}

// combinedAnswer is the answer of /attest/combined.
type combinedAnswer struct {
	Evidence        []byte `json:"evidence"`     // report
	Endorsements    []byte `json:"endorsements"` // PEM: signing key, ASK, ARK
	UVMEndorsements []byte `json:"uvm_endorsements"`
	EndorsedTCB     string `json:"endorsed_tcb"` // hex of a 64-bit number
}

func (l *listener) combined(ctx context.Context, r *http.Request) (any, error) {
	data, err := runtimeData(r)
	if err != nil {
		return nil, err
	}
	ev, err := l.broker.report(ctx, hashed(data))
	if err != nil {
		return nil, err
	}
	chain, tcb, err := endorsements(ev)
	if err != nil {
		return nil, err
	}
	uvm := l.broker.opt.UVMEndorsement
	if uvm == nil {
		uvm = []byte{} // an empty string, not null: clients decode a string
	}
	return combinedAnswer{Evidence: ev.Report, Endorsements: chain, UVMEndorsements: uvm, EndorsedTCB: tcb}, nil
}

// bundle answers the document that "cloister attest verify" reads.
func (l *listener) bundle(ctx context.Context, r *http.Request) (any, error) {
	var req struct {
		Nonce string `json:"nonce"`
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	nonce, err := hex.DecodeString(req.Nonce)
	if err != nil || len(nonce) < minNonce || len(nonce) > maxNonce {
		return nil, refuse(http.StatusBadRequest, "nonce: want %d to %d bytes in hex", minNonce, maxNonce)
	}
	doc, err := l.broker.Bundle(ctx, nonce)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(doc), nil
}

// cocoEvidence answers CoCo's GET /aa/evidence: the caller's bytes are REPORT_DATA itself, padded with zeros.
func (l *listener) cocoEvidence(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	if len(query["runtime_data"]) != 1 || len(query["encoding"]) > 1 {
		return nil, refuse(http.StatusBadRequest, "runtime_data: want it once")
	}
	data := []byte(query.Get("runtime_data"))
	switch query.Get("encoding") {
	case "":
	case "base64":
		var err error
		if data, err = base64.RawURLEncoding.DecodeString(query.Get("runtime_data")); err != nil {
			return nil, refuse(http.StatusBadRequest, "runtime_data: want URL-safe base64 without padding")
		}
	default:
		return nil, refuse(http.StatusBadRequest, `encoding: want none or "base64"`)
	}
	if len(data) > maxRawRuntimeData {
		return nil, refuse(http.StatusBadRequest, "runtime_data: got %d bytes, want at most %d", len(data), maxRawRuntimeData)
	}
	var reportData [64]byte
	copy(reportData[:], data)
	ev, err := l.broker.report(ctx, reportData)
	if err != nil {
		return nil, err
	}
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return nil, err
	}
	return newCocoEvidence(report, ev.Certs)
}
