package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

// fixtureNow is a time at which fixed certificates are valid.
const fixtureNow = "2026-06-01T00:00:00Z"

// fragmentCommand runs one of the commands.
func fragmentCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return rootCommand(t, stdin, append([]string{"fragment"}, args...)...)
}

func rootCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// mustFragment is for commands that have to succeed.
func mustFragment(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := fragmentCommand(t, "", args...)
	if err != nil {
		t.Fatalf("%q: %v %s", args, err, stderr)
	}
	return stdout
}

// fixedKey is the same key in every run. It protects nothing.
func fixedKey(t *testing.T, label string) *ecdsa.PrivateKey {
	t.Helper()
	seed := sha512.Sum384([]byte("cloister fragment tests: " + label))
	seed[0] = 0 // below the order of the curve
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// fixedSigner writes key.pem and chain.pem, the same bytes in every run, into the current directory.
func fixedSigner(t *testing.T) {
	t.Helper()
	rootKey, leafKey := fixedKey(t, "root"), fixedKey(t, "leaf")
	from, until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	issue := func(template, parent *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
		template.NotBefore, template.NotAfter, template.BasicConstraintsValid = from, until, true
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(nil, template, parent, key, rootKey) // without randomness: RFC 6979
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	root := issue(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "TEST ONLY root"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, nil, rootKey.Public())
	leaf := issue(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "TEST ONLY leaf"}, KeyUsage: x509.KeyUsageDigitalSignature}, root, leafKey.Public())
	writePEMs(t, "key.pem", leafKey)
	writePEMs(t, "chain.pem", leaf, root)
}

