package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
)

const nonceHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// reportOver is a report of version 2 about a nonce, with no valid signature.
func reportOver(t *testing.T, nonce []byte) []byte {
	t.Helper()
	report := make([]byte, snp.ReportSize)
	report[0] = 2
	digest := sha256.Sum256(nonce)
	copy(report[0x50:], digest[:])
	if _, err := snp.ParseReport(report); err != nil {
		t.Fatal(err)
	}
	return report
}

// agent is the socket of an agent that answers with what the test says.
func agent(t *testing.T, handlers map[string]func(runtimeData []byte) (int, any)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attest.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handle, ok := handlers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		var body struct {
			RuntimeData []byte `json:"runtime_data"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		status, reply := handle(body.RuntimeData)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(reply)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return path
}

func raw(t *testing.T) func([]byte) (int, any) {
	return func(nonce []byte) (int, any) { return 200, rawReply{Report: hex.EncodeToString(reportOver(t, nonce))} }
}

func combined(t *testing.T) func([]byte) (int, any) {
	var chain []byte
	for _, name := range []string{"vcek", "ask", "ark"} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(name)})...)
	}
	return func(nonce []byte) (int, any) {
		return 200, combinedReply{
			Evidence:     base64.StdEncoding.EncodeToString(reportOver(t, nonce)),
			Endorsements: base64.StdEncoding.EncodeToString(chain),
		}
	}
}

func TestReportPrintsBundle(t *testing.T) {
	nonce, err := hex.DecodeString(nonceHex)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name      string
		handlers  map[string]func([]byte) (int, any)
		wantCerts string
	}{
		{"combined", map[string]func([]byte) (int, any){"/attest/combined": combined(t)}, "vcek ask ark"},
		{"raw-only", map[string]func([]byte) (int, any){"/attest/raw": raw(t)}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			socket := agent(t, c.handlers)
			for _, where := range []string{socket, filepath.Dir(socket)} {
				var out bytes.Buffer
				if err := run(t.Context(), nil, &out, []string{"--nonce", nonceHex, "--socket", where}); err != nil {
					t.Fatal(err)
				}
				_, rest, ok1 := strings.Cut(out.String(), beginMark+"\n")
				text, _, ok2 := strings.Cut(rest, endMark+"\n")
				if !ok1 || !ok2 {
					t.Fatalf("got no marked bundle in:\n%s", out.String())
				}
				bundle, err := snp.ParseBundle([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(bundle.Report, reportOver(t, nonce)) {
					t.Error("got another report")
				}
				var names []string
				certs, err := snp.ParseCerts(bundle.Certs)
				if err != nil {
					t.Fatal(err)
				}
				for _, cert := range certs {
					names = append(names, string(cert.Data))
				}
				if got := strings.Join(names, " "); got != c.wantCerts {
					t.Errorf("got certificates %q, want %q", got, c.wantCerts)
				}
			}
		})
	}
}

func TestReportBundleOnly(t *testing.T) {
	socket := agent(t, map[string]func([]byte) (int, any){"/attest/raw": raw(t)})
	var out bytes.Buffer
	err := run(t.Context(), strings.NewReader(nonceHex+"\n"), &out, []string{"--nonce", "-", "--socket", socket, "--bundle"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snp.ParseBundle(out.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestReportRefuses(t *testing.T) {
	other := func([]byte) (int, any) {
		return 200, rawReply{Report: hex.EncodeToString(reportOver(t, []byte("another nonce")))}
	}
	refuse := func([]byte) (int, any) { return 403, map[string]string{"error": "not granted"} }
	cases := []struct {
		name, nonce string
		handler     func([]byte) (int, any)
		want        string
	}{
		{"other-nonce", nonceHex, other, "want the nonce's SHA-256"},
		{"refused", nonceHex, refuse, "status 403"},
		{"no-report", nonceHex, func([]byte) (int, any) { return 200, rawReply{} }, "report"},
		{"not-hex", nonceHex, func([]byte) (int, any) { return 200, rawReply{Report: "xy"} }, "not hex"},
		{"nonce-not-hex", "xyz", raw(t), "nonce is not hex"},
		{"nonce-short", "00ff", raw(t), "want 16 to 64"},
		{"nonce-long", strings.Repeat("00", 65), raw(t), "want 16 to 64"},
		{"no-nonce", "", raw(t), "want 16 to 64"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			socket := agent(t, map[string]func([]byte) (int, any){"/attest/raw": c.handler})
			err := run(t.Context(), nil, io.Discard, []string{"--nonce", c.nonce, "--socket", socket})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestFindSocketMissing(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := findSocket(name); err == nil || !strings.Contains(err.Error(), "find the agent's socket") {
			t.Errorf("got %v, want a refusal", err)
		}
	}
}
