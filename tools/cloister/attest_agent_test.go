package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	agentattest "github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// agentEvidence asks a broker as a container of the vectors' policy does, and writes what it answers.
func agentEvidence(t *testing.T, b *attestBench, policy []byte) func(name, method, path, body string) string {
	t.Helper()
	p, err := b.keys.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	p.HostData = sha256.Sum256(policy)
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	bound := &agentattest.Policy{Text: policy, Carrier: snp.CarrierPolicy, Digest: p.HostData}
	log := eventlog.New(eventlog.Entry{Version: "test"}, eventlog.Limits{})
	broker := agentattest.New(proc.Device(), agentattest.Options{Policy: func() *agentattest.Policy { return bound }, Events: log})
	t.Cleanup(broker.Close)
	layer := func(x byte) [32]byte { return [32]byte(slices.Repeat([]byte{x}, 32)) }
	socket, _, err := broker.Listen(t.Context(), agentattest.Identity{
		Key: "web", Cgroup: "/", Layers: [][32]byte{layer(0xbb), layer(0xaa)}, Args: identity.ArgsDigest([]string{"/bin/web"}),
		Claimed: identity.Claimed{ID: "c1", Names: []string{"web"}},
		Entries: func() ([]identity.Entry, error) { return []identity.Entry{{Index: 0}}, nil },
	}, filepath.Join(t.TempDir(), "attest"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return func(name, method, path, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: got status %d %s, %v", path, answer.StatusCode, text, err)
		}
		return b.file(name, string(text))
	}
}

// What an agent answers, in each of its shapes, is what this command verifies.
func TestAttestVerifyAgentsAnswers(t *testing.T) {
	b := newAttestBench(t)
	policy, err := os.ReadFile(filepath.Join(evidenceDir, "policy.rego"))
	if err != nil {
		t.Fatal(err)
	}
	ask := agentEvidence(t, b, policy)
	policyFile := b.file("web.rego", string(policy))
	nonce := hex.EncodeToString(bytes.Repeat([]byte{9}, 32))
	data := b.file("data", "some data")
	encoded := base64.StdEncoding.EncodeToString([]byte("some data"))
	request := fmt.Sprintf(`{"runtime_data":%q}`, encoded)
	certs := filepath.Join(b.dir, "certs.pem")
	if err := os.WriteFile(certs, emulatedChain(t, b), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		args       []string
		want       string
	}{
		{"evidence", ask("evidence", "POST", "/v1/evidence", `{"nonce":"`+nonce+`"}`), []string{"--nonce", nonce, "--identity", "container", "--entry", "web", "--require-event-log"}, "identity: container, entry 0 \"web\"\n"},
		{"bundle", ask("bundle", "POST", "/attest/bundle", `{"nonce":"`+nonce+`"}`), []string{"--nonce", nonce}, "evidence: cloister bundle"},
		{"combined", ask("combined", "POST", "/attest/combined", request), []string{"--runtime-data", data}, "evidence: /attest/combined answer"},
		{"raw", ask("raw", "POST", "/attest/raw", request), []string{"--runtime-data", data, "--certs", certs}, "evidence: /attest/raw answer"},
		{"coco", ask("coco", "GET", "/aa/evidence?runtime_data=0123456789abcdef", ""), []string{"--nonce", hex.EncodeToString([]byte("0123456789abcdef")), "--report-data", "raw"}, "evidence: CoCo evidence"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			root := newRoot()
			root.SetArgs(append([]string{"attest", "verify", c.file, "--roots", b.roots, "--policy", policyFile}, c.args...))
			root.SetOut(&out)
			if err := root.Execute(); err != nil || !strings.Contains(out.String(), c.want) {
				t.Errorf("got %v, want %q:\n%s", err, c.want, out.String())
			}
		})
	}
}

// emulatedChain is the chain of the software processor's certificates, PEM.
func emulatedChain(t *testing.T, b *attestBench) []byte {
	t.Helper()
	p, err := b.keys.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, der := range p.Chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
