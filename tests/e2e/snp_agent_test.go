package e2e

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gverify "github.com/google/go-sev-guest/verify"
	"google.golang.org/grpc/codes"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// agentFault is a fault that meets one question of the host's, and what the agent must answer.
type agentFault struct {
	name  string
	fault emulator.Fault
	code  codes.Code // OK: evidence comes
	words string     // of the refusal
	// leaf is what can be told from the evidence alone: "good" and "bad" are the report's signature under the certificate that came along, else why there is none.
	leaf string
	// not is the interface at which the answer is otherwise.
	not map[emulator.Interface]agentFault
}

const noReport = "no report could be made"

// agentFaults are those after which the agent must be as before.
var agentFaults = []agentFault{
	{name: "busy for a while", fault: emulator.Fault{Kind: emulator.FaultBusy, Times: 3, WaitMS: 5}, leaf: "good"},
	{name: "busy for too long", fault: emulator.Fault{Kind: emulator.FaultBusy, Times: 31}, code: codes.Unavailable, words: "the host kept the report request waiting"},
	{name: "throttled", fault: emulator.Fault{Kind: emulator.FaultThrottled, WaitMS: 50}, leaf: "good"},
	{name: "no certificates", fault: emulator.Fault{Kind: emulator.FaultCertsNone}, leaf: "no certificate"},
	{name: "table that wraps", fault: emulator.Fault{Kind: emulator.FaultCertsWrap}, leaf: "table refused"},
	{name: "garbage for a table", fault: emulator.Fault{Kind: emulator.FaultCertsGarbage}, leaf: "table refused"},
	{name: "a hundred entries", fault: emulator.Fault{Kind: emulator.FaultCertsMany}, leaf: "table refused"},
	{
		name: "table too large", fault: emulator.Fault{Kind: emulator.FaultCertsHuge}, leaf: "no certificate",
		not: map[emulator.Interface]agentFault{emulator.ConfigfsOnly: {code: codes.Internal, words: noReport}},
	},
	{name: "other writer once", fault: emulator.Fault{Kind: emulator.FaultRace, Count: 1}, leaf: "good"},
	{
		name: "other writer always", fault: emulator.Fault{Kind: emulator.FaultRace}, leaf: "good",
		not: map[emulator.Interface]agentFault{emulator.ConfigfsOnly: {code: codes.Internal, words: noReport}},
	},
	{name: "bit of the measurement", fault: emulator.Fault{Kind: emulator.FaultTampered}, leaf: "bad"},
	{name: "bit of the signature", fault: emulator.Fault{Kind: emulator.FaultFlip, Bit: 8*snp.SignedSize + 1}, leaf: "bad"},
	{name: "bit of the nonce", fault: emulator.Fault{Kind: emulator.FaultFlip, Bit: 8 * 0x8F}, code: codes.Internal, words: noReport},
	{name: "bit of the level", fault: emulator.Fault{Kind: emulator.FaultFlip, Bit: 8 * 0x33}, code: codes.Internal, words: noReport},
	{name: "bit of a certificate", fault: emulator.Fault{Kind: emulator.FaultFlipCerts, Bit: 8*(4*24+100) + 1}, leaf: "certificate refused"},
	{name: "tcb upgrade and old certificates", fault: emulator.Fault{Kind: emulator.FaultTCBUpgrade}, leaf: "bad"},
}

// nonceOf is the nonce of the case's question.
func nonceOf(name string) []byte { return fmt.Appendf(nil, "%-32.32s", name) }

// scriptOf is the fault script in which each case's fault meets its question only.
func scriptOf(cases []agentFault) []emulator.Fault {
	var script []emulator.Fault
	for _, c := range cases {
		data := snp.HostReportData(nonceOf(c.name))
		c.fault.Data = data[:]
		script = append(script, c.fault)
		if c.fault.Kind == emulator.FaultTCBUpgrade {
			script = append(script, emulator.Fault{Kind: emulator.FaultTCBLag, Data: data[:]})
		}
	}
	return script
}

// TestAgentUnderFaults: for each fault at each interface the agent answers with evidence or with the reason, keeps nothing, and goes on. What ends the key
// comes last and stays.
func TestAgentUnderFaults(t *testing.T) {
	alone(t)
	for _, way := range []emulator.Interface{emulator.IoctlOnly, emulator.ConfigfsOnly} {
		t.Run(string(way), func(t *testing.T) { underFaults(t, way) })
	}
}

