package fault

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	h := Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"whole":true}`) }))
	s := httptest.NewServer(h)
	defer s.Close()
	get := func() (int, string, error) {
		r, err := http.Get(s.URL)
		if err != nil {
			return 0, "", err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return r.StatusCode, string(body), err
	}
	h.Play(Fault{Kind: Fail, Count: 2}, Fault{Kind: Fail, Count: 1, Status: 429}, Fault{Kind: Cut, Count: 1}, Fault{Kind: Garbage, Count: 1}, Fault{Kind: Slow, Count: 1, Delay: time.Millisecond})
	for i, want := range []int{503, 503, 429} {
		if status, body, err := get(); err != nil || status != want || !strings.Contains(body, "Emulated") {
			t.Errorf("%d: got %d %q, %v, want %d", i, status, body, err, want)
		}
	}
	if _, body, err := get(); err == nil || body != `{"whol` && body != `{"whole` {
		t.Errorf("cut: got %q, %v", body, err)
	}
	if _, body, err := get(); err != nil || !strings.HasPrefix(body, "\x00") {
		t.Errorf("garbage: got %q, %v", body, err)
	}
	for range 2 { // slow, then nothing is left to play
		if status, body, err := get(); err != nil || status != 200 || body != `{"whole":true}` {
			t.Errorf("got %d %q, %v", status, body, err)
		}
	}
	h.Play(Fault{Kind: Fail})
	for range 3 {
		if status, _, err := get(); err != nil || status != 503 {
			t.Errorf("without a count: got %d, %v", status, err)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Fault{
		"cut": {Kind: Cut}, "fail,count=3,status=429": {Kind: Fail, Count: 3, Status: 429}, "slow,delay=2s": {Kind: Slow, Delay: 2 * time.Second},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "late", "fail,", "fail,count=0", "fail,status=200", "slow,delay=x", "fail,often=2", "fail,count=1,"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}
