package enforcer_test

import (
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
)

func TestFragmentAddsContainers(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	if knows(t, e, rootOne) {
		t.Fatal("a policy without containers knows a layer")
	}
	loadFragment(t, e, signed(t, fragmentText("containers := "+containersText(t, web()))))
	mountImage(t, e, idA, 1)
	allow(t, e, request(idA))
	refuse(t, e, request(idB), "invalid command", "invalid env list: PATH,MODE", "invalid mount list: /data",
		"invalid noNewPrivileges", "invalid seccomp", "invalid user", "invalid working directory", "privileged escalation not allowed")
}

// TestFragmentIncludes: what the entry does not include is not taken, whatever the fragment offers.
func TestFragmentIncludes(t *testing.T) {
	text := fragmentText(
		"containers := "+containersText(t, layered(root(1))),
		`external_processes := [{"command": ["/bin/x"], "env_rules": [], "working_dir": "/", "allow_stdio_access": true}]`)
	external := enforcer.ExecExternalInput{ArgList: []string{"/bin/x"}, WorkingDir: "/"}
	for _, c := range []struct {
		name                  string
		includes              []string
		containers, externals bool
	}{
		{"none", []string{}, false, false},
		{"containers", []string{"containers"}, true, false},
		{"external-processes", []string{"external_processes"}, false, true},
		{"both", []string{"external_processes", "containers"}, true, true},
		{"unknown", []string{"svn", "reason", "metadata"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), c.includes...)}))
			loadFragment(t, e, signed(t, text))
			if got := knows(t, e, root(1)); got != c.containers {
				t.Errorf("the layer is known: %v, want %v", got, c.containers)
			}
			if c.externals {
				allow(t, e, external)
			} else {
				refuse(t, e, external, "invalid command", "invalid working directory")
			}
		})
	}
}

// TestFragmentChainLengths: a did:x509 names an issuer of the leaf, so a chain of one has none. The reference ends its process there.
func TestFragmentChainLengths(t *testing.T) {
	for length := 1; length <= 4; length++ {
		t.Run(fmt.Sprintf("%d", length), func(t *testing.T) {
			c := cosetest.NewChain(t, cosetest.ChainOptions{Length: length})
			text := []byte(fragmentText("containers := " + containersText(t, layered(root(1)))))
			if length == 1 {
				name := did()
				e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(name, "containers")}))
				forged := cosetest.Forge(t, c.Signer(), cose.ES256, c.Header(name, testFeed), nil, text, nil)
				denial := refuseFragment(t, e, forged, "fragment issuer does not fit its certificates...")
				if !strings.Contains(denial.Reasons[0], "only the leaf certificate") {
					t.Errorf("got %q, want the number of certificates named", denial.Reasons[0])
				}
				return
			}
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(c.DID(t, "subject"), "containers")}))
			loadFragment(t, e, c.Document(t, text, testFeed, nil))
			if !knows(t, e, root(1)) {
				t.Error("the fragment's container is not known")
			}
		})
	}
}

func TestFragmentDIDPolicies(t *testing.T) {
	inOneGoroutine(t)
	c := cosetest.NewChain(t, cosetest.ChainOptions{
		Subject: pkix.Name{CommonName: "Infra Signer", Organization: []string{"Example: Ltd"}},
		Emails:  []string{"sign@example.org"}, DNS: []string{"sign.example.org"}, URIs: []string{"https://example.org/w"},
		EKUs: []string{"1.3.6.1.4.1.311.97.1", "1.3.6.1.5.5.7.3.3"}, FulcioIssuer: "https://token.example.org",
	})
	base, _, _ := strings.Cut(c.DID(t, "subject"), "::")
	for _, p := range []struct {
		name, policy string
		ok           bool
	}{
		{"subject", "subject:CN:Infra%20Signer:O:Example%3A%20Ltd", true},
		{"subject-other", "subject:CN:Infra%20Signe", false},
		{"san-email", "san:email:sign%40example.org", true},
		{"san-dns", "san:dns:sign.example.org", true},
		{"san-uri", "san:uri:https%3A%2F%2Fexample.org%2Fw", true},
		{"san-other", "san:dns:example.org", false},
		{"eku", "eku:1.3.6.1.4.1.311.97.1", true},
		{"eku-other", "eku:1.3.6.1.4.1.311.97.2", false},
		{"fulcio-issuer", "fulcio-issuer:token.example.org", true},
		{"fulcio-issuer-other", "fulcio-issuer:example.org", false},
		{"two", "eku:1.3.6.1.5.5.7.3.3::san:dns:sign.example.org", true},
		{"two-one-wrong", "eku:1.3.6.1.5.5.7.3.3::san:dns:other.example.org", false},
		{"unknown", "issuer:CN:x", false},
		{"none", "", false},
	} {
		t.Run(p.name, func(t *testing.T) {
			name := base
			if p.policy != "" {
				name += "::" + p.policy
			}
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(name, "containers")}))
			document := cosetest.Forge(t, c.Signer(), cose.ES256, c.Header(name, testFeed), nil, []byte(fragmentText("containers := []")), nil)
			if p.ok {
				loadFragment(t, e, document)
				return
			}
			refuseFragment(t, e, document, "fragment issuer does not fit its certificates...")
		})
	}
}

