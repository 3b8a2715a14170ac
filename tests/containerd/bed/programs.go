package bed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Programs are directories with the programs of a node.
type Programs struct {
	Source string // of this project
	Others string // containerd, ctr, containerd-shim-runc-v2 and the CNI plugins, of the versions that programs/go.mod pins
	Ours   string // cloister, cloister-snapshotter, containerd-shim-cloister-v2
	Guest  string // development image of the guest
	Kernel string // its kernel, unpacked, which TCG boots faster
	Images string // OCI layouts, by reference
	TEE    string // authority of the software SNP processor
}

// ourPrograms are built each time, from the tree as it is; Go's cache makes that short.
var ourPrograms = []string{"./tools/cloister", "./tools/cloister-snapshotter"}

// shimTags leave gRPC out of the shim, which has one process a pod, as make does.
const shimTags = "no_grpc,grpcnotrace"

// Build makes all programs, the guest image and the images. What other runs have made is used again where it cannot have changed. It holds a lock: runs beside each
// other build once.
func Build(ctx context.Context, log func(format string, args ...any)) (*Programs, error) {
	source, err := Source()
	if err != nil {
		return nil, err
	}
	out := filepath.Join(source, "out", "containerd")
	p := &Programs{
		Source: source, Ours: filepath.Join(out, "ours"), Guest: filepath.Join(out, "guest"), Images: filepath.Join(out, "images"),
		TEE: filepath.Join(out, "authority"),
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(out, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, s := range []struct {
		what string
		do   func(context.Context, string) error
	}{
		{"containerd and CNI plugins", p.buildOthers},
		{"cloister, its snapshotter and shim", p.buildOurs},
		{"guest image", p.buildGuest},
		{"OCI images", p.buildImages},
		{"keys of the software SNP processor", p.makeTEE},
	} {
		log("%s", s.what)
		if err := s.do(ctx, out); err != nil {
			return nil, fmt.Errorf("build %s: %w", s.what, err)
		}
	}
	return p, nil
}

// buildOthers is done once a set of versions.
func (p *Programs) buildOthers(ctx context.Context, out string) error {
	module := filepath.Join(p.Source, "tests", "containerd", "programs")
	key, err := digest(filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum"))
	if err != nil {
		return err
	}
	p.Others = filepath.Join(out, "programs-"+key)
	if _, err := os.Stat(p.Others); err == nil {
		return nil
	}
	made := p.Others + ".new"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	if err := os.MkdirAll(made, 0o755); err != nil {
		return err
	}
	// containerd's own build has these tags; a version makes it say which one it is.
	const version = "-X github.com/containerd/containerd/v2/version.Version=2.4.2"
	_, err = run(ctx, module, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"},
		"go", "build", "-trimpath", "-tags", "no_btrfs,no_devmapper,no_zfs", "-ldflags", "-s -w "+version, "-o", made+"/", "tool")
	if err != nil {
		return err
	}
	return os.Rename(made, p.Others)
}

func (p *Programs) buildOurs(ctx context.Context, _ string) error {
	if err := os.MkdirAll(p.Ours, 0o755); err != nil {
		return err
	}
	for tags, programs := range map[string][]string{"": ourPrograms, shimTags: {"./shim/cmd/containerd-shim-cloister-v2"}} {
		args := append([]string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", tags, "-o", p.Ours + "/"}, programs...)
		if _, err := run(ctx, p.Source, []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}, args...); err != nil {
			return err
		}
	}
	return nil
}

// guestEnv names a guest image to use instead of building one.
const guestEnv = "CLOISTER_E2E_GUEST"

func (p *Programs) buildGuest(ctx context.Context, _ string) error {
	if dir := os.Getenv(guestEnv); dir != "" {
		var err error
		if p.Guest, err = filepath.Abs(dir); err != nil {
			return err
		}
	} else if _, err := run(ctx, p.Source, nil, p.cloister(), "guest", "build", "--dev", "-o", p.Guest); err != nil {
		return err
	}
	path, err := run(ctx, p.Source, nil, "go", "run", "./tests/bench/vmlinux", p.Guest)
	p.Kernel = strings.TrimSpace(path)
	return err
}

func (p *Programs) makeTEE(ctx context.Context, _ string) error {
	_, err := run(ctx, p.Source, nil, p.cloister(), "dev", "tee", "init", "--dir", p.TEE)
	return err
}

func (p *Programs) cloister() string { return filepath.Join(p.Ours, "cloister") }

// digest names the contents of files.
func digest(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n", len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// lock waits until no other run builds.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	return f.Close, nil
}

// needed are programs of the machine, with the Debian package that has each.
var needed = []struct{ program, pkg string }{
	{"qemu-system-x86_64", "qemu-system-x86"}, {"crun", "crun"}, {"dpkg-deb", "dpkg"}, {"xz", "xz-utils"}, {"iptables", "iptables"},
}

// Missing names what this machine lacks for a node; empty when nothing.
func Missing() string {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, n := range needed {
		if !installed(n.program) {
			missing = append(missing, n.program+" (apt-get install "+n.pkg+")")
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		missing = append(missing, "/dev/net/tun")
	}
	return strings.Join(missing, ", ")
}

func installed(program string) bool {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// Cloister runs the project's command line.
func (p *Programs) Cloister(ctx context.Context, args ...string) error {
	_, err := run(ctx, p.Source, nil, append([]string{p.cloister()}, args...)...)
	return err
}

// Reference has the benchmark of the agent measure what pods are compared with, into a file.
func (p *Programs) Reference(ctx context.Context, path, runs string) error {
	_, err := run(ctx, p.Source, nil, "go", "run", "./tests/bench", "-reference", path, "-container-runs", runs)
	return err
}
