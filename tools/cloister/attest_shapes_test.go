package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const evidenceDir = "../../tests/vectors/evidence"

// evidenceVectors is what these tests use of vectors.json.
type evidenceVectors struct {
	Now         time.Time `json:"now"`
	Nonce       string    `json:"nonce"`
	Issuer      string    `json:"endorsement_issuer"`
	Feed        string    `json:"endorsement_feed"`
	SVN         uint64    `json:"endorsement_svn"`
	RuntimeData string    `json:"runtime_data"`
	Files       []struct {
		File   string `json:"file"`
		Format string `json:"format"`
		Report string `json:"report_sha256"`
		Table  int    `json:"table_entries"`
		Certs  int    `json:"certificates"`
	} `json:"files"`
}

func loadEvidenceVectors(t *testing.T) *evidenceVectors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(evidenceDir, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v evidenceVectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return &v
}

// attest runs a command of the group on the vectors' files, which are named without their directory.
func attest(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join(wd, "testdata")
	t.Chdir(evidenceDir)
	defer t.Chdir(filepath.Dir(golden))
	var b bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"attest"}, args...))
	root.SetOut(&b)
	root.SetErr(&b)
	err = root.Execute()
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return b.String() + "cloister: " + err.Error() + "\n", exit.code
	case err != nil:
		return b.String() + "cloister: " + err.Error() + "\n", exitFailed
	}
	return b.String(), 0
}

func (v *evidenceVectors) verify(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return attest(t, append([]string{"verify", "--roots", "roots", "--now", v.Now.Format(time.RFC3339)}, args...)...)
}

// Every shape of evidence is verified, with what its shape can bring: bare reports with each kind of certificate file.
func TestAttestVerifyShapes(t *testing.T) {
	v := loadEvidenceVectors(t)
	runtimeData := filepath.Join(t.TempDir(), "runtime-data")
	if err := os.WriteFile(runtimeData, []byte(v.RuntimeData), 0o644); err != nil {
		t.Fatal(err)
	}
	var certs []string
	for _, f := range v.Files {
		if f.Report == "" && f.Format != "DER revocation list" {
			certs = append(certs, f.File)
		}
	}
	shapes := 0
	for _, f := range v.Files {
		if f.Report == "" {
			continue
		}
		want := []string{
			"--policy", "policy.rego", "--crl", "ark.crl", "--require-crl", "--endorsement", "endorsement.cose", "--endorsement-issuer", v.Issuer,
			"--feed", v.Feed, "--min-svn", fmt.Sprint(v.SVN),
		}
		if f.Format == "cloister bundle" {
			want = append(want, "--nonce", v.Nonce, "--identity", "container", "--require-event-log", "--entry", "web")
		} else {
			want = append(want, "--runtime-data", runtimeData)
		}
		with := certs
		if f.Table+f.Certs > 0 {
			with = []string{""}
		}
		for _, c := range with {
			t.Run(f.Format+"+"+c, func(t *testing.T) {
				args := append([]string{f.File}, want...)
				if c != "" {
					args = append(args, "--certs", c)
				}
				if out, code := v.verify(t, args...); code != 0 || !strings.Contains(out, "evidence: "+f.Format) {
					t.Errorf("got exit code %d:\n%s", code, out)
				}
			})
		}
		shapes++
	}
	if shapes < 9 || len(certs) < 5 {
		t.Errorf("got %d shapes of evidence and %d of certificates", shapes, len(certs))
	}
}

