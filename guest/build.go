package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/pierrec/lz4/v4"
)

// Cmdline is the kernel command line of every image, measured with it. The last two make a panic or the end of PID 1
// end the VM at once: reset by triple fault works on every machine type and under every accelerator. The self-tests of
// the kernel's ciphers are left out: they cost a fifth of the boot under emulation, and would find a broken processor,
// which the launch measurement already trusts. Huge pages are given on request only: the agent's heap is sparse, and a guest has
// the memory that it was launched with. The kernel's test of the timer interrupt counts ticks against the processor's own
// clock, and panics where a busy host let the emulated timer run late (one boot in 60 with three VMs on two cores); KVM's
// guests leave it out by themselves.
const Cmdline = "console=ttyS0 quiet loglevel=3 cryptomgr.notests no_timer_check transparent_hugepage=madvise panic=-1 reboot=t"

// Kinds of an image.
const (
	Production  = "production"
	Development = "development"
)

// Compression of the initrd. The kernel unpacks both; which one boots faster depends on how fast the machine copies.
type Compression int

// The zero value is what images are built with.
const (
	LZ4 Compression = iota
	Plain
)

// Options say what to build.
type Options struct {
	// Dev adds the software SNP processor and lets it be PID 1's first program.
	Dev bool
	// Out is the directory to write, made or replaced as a whole.
	Out string
	// Packages is a directory with the locked .deb files; when empty they come from the cache and the machine's mirror.
	Packages string
	// Agent and Emulator are prebuilt programs; when empty they are built from Source.
	Agent, Emulator string
	// Source is the root of a Cloister source tree, whose recipe is then used too. When empty it is looked for from the
	// working directory upwards; outside of any, the recipe is the one this program was built with.
	Source string
	// Launch, when set, adds the launch digests of 1 to LaunchVCPUs processors to measurements.json.
	Launch *Launch
	// Initrd is the compression of initrd.img.
	Initrd Compression
	// Progress, when set, receives a line a step.
	Progress Progress
}

// Build writes an image to o.Out. On error nothing there has changed.
func Build(ctx context.Context, o Options) (*Result, error) {
	if o.Out == "" {
		return nil, errors.New("build the guest image: no output directory given")
	}
	if err := checkReplaceable(o.Out); err != nil {
		return nil, err
	}
	launch, err := o.Launch.plan()
	if err != nil {
		return nil, err
	}
	if o.Source == "" {
		wd, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		o.Source = FindSource(wd)
	}
	recipe, err := LoadRecipe(o.Source)
	if err != nil {
		return nil, err
	}
	image, err := assemble(ctx, recipe, o)
	if err != nil {
		return nil, err
	}
	image.launch = launch
	o.Progress.printf("writing %s", o.Out)
	return image.write(o.Out)
}

// image is everything that is written, in memory: some 40 MB.
type image struct {
	kind            string
	vmlinuz, initrd []byte
	packages        []byte
	agent, emulator []byte
	launch          *launchPlan // nil: no digests of a launch
}

// assemble makes the image's bytes. It writes nothing but the package cache.
func assemble(ctx context.Context, recipe *Recipe, o Options) (*image, error) {
	img := &image{kind: Production}
	var err error
	if img.agent, err = program(ctx, o.Source, o.Agent, "--agent", agentPackage, o.Progress); err != nil {
		return nil, err
	}
	if o.Dev {
		img.kind = Development
		if img.emulator, err = program(ctx, o.Source, o.Emulator, "--emulator", emulatorPackage, o.Progress); err != nil {
			return nil, err
		}
	}
	files, err := fetch(ctx, recipe.Packages, o.Packages, o.Progress)
	if err != nil {
		return nil, err
	}
	set, err := openPackages(ctx, recipe.Packages, files, o.Progress)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	k, err := openKernel(set)
	if err != nil {
		return nil, err
	}
	if img.vmlinuz, err = k.image(); err != nil {
		return nil, err
	}
	if img.packages, err = packagesJSON(k.release, recipe.Packages); err != nil {
		return nil, err
	}
	root, err := img.rootFS(set, k, recipe.modules(o.Dev))
	if err != nil {
		return nil, err
	}
	o.Progress.printf("packing the initrd")
	img.initrd, err = pack(root, o.Initrd)
	return img, err
}

// emptyDirs are mount points and places the agent writes to.
var emptyDirs = []struct {
	path string
	perm uint32
}{
	{"dev", 0o755},
	{"etc", 0o755},
	{"newroot", 0o755},
	{"proc", 0o555},
	{"root", 0o700},
	{"run", 0o755},
	{"sys", 0o555},
	{"tmp", 0o1777},
	{"var", 0o755},
}

// rootFS lays out the root file system of the guest.
func (img *image) rootFS(set *packageSet, k *kernel, modules []Module) (*tree, error) {
	t := newTree()
	for _, d := range emptyDirs {
		if err := t.dir(d.path, d.perm); err != nil {
			return nil, err
		}
	}
	// The emulator execs the agent as PID 1: the agent's bytes are the same in both kinds of image.
	init := "/sbin/cloister-agent"
	if img.kind == Development {
		init = "/sbin/snp-emulator"
		if err := t.file("sbin/snp-emulator", 0o755, img.emulator); err != nil {
			return nil, err
		}
	}
	err := errors.Join(
		t.symlink("init", init),
		t.file("sbin/cloister-agent", 0o755, img.agent),
		t.file("etc/cloister/packages.json", 0o644, img.packages),
	)
	if err != nil {
		return nil, err
	}
	if err := addPrograms(t, set, map[string]bool{}); err != nil {
		return nil, err
	}
	closure, err := k.collect(modules)
	if err != nil {
		return nil, err
	}
	return t, closure.install(t)
}

// addPrograms puts the foreign programs of the image in and notes which packages they came from.
func addPrograms(t *tree, set *packageSet, used map[string]bool) error {
	return errors.Join(
		linked(t, set, "/usr/bin/crun", "usr/bin/crun", used),
		linked(t, set, "/sbin/mke2fs", "sbin/mke2fs", used),
	)
}

// pack renders the initrd. The lz4 form is the legacy frame, the only one the kernel's initramfs code reads; one
// worker, so that the bytes do not depend on the number of processors.
func pack(t *tree, c Compression) ([]byte, error) {
	var b bytes.Buffer
	if c == Plain {
		err := t.writeCPIO(&b)
		return b.Bytes(), err
	}
	w := lz4.NewWriter(&b)
	if err := w.Apply(lz4.LegacyOption(true), lz4.CompressionLevelOption(lz4.Level9), lz4.ConcurrencyOption(1)); err != nil {
		return nil, err
	}
	if err := errors.Join(t.writeCPIO(w), w.Close()); err != nil {
		return nil, fmt.Errorf("compress the initrd: %w", err)
	}
	return b.Bytes(), nil
}

// packagesFile is packages.json, which also lies in the image at /etc/cloister/packages.json.
type packagesFile struct {
	Version  int       `json:"version"`
	Kernel   string    `json:"kernel"`
	Packages []Package `json:"packages"`
}

func packagesJSON(release string, packages []Package) ([]byte, error) {
	sorted, err := ParseLock(FormatLock(packages))
	if err != nil {
		return nil, err
	}
	return marshal(packagesFile{Version: 1, Kernel: release, Packages: sorted})
}

func marshal(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}
