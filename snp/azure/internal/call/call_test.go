package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnswers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"method":%q,"header":%q,"type":%q,"body":%q}`, r.Method, r.Header.Get("Metadata"), r.Header.Get("Content-Type"), body)
	}))
	defer s.Close()
	var c Client
	var got struct{ Method, Header, Type, Body string }
	err := c.JSON(t.Context(), Question{Method: "POST", URL: s.URL + "/x?y=1", Header: http.Header{"metadata": {"true"}}, Body: map[string]int{"a": 1}}, &got)
	if err != nil || got.Method != "POST" || got.Header != "true" || got.Type != "application/json" || got.Body != `{"a":1}` {
		t.Errorf("got %+v, %v", got, err)
	}
	var raw []byte
	if err := c.JSON(t.Context(), Question{Method: "GET", URL: s.URL}, &raw); err != nil || !strings.Contains(string(raw), `"body":""`) {
		t.Errorf("got %s, %v", raw, err)
	}
	if err := c.JSON(t.Context(), Question{Method: "GET", URL: s.URL}, nil); err != nil {
		t.Error(err)
	}
}

// TestRetries asks a service that fails some times, each way that may pass, and ways that do not.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		status, failures int
		tries            int32 // that were made
		ok               bool
	}{
		{503, 2, 3, true},
		{429, 1, 2, true},
		{408, 2, 3, true},
		{500, 3, 3, false},
		{403, 9, 1, false},
		{400, 9, 1, false},
		{501, 9, 1, false},
		{0, 2, 3, true}, // the connection is cut
	} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if int(asked.Add(1)) > c.failures {
				io.WriteString(w, `{}`)
				return
			}
			if c.status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, `{"error":{"code":"Busy","message":"later"}}`)
		}))
		client := Client{Pause: time.Millisecond}
		err := client.JSON(t.Context(), Question{Method: "GET", URL: s.URL}, nil)
		s.Close()
		if (err == nil) != c.ok || asked.Load() != c.tries {
			t.Errorf("%d, %d times: got %v after %d tries, want %d", c.status, c.failures, err, asked.Load(), c.tries)
		}
		var refused *Error
		if !c.ok && (!errors.As(err, &refused) || refused.Status != c.status || refused.Code != "Busy" || refused.Message != "later") {
			t.Errorf("%d: got %v", c.status, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 600)
	for body, want := range map[string]string{
		`{"error":{"code":"Forbidden","message":"no\nway","innererror":{"code":"Policy"}}}`: "answered 403: Forbidden/Policy: no way",
		`{"error":"invalid_request","error_description":"Required metadata header"}`:        "answered 403: invalid_request: Required metadata header",
		`{"error":{"code":"` + long + `"}}`:                                                 "answered 403: " + long[:512] + "...",
		`<html>`:                                                                            "answered 403: no reason given",
		`{"error":17}`:                                                                      "answered 403: no reason given",
		``:                                                                                  "answered 403: no reason given",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, body)
		}))
		err := new(Client).JSON(t.Context(), Question{Method: "GET", URL: s.URL + "/?secret=1", Header: http.Header{"Authorization": {"Bearer token"}}}, nil)
		s.Close()
		if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.Write(make([]byte, MaxAnswer+1))
			return
		}
		io.WriteString(w, `[]`)
	}))
	defer s.Close()
	var out struct{}
	var c Client
	for path, want := range map[string]string{"/long": "more than", "/": "not the document"} {
		if err := c.JSON(t.Context(), Question{Method: "GET", URL: s.URL + path}, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	for _, u := range []string{"", "vault.example", "file:///etc/passwd", "https://"} {
		if err := c.JSON(t.Context(), Question{Method: "GET", URL: u}, nil); err == nil || !strings.Contains(err.Error(), "URL") {
			t.Errorf("%q: got %v", u, err)
		}
	}
}

// TestGoesNowhereElse asks services that redirect, and such that are asked in the clear.
func TestGoesNowhereElse(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) }))
		err := (&Client{HTTP: &http.Client{}}).JSON(t.Context(), Question{Method: "POST", URL: s.URL, Header: http.Header{"Authorization": {"Bearer token"}}, Body: "token"}, nil)
		s.Close()
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != status || elsewhere.Load() != 0 {
			t.Errorf("%d: got %v, and %d questions went elsewhere", status, err, elsewhere.Load())
		}
	}
	if err := new(Client).JSON(t.Context(), Question{Method: "GET", URL: "http://192.0.2.1/"}, nil); err == nil || !strings.Contains(err.Error(), "want https") {
		t.Errorf("in the clear: got %v", err)
	}
	never := &silent{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := (&Client{HTTP: &http.Client{Transport: never}}).JSON(ctx, Question{Method: "GET", URL: "http://169.254.169.254/", Plain: true}, nil)
	if err == nil || never.asked.Load() != 1 {
		t.Errorf("of the host's own service: got %v after %d questions", err, never.asked.Load())
	}
}

// silent is a service that never answers.
type silent struct{ asked atomic.Int32 }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestWaitsEnd ends a try that gets no answer, and the pause that a service asked for.
func TestWaitsEnd(t *testing.T) {
	var never silent
	quick := Client{HTTP: &http.Client{Transport: &never}, Timeout: time.Millisecond, Tries: 2, Pause: time.Millisecond}
	if err := quick.JSON(t.Context(), Question{Method: "GET", URL: "https://service.example/"}, nil); !errors.Is(err, context.DeadlineExceeded) || never.asked.Load() != 2 {
		t.Errorf("got %v after %d tries, want a deadline twice", err, never.asked.Load())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("nobody waits any more")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(503)
		cancel(left)
	}))
	defer s.Close()
	if err := new(Client).JSON(ctx, Question{Method: "GET", URL: s.URL}, nil); err == nil {
		t.Error("a service that is not there was waited for")
	}
}
