package fragmentgen_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

const feed = "registry.example/side"

// within is a time at which the certificates of cosetest are valid.
var within = cosetest.NotBefore.AddDate(0, 6, 0)

// containerJSON is one container object with changes made to its text, old and new in turn.
func containerJSON(t *testing.T, change ...string) json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("testdata/container.json")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(change...).Replace(string(text))
	if len(change) > 0 && changed == string(text) {
		t.Fatalf("%q is not in the container", change[0])
	}
	return json.RawMessage(changed)
}

// sideText is a fragment with one container.
func sideText(t *testing.T) []byte {
	t.Helper()
	text, err := fragmentgen.Text{Namespace: "side", SVN: "1", Containers: []json.RawMessage{containerJSON(t)}}.Rego(false)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func signOptions(c cosetest.Chain) fragmentgen.SignOptions {
	return fragmentgen.SignOptions{Key: c.Signer(), Chain: c.Certs, Feed: feed, Now: within}
}

// mustSign signs the text of sideText.
func mustSign(t *testing.T, c cosetest.Chain, change func(*fragmentgen.SignOptions)) *fragmentgen.Signed {
	t.Helper()
	o := signOptions(c)
	if change != nil {
		change(&o)
	}
	s, err := fragmentgen.Sign(t.Context(), sideText(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// policyFor allows what the entries say.
func policyFor(t *testing.T, entries ...fragmentgen.Entry) []byte {
	t.Helper()
	raw, err := json.Marshal(append([]fragmentgen.Entry{}, entries...))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/policy.rego")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, "\nfragments := "+string(raw)+"\n"...)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("got %q, want %q in it", err, p)
		}
	}
}

func year(n int) time.Time { return time.Date(n, 6, 1, 0, 0, 0, 0, time.UTC) }