func underFaults(t *testing.T, way emulator.Interface) {
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	last := agentFault{name: "unclear failure", fault: emulator.Fault{Kind: emulator.FaultBroken, Count: 1}, code: codes.Internal, words: noReport}
	m := boot(t, policy, func(o *run.Options) {
		o.TEEParams = func(a *emulator.Authority, p *emulator.TEEParams) error {
			p.Interface, p.Entries = way, 1 // with room for one entry, one that is left behind ends all evidence
			// The first thing the guest ever asks meets a busy host.
			return a.Play(p, append(scriptOf(append(agentFaults, last)), emulator.Fault{Kind: emulator.FaultBusy, Times: 31, Count: 1}))
		}
	})
	if err := m.SetPolicy(m.ctx, policy); err == nil || !strings.Contains(err.Error(), "HOST_DATA cannot be read") {
		t.Fatalf("a policy while the host is busy: got %v, want it refused for that", err)
	}
	if err := m.SetPolicy(m.ctx, policy); err != nil {
		t.Fatalf("the same policy later: %v", err)
	}
	m.open()
	m.wantEvidence(t, "before all faults", "good")
	before := m.held()
	for _, c := range agentFaults {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			m := m.in(t)
			if other, ok := c.not[way]; ok {
				c.code, c.words, c.leaf = other.code, other.words, other.leaf
			}
			if c.code == codes.OK {
				m.wantEvidence(t, c.name, c.leaf)
			} else {
				_, err := m.evidence(c.name)
				wantCode(t, err, c.code, c.words)
			}
			m.wantEvidence(t, "after "+c.name, "good")
		})
	}
	if after := m.held(); after.FDs != before.FDs || after.Goroutines > before.Goroutines || after.AllMounts != before.AllMounts {
		t.Errorf("the agent holds %+v, held %+v before the faults", after, before)
	}
	_, err = m.evidence(last.name)
	wantCode(t, err, last.code, last.words)
	for range 2 {
		_, err = m.evidence("after the key was lost")
		wantCode(t, err, codes.FailedPrecondition, snp.ErrKeyLost.Error())
	}
	if stdout, _, code := m.run(fixture(t, "echo")); code != 0 || stdout != "hello world\n" {
		t.Errorf("a container after the key was lost: got %q, status %d", stdout, code)
	}
	if log := m.log(t); !strings.Contains(log, deviceOf[way]) {
		t.Errorf("the log does not say which interface was taken: want %q in\n%s", deviceOf[way], lastBytes([]byte(log)))
	}
}

// deviceOf is what the agent's log says of its device.
var deviceOf = map[emulator.Interface]string{
	emulator.IoctlOnly:    "ioctl /dev/sev-guest (no configfs-tsm: ",
	emulator.ConfigfsOnly: "configfs-tsm /sys/kernel/config/tsm/report (no ioctl device, so no derived keys: ",
}

// evidence asks as the host, over a name's nonce.
func (m *machine) evidence(name string) (*snp.Bundle, error) {
	m.t.Helper()
	answer, err := m.Client().Cloister.Evidence(m.ctx, &api.EvidenceRequest{Nonce: nonceOf(name)})
	if err != nil {
		return nil, err
	}
	bundle, err := snp.ParseBundle(answer.Bundle)
	if err != nil {
		m.t.Fatal(err)
	}
	return bundle, nil
}

// wantEvidence asks and looks at what came: the host's REPORT_DATA, and a certificate for it.
func (m *machine) wantEvidence(t *testing.T, name, leaf string) {
	t.Helper()
	b, err := m.evidence(name)
	if err != nil {
		t.Errorf("%s: got %v, want evidence", name, err)
		return
	}
	r, err := snp.ParseReport(b.Report)
	if err != nil || r.ReportData != snp.HostReportData(nonceOf(name)) {
		t.Errorf("%s: not a report over the nonce (%v)", name, err)
	}
	if got := leafSays(b); got != leaf {
		t.Errorf("%s: got signature %q, want %q", name, got, leaf)
	}
}

// leafSays judges the report's signature by the certificate in the host's table.
func leafSays(b *snp.Bundle) string {
	certs, err := snp.ParseCerts(b.Certs)
	if err != nil {
		return "table refused"
	}
	for _, c := range certs {
		if c.GUID != snp.GUIDVCEK {
			continue
		}
		leaf, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return "certificate refused"
		}
		if gverify.SnpReportSignature(b.Report, leaf) != nil {
			return "bad"
		}
		return "good"
	}
	return "no certificate"
}

func (m *machine) log(t *testing.T) string {
	t.Helper()
	answer, err := m.Client().GetDiagnosticData(m.ctx, &api.GetDiagnosticDataRequest{LogType: "log"})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Data
}

// TestPolicyWithoutReport: where the guest cannot read its own HOST_DATA no policy is bound, and it says why.
func TestPolicyWithoutReport(t *testing.T) {
	alone(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, policy, func(o *run.Options) {
		o.TEEParams = func(a *emulator.Authority, p *emulator.TEEParams) error {
			// The first of the guest's reports says another HOST_DATA; then the key is gone.
			return a.Play(p, []emulator.Fault{{Kind: emulator.FaultFlip, Bit: 8 * 0xC0, Count: 4}, {Kind: emulator.FaultWiped, After: 4}})
		}
	})
	for i, word := range []string{"HOST_DATA", snp.ErrKeyLost.Error(), snp.ErrKeyLost.Error()} {
		err := m.SetPolicy(m.ctx, policy)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("policy %d: got %v, want it refused for %q", i, err, word)
		}
	}
	if err := m.Open(m.ctx); err == nil {
		t.Error("a sandbox was opened without a policy")
	}
}

// TestLevelTheGuestHasNot: an agent whose privilege level has no key does not come up, and the console says why.
func TestLevelTheGuestHasNot(t *testing.T) {
	alone(t)
	policy, err := sharedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	o, err := vmOptions(policy)
	if err != nil {
		t.Fatal(err)
	}
	o.TEEParams = func(_ *emulator.Authority, p *emulator.TEEParams) error { p.VMPLFloor = 2; return nil }
	ctx := caseContext(t)
	s, err := run.Boot(ctx, o)
	if err == nil {
		// The agent answers before it is whole; it ends when it finds that it cannot be.
		select {
		case <-s.VM().Done():
		case <-ctx.Done():
			t.Error("the machine did not switch itself off")
		}
		if err := s.Stop(context.Background()); err != nil {
			t.Logf("stop: %v", err)
		}
	}
	console, err := os.ReadFile(filepath.Join(o.StateDir, "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(console), "no key for the agent's privilege level") {
		t.Errorf("the console does not say why:\n%s", tail(filepath.Join(o.StateDir, "console.log")))
	}
}