// TestFragmentIssuerBeforeText: nothing of the text is looked at before the policy named the issuer, and the policy is not asked before the
// chain, the signature and the issuer hold.
func TestFragmentIssuerBeforeText(t *testing.T) {
	stranger := cosetest.NewChain(t, cosetest.ChainOptions{})
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "namespace")}))
	for name, text := range map[string]string{
		"not-rego":          "package infra\n%%%",
		"other-package":     "package infra\npackage framework\n",
		"endless":           fragmentText("containers := [x | some x in numbers.range(1, 1000000000)]"),
		"forbidden-builtin": fragmentText(`containers := http.send({"url": "http://x", "method": "get"})`),
	} {
		t.Run(name, func(t *testing.T) {
			refuseFragment(t, e, stranger.Document(t, []byte(text), testFeed, nil), "invalid fragment issuer")
			refuseFragment(t, e, sign(t, first(issuer()), text, cose.SignOptions{Feed: "other"}), "invalid fragment feed")
		})
	}
	text := []byte("package framework\n")
	header := stranger.Header(did(), testFeed)
	refuseFragment(t, e, cosetest.Forge(t, stranger.Signer(), cose.ES256, header, nil, text, nil), "fragment issuer does not fit its certificates...")
	document := signed(t, string(text))
	document[len(document)-1] ^= 1
	refuseFragment(t, e, document, "fragment signature does not hold...")
	refuseFragment(t, e, signed(t, string(text)), "fragment namespace is not allowed: package framework is the agent's")
}

func first(c cosetest.Chain, _ string) cosetest.Chain { return c }

func TestFragmentSVN(t *testing.T) {
	inOneGoroutine(t)
	const (
		below    = "fragment svn is below the specified minimum"
		types    = "fragment svn and the specified minimum are different types"
		missing  = "missing fragment svn in either header or rego payload"
		conflict = "svn in header 2 does not match svn in fragment rego "
	)
	number := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name    string
		header  *int64
		body    string // empty is none
		minimum any
		want    []string
	}{
		{"header", number(2), "", 2, nil},
		{"header-above", number(3), "", 2, nil},
		{"header-below", number(1), "", 2, []string{below}},
		{"header-string-minimum", number(2), "", "2", nil},
		{"header-string-minimum-below", number(9), "", "10", []string{below}},
		{"header-semver-minimum", number(2), "", "1.0.0", []string{types}},
		{"body", nil, `2`, 2, nil},
		{"body-string", nil, `"2"`, 2, nil},
		{"body-string-as-number", nil, `"10"`, "9", nil},
		{"body-below", nil, `1`, "2", []string{below}},
		{"body-semver", nil, `"1.2.0"`, "1.1.9", nil},
		{"body-semver-below", nil, `"1.2.0"`, "1.10.0", []string{below}},
		{"body-semver-number-minimum", nil, `"1.2.0"`, 1, []string{types}},
		{"body-number-semver-minimum", nil, `2`, "1.0.0", []string{types}},
		{"body-words", nil, `"two"`, 1, []string{types}},
		{"body-null", nil, `null`, 1, []string{types}},
		{"body-list", nil, `[2]`, 1, []string{types}},
		{"body-leading-zero", nil, `"02"`, 1, []string{types}},
		{"body-line-feed", nil, `"2\n"`, 1, []string{types}},
		{"both", number(2), `2`, 2, nil},
		{"both-string", number(2), `"2"`, "1", nil},
		{"both-below", number(2), `2`, 3, []string{below}},
		{"both-differ", number(2), `3`, 1, []string{conflict + "3"}},
		{"both-differ-string", number(2), `"1"`, 1, []string{conflict + "1"}},
		{"both-semver", number(2), `"2.0.0"`, 1, []string{conflict + "2.0.0", types}},
		{"neither", nil, "", 1, []string{missing}},
		{"no-minimum", number(2), "", nil, []string{types}},
		{"no-minimum-body", nil, `2`, nil, []string{types}},
	} {
		t.Run(c.name, func(t *testing.T) {
			allowed := allowFragment(did(), "containers").with("minimum_svn", c.minimum)
			if c.minimum == nil {
				delete(allowed, "minimum_svn")
			}
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowed}))
			text := "package infra\nframework_version := \"0.5.0\"\n"
			if c.body != "" {
				text += "svn := " + c.body + "\n"
			}
			document := sign(t, first(issuer()), text, cose.SignOptions{SVN: c.header})
			if c.want == nil {
				loadFragment(t, e, document)
				return
			}
			refuseFragment(t, e, document, c.want...)
		})
	}
}

// TestFragmentTextLabels: the older form of the header names issuer and feed by text labels.
func TestFragmentTextLabels(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	document := sign(t, first(issuer()), fragmentText("containers := "+containersText(t, layered(root(1)))), cose.SignOptions{TextLabels: true})
	loadFragment(t, e, document)
	if !knows(t, e, root(1)) {
		t.Error("the fragment's container is not known")
	}
}

