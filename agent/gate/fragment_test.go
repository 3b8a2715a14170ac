package gate

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
)

func TestLoadFragment(t *testing.T) {
	chain := cosetest.NewChain(t, cosetest.ChainOptions{})
	stranger := cosetest.NewChain(t, cosetest.ChainOptions{})
	svn := int64(1)
	text := policy + `load_fragment := data.framework.load_fragment
load_transparency_trust_list := data.framework.load_transparency_trust_list
fragments := [{"issuer": "` + chain.DID(t, "subject") + `", "feed": "f", "minimum_svn": 1, "includes": ["external_processes"]}]
exec_external := data.framework.exec_external
`
	const rego = "package infra\nframework_version := \"0.5.0\"\n"
	document := chain.Document(t, []byte(rego+`external_processes := [{"command": ["/bin/x"], "env_rules": [], "working_dir": "/", "allow_stdio_access": true}]`), "f", &svn)
	external := enforcer.ExecExternalInput{ArgList: []string{"/bin/x"}, WorkingDir: "/"}

	var seen []string
	g := New(Options{Observe: func(p enforcer.Point, _ string, err error) {
		if err != nil {
			p += " refused"
		}
		seen = append(seen, string(p))
	}})
	refused := func(document []byte, mediaType, want string) string {
		t.Helper()
		err := g.LoadFragment(t.Context(), "LoadFragmentRequest", document, mediaType)
		got := status.Convert(err).Message()
		line, rest, _ := strings.Cut(got, "\n")
		if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(line, "LoadFragmentRequest is blocked by policy: "+want) || len(line) > MaxRefusal {
			t.Errorf("got %v, want a refusal that begins %q", err, want)
		}
		return rest
	}
	refused(document, "", "no policy is bound")
	if err := g.BindPolicy(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
	refused(stranger.Document(t, []byte(rego), "f", &svn), "", "load_fragment: invalid fragment issuer: fragment.issuer [decision ")
	refused(stranger.TrustList(t, "s", 1, cosetest.NewLedger(t, "l", cosetest.P256)), "application/vnd.transparency-trust-list.v1+cose",
		"load_transparency_trust_list: invalid transparency trust list issuer: fragment.issuer [decision ")
	refused([]byte("x"), "", "load_fragment: fragment is not a signed document")
	refused(document, "text/plain", "load_fragment: fragment media type is not known")
	if rest := refused(chain.Document(t, []byte("package framework\n"), "f", &svn), "", "load_fragment: fragment namespace is not allowed"); rest != "" {
		t.Errorf("got %q behind the line of a policy without logging", rest)
	}
	if _, err := g.Decide(t.Context(), "X", external); err == nil {
		t.Fatal("a process is allowed before its fragment is loaded")
	}
	if err := g.LoadFragment(t.Context(), "LoadFragmentRequest", document, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decide(t.Context(), "X", external); err != nil {
		t.Errorf("got %v after the fragment was loaded", err)
	}
	want := "load_fragment refused,load_transparency_trust_list refused,load_fragment refused,load_fragment refused," +
		"load_fragment refused,exec_external refused,load_fragment,exec_external"
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("observed %s, want %s", got, want)
	}
	g.fragments.Store(MaxFragments)
	refused(document, "", "256 fragments are loaded")

	g = New(Options{})
	if err := g.BindPolicy(t.Context(), []byte(text+"allow_runtime_logging := true\n")); err != nil {
		t.Fatal(err)
	}
	if rest := refused(stranger.Document(t, []byte(rego), "f", &svn), "", "load_fragment: "); !strings.HasPrefix(rest, "policyDecision<") {
		t.Errorf("got %q behind the line, want the long form where the policy allows logging", rest)
	}
}
