package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

const (
	ownSocket = "/run/cloister/attest/attest.sock"
	tcpDoor   = "127.0.0.1:8006"
)

// The nonce is in the containers' arguments, which the policy names one by one.
var (
	attestNonce = bytes.Repeat([]byte{0xA7}, 32)
	nonceJSON   = fmt.Sprintf(`{"nonce":"%x"}`, attestNonce)
)

var (
	attestMount = pod.Mount{Destination: "/run/cloister/attest", Source: "cloister://attest", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}}
	sharedMount = pod.Mount{Destination: "/shared", Source: "sandbox:///emptydir/shared", Type: "bind", Options: []string{"rbind", "rshared", "rw"}}
)

// rawJSON asks for a report that names nobody.
const rawJSON = `{"runtime_data":"a2V5"}`

// asking is a container that asks once, with these mounts.
func asking(img image, name string, mounts []pod.Mount, args ...string) *pod.Container {
	c := newContainer(img, name, args...)
	c.Mounts = append(c.Mounts, mounts...)
	return c
}

// identityPod is the containers of the case, in the order of the policy.
func identityPod(img image) []*pod.Container {
	granted, none := []pod.Mount{attestMount}, []pod.Mount(nil)
	list := []*pod.Container{
		asking(img, "first", granted, "ask", "unix", ownSocket, "POST", "/v1/evidence", nonceJSON),
		asking(img, "second", granted, "ask", "unix", ownSocket, "POST", "/v1/evidence", nonceJSON),
		asking(img, "first-tcp", granted, "ask", "tcp", tcpDoor, "POST", "/v1/evidence", nonceJSON),
		asking(img, "second-tcp", granted, "ask", "tcp", tcpDoor, "POST", "/attest/raw", rawJSON),
		asking(img, "outside", granted, "ask", "from-outside", "tcp", tcpDoor, "POST", "/attest/raw", rawJSON),
		asking(img, "none-tcp", none, "ask", "tcp", tcpDoor, "POST", "/attest/raw", rawJSON),
		asking(img, "none-coco", none, "ask", "tcp", tcpDoor, "GET", "/aa/evidence?runtime_data=x"),
		asking(img, "none-unix", none, "ask", "unix", ownSocket, "POST", "/v1/evidence", nonceJSON),
		asking(img, "coco", granted, "ask", "tcp", tcpDoor, "GET", "/aa/evidence?runtime_data=x"),
		asking(img, "giver", []pod.Mount{attestMount, sharedMount}, "give", "/run/cloister/attest", "/shared/s"),
		asking(img, "taker", []pod.Mount{attestMount, sharedMount}, "take", "/shared/s", "attest.sock", "POST", "/v1/evidence", nonceJSON),
		asking(img, "thief", []pod.Mount{sharedMount}, "take", "/shared/s", "attest.sock", "POST", "/v1/evidence", nonceJSON),
		asking(img, "stays", granted, "sleep"),
	}
	// Of first and second only an argument differs: the policy must be able to tell them.
	for i, c := range list {
		if i < 2 {
			c.Args = append(c.Args, fmt.Sprint(i))
		}
	}
	list[len(list)-1].Exec = [][]string{{"/bin/w", "ask", "unix", ownSocket, "POST", "/v1/evidence", nonceJSON}}
	return list
}

// answerOf reads an HTTP answer that a container printed.
func answerOf(t *testing.T, printed string) (status int, body []byte) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(printed)), nil)
	if err != nil {
		t.Fatalf("%v in %.300q", err, printed)
	}
	defer r.Body.Close()
	if body, err = io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, body
}

// relyingParty verifies evidence as somebody would who has the policy and trusts the software processor's root.
type relyingParty struct {
	verifier *verify.Verifier
	policy   []byte
}