// What people and programs see, byte for byte. The times and keys are those of the vectors.
func TestAttestGolden(t *testing.T) {
	v := loadEvidenceVectors(t)
	all := []string{
		"--policy", "policy.rego", "--nonce", v.Nonce, "--identity", "container", "--entry", "web", "--require-event-log", "--require-crl",
		"--endorsement-issuer", v.Issuer, "--feed", v.Feed, "--min-svn", "104", "--min-tcb", "10,0,23,84", "--min-launch-tcb", "10,0,23,84",
		"--product", "Genoa", "--signer", "vcek", "--platform", "rapl-disabled", "--guest-policy", "abi=0.0",
	}
	for _, c := range []struct {
		name string
		code int
		args []string
	}{
		{"good", 0, []string{"bundle.json", "--policy", "policy.rego", "--nonce", v.Nonce}},
		{"good-json", 0, []string{"bundle.json", "--policy", "policy.rego", "--nonce", v.Nonce, "--json"}},
		{"nothing-asked", 0, []string{"bundle.json"}},
		{"policy-failures", 5, append([]string{"bundle.json", "--measurement", strings.Repeat("ab", 48)}, all...)},
		{"other-nonce", 5, []string{"bundle.json", "--nonce", strings.Repeat("00", 32), "--policy", "policy.rego"}},
		{"maa", 0, []string{"maa.json"}},
		{"combined", 0, []string{"combined.json", "--endorsement-issuer", v.Issuer, "--feed", v.Feed}},
		{"old-endorsement", 5, []string{"combined.json", "--endorsement-issuer", v.Issuer, "--feed", v.Feed, "--min-svn", "105"}},
		{"certificates-missing", 3, []string{"report.bin", "--vmpl", "1"}},
		{"no-evidence", 2, []string{"vcek.der"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := v.verify(t, c.args...)
			if code != c.code {
				t.Errorf("got exit code %d, want %d", code, c.code)
			}
			compareGolden(t, "verify-"+c.name, out)
		})
	}
	for _, file := range []string{"bundle.json", "maa.json", "thim.json", "ark.crl", "endorsement.cose", "policy.rego"} {
		t.Run("inspect-"+file, func(t *testing.T) {
			out, _ := attest(t, "inspect", file)
			compareGolden(t, "inspect-"+file, out)
		})
	}
	t.Run("inspect-json", func(t *testing.T) {
		out, _ := attest(t, "inspect", "--json", "coco.json")
		compareGolden(t, "inspect-coco-json", out)
	})
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "attest", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// editVector writes a JSON vector with members of its top level replaced.
func editVector(t *testing.T, file string, members map[string]any) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(evidenceDir, file))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		doc[name] = value
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A request that contradicts its own report is refused, whatever was asked.
func TestAttestVerifyRequestContradictsReport(t *testing.T) {
	v := loadEvidenceVectors(t)
	blob := func(text string) any {
		return map[string]string{"data": base64.URLEncoding.EncodeToString([]byte(text)), "dataType": "JSON"}
	}
	runtimeData := editVector(t, "maa.json", map[string]any{"runtimeData": blob("another"), "nonce": 1})
	initTimeData := editVector(t, "maa.json", map[string]any{"initTimeData": blob("another"), "nonce": 1})
	emptyInit := editVector(t, "maa.json", map[string]any{"initTimeData": blob("")})
	nullInit := editVector(t, "maa.json", map[string]any{"initTimeData": nil})
	given := filepath.Join(t.TempDir(), "given")
	if err := os.WriteFile(given, []byte(v.RuntimeData), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"runtime-data":           {[]string{runtimeData}, "refused: report_data (CLS530)"},
		"runtime-data-and-given": {[]string{runtimeData, "--runtime-data", given}, "refused: report_data (CLS530)"},
		"init-time-data":         {[]string{initTimeData}, "refused: host_data (CLS531)"},
		"init-time-data-empty":   {[]string{emptyInit}, "refused: host_data (CLS531)"},
		"init-time-and-policy":   {[]string{initTimeData, "--policy", "policy.rego"}, "refused: host_data (CLS531)"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, code := v.verify(t, c.args...); code != 5 || !strings.Contains(out, c.want) {
				t.Errorf("got exit code %d, want 5 and %q:\n%s", code, c.want, out)
			}
		})
	}
	if out, code := v.verify(t, nullInit); code != 2 || !strings.Contains(out, "initTimeData: got no data") {
		t.Errorf("init time data null: got exit code %d, want 2:\n%s", code, out)
	}
}

