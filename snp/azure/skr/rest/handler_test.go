package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/azure/maa"
	"github.com/cloister-cc/cloister/snp/azure/skr"
	"github.com/cloister-cc/cloister/snp/azure/skr/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake releases one key and attests anything.
type fake struct{}

func (fake) Release(_ context.Context, q skr.Request) (*skr.Released, error) {
	if q.KID != "good" {
		return nil, errors.New("release key: vault answered 403:\nForbidden")
	}
	if q != (skr.Request{MAA: "m", Vault: "v", KID: "good", AccessToken: "t"}) {
		return nil, errors.New("another request")
	}
	return &skr.Released{JWK: []byte(`{"kty":"oct","k":"AAAA"}`)}, nil
}

func (fake) Token(_ context.Context, endpoint string, runtime []byte) (string, error) {
	return endpoint + "." + string(runtime), nil
}

func (fake) Evidence(_ context.Context, runtime []byte) (maa.Evidence, error) {
	if len(runtime) == 0 {
		return maa.Evidence{}, errors.New("evidence: no device")
	}
	report := make([]byte, 1184)
	report[0], report[0x180] = 2, 7 // version, REPORTED_TCB
	data := snp.HashedReportData(runtime)
	copy(report[0x50:], data[:])
	return maa.Evidence{Report: report, Chain: []byte("PEM"), Endorsements: [][]byte{{0xd2}}}, nil
}

func ask(t *testing.T, h http.Handler, method, target, body string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text := w.Body.String()
	// One document and nothing behind it.
	d := json.NewDecoder(strings.NewReader(text))
	var one map[string]any
	if err := d.Decode(&one); err != nil {
		t.Errorf("%s %s: %q is no document: %v", method, target, text, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("%s %s: there is more than one document in %q", method, target, text)
	}
	if w.Header().Get("Cache-Control") != "no-store" || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Errorf("%s %s: got headers %v", method, target, w.Header())
	}
	return w.Code, text
}

func TestAnswers(t *testing.T) {
	h := rest.New(fake{}, fake{}, "")
	good := `{"maa_endpoint":"m","akv_endpoint":"v","kid":"good","access_token":"t","more":1}`
	for _, c := range []struct {
		method, target, body string
		header               []string
		status               int
		want                 string
	}{
		{"GET", "/status", "", nil, 200, `{"message":"Status OK"}`},
		{"POST", "/key/release", good, nil, 200, `{"key":"{\"kty\":\"oct\",\"k\":\"AAAA\"}"}`},
		{"POST", "/key/release?format=jwk", good, nil, 200, `{"key":{"kty":"oct","k":"AAAA"}}`},
		{"POST", "/key/release", good, []string{"Accept", "text/html, application/jwk+json;q=0.9"}, 200, `{"key":{"kty":"oct","k":"AAAA"}}`},
		{"POST", "/key/release", strings.Replace(good, "good", "bad", 1), nil, 403, `{"error":"release key: vault answered 403:; Forbidden"}`},
		{"POST", "/key/release", `{"maa_endpoint":"m","akv_endpoint":"v"}`, nil, 400, `{"error":"kid: got none"}`},
		{"POST", "/key/release", `{"kid":17}`, nil, 400, "kid: got a number, want a string"},
		{"POST", "/key/release", `{"access_token":"secret`, nil, 400, "not the JSON document"},
		{"POST", "/key/release", ``, nil, 400, "not the JSON document"},
		{"POST", "/attest/maa", `{"maa_endpoint":"m","runtime_data":"YQ=="}`, nil, 200, `{"token":"m.a"}`},
		{"POST", "/attest/maa", `{"runtime_data":"YQ=="}`, nil, 400, "maa_endpoint"},
		{"POST", "/attest/maa", `{"maa_endpoint":"m","runtime_data":"%"}`, nil, 400, "base64"},
		{"POST", "/attest/raw", `{}`, nil, 400, "runtime_data: got none"},
		{"POST", "/attest/raw", `{"runtime_data":""}`, nil, 403, `{"error":"evidence: no device"}`},
		{"POST", "/attest/combined", `{"runtime_data":"YQ=="}`, nil, 200, `"endorsed_tcb":"0000000000000007","endorsements":"UEVN","evidence":"AgAAA`},
		{"POST", "/attest/raw", strings.Repeat(" ", 1<<20+1), nil, 400, "larger"},
		{"GET", "/key/release", "", nil, 404, "no GET"},
		{"GET", "/", "", nil, 404, "no GET"},
	} {
		status, text := ask(t, h, c.method, c.target, c.body, c.header...)
		if status != c.status || !strings.Contains(text, c.want) || strings.Contains(text, "secret") {
			t.Errorf("%s %s %.60s: got %d %s, want %d with %s", c.method, c.target, c.body, status, text, c.status, c.want)
		}
	}
	status, text := ask(t, h, "POST", "/attest/raw", `{"runtime_data":"YQ=="}`)
	var raw struct{ Report string }
	if err := json.Unmarshal([]byte(text), &raw); err != nil || status != 200 || len(raw.Report) != 2368 || !strings.HasPrefix(raw.Report, "02000000") {
		t.Errorf("raw: got %d %.80s, %v", status, text, err)
	}
}

// TestNote marks every answer of a sidecar that replays evidence.
func TestNote(t *testing.T) {
	h := rest.New(fake{}, fake{}, "recorded evidence")
	for _, target := range []string{"GET /status", "POST /attest/raw", "POST /key/release", "GET /none"} {
		method, path, _ := strings.Cut(target, " ")
		if _, text := ask(t, h, method, path, `{"runtime_data":"YQ=="}`); !strings.Contains(text, `"note":"recorded evidence"`) {
			t.Errorf("%s: got %s without the note", target, text)
		}
	}
}

func TestListen(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":8080", "localhost:8080", "192.0.2.1:80", "[::]:0", ""} {
		if l, err := rest.Listen(t.Context(), address); err == nil {
			l.Close()
			t.Errorf("%q was opened", address)
		}
	}
	l, err := rest.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- rest.Serve(ctx, l, rest.New(fake{}, fake{}, "")) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + l.Addr().String() + "/status")
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("got %v, %v", answer, err)
	}
	answer.Body.Close()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