func newRelyingParty(t *testing.T, policy []byte) *relyingParty {
	t.Helper()
	roots, err := verify.LoadRoots(filepath.Join(scratch, "authority", "roots"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(roots, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &relyingParty{v, policy}
}

// judge wants good evidence of one container, and returns what it says.
func (p *relyingParty) judge(t *testing.T, printed string) (*snp.Report, *identity.Preimage, []eventlog.Entry) {
	t.Helper()
	status, body := answerOf(t, printed)
	if status != http.StatusOK {
		t.Fatalf("got status %d: %s", status, body)
	}
	bundle, err := snp.ParseBundle(body)
	if err != nil {
		t.Fatal(err)
	}
	hostData := sha256.Sum256(p.policy)
	verdict, err := p.verifier.Verify(verify.Evidence{
		Report: bundle.Report, Table: bundle.Certs, Preimage: bundle.Preimage, EventLog: bundle.EventLog, Policy: bundle.Policy,
	}, verify.Expectations{
		Now: time.Now(), HostData: &hostData, Nonce: attestNonce, RequireIdentity: true, RequireEventLog: true, Identity: verify.IdentityContainer,
		ContainerIdentity: func(text []byte) bool {
			i, _ := evidence.ReadPolicy(text).Identity()
			return i == verify.IdentityContainer
		},
		PolicyEntries: func(text []byte, pre *identity.Preimage) error { return evidence.ReadPolicy(text).CheckEntries(pre) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !verdict.OK || verdict.Identity != verify.IdentityContainer {
		t.Fatalf("identity %q, refused: %+v", verdict.Identity, verdict.Failed())
	}
	report, err := snp.ParseReport(bundle.Report)
	if err != nil {
		t.Fatal(err)
	}
	preimage, err := identity.Parse(bundle.Preimage)
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Parse(bundle.EventLog)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := log.Replay()
	if err != nil {
		t.Fatal(err)
	}
	return report, preimage, entries
}

// TestEvidenceSaysWhichContainerAsked: in one pod, with one nonce, each container that has the grant gets evidence that names it over its own socket, and on loopback
// only what names nobody; who has no grant gets nothing, and neither does who borrows a neighbour's socket.
func TestEvidenceSaysWhichContainerAsked(t *testing.T) {
	alone(t)
	ctx := limitedContext(t, 8*time.Minute)
	list := identityPod(mustImage(t))
	byName := map[string]*pod.Container{}
	for _, c := range list {
		byName[c.Name] = c
	}
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true}, list...)
	m := start(t, policy, nil)
	m.ctx = ctx
	party := newRelyingParty(t, policy)

	t.Run("each-is-named", func(t *testing.T) {
		seen := map[[64]byte]string{}
		for i, name := range []string{"first", "second"} {
			m := m.in(t)
			stdout, stderr, code := m.run(byName[name])
			if code != 0 {
				t.Fatalf("%s: status %d: %s", name, code, stderr)
			}
			report, preimage, _ := party.judge(t, stdout)
			if len(preimage.Entries) != 1 || preimage.Entries[0] != (identity.Entry{Index: uint32(i)}) {
				t.Errorf("%s: got entries %+v, want %d", name, preimage.Entries, i)
			}
			if preimage.Args != identity.ArgsDigest(byName[name].Args) || !slices.Equal(preimage.Claimed.Names, []string{name}) {
				t.Errorf("%s: got another container's arguments or names %q", name, preimage.Claimed.Names)
			}
			if other := seen[report.ReportData]; other != "" {
				t.Errorf("%s and %s got the same REPORT_DATA", name, other)
			}
			seen[report.ReportData] = name
		}
	})
	for name, want := range map[string]string{
		"first-tcp": "own socket only",
		"none-tcp":  "no grant cloister://attest",
		"none-coco": "no grant cloister://attest",
		"outside":   "does not come from loopback",
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, _ := m.in(t).run(byName[name])
			if status, body := answerOf(t, stdout); status != http.StatusForbidden || !bytes.Contains(body, []byte(want)) {
				t.Errorf("got status %d: %s%s", status, body, stderr)
			}
		})
	}
	t.Run("no-socket-without-grant", func(t *testing.T) {
		if stdout, stderr, code := m.in(t).run(byName["none-unix"]); code == 0 || stdout != "" || !strings.Contains(stderr, "no such file") {
			t.Errorf("got %q, %q and status %d, want that there is no socket", stdout, stderr, code)
		}
	})
	t.Run("coco", func(t *testing.T) {
		stdout, _, _ := m.in(t).run(byName["coco"])
		if status, body := answerOf(t, stdout); status != http.StatusOK || !bytes.Contains(body, []byte(`"report_data":[120,0,0`)) {
			t.Errorf("got status %d: %.300s", status, body)
		}
	})
	t.Run("raw-on-loopback", func(t *testing.T) {
		stdout, _, _ := m.in(t).run(byName["second-tcp"])
		if status, body := answerOf(t, stdout); status != http.StatusOK || !bytes.Contains(body, []byte(`"report":`)) {
			t.Errorf("got status %d: %.300s", status, body)
		}
	})
	for _, name := range []string{"taker", "thief"} {
		t.Run("a-socket-handed-to-the-"+name, func(t *testing.T) {
			m := m.in(t)
			giver := m.started(byName["giver"])
			m.waitLine(run.Process{Container: giver.ID}, "ready")
			stdout, stderr, _ := m.run(byName[name])
			if status, body := answerOf(t, stdout); status != http.StatusForbidden || !bytes.Contains(body, []byte("another container's")) {
				t.Errorf("got status %d: %.300s%s", status, body, stderr)
			}
			m.finish(giver)
		})
	}
	t.Run("a-refused-exec-is-in-the-next-evidence", func(t *testing.T) { refusedExecInEvidence(t, m.in(t), party, byName["stays"]) })
}

func refusedExecInEvidence(t *testing.T, m *machine, party *relyingParty, stays *pod.Container) {
	c := m.started(stays)
	m.waitLine(run.Process{Container: c.ID}, "ready")
	exec := func(args ...string) (string, error) {
		p := c.OCI(pod.Names{SandboxID: m.ID(), ContainerID: c.ID}).Process
		p.Args = append([]string{"/bin/w"}, args...)
		var out bytes.Buffer
		_, err := m.Client().Exec(m.ctx, c.ID, p, run.ProcessIO{Stdout: &out, Stderr: &out})
		return out.String(), err
	}
	asks := stays.Exec[0][1:]
	first, err := exec(asks...)
	if err != nil {
		t.Fatal(err)
	}
	_, before, _ := party.judge(t, first)
	if _, err := exec("env"); err == nil {
		t.Fatal("an exec that the policy does not list was run")
	}
	second, err := exec(asks...)
	if err != nil {
		t.Fatal(err)
	}
	_, after, events := party.judge(t, second)
	if before.EventHead == after.EventHead {
		t.Error("the head is the same")
	}
	refused := func(e eventlog.Entry) bool {
		return e.Kind == eventlog.KindDecision && e.Verdict == eventlog.Refused && e.Point == "exec_in_container" && e.Container == sandbox.Key(c.ID)
	}
	if !slices.ContainsFunc(events, refused) {
		t.Error("the refused exec is not in the log")
	}
	if _, err := m.Client().SignalProcess(m.ctx, &api.SignalProcessRequest{ContainerId: c.ID, Signal: 9}); err != nil {
		t.Error(err)
	}
	m.finish(c)
}
