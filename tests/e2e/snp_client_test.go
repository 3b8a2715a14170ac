package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// clientResult is what tests/e2e/snpclient says of one scenario, asked in one way.
type clientResult struct {
	Scenario, Way string
	Opened        string
	Asks          []clientAsk
	Keys          string
	Files         int
	Entries       int
}

type clientAsk struct {
	Error, Kind, CPU, TCB, HostData, Table, Signature string

	Version, VMPL, Signer uint32
}

// brief is the asks in a word each: what the signature was, or the kind of error.
func (r clientResult) brief() string {
	var words []string
	for _, a := range r.Asks {
		words = append(words, a.Signature+a.Kind)
	}
	return strings.Join(words, ", ")
}

// The ways of tests/e2e/snpclient.
const (
	oursIoctl     = "ours ioctl"
	oursConfigfs  = "ours configfs"
	theirIoctl    = "go-sev-guest ioctl"
	theirConfigfs = "go-sev-guest configfs"
	derivedKeys   = "keys"
)

// clientCase is a processor with or without faults.
type clientCase struct {
	name string
	id   emulator.Identity
	edit func(*emulator.TEEParams)
	// play is the fault script.
	play []emulator.Fault
	// want is the brief of each way; a way that is not named must be good three times.
	want map[string]string
	// check looks closer.
	check func(t *testing.T, r map[string]clientResult)
}

// TestSNPClients plays every processor and every fault against go-sev-guest's client, unmodified, and ours, by ioctl and by configfs-tsm, in one VM.
func TestSNPClients(t *testing.T) {
	alone(t)
	cases := append(processorCases(t), faultCases()...)
	results := runClients(t, cases)
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { c.judge(t, results[c.name]) })
	}
}

func (c clientCase) judge(t *testing.T, got map[string]clientResult) {
	for _, way := range []string{oursIoctl, oursConfigfs, theirIoctl, theirConfigfs} {
		r, ok := got[way]
		if !ok {
			t.Errorf("%s: no result", way)
			continue
		}
		want, ok := c.want[way]
		if !ok {
			want = "good, good, good"
		}
		if r.brief() != want {
			t.Errorf("%s: got %q, want %q (%s)\n%+v", way, r.brief(), want, r.Opened, r.Asks)
		}
	}
	for _, way := range []string{oursIoctl, oursConfigfs, derivedKeys} {
		if r := got[way]; r.Files != 0 || r.Entries != 0 {
			t.Errorf("%s: left %d descriptors and %d configfs entries behind", way, r.Files, r.Entries)
		}
	}
	if want, ok := c.want[derivedKeys]; !ok && got[derivedKeys].Keys != "equal" || !strings.HasPrefix(got[derivedKeys].Keys, want) {
		t.Errorf("derived keys: got %q, want %q", got[derivedKeys].Keys, want)
	}
	if c.check != nil {
		c.check(t, got)
	}
}

// processorCases are all processors with both kinds of keys, and every version of reports on one of each layout. (All of them together are judged
// outside of VMs, where it takes seconds.)
func processorCases(t *testing.T) []clientCase {
	var cases []clientCase
	add := func(product string, vlek bool, version uint32) {
		id, err := emulator.IdentityOf(product)
		if err != nil {
			t.Fatal(err)
		}
		id.VLEK, id.ReportVersion = vlek, version
		key := map[bool]string{false: "vcek", true: "vlek"}[vlek]
		cases = append(cases, clientCase{
			name: fmt.Sprintf("plain %s %s v%d", product, key, version), id: id,
			want:  map[string]string{oursIoctl: "good", oursConfigfs: "good", theirIoctl: "good", theirConfigfs: "good"},
			check: func(t *testing.T, got map[string]clientResult) { checkProcessor(t, id, got) },
		})
	}
	for _, product := range emulator.Products() {
		add(product, false, 3)
		add(product, true, 5)
	}
	add("Milan", false, 2)
	add("Turin", true, 2)
	add("Turin", false, 5)
	return cases
}