// writePEMs writes keys (PKCS #8) and certificates.
func writePEMs(t *testing.T, path string, items ...any) {
	t.Helper()
	var out bytes.Buffer
	for _, item := range items {
		block := &pem.Block{Type: "PRIVATE KEY"}
		var err error
		switch item := item.(type) {
		case *x509.Certificate:
			block.Type, block.Bytes = "CERTIFICATE", item.Raw
		case *pem.Block:
			block = item
		default:
			block.Bytes, err = x509.MarshalPKCS8PrivateKey(item)
		}
		if err = errors.Join(err, pem.Encode(&out, block)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fragmentDir is a working directory with a signer and what fragments are made of.
func fragmentDir(t *testing.T) {
	t.Helper()
	fixtures, err := filepath.Abs("testdata/fragment")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, f := range []string{"containers.json", "lock.json", "config.json"} {
		data, err := os.ReadFile(filepath.Join(fixtures, f))
		if err == nil {
			err = os.WriteFile(f, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fixedSigner(t)
}

var signFlags = []string{"--key", "key.pem", "--chain", "chain.pem", "--feed", "registry.example/side", "--now", fixtureNow}

// signArgs are those of signing; a flag that the arguments give stands instead of the usual one.
func signArgs(args ...string) []string {
	out := []string{"sign"}
	for pair := range slices.Chunk(signFlags, 2) {
		if !slices.Contains(args, pair[0]) {
			out = append(out, pair...)
		}
	}
	return append(out, args...)
}

// makeFragment writes FILE.rego and FILE.cose.
func makeFragment(t *testing.T, file, svn string) {
	t.Helper()
	mustFragment(t, "generate", "--namespace", "side", "--svn", svn, "--containers", "containers.json", "-o", file+".rego")
	mustFragment(t, signArgs("-o", file+".cose", file+".rego")...)
}

// policyWith writes a policy with the entry of an import document.
func policyWith(t *testing.T, path, imported string) {
	t.Helper()
	var doc fragmentgen.Import
	if err := json.Unmarshal([]byte(imported), &doc); err != nil {
		t.Fatal(err)
	}
	entries, err := json.Marshal(doc.Fragments)
	if err != nil {
		t.Fatal(err)
	}
	text := "package policy\n\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\n\nfragments := " + string(entries) +
		"\n\ncontainers := []\n\nload_fragment := data.framework.load_fragment\n\nreason := {\"errors\": data.framework.errors}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The output of each command, for people and for programs. Keys, certificates and signatures are the same each time.
func TestFragmentGolden(t *testing.T) {
	goldens, err := filepath.Abs("testdata/fragment/golden")
	if err != nil {
		t.Fatal(err)
	}
	fragmentDir(t)
	makeFragment(t, "side", "1")
	policyWith(t, "policy.rego", mustFragment(t, "generate", "--generate-import", "-p", "side.cose"))
	policyWith(t, "newer.rego", mustFragment(t, "generate", "--generate-import", "-p", "side.cose", "--minimum-svn", "2"))
	raw, err := os.ReadFile("side.cose")
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile("tampered.cose", raw, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
	}{
		{"generate", []string{"generate", "--namespace", "side", "--svn", "1", "--containers", "containers.json"}, 0},
		{"generate-pretty", []string{"generate", "--namespace", "side", "--svn", "1", "--containers", "containers.json", "--pretty"}, 0},
		{"generate-image", []string{"generate", "--namespace", "side", "--svn", "1", "--image", "registry.example/side:1.27", "--lock", "lock.json", "--locked"}, 0},
		{"generate-input", []string{"generate", "--namespace", "side", "--svn", "2", "--input", "config.json", "--lock", "lock.json", "--locked", "-y", "--compat", "confcom-1.2.7"}, 0},
		{"generate-signed", slices.Concat([]string{"generate", "--namespace", "side", "--svn", "1", "--containers", "containers.json", "--signed", "again.cose"}, signFlags), 0},
		{"import", []string{"generate", "--generate-import", "--fragment-path", "side.cose", "--minimum-svn", "0", "--includes", "containers,fragments"}, 0},
		{"sign", signArgs("-o", "x.cose", "side.rego"), 0},
		{"sign-json", signArgs("--header-svn", "1", "--algo", "ES512", "--json", "-o", "x.cose", "side.rego"), 0},
		{"inspect", []string{"inspect", "--now", fixtureNow, "side.cose"}, 0},
		{"inspect-expired", []string{"inspect", "--now", "2040-01-01T00:00:00Z", "side.cose"}, 0},
		{"inspect-json", []string{"inspect", "--json", "--policy", "policy.rego", "side.cose"}, 0},
		{"inspect-accepted", []string{"inspect", "--now", fixtureNow, "--policy", "policy.rego", "side.cose"}, 0},
		{"inspect-refused", []string{"inspect", "--now", fixtureNow, "--policy", "newer.rego", "side.cose"}, 1},
		{"inspect-tampered", []string{"inspect", "--now", fixtureNow, "tampered.cose"}, 1},
		{"inspect-text", []string{"inspect", "--text", "side.cose"}, 0},
		{"push", []string{"push", "side.cose", "oci:layout:side-1"}, 0},
		{"push-json", []string{"push", "--json", "side.cose", "oci:layout:side-1"}, 0},
		{"pull", []string{"pull", "oci:layout:side-1"}, 0},
		{"pull-json", []string{"pull", "--json", "-o", "pulled.cose", "oci:layout:side-1"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, err := fragmentCommand(t, "", c.args...)
			if got := exitCode(err); got != c.code || stderr != "" {
				t.Errorf("got exit code %d, %v and %q on standard error, want %d", got, err, stderr, c.code)
			}
			if (strings.HasSuffix(c.name, "-json") || c.name == "import") && !json.Valid([]byte(stdout)) {
				t.Errorf("not JSON:\n%s", stdout)
			}
			golden := filepath.Join(goldens, c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), stdout); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, same := range [][2]string{{"side.cose", "again.cose"}, {"side.cose", "x.cose"}, {"side.cose", "pulled.cose"}} {
		a, errA := os.ReadFile(same[0])
		b, errB := os.ReadFile(same[1])
		if errA != nil || errB != nil || bytes.Equal(a, b) != (same[1] != "x.cose") { // x.cose was signed again, otherwise
			t.Errorf("%q: %v, %v, equal %v", same, errA, errB, bytes.Equal(a, b))
		}
	}
}

// Every form in which keys are written, and documents on standard input and output.
func TestFragmentSignKeyForms(t *testing.T) {
	fragmentDir(t)
	makeFragment(t, "side", "1")
	text, err := os.ReadFile("side.rego")
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(fixedKey(t, "leaf"))
	if err != nil {
		t.Fatal(err)
	}
	writePEMs(t, "sec1.pem", &pem.Block{Type: "EC PARAMETERS", Bytes: []byte{1}}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	rsa := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.RSA, Edit: func(_ int, c *x509.Certificate) { c.NotAfter = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) }})
	writePEMs(t, "rsa-chain.pem", rsa.Certs[0], rsa.Certs[1], rsa.Certs[2])
	writePEMs(t, "pkcs1.pem", &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(cosetest.RSAKey(t, 2048, 0))})
	for _, c := range []struct{ key, chain string }{{"key.pem", "chain.pem"}, {"sec1.pem", "chain.pem"}, {"pkcs1.pem", "rsa-chain.pem"}} {
		stdout, stderr, err := fragmentCommand(t, string(text), "sign", "--key", c.key, "--chain", c.chain, "--feed", "registry.example/side", "--now", fixtureNow, "-o", "-", "-")
		if err != nil || !strings.Contains(stderr, "did:x509:0:sha256:") {
			t.Fatalf("%s: %v, %q", c.key, err, stderr)
		}
		if out, _, err := fragmentCommand(t, stdout, "inspect", "--text", "-"); err != nil || out != string(text) {
			t.Errorf("%s: got %q, %v", c.key, out, err)
		}
	}
}

func TestFragmentUsage(t *testing.T) {
	fragmentDir(t)
	makeFragment(t, "side", "1")
	generate := func(args ...string) []string { return append([]string{"generate"}, args...) }
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"group":               {[]string{"frobnicate"}, 2, "unknown command"},
		"typo":                {[]string{"insect"}, 2, "inspect"},
		"sign-no-key":         {[]string{"sign", "--chain", "chain.pem", "--feed", "a/b", "side.rego"}, 2, "come together"},
		"sign-no-chain":       {[]string{"sign", "--key", "key.pem", "--feed", "a/b", "side.rego"}, 2, "come together"},
		"sign-no-feed":        {[]string{"sign", "--key", "key.pem", "--chain", "chain.pem", "side.rego"}, 2, "--feed"},
		"sign-feed":           {[]string{"sign", "--key", "key.pem", "--chain", "chain.pem", "--feed", "https://a/b", "side.rego"}, 2, "feed"},
		"sign-now":            {signArgs("--now", "yesterday", "side.rego"), 2, "RFC 3339"},
		"sign-claims":         {signArgs("--claims", "jwt", "side.rego"), 2, "text or cwt"},
		"sign-header-text":    {signArgs("--claims", "text", "--header-svn", "1", "side.rego"), 2, "--claims cwt"},
		"sign-header-minus":   {signArgs("--header-svn", "-1", "side.rego"), 2, "0 or more"},
		"sign-issuer-and-did": {signArgs("--issuer", "did:x509:0:sha256:x", "--did-policy", "eku", "side.rego"), 2, "contradict"},
		"sign-stdin-no-out":   {signArgs("-"), 2, "-o FILE"},
		"sign-did":            {signArgs("--did-policy", "eku", "side.rego"), 1, "--did-policy: subject, eku, san or fulcio-issuer"},
		"sign-expired":        {signArgs("--now", "2040-01-01T00:00:00Z", "side.rego"), 1, "is valid from"},
		"sign-header-other":   {signArgs("--header-svn", "2", "side.rego"), 1, "does not match"},
		"sign-no-file":        {signArgs("absent.rego"), 1, "absent.rego"},
		"sign-signed":         {signArgs("side.cose"), 1, "first line"},
		"sign-key-of-other":   {signArgs("--key", "chain.pem", "side.rego"), 1, "no private key"},
		"inspect-text":        {[]string{"inspect", "side.rego"}, 1, "fragment sign"},
		"inspect-both":        {[]string{"inspect", "--text", "--json", "side.cose"}, 2, "--text"},
		"inspect-stdin":       {[]string{"inspect", "--policy", "-", "-"}, 2, "standard input"},
		"inspect-no-cose":     {[]string{"inspect", "key.pem"}, 1, "cose message"},
		"inspect-nothing":     {[]string{"inspect"}, 2, "FRAGMENT"},
		"push-text":           {[]string{"push", "side.rego", "oci:layout:1"}, 1, "fragment sign"},
		"push-reference":      {[]string{"push", "side.cose", "A B"}, 2, "oci:DIR"},
		"push-timeout":        {[]string{"push", "--timeout", "0s", "side.cose", "oci:layout:1"}, 2, "--timeout"},
		"attach-nowhere":      {[]string{"attach", "side.cose", "oci:absent:1"}, 1, "absent"},
		"pull-two-ways":       {[]string{"pull", "-o", "a", "--dir", "b", "oci:layout:1"}, 2, "contradict"},
		"pull-svn":            {[]string{"pull", "--minimum-svn", "x", "oci:layout:1"}, 2, "--minimum-svn"},
		"pull-nowhere":        {[]string{"pull", "oci:absent:1"}, 1, "absent"},
		"generate-nothing":    {generate(), 2, "--namespace"},
		"generate-no-svn":     {generate("--namespace", "side"), 2, "--svn"},
		"generate-svn":        {generate("--namespace", "side", "--svn", "1.0", "--containers", "containers.json"), 2, "svn"},
		"generate-reserved":   {generate("--namespace", "framework", "--svn", "1", "--containers", "containers.json"), 2, "is the agent's"},
		"generate-keyword":    {generate("--namespace", "default", "--svn", "1", "--containers", "containers.json"), 2, "reserved"},
		"generate-empty":      {generate("--namespace", "side", "--svn", "1"), 2, "--image"},
		"generate-lock-alone": {generate("--namespace", "side", "--svn", "1", "--containers", "containers.json", "--locked"), 2, "--locked does nothing without --image"},
		"generate-locked":     {generate("--namespace", "side", "--svn", "1", "--image", "a/b", "--locked"), 1, "cloister.lock.json"},
		"generate-locked-tar": {generate("--namespace", "side", "--svn", "1", "--image", "a/b", "--locked", "--tar", "x"), 2, "--tar"},
		"generate-compat":     {generate("--namespace", "side", "--svn", "1", "--image", "a/b", "--compat", "x"), 2, "--compat"},
		"generate-format":     {generate("--namespace", "side", "--svn", "1", "--image", "a/b", "--layer-format", "x"), 2, "--layer-format"},
		"generate-framework":  {generate("--namespace", "side", "--svn", "1", "--image", "a/b", "--framework-version", "0.2.3"), 2, "--compat"},
		"generate-half":       {generate("--namespace", "side", "--svn", "1", "--containers", "containers.json", "--key", "key.pem"), 2, "--signed"},
		"generate-unsigned":   {generate("--namespace", "side", "--svn", "1", "--containers", "containers.json", "--signed", "x"), 2, "come together"},
		"generate-stdin":      {generate("--namespace", "side", "--svn", "1", "--containers", "-", "--fragments", "-"), 2, "standard input"},
		"generate-broken":     {generate("--namespace", "side", "--svn", "1", "--containers", "key.pem"), 1, "key.pem"},
		"generate-ahead":      {generate("--namespace", "side", "--svn", "1", "--image", "absent/image:1", "--lock", "lock.json", "--locked"), 1, "absent/image:1"},
		"import-alone":        {generate("--generate-import"), 2, "--fragment-path"},
		"import-both":         {generate("--generate-import", "-p", "side.cose", "--svn", "1"), 2, "--svn does nothing with --fragment-path"},
		"import-minimum":      {generate("--namespace", "side", "--svn", "1", "--containers", "containers.json", "--minimum-svn", "1"), 2, "--generate-import"},
		"import-no-flag":      {generate("-p", "side.cose"), 2, "--generate-import"},
		"import-includes":     {generate("--generate-import", "-p", "side.cose", "--includes", "all"), 1, "platform_rules"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, _, err := fragmentCommand(t, "", c.args...)
			if exitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got exit code %d, %v, want %d and %q", exitCode(err), err, c.code, c.want)
			}
			if stdout != "" {
				t.Errorf("got %q on standard output", stdout)
			}
		})
	}
}

// A configuration leaves values open only with a yes, and containers come as JSON on the command line, too.
func TestFragmentGenerateSources(t *testing.T) {
	fragmentDir(t)
	input := []string{"generate", "--namespace", "side", "--svn", "2", "--input", "config.json", "--lock", "lock.json", "--locked"}
	data, err := os.ReadFile("containers.json")
	if err != nil {
		t.Fatal(err)
	}
	both := mustFragment(t, slices.Concat(input, []string{"-y", "--with-containers", strings.TrimSpace(string(data)), "--disable-stdio"})...)
	if strings.Count(both, `"working_dir"`) != 2 || strings.Count(both, `"allow_stdio_access":false`) != 1 || strings.Contains(both, "pause") {
		t.Errorf("got %s", both)
	}
	writeHere(t, "both.rego", both)
	mustFragment(t, signArgs("both.rego")...)
	if out := mustFragment(t, "inspect", "both.rego.cose"); !strings.Contains(out, "containers, 2") {
		t.Errorf("got %s", out)
	}
}

// A file that is there stays whole when a command fails.
func TestFragmentWritesWholeFiles(t *testing.T) {
	fragmentDir(t)
	makeFragment(t, "side", "1")
	before, err := os.ReadFile("side.cose")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("bad.rego", []byte("package side\nsvn := 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fragmentCommand(t, "", signArgs("-o", "side.cose", "bad.rego")...); err == nil {
		t.Fatal("a text without a framework version was signed")
	}
	after, err := os.ReadFile("side.cose")
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed: %v", err)
	}
	if left, err := filepath.Glob(".*"); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestDevSigningInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "signing")
	first, _, err := rootCommand(t, "", "dev", "signing", "init", "--dir", dir)
	if err != nil || !strings.Contains(first, "TEST%20ONLY") {
		t.Fatalf("got %q, %v", first, err)
	}
	again, _, err := rootCommand(t, "", "dev", "signing", "init", "--dir", dir, "--json")
	var got map[string]string
	if err != nil || json.Unmarshal([]byte(again), &got) != nil || !strings.Contains(first, got["issuer"]) || got["issuer"] == "" {
		t.Errorf("got %q, %v after %q", again, err, first)
	}
	for name, mode := range map[string]os.FileMode{"key.pem": 0o600, "chain.pem": 0o644, "": 0o700} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%q: got %v, %v, want %v", name, st, err, mode)
		}
	}
	if err := os.Remove(filepath.Join(dir, "chain.pem")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := rootCommand(t, "", "dev", "signing", "init", "--dir", dir); err == nil || !strings.Contains(err.Error(), "only") {
		t.Errorf("got %v", err)
	}
	for _, bad := range [][]string{{"--key-type", "des"}, {"--days", "0"}, {"--name", ""}} {
		_, _, err := rootCommand(t, "", append([]string{"dev", "signing", "init", "--dir", filepath.Join(t.TempDir(), "x")}, bad...)...)
		if exitCode(err) != exitUsage {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
