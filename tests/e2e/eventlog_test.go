package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// evidenceNonce is in the policy: a process is judged by its exact arguments.
const evidenceNonce = "00112233445566778899aabbccddeeff"

var askEvidence = []string{"/bin/w", "post", "/run/cloister/attest/attest.sock", "/v1/evidence", `{"nonce":"` + evidenceNonce + `"}`}

// logged is the event log of one piece of evidence, after everything that ties it to the report was checked.
type logged struct {
	head    [32]byte
	raw     []byte
	excerpt *eventlog.Excerpt
	entries []eventlog.Entry
}

// evidenceLog has a process of a container ask for evidence, and reads the event log in it.
func (m *machine) evidenceLog(id string, p *api.Process) logged {
	m.t.Helper()
	var out, errOut bytes.Buffer
	if code, err := m.Client().Exec(m.ctx, id, p, run.ProcessIO{Stdout: &out, Stderr: &errOut}); err != nil || code != 0 {
		m.t.Fatalf("ask for evidence: status %d, %v: %s", code, err, errOut.String())
	}
	answer, err := http.ReadResponse(bufio.NewReader(&out), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		m.t.Fatalf("got status %s, %v: %s", answer.Status, err, body)
	}
	bundle, err := snp.ParseBundle(body)
	if err != nil {
		m.t.Fatal(err)
	}
	report, err := snp.ParseReport(bundle.Report)
	if err != nil {
		m.t.Fatal(err)
	}
	if want := identity.ReportData(bundle.Preimage); report.ReportData != want {
		m.t.Fatalf("got REPORT_DATA %x, want the preimage's %x", report.ReportData, want)
	}
	preimage, err := identity.Parse(bundle.Preimage)
	if err != nil {
		m.t.Fatal(err)
	}
	excerpt, err := eventlog.Parse(bundle.EventLog)
	if err != nil {
		m.t.Fatal(err)
	}
	entries, err := excerpt.Replay()
	if err != nil {
		m.t.Fatal(err)
	}
	if excerpt.Head != preimage.EventHead {
		m.t.Fatalf("got a log with head %x, want that of the preimage, %x", excerpt.Head, preimage.EventHead)
	}
	return logged{preimage.EventHead, bundle.EventLog, excerpt, entries}
}

// kinds counts the entries of a container.
func (l logged) kinds(key string) map[string]int {
	n := map[string]int{}
	for _, e := range l.entries {
		if e.Container == key {
			n[strings.TrimSpace(e.Kind+" "+e.Verdict)]++
		}
	}
	return n
}

// TestEventLogInEvidence: what was started, executed and refused beside the container that asks is in its evidence, and no secret is.
func TestEventLogInEvidence(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	secret := func() string {
		var b [16]byte
		rand.Read(b[:])
		return "secret" + hex.EncodeToString(b[:])
	}
	inEnv, inArgs, refused := secret(), secret(), secret()
	asks, other := newContainer(mustImage(t), "asks", "sleep"), newContainer(mustImage(t), "other", "echo", inArgs)
	asks.Mounts = append(asks.Mounts, pod.Mount{
		Destination: "/run/cloister/attest", Source: "cloister://attest", Type: "bind", Options: []string{"rbind", "rprivate", "ro"},
	})
	asks.Exec = [][]string{askEvidence}
	other.Env = append(other.Env, "TOKEN="+inEnv)
	m := start(t, policyFor(t, ctx, policygen.Options{}, asks, other), nil)
	c := m.started(asks)
	process := func(args ...string) *api.Process {
		p := c.OCI(pod.Names{SandboxID: m.ID(), ContainerID: c.ID}).Process
		p.Args = args
		return p
	}
	key := sandbox.Key(c.ID)

	before := m.evidenceLog(c.ID, process(askEvidence...))
	first := before.entries[0]
	if first.Kind != eventlog.KindStart || first.Version == "" || !strings.Contains(first.Cmdline, "console=") || !slices.Contains(first.Defaults, "insecure_no_tee=false") {
		t.Errorf("got first entry %+v, want how the agent is run", first)
	}
	if n := before.kinds(key); n["container-started"] != 1 || n["exec-started"] != 1 || n["decision allowed"] < 2 || n["decision refused"] != 0 {
		t.Errorf("got entries %v of the container before anything was refused", n)
	}

	bad := process("/bin/w", refused)
	bad.Env = append(bad.Env, "PASSWORD="+refused)
	_, err := m.Client().Exec(m.ctx, c.ID, bad, run.ProcessIO{Stdout: io.Discard, Stderr: io.Discard})
	wantRefusal(t, err, "exec_in_container")
	changed := *other
	changed.Env = append([]string{"PASSWORD=" + refused}, other.Env...)
	made, request := m.prepare(&changed)
	wantRefusal(t, m.tryCreate(made, request), "create_container")
	if stdout, _, code := m.run(other); code != 0 || !strings.Contains(stdout, inArgs) {
		t.Errorf("got %q, %d of the other container", stdout, code)
	}

	after := m.evidenceLog(c.ID, process(askEvidence...))
	if after.head == before.head {
		t.Fatal("the head is the same after a refused exec")
	}
	if after.excerpt.First != 0 || len(after.entries) <= len(before.entries) {
		t.Fatalf("got %d entries from %d on, want those from before and more", len(after.entries), after.excerpt.First)
	}
	for i, e := range before.excerpt.Entries {
		if !bytes.Equal(after.excerpt.Entries[i], e) {
			t.Fatalf("entry %d is another one than before", i)
		}
	}
	if n := after.kinds(key); n["decision refused"] != 1 {
		t.Errorf("got entries %v of the container, want the refused exec", n)
	}
	started, failed, exited := 0, 0, 0
	for _, e := range after.entries {
		if e.Container == "" || e.Container == key {
			continue
		}
		switch e.Kind {
		case eventlog.KindContainerStarted:
			started++
		case eventlog.KindContainerFailed:
			failed++
		case eventlog.KindContainerExited:
			exited++
		}
	}
	if started != 1 || failed != 1 || exited != 1 {
		t.Errorf("got %d started, %d refused, %d exited of the other containers, want one each", started, failed, exited)
	}
	for name, s := range map[string]string{"environment": inEnv, "arguments": inArgs, "refused requests": refused} {
		if bytes.Contains(after.raw, []byte(s)) {
			t.Errorf("the secret of the %s is in the event log", name)
		}
	}
}