// The identity of evidence follows from the policy, and only from one that HOST_DATA binds.
func TestAttestVerifyIdentity(t *testing.T) {
	v := loadEvidenceVectors(t)
	bundle := func(members map[string]any) string { return editVector(t, "bundle.json", members) }
	other := base64.StdEncoding.EncodeToString([]byte("package policy\n"))
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"container", []string{"bundle.json", "--nonce", v.Nonce, "--identity", "container"}, 0, "identity: container, entry 0 \"web\"\n"},
		{"either", []string{"bundle.json", "--identity", "pod"}, 0, "identity: container"},
		{"by-name", []string{"bundle.json", "--entry", "web"}, 0, "identity: container"},
		{"by-position", []string{"bundle.json", "--entry", "0"}, 0, "identity: container"},
		{"another-container", []string{"bundle.json", "--entry", "job"}, 5, "refused: preimage_entries (CLS574)"},
		{"one-of-several", []string{"bundle.json", "--entry", "job", "--entry", "web"}, 0, "identity: container"},
		{"other-policy-sent", []string{bundle(map[string]any{"policy": other})}, 5, "refused: host_data (CLS531)"},
		{"other-policy-sent-and-approved-given", []string{bundle(map[string]any{"policy": other}), "--policy", "policy.rego"}, 0, "note: the bundle's own policy is not the --policy file"},
		{"no-policy", []string{bundle(map[string]any{"policy": nil})}, 0, "identity: pod: no policy text is at hand"},
		{"no-policy-container-wanted", []string{bundle(map[string]any{"policy": nil}), "--identity", "container"}, 5, "refused: identity (CLS575)"},
		{"no-preimage", []string{bundle(map[string]any{"preimage": nil}), "--nonce", v.Nonce}, 5, "refused: report_data (CLS530)"},
		{"no-preimage-by-entry", []string{bundle(map[string]any{"preimage": nil}), "--entry", "web"}, 3, "refused: preimage (CLS303)"},
		{"no-event-log", []string{bundle(map[string]any{"event_log": nil})}, 0, "identity: container"},
		{"event-log-wanted", []string{bundle(map[string]any{"event_log": nil}), "--require-event-log"}, 5, "refused: event_log (CLS573)"},
		{"refused-has-none", []string{"bundle.json", "--vmpl", "1"}, 5, "refused: vmpl (CLS501)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := v.verify(t, c.args...)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("got exit code %d, want %d and %q:\n%s", code, c.code, c.want, out)
			}
			if code != 0 && strings.Contains(out, "identity: ") {
				t.Errorf("refused evidence is somebody's:\n%s", out)
			}
		})
	}
}

// What came with the evidence cannot write to the terminal what it likes, nor say that it is in the right.
func TestAttestOutputIsPlain(t *testing.T) {
	v := loadEvidenceVectors(t)
	evil := "x\x1b[2J\u202egnp\naccepted"
	file := editVector(t, "bundle.json", map[string]any{evil: 1})
	out, code := v.verify(t, file)
	if code != 2 || strings.ContainsAny(out[:strings.Index(out, "cloister: ")], "\x1b\u202e") || strings.Contains(out, "\naccepted") {
		t.Errorf("got exit code %d:\n%q", code, out)
	}
	if got := coloured("ok  a\nFAIL  b\nREFUSED\naccepted\naccepted (software)\nnot asked: c\nFAILURE\n"); got !=
		"ok  a\n"+red+"FAIL  b"+plain+"\n"+red+"REFUSED"+plain+"\n"+green+"accepted"+plain+"\n"+yellow+"accepted (software)"+plain+"\n"+faint+"not asked: c"+plain+"\nFAILURE\n" {
		t.Errorf("got %q", got)
	}
}

func TestAttestInspectRefuses(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "text": "hello", "json": "{}", "cose": "\xd2\x84"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := attest(t, "inspect", path); code != exitFailed {
			t.Errorf("%s: got exit code %d, want %d:\n%s", name, code, exitFailed, out)
		}
	}
}
