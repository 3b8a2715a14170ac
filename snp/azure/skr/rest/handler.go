package rest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/azure/maa"
	"github.com/cloister-cc/cloister/snp/azure/skr"
)

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Releaser is what stands behind the handler; *skr.Releaser is one.
type Releaser interface {
	Release(ctx context.Context, q skr.Request) (*skr.Released, error)
	Token(ctx context.Context, endpoint string, runtime []byte) (string, error)
}

// Handler answers. Note, if set, is part of every answer: that its evidence is not of this machine.
type Handler struct {
	releaser Releaser
	source   skr.Source
	note     string
	mux      *http.ServeMux
}

// New makes a handler. note marks every answer; "" marks none.
func New(r Releaser, s skr.Source, note string) *Handler {
	h := &Handler{releaser: r, source: s, note: note, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		h.answer(w, http.StatusOK, map[string]any{"message": "Status OK"})
	})
	h.mux.HandleFunc("POST /attest/raw", h.serve(h.raw))
	h.mux.HandleFunc("POST /attest/combined", h.serve(h.combined))
	h.mux.HandleFunc("POST /attest/maa", h.serve(h.maa))
	h.mux.HandleFunc("POST /key/release", h.serve(h.release))
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, http.StatusNotFound, fmt.Errorf("no %s %.128q here", r.Method, r.URL.Path))
	})
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// malformed is a request that cannot be read.
type malformed struct{ err error }

func (m *malformed) Error() string { return m.err.Error() }

// question is the body of any of the requests.
type question struct {
	MAA         string  `json:"maa_endpoint"`
	Vault       string  `json:"akv_endpoint"`
	KID         string  `json:"kid"`
	AccessToken string  `json:"access_token"`
	Runtime     *string `json:"runtime_data"`
}

// serve reads the request and sends one document, whatever happens.
func (h *Handler) serve(do func(*http.Request, *question) (map[string]any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := read(r)
		var out map[string]any
		if err == nil {
			out, err = do(r, q)
		}
		var bad *malformed
		switch {
		case errors.As(err, &bad):
			h.refuse(w, http.StatusBadRequest, err)
		case err != nil:
			h.refuse(w, http.StatusForbidden, err)
		default:
			h.answer(w, http.StatusOK, out)
		}
	}
}

func read(r *http.Request) (*question, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("the request is larger than %d bytes", maxBody)
	}
	var q question
	if err == nil {
		if err = json.Unmarshal(body, &q); err != nil {
			err = fmt.Errorf("the request is not the JSON document it should be: %s", kind(err))
		}
	}
	if err != nil {
		return nil, &malformed{err}
	}
	return &q, nil
}

// kind says what is wrong with a document without quoting it: there are tokens in it.
func kind(err error) string {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("a syntax error at byte %d", syntax.Offset)
	case errors.As(err, &mistyped):
		return fmt.Sprintf("%s: got a %s, want a %s", mistyped.Field, mistyped.Value, mistyped.Type)
	}
	return "it ends too early"
}

func (q *question) runtime() ([]byte, error) {
	if q.Runtime == nil {
		return nil, &malformed{errors.New("runtime_data: got none, want base64")}
	}
	data, err := base64.StdEncoding.DecodeString(*q.Runtime)
	if err != nil {
		return nil, &malformed{fmt.Errorf("runtime_data: is not base64: %w", err)}
	}
	return data, nil
}

func required(fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			return &malformed{fmt.Errorf("%s: got none", fields[i])}
		}
	}
	return nil
}

// evidence is fresh evidence over the request's data.
func (h *Handler) evidence(r *http.Request, q *question) (maa.Evidence, *snp.Report, error) {
	data, err := q.runtime()
	if err != nil {
		return maa.Evidence{}, nil, err
	}
	ev, err := h.source.Evidence(r.Context(), data)
	if err != nil {
		return maa.Evidence{}, nil, err
	}
	report, err := snp.ParseReport(ev.Report)
	return ev, report, err
}

func (h *Handler) raw(r *http.Request, q *question) (map[string]any, error) {
	ev, _, err := h.evidence(r, q)
	if err != nil {
		return nil, err
	}
	return map[string]any{"report": hex.EncodeToString(ev.Report)}, nil
}

func (h *Handler) combined(r *http.Request, q *question) (map[string]any, error) {
	ev, report, err := h.evidence(r, q)
	if err != nil {
		return nil, err
	}
	uvm := []byte{} // "", not null
	if len(ev.Endorsements) > 0 {
		uvm = ev.Endorsements[0]
	}
	// The chain is that of the report's own firmware version, or there would be no evidence.
	return map[string]any{
		"evidence": ev.Report, "endorsements": ev.Chain, "uvm_endorsements": uvm,
		"endorsed_tcb": fmt.Sprintf("%016x", binary.LittleEndian.Uint64(report.ReportedTCB[:])),
	}, nil
}

func (h *Handler) maa(r *http.Request, q *question) (map[string]any, error) {
	if err := required("maa_endpoint", q.MAA); err != nil {
		return nil, err
	}
	data, err := q.runtime()
	if err != nil {
		return nil, err
	}
	token, err := h.releaser.Token(r.Context(), q.MAA, data)
	if err != nil {
		return nil, err
	}
	return map[string]any{"token": token}, nil
}

// release answers with the key as the JSON string that clients decode twice, or as the object that documentation promises to whoever asks for it.
func (h *Handler) release(r *http.Request, q *question) (map[string]any, error) {
	if err := required("maa_endpoint", q.MAA, "akv_endpoint", q.Vault, "kid", q.KID); err != nil {
		return nil, err
	}
	key, err := h.releaser.Release(r.Context(), skr.Request{MAA: q.MAA, Vault: q.Vault, KID: q.KID, AccessToken: q.AccessToken})
	if err != nil {
		return nil, err
	}
	if asObject(r) {
		return map[string]any{"key": json.RawMessage(key.JWK)}, nil
	}
	defer key.Wipe()
	return map[string]any{"key": string(key.JWK)}, nil
}

func asObject(r *http.Request) bool {
	if r.URL.Query().Get("format") == "jwk" {
		return true
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if t, _, err := mime.ParseMediaType(part); err == nil && t == "application/jwk+json" {
			return true
		}
	}
	return false
}

// refuse sends an error's text on one line.
func (h *Handler) refuse(w http.ResponseWriter, status int, err error) {
	h.answer(w, status, map[string]any{"error": strings.ReplaceAll(err.Error(), "\n", "; ")})
}

func (h *Handler) answer(w http.ResponseWriter, status int, out map[string]any) {
	if h.note != "" {
		out["note"] = h.note
	}
	text, err := json.Marshal(out)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written"}`)
	}
	defer clear(text)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(text) // whoever no longer listens has no error to be told
}
