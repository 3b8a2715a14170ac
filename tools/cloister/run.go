package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/verity/layer"
)

// guestEnv names the directory of the guest image where none is given.
const guestEnv = "CLOISTER_GUEST"

// What --cpus and --memory may be; within what a VM's configuration may hold.
const (
	maxCPUs      = 64
	minMemoryMiB = 128
	maxMemoryMiB = 1 << 20
)

func newRunCommand() *cobra.Command {
	var r podRun
	cmd := &cobra.Command{
		Use:   "run POD",
		Short: "Run a pod in a utility VM under a policy",
		Long: `Run boots a utility VM for a Kubernetes Pod, binds the policy through HOST_DATA, starts the containers and prints their
output, each line behind its container's name, until all have ended or the command is interrupted. Then everything is
taken down.

Without --policy the policy is the one that "cloister policy generate" would write: that shows that the chain works, but
protects nobody, because whoever runs the command chose what may run. The exit code is 0 when every container ended with
0 or the command was interrupted, 1 when something was refused or failed.`,
		Example: `  cloister run demo/pod.yaml --images out/images --guest out/guest
  cloister run demo/pod.yaml --images out/images --guest out/guest --policy policy.rego -p 8080:8080
  cloister run demo/pod.yaml --images out/images --guest out/guest --initdata --tee snp --firmware OVMF.amdsev.fd`,
		Args: exactly("POD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.file, r.stdout, r.stderr = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.policy, "policy", "", "file with the policy (default: made from the pod)")
	f.StringVar(&r.images, "images", "", "directory of OCI layouts (default "+pod.ImagesDirName+" in the user's data directory)")
	f.StringVar(&r.cache, "cache", "", "directory of converted layers (default cloister/layers in the user's cache directory)")
	f.StringVar(&r.guest, "guest", os.Getenv(guestEnv), "directory of the guest image (default $"+guestEnv+", else out/guest)")
	f.StringVar(&r.tee, "tee", string(vm.TEEEmulated), "what stands behind the report device: emulated or snp")
	f.StringVar(&r.firmware, "firmware", "", "OVMF image, for --tee snp")
	f.StringArrayVar(&r.faults, "tee-fault", nil, "a fault of host or firmware for --tee emulated, as dev tee disk --fault takes it; may be given again")
	f.StringArrayVarP(&r.publish, "publish", "p", nil, "forward a TCP port of the host to the pod: [IP:]HOST:POD")
	f.StringVar(&r.stateDir, "state-dir", "", "directory of the running VM (default cloister/POD in the user's runtime directory)")
	f.IntVar(&r.memory, "memory", podrun.DefaultMemoryMiB, "memory of the VM in MiB")
	f.IntVar(&r.cpus, "cpus", podrun.DefaultVCPUs, "processors of the VM")
	f.BoolVar(&r.initdata, "initdata", false, "hand the policy over on an initdata disk instead of by request")
	f.BoolVar(&r.keep, "keep", false, "keep the state directory (console log, disks) after the run")
	return cmd
}

// podRun is one use of the command.
type podRun struct {
	file, policy, images, cache, guest, tee, firmware, stateDir string

	publish        []string
	faults         []string
	memory, cpus   int
	initdata, keep bool
	stdout, stderr io.Writer
}

func (r *podRun) run(ctx context.Context) error {
	forward, err := parseForwards(r.publish)
	if err != nil {
		return &usageError{err}
	}
	if !slices.Contains([]vm.TEE{vm.TEEEmulated, vm.TEESNP}, vm.TEE(r.tee)) {
		return &usageError{fmt.Errorf("run: --tee got %q, want emulated or snp", r.tee)}
	}
	if len(r.faults) > 0 && vm.TEE(r.tee) != vm.TEEEmulated {
		return &usageError{fmt.Errorf("run: --tee-fault: a processor of kind %s cannot be told to fail", r.tee)}
	}
	if r.cpus < 1 || r.cpus > maxCPUs {
		return &usageError{fmt.Errorf("run: --cpus: got %d, want 1 to %d", r.cpus, maxCPUs)}
	}
	if r.memory < minMemoryMiB || r.memory > maxMemoryMiB {
		return &usageError{fmt.Errorf("run: --memory: got %d MiB, want %d to %d", r.memory, minMemoryMiB, maxMemoryMiB)}
	}
	ui := newUI(r.stderr)
	script, err := parseFaults(r.faults)
	if err != nil {
		return err
	}
	options, containers, err := r.prepare(ctx, ui, forward)
	if err != nil {
		return err
	}
	if len(script) > 0 {
		options.TEEParams = func(a *emulator.Authority, p *emulator.TEEParams) error { return a.Play(p, script) }
	}
	result, err := podrun.RunPod(ctx, options, containers, r.stdout, r.stderr)
	for _, name := range result.OOM {
		ui.warn("%s ran out of memory", name)
	}
	if r.keep {
		ui.note("kept %s", options.StateDir)
	}
	if err != nil {
		return explain(ctx, runHint(err, options.StateDir))
	}
	return failedContainers(result)
}

// prepare turns the command line into what to boot and run.
func (r *podRun) prepare(ctx context.Context, ui *ui, forward []vm.PortForward) (podrun.Options, []*podrun.Container, error) {
	p, err := pod.Load(r.file)
	if err != nil {
		return podrun.Options{}, nil, err
	}
	resolved, err := resolvePod(ctx, p, r.images)
	if err != nil {
		return podrun.Options{}, nil, err
	}
	cache, err := layerCache(r.cache)
	if err != nil {
		return podrun.Options{}, nil, err
	}
	var containers []*podrun.Container
	err = ui.timed("layers", func() error {
		containers, err = podrun.Convert(ctx, cache, resolved)
		return err
	})
	if err != nil {
		return podrun.Options{}, nil, err
	}
	o := podrun.Options{
		Name: p.Name, Hostname: p.Hostname, HostAliases: p.HostAliases, TEE: vm.TEE(r.tee), Firmware: r.firmware, Guest: r.guest, StateDir: r.stateDir,
		Keep: r.keep, VCPUs: r.cpus, MemoryMiB: r.memory, Network: true, Forward: append(forward, podForwards(p)...),
		Log: ui, Stage: ui.stage,
	}
	if r.initdata {
		o.Carrier = podrun.CarrierInitdata
	}
	if o.Policy, err = r.policyText(ctx, ui, resolved, cache); err != nil {
		return podrun.Options{}, nil, err
	}
	return o, containers, r.locate(&o)
}

// locate finds the guest image and the state directory.
func (r *podRun) locate(o *podrun.Options) (err error) {
	if o.Guest == "" {
		o.Guest = filepath.Join("out", "guest")
	}
	if o.Guest, err = filepath.Abs(o.Guest); err != nil {
		return err
	}
	kernel := filepath.Join(o.Guest, "vmlinuz")
	if _, err := os.Stat(kernel); err != nil {
		return fmt.Errorf("run: no guest image: %w (make one with `cloister guest build --dev -o %s`)", err, o.Guest)
	}
	if o.TEE != vm.TEESNP {
		// The same kernel, unpacked here rather than by an emulated processor.
		if o.Kernel, err = guest.VMLinux(kernel); err != nil {
			return err
		}
	}
	if o.StateDir == "" {
		o.StateDir, err = podrun.StateDir(o.Name)
		return err
	}
	o.StateDir, err = filepath.Abs(o.StateDir)
	return err
}

func (r *podRun) policyText(ctx context.Context, ui *ui, containers []*pod.Container, cache layer.Cache) ([]byte, error) {
	var text []byte
	var err error
	if r.policy != "" {
		text, err = os.ReadFile(r.policy)
	} else {
		text, err = policygen.Generate(ctx, containers, cachedRoots(cache), policygen.Options{})
	}
	if err != nil {
		return nil, fmt.Errorf("run: policy: %w", err)
	}
	if bytes.TrimSpace(text) == nil {
		return nil, fmt.Errorf("run: policy %q is empty", r.policy)
	}
	how := "policy of " + r.policy
	if r.policy == "" {
		how = "policy made from " + r.file
	}
	ui.note("%s, SHA-256 %x", how, sha256.Sum256(text))
	return text, nil
}

// failedContainers makes a container's exit code the command's failure.
func failedContainers(r podrun.Result) error {
	for _, code := range r.Exit {
		if code != 0 {
			return fmt.Errorf("run: containers ended: %s", r.Summary())
		}
	}
	return nil
}

func resolvePod(ctx context.Context, p *pod.Pod, images string) ([]*pod.Container, error) {
	store, err := openPodImages(images)
	if err != nil {
		return nil, err
	}
	return p.Resolve(ctx, store)
}

// openPodImages opens a directory of OCI layouts, the user's own where none is named.
func openPodImages(images string) (*pod.Images, error) {
	if images == "" {
		var err error
		if images, err = pod.DefaultImagesDir(); err != nil {
			return nil, err
		}
	}
	store, err := pod.OpenImages(images)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (name the directory of OCI layouts with --images; \"make demo\" makes out/images)", err)
	}
	return store, err
}

func layerCache(dir string) (layer.Cache, error) {
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return layer.Cache{}, fmt.Errorf("no cache directory (--cache): %w", err)
		}
		dir = filepath.Join(user, "cloister", "layers")
	}
	dir, err := filepath.Abs(dir)
	return layer.Cache{Dir: dir}, err
}

