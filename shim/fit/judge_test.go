package fit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/staging"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/shim/fit"
	"github.com/cloister-cc/cloister/shim/spec"
)

const (
	podKey       = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	containerKey = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
	podDir       = "/run/gcs/c/" + podKey + "/sandboxMounts"
	podVolumes   = "/var/lib/kubelet/pods/0f6a3c9e-5c1d-4b8e-9d1a-2b7c4e5f6a70/volumes/"
)

// kubelet is the specification that containerd writes for a container of a pod.
func kubelet(t testing.TB) *specs.Spec {
	t.Helper()
	text, err := os.ReadFile("../spec/testdata/kubelet-container.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func without(s *specs.Spec, destinations ...string) {
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return slices.Contains(destinations, m.Destination) })
}

func bind(destination, source, mode string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", mode}}
}

func read(t testing.TB, policy string) *fit.Policy {
	t.Helper()
	p, err := fit.Read([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Known() {
		t.Fatalf("the policy is not known:\n%.400s", policy)
	}
	return p
}

// judge fits a specification, makes the request of it, and asks the enforcer what the agent would ask: the request as it arrives, its sources mapped to the agent's own
// names (docs/architecture.md).
func judge(t testing.TB, policy string, s *specs.Spec, roots []string) ([]spec.Note, *enforcer.Decision, error) {
	t.Helper()
	p := read(t, policy)
	keep := p.Seccomp(s, roots)
	notes := p.Fit(s, roots)
	d, err := decide(t, policy, request(t, s, keep), roots)
	return notes, d, err
}

// request is what the agent reads of a create request after its form check.
func request(t testing.TB, s *specs.Spec, keepSeccomp bool) *container.Request {
	t.Helper()
	copies, err := spec.Copied(s)
	if err != nil {
		t.Fatal(err)
	}
	in := spec.Input{Spec: s, SandboxID: podKey, ContainerID: containerKey, Copies: map[string]string{}, KeepSeccomp: keepSeccomp}
	for i, m := range copies {
		in.Copies[m.Destination] = fmt.Sprintf("%s%s-%016x-%s", staging.SharedDir, containerKey, i, spec.CopyName(m.Destination))
	}
	made, _, err := spec.Create(in)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := container.Parse(made.OCI)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func decide(t testing.TB, policy string, r *container.Request, roots []string) (*enforcer.Decision, error) {
	t.Helper()
	e, err := enforcer.Load(t.Context(), []byte(policy), enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts()})
	if err != nil {
		t.Fatal(err)
	}
	network := networkFiles()
	if err := e.AddDefaultMounts(network); err != nil {
		t.Fatal(err)
	}
	commit := func(in enforcer.Input) {
		t.Helper()
		d, err := e.Decide(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	overlay := enforcer.MountOverlayInput{ContainerID: containerKey, Target: "/run/gcs/c/" + containerKey + "/rootfs"}
	for i, root := range roots {
		target := fmt.Sprintf("/run/mounts/scsi/m%d", i)
		commit(enforcer.MountDeviceInput{Target: target, DeviceHash: root, MountPathRegex: "/run/mounts/scsi/m[0-9]+"})
		overlay.LayerPaths = append([]string{target}, overlay.LayerPaths...)
	}
	commit(overlay)
	digest, err := container.SeccompSHA256(r.Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	user := fmt.Sprint(r.Process.UID)
	return e.Decide(t.Context(), enforcer.CreateContainerInput{
		ContainerID: containerKey, ArgList: r.Process.Args, EnvList: r.Process.Env, WorkingDir: r.Process.Cwd, SandboxDir: podDir,
		HugePagesDir: "/run/gcs/c/" + podKey + "/hugepages", Mounts: append(network, mapped(t, r)...), Devices: []enforcer.Device{}, Privileged: r.Privileged,
		NoNewPrivileges: r.Process.NoNewPrivileges, User: enforcer.User{ID: user}, Groups: []enforcer.User{{ID: fmt.Sprint(r.Process.GID)}}, Umask: "0022",
		Capabilities: enforcer.Capabilities{
			Bounding: some(r.Process.Capabilities.Bounding), Effective: some(r.Process.Capabilities.Effective), Inheritable: some(r.Process.Capabilities.Inheritable),
			Permitted: some(r.Process.Capabilities.Permitted), Ambient: some(r.Process.Capabilities.Ambient),
		},
		SeccompProfileSHA256: digest,
	})
}

func some(l []string) []string { return append([]string{}, l...) }

// networkFiles are the three mounts that the agent adds to every container.
func networkFiles() []enforcer.Mount {
	var out []enforcer.Mount
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		out = append(out, enforcer.Mount{Destination: "/etc/" + name, Source: "/run/gcs/c/" + podKey + "/" + name, Type: "bind", Options: []string{"bind", "rprivate", "rw"}})
	}
	return out
}

// mapped are a request's mounts as the agent puts them to the policy.
func mapped(t testing.TB, r *container.Request) []enforcer.Mount {
	t.Helper()
	fixed, own := container.SplitMounts(r.Mounts, r.Privileged)
	var out []enforcer.Mount
	for _, m := range fixed {
		out = append(out, enforcer.Mount{Destination: m.Destination, Source: m.Source, Type: m.Type, Options: m.Options})
	}
	for _, m := range own {
		if slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, m.Destination) && !strings.HasPrefix(m.Source, "sandbox://") {
			continue
		}
		source := m.Source
		switch name, sandbox := strings.CutPrefix(m.Source, "sandbox://"); {
		case sandbox:
			name = strings.TrimPrefix(name, "/")
			if name == "" || !filepath.IsLocal(name) || path.Clean(name) != name {
				t.Errorf("mount at %s: the agent does not take the source %q", m.Destination, m.Source)
			}
			source = path.Join(podDir, name)
		case strings.HasPrefix(m.Source, staging.SharedDir):
			parsed, err := staging.ParseName(m.Source)
			if err != nil {
				t.Errorf("mount at %s: %v", m.Destination, err)
			}
			source = path.Join(podDir, "shared", parsed.Base)
		case !strings.HasPrefix(m.Source, "cloister://"):
			t.Errorf("mount at %s: the agent does not take the source %q", m.Destination, m.Source)
		}
		out = append(out, enforcer.Mount{Destination: m.Destination, Source: source, Type: m.Type, Options: m.Options})
	}
	return out
}

// mustAllow reports why a decision was a refusal.
func mustAllow(t testing.TB, err error) {
	t.Helper()
	var denial *enforcer.Denial
	if errors.As(err, &denial) {
		t.Fatalf("refused: %v %q", err, denial.Reasons)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fieldsOf(notes []spec.Note) []string {
	var out []string
	for _, n := range notes {
		out = append(out, n.Field)
	}
	return out
}
