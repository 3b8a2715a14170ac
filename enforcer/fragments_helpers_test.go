package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
)

const testFeed = "registry.example/infra"

// issuer signs the fragments of tests that do not care who did.
var issuer = sync.OnceValues(func() (cosetest.Chain, string) {
	t := &testing.T{}
	c := cosetest.NewChain(t, cosetest.ChainOptions{})
	return c, c.DID(t, "subject")
})

// allowance is an entry of a policy's list of fragments.
type allowance map[string]any

func allowFragment(did string, includes ...string) allowance {
	return allowance{"issuer": did, "feed": testFeed, "minimum_svn": 1, "includes": includes}
}

func (a allowance) with(key string, value any) allowance {
	next := allowance{}
	for k, v := range a {
		next[k] = v
	}
	next[key] = value
	return next
}

func jsonText(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fragmentPolicy allows nothing but fragments, and what else extra says.
func fragmentPolicy(t testing.TB, allowed []allowance, extra ...string) string {
	t.Helper()
	return policyText(t, []testContainer{}) + "fragments := " + jsonText(t, allowed) + "\n" + strings.Join(extra, "\n") + "\n"
}

func loadPolicy(t testing.TB, text string) *enforcer.Enforcer {
	t.Helper()
	return load(t, text, enforcer.Options{Judge: enforcer.JudgeBoth})
}

// containersText is a list as policyText writes it.
func containersText(t testing.TB, containers ...testContainer) string {
	t.Helper()
	_, text, found := strings.Cut(policyText(t, containers), "\ncontainers := ")
	text, _, ended := strings.Cut(text, "\n")
	if !found || !ended {
		t.Fatal("no list of containers in the policy's text")
	}
	return text
}

// fragmentText is a fragment of the newest family with these rules.
func fragmentText(rules ...string) string {
	return "package infra\nsvn := 1\nframework_version := \"0.5.0\"\n" + strings.Join(rules, "\n") + "\n"
}

// signed is a document of the common issuer.
func signed(t testing.TB, text string) []byte {
	t.Helper()
	c, _ := issuer()
	return c.Document(t, []byte(text), testFeed, nil)
}

func did() string {
	_, did := issuer()
	return did
}

func sign(t testing.TB, c cosetest.Chain, text string, o cose.SignOptions) []byte {
	t.Helper()
	o.Signer, o.Chain = c.Signer(), c.Certs
	if o.Issuer == "" {
		o.Issuer = c.DID(t, "subject")
	}
	if o.Feed == "" {
		o.Feed = testFeed
	}
	raw, err := cose.Sign([]byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// loadFragment loads and commits.
func loadFragment(t testing.TB, e *enforcer.Enforcer, document []byte) func() {
	t.Helper()
	return loadDocument(t, e, document, "")
}

func loadDocument(t testing.TB, e *enforcer.Enforcer, document []byte, mediaType string) func() {
	t.Helper()
	d, err := e.LoadFragment(context.Background(), document, mediaType)
	if err != nil {
		var denial *enforcer.Denial
		if errors.As(err, &denial) {
			t.Fatalf("%v %q", err, denial.Reasons)
		}
		t.Fatal(err)
	}
	undo, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return undo
}

func refuseFragment(t testing.TB, e *enforcer.Enforcer, document []byte, reasons ...string) *enforcer.Denial {
	t.Helper()
	return refuseDocument(t, e, document, "", reasons...)
}

// refuseDocument compares reasons; one that ends in "..." is the beginning of one.
func refuseDocument(t testing.TB, e *enforcer.Enforcer, document []byte, mediaType string, reasons ...string) *enforcer.Denial {
	t.Helper()
	d, err := e.LoadFragment(context.Background(), document, mediaType)
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		t.Fatalf("got %v, %v, want a denial with %q", d, err, reasons)
	}
	slices.Sort(reasons)
	same := slices.EqualFunc(denial.Reasons, reasons, func(got, want string) bool {
		start, ok := strings.CutSuffix(want, "...")
		return got == want || ok && strings.HasPrefix(got, start)
	})
	if !same {
		t.Errorf("got reasons %q, want %q", denial.Reasons, reasons)
	}
	if len(denial.Error()) > 448 || strings.Contains(denial.Error(), "\n") {
		t.Errorf("got %q, want a short line", denial.Error())
	}
	return denial
}

// knows says whether a layer belongs to any container that is allowed now.
func knows(t testing.TB, e *enforcer.Enforcer, root string) bool {
	t.Helper()
	_, err := e.Decide(context.Background(), enforcer.MountDeviceInput{Target: target(99), DeviceHash: root, MountPathRegex: scsi})
	var denial *enforcer.Denial
	if err != nil && !errors.As(err, &denial) {
		t.Fatal(err)
	}
	return err == nil
}

// layered is web with one layer of its own.
func layered(root string) testContainer {
	c := web()
	c.Layers = []string{root}
	return c
}

func root(n int) string { return fmt.Sprintf("%064x", n) }