// podForwards are the document's own host ports.
func podForwards(p *pod.Pod) []vm.PortForward {
	var out []vm.PortForward
	for _, port := range p.Ports {
		if port.HostPort != 0 && port.Protocol == "TCP" {
			out = append(out, vm.PortForward{HostIP: port.HostIP, HostPort: port.HostPort, GuestPort: port.ContainerPort})
		}
	}
	return out
}

// parseForwards reads [IP:]HOST:POD.
func parseForwards(list []string) ([]vm.PortForward, error) {
	var out []vm.PortForward
	for _, text := range list {
		parts := strings.Split(text, ":")
		var f vm.PortForward
		if len(parts) == 3 {
			if a, err := netip.ParseAddr(parts[0]); err != nil || !a.Is4() {
				return nil, fmt.Errorf("run: -p %q: want an IPv4 address before the ports", text)
			}
			f.HostIP, parts = parts[0], parts[1:]
		}
		if len(parts) != 2 {
			return nil, fmt.Errorf("run: -p %q: want [IP:]HOST:POD", text)
		}
		for i, to := range []*int{&f.HostPort, &f.GuestPort} {
			n, err := strconv.ParseUint(parts[i], 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("run: -p %q: want ports from 1 to 65535", text)
			}
			*to = int(n)
		}
		out = append(out, f)
	}
	return out, nil
}

// interrupted tells of a run that the user ended: no failure.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}