func checkProcessor(t *testing.T, id emulator.Identity, got map[string]clientResult) {
	tcb := id.TCB.Bytes(id.Line)
	want := clientAsk{
		Version: id.ReportVersion, CPU: snp.CPUID{}.String(), TCB: hex.EncodeToString(tcb[:]), Signature: "good", HostData: "aa000000",
	}
	if id.ReportVersion > 2 {
		want.CPU = id.CPU.String()
	}
	if id.VLEK {
		want.Signer = snp.SignerVLEK
	}
	for way, r := range got {
		for _, a := range r.Asks {
			a.Table = "" // compared below
			if a != want {
				t.Errorf("%s: got %+v, want %+v", way, a, want)
			}
		}
	}
	// Pitfall 13: the same evidence by both ways, though the ioctl pads the table to pages.
	a, b := got[oursIoctl], got[oursConfigfs]
	if len(a.Asks) == 0 || len(b.Asks) == 0 || a.Asks[0].Table == "" || a.Asks[0].Table != b.Asks[0].Table {
		t.Errorf("pitfall 13: tables by ioctl %+v and by configfs %+v differ", a.Asks, b.Asks)
	}
}

// clientProgram is a program of the tests, statically linked.
func clientProgram(ctx context.Context, t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, b)
	}
	return out
}

// runClients boots one VM that plays all cases.
func runClients(t *testing.T, cases []clientCase) map[string]map[string]clientResult {
	t.Helper()
	ctx := limitedContext(t, 10*time.Minute)
	dir := t.TempDir()
	image, state := filepath.Join(dir, "image"), filepath.Join(dir, "vm")
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Build(ctx, guest.Options{Dev: true, Out: image, Source: guest.FindSource(wd), Agent: clientProgram(ctx, t, "./snpclient")}); err != nil {
		t.Fatal(err)
	}
	kernel, err := guest.VMLinux(filepath.Join(image, guest.FileKernel))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	config := vm.Config{
		ID: "snp-clients", Dir: state, Kernel: kernel, Initrd: filepath.Join(image, guest.FileInitrd), Cmdline: guest.Cmdline,
		VCPUs: 2, MemoryMiB: 512, TEE: vm.TEEEmulated, Console: filepath.Join(dir, "console"), InitdataDisk: scenarioDisk(t, dir, cases),
	}
	machine, err := qemu.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-machine.Done():
	case <-ctx.Done():
		t.Error("the machine did not switch itself off")
	}
	if err := machine.Stop(context.WithoutCancel(ctx)); err != nil {
		t.Errorf("stop: %v", err)
	}
	return clientResults(t, config.Console)
}

// scenarioDisk is a tar archive of parameter disks.
func scenarioDisk(t *testing.T, dir string, cases []clientCase) string {
	t.Helper()
	authority, err := emulator.LoadOrInit(filepath.Join(scratch, "authority"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, c := range cases {
		params, err := authority.Params(c.id)
		if err != nil {
			t.Fatal(err)
		}
		params.HostData = [32]byte{0xaa}
		if c.edit != nil {
			c.edit(&params)
		}
		if err := authority.Play(&params, c.play); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		disk, err := emulator.EncodeTEEDisk(params)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if err := w.WriteHeader(&tar.Header{Name: c.name, Mode: 0o600, Size: int64(len(disk))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(disk); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "scenarios")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clientResults reads the console.
func clientResults(t *testing.T, console string) map[string]map[string]clientResult {
	t.Helper()
	text, err := os.ReadFile(console)
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]map[string]clientResult{}
	done := false
	for line := range strings.Lines(string(text)) {
		_, said, ok := strings.Cut(strings.TrimSpace(line), "snpclient: ")
		if !ok {
			continue
		}
		done = done || said == "done"
		var r clientResult
		if json.Unmarshal([]byte(said), &r) != nil {
			if said != "done" {
				t.Error(said)
			}
			continue
		}
		if results[r.Scenario] == nil {
			results[r.Scenario] = map[string]clientResult{}
		}
		results[r.Scenario][r.Way] = r
	}
	if !done {
		t.Errorf("the program did not come to its end:\n%s", tail(console))
	}
	return results
}
