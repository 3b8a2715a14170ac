package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// TestWhatACIGives: under a policy without grants each unprivileged container finds the report device and the whole security context, and nobody listens on CoCo's port.
func TestWhatACIGives(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	img := mustImage(t)
	files, device := newContainer(img, "files", "context-files"), newContainer(img, "device", "try", "open-sev-guest")
	port := newContainer(img, "port", "ask", "tcp", tcpDoor, "GET", "/info")
	policy := policyFor(t, ctx, policygen.Options{AllowLogs: true}, files, device, port)
	m := start(t, policy, nil)

	contextOf := func() map[string][]byte {
		t.Helper()
		stdout, stderr, code := m.run(files)
		var encoded map[string]string
		if err := json.Unmarshal([]byte(stdout), &encoded); err != nil || code != 0 {
			t.Fatalf("%v, status %d: %s%s", err, code, stdout, stderr)
		}
		out := map[string][]byte{}
		for name, text := range encoded {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			out[name] = b
		}
		return out
	}
	before := contextOf()
	if string(before["security-policy-base64"]) != string(policy) || len(before) != 2 {
		t.Errorf("got %d files, a policy of %d bytes, want 2 and %d", len(before), len(before["security-policy-base64"]), len(policy))
	}
	checkHostCertificates(t, before["host-amd-cert-base64"])

	info := cosetest.NewChain(t, cosetest.ChainOptions{}).Document(t, []byte("{}"), "ContainerPlat-AMD-UVM", nil)
	_, err := api.NewAgentClient(m.Client().TTRPC()).LoadFragment(ctx, &api.LoadFragmentRequest{Cose: info, MediaType: fragment.MediaTypePlatformReference})
	if err != nil {
		t.Fatal(err)
	}
	after := contextOf()
	for _, name := range []string{"reference-info-base64", "platform-reference-info-base64"} {
		if string(after[name]) != string(info) {
			t.Errorf("%s: got %d bytes, want the document that was loaded", name, len(after[name]))
		}
	}
	if stdout, _, _ := m.run(device); stdout != "open-sev-guest ok\n" {
		t.Errorf("the report device: got %q", stdout)
	}
	if stdout, stderr, code := m.run(port); code == 0 || !strings.Contains(stderr, "connection refused") {
		t.Errorf("CoCo's port: got %q, %q and status %d, want that nobody listens", stdout, stderr, code)
	}
}

// TestABrokerGivesOnlyWhatIsNamed: where the policy has a grant, a container without one finds neither device nor security context.
func TestABrokerGivesOnlyWhatIsNamed(t *testing.T) {
	alone(t)
	ctx := caseContext(t)
	img := mustImage(t)
	named := asking(img, "named", []pod.Mount{attestMount}, "sleep")
	device := newContainer(img, "device", "try", "open-sev-guest")
	files := newContainer(img, "files", "context-files")
	// Whoever may make nodes knows the device's number, and must not get any further by it.
	maker := newContainer(img, "maker", "try", "make-sev-guest")
	all := append(slices.Clone(capabilities), "CAP_MKNOD")
	maker.Capabilities = pod.Capabilities{Bounding: all, Effective: all, Permitted: all}
	m := start(t, policyFor(t, ctx, policygen.Options{AllowLogs: true}, named, device, files, maker), nil)
	if stdout, _, _ := m.run(device); !strings.Contains(stdout, "no such file") {
		t.Errorf("the report device: got %q", stdout)
	}
	if stdout, stderr, code := m.run(files); code == 0 || !strings.Contains(stderr, "no such file") {
		t.Errorf("the security context: got %q, %q and status %d", stdout, stderr, code)
	}
	if stdout, _, _ := m.run(maker); stdout != "make-sev-guest open /tmp/report: operation not permitted\n" {
		t.Errorf("a node of the container's own: got %q", stdout)
	}
}

// checkHostCertificates wants the form that ACI's workloads read.
func checkHostCertificates(t *testing.T, text []byte) {
	t.Helper()
	var doc struct{ VCEKCert, TCBM, CertificateChain, CacheControl string }
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatalf("%v in %.100q", err, text)
	}
	vcek, rest := pem.Decode([]byte(doc.VCEKCert))
	ask, more := pem.Decode([]byte(doc.CertificateChain))
	ark, end := pem.Decode(more)
	if vcek == nil || len(rest) != 0 || ask == nil || ark == nil || len(end) != 0 {
		t.Error("want one certificate of the key and two of its chain")
	}
	raw, err := hex.DecodeString(doc.TCBM)
	if err != nil || len(raw) != 8 {
		t.Fatalf("tcbm: got %q", doc.TCBM)
	}
	var tcb snp.TCB
	binary.LittleEndian.PutUint64(tcb[:], binary.BigEndian.Uint64(raw))
	if tcb == (snp.TCB{}) || doc.TCBM != strings.ToUpper(doc.TCBM) {
		t.Errorf("tcbm: got %q", doc.TCBM)
	}
}