// TestFragmentFrameworkVersion: a fragment is completed for its own version, not for the policy's.
func TestFragmentFrameworkVersion(t *testing.T) {
	inOneGoroutine(t)
	old := `[{"command": ["/bin/web", "--serve"], "env_rules": [], "layers": ["` + rootOne + `", "` + rootTwo + `"], "mounts": [],
		"exec_processes": [], "signals": [], "allow_elevated": false, "working_dir": "/srv", "allow_stdio_access": true, "unknown": 1}]`
	for _, c := range []struct {
		name, version string
		known         bool
		want          []string
	}{
		{"oldest", `framework_version := "0.1.0"`, true, nil},
		{"oldest-svn", `framework_svn := "0.1.0"`, true, nil},
		{"its-fields-are-missing", `framework_version := "0.2.1"`, false, nil},
		{"missing", "", false, []string{"fragment framework_version is missing"}},
		{"ahead", `framework_version := "0.6.0"`, false, []string{"fragment framework_version is ahead of the current version: 0.6.0 is greater than 0.5.0"}},
		{"words", `framework_version := "new"`, false, []string{"fragment framework_version is not a semantic version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
			document := signed(t, "package infra\nsvn := \"1\"\n"+c.version+"\ncontainers := "+old+"\n")
			if c.want != nil {
				refuseFragment(t, e, document, c.want...)
				return
			}
			loadFragment(t, e, document)
			if got := knows(t, e, rootOne); got != c.known {
				t.Fatalf("the layer is known: %v, want %v", got, c.known)
			}
			if !c.known {
				return
			}
			mountImage(t, e, idA, 1)
			in := request(idA)
			in.EnvList, in.Mounts, in.Capabilities = nil, nil, defaultCaps(unprivileged)
			allow(t, e, in)
			// Its agent stopped containers whatever the policy said.
			allow(t, e, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 15, IsInitProcess: true})
		})
	}
	t.Run("later-lists-are-ignored", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "platform_rules", "transparency_trust_lists")}))
		loadFragment(t, e, signed(t, `package infra
svn := 1
framework_version := "0.4.1"
containers := `+containersText(t, web())+`
platform_rules := [{"env_rules": [{"pattern": "X=1", "strategy": "string", "required": true}], "mounts": []}]`))
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
	})
}

func TestFragmentOddLists(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "fragments")}))
	refuseFragment(t, e, signed(t, fragmentText(`containers := {"a": 1}`, `fragments := "x"`)),
		"fragment list is not an array: containers", "fragment list is not an array: fragments")
	// A set is a list without an order.
	loadFragment(t, e, signed(t, fragmentText("containers contains c if some c in "+containersText(t, layered(root(1))))))
	if !knows(t, e, root(1)) {
		t.Error("the fragment's container is not known")
	}
}

// TestNestedFragments: a fragment may allow another one, if the policy includes its list of fragments.
func TestNestedFragments(t *testing.T) {
	other := cosetest.NewChain(t, cosetest.ChainOptions{})
	name := other.DID(t, "subject")
	outer := signed(t, fragmentText("fragments := "+jsonText(t, []allowance{allowFragment(name, "containers", "fragments")})))
	third := cosetest.NewChain(t, cosetest.ChainOptions{})
	inner := other.Document(t, []byte("package deeper\nsvn := 1\nframework_version := \"0.5.0\"\nfragments := "+
		jsonText(t, []allowance{allowFragment(third.DID(t, "subject"), "containers")})+"\ncontainers := "+containersText(t, layered(root(1)))), testFeed, nil)
	innermost := third.Document(t, []byte(fragmentText("containers := "+containersText(t, layered(root(2))))), testFeed, nil)

	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "fragments")}))
	refuseFragment(t, e, inner, "invalid fragment issuer")
	loadFragment(t, e, outer)
	refuseFragment(t, e, innermost, "invalid fragment issuer")
	loadFragment(t, e, inner)
	loadFragment(t, e, innermost)
	if !knows(t, e, root(1)) || !knows(t, e, root(2)) {
		t.Error("a nested fragment's container is not known")
	}

	e = loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	loadFragment(t, e, outer)
	refuseFragment(t, e, inner, "invalid fragment issuer")
}

// TestFragmentsOfOneFeed: fragments add up; the same one a second time adds nothing.
func TestFragmentsOfOneFeed(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	text := func(svn, n int) string {
		return fmt.Sprintf("package infra\nsvn := %d\nframework_version := \"0.5.0\"\ncontainers := %s\n", svn, containersText(t, layered(root(n))))
	}
	for range 3 {
		loadFragment(t, e, signed(t, text(3, 3)))
	}
	loadFragment(t, e, signed(t, text(2, 2)))
	refuseFragment(t, e, signed(t, text(0, 4)), "fragment svn is below the specified minimum")
	for n, want := range map[int]bool{2: true, 3: true, 4: false} {
		if got := knows(t, e, root(n)); got != want {
			t.Errorf("layer %d is known: %v, want %v", n, got, want)
		}
	}
}
