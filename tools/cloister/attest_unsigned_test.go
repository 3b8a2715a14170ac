package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/snp"
)

// unsigned is the bundle of the vectors with a policy of 4 MB, and its signature broken.
func unsigned(t *testing.T, carrier string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(evidenceDir, "bundle.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := snp.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	text := "package policy\n\n" + strings.Repeat("a := 1\n", 4<<20/7-8)
	b.Report[0x2a0] ^= 1
	if b.Carrier = carrier; carrier == snp.CarrierInitdata {
		doc, err := initdata.Build("sha256", map[string]string{initdata.PolicyKey: text})
		if err != nil {
			t.Fatal(err)
		}
		b.Policy, b.Initdata = nil, doc.Raw
	} else {
		b.Policy = []byte(text)
	}
	out, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What comes with a report that nobody signed is not read: a policy of 4 MB would take more than a gigabyte.
func TestAttestVerifyReadsNothingUnsigned(t *testing.T) {
	v := loadEvidenceVectors(t)
	for _, carrier := range []string{snp.CarrierPolicy, snp.CarrierInitdata} {
		for _, args := range [][]string{nil, {"--identity", "container", "--entry", "web"}, {"--policy", "policy.rego"}} {
			t.Run(carrier+strings.Join(args, ""), func(t *testing.T) {
				file := unsigned(t, carrier)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				out, code := v.verify(t, append([]string{file, "--json"}, args...)...)
				runtime.ReadMemStats(&after)
				if code != 2 {
					t.Errorf("got exit code %d, want 2:\n%.2000s", code, out)
				}
				const limit = 256 << 20
				if got := after.TotalAlloc - before.TotalAlloc; got > limit {
					t.Errorf("got %d bytes allocated, want at most %d", got, limit)
				}
				var verdict struct {
					Identity string `json:"identity"`
					Subject  any    `json:"subject"`
				}
				if err := json.NewDecoder(strings.NewReader(out)).Decode(&verdict); err != nil {
					t.Fatal(err)
				}
				if verdict.Identity != "" || verdict.Subject != nil {
					t.Errorf("refused evidence is somebody's: %+v", verdict)
				}
			})
		}
	}
}
