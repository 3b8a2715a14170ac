package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/cloister-cc/cloister/shim/vm"
)

// Path is where the file is unless containerd's runtime options or CLOISTER_NODE_CONFIG name another.
const Path = "/etc/cloister/node.toml"

// Env names the variable that replaces Path.
const Env = "CLOISTER_NODE_CONFIG"

// Format says which file system a layer's disk may have.
type Format string

// The formats of a node.
const (
	FormatAuto  Format = "auto"  // ext4, or EROFS where the pod's policy names that root
	FormatExt4  Format = "ext4"  // the roots of ACI's tools
	FormatEROFS Format = "erofs" // containerd's own snapshotter, or made once more
)

// Config is the file. Paths are absolute.
type Config struct {
	Guest    string `toml:"guest"`    // directory that `cloister guest build` wrote
	Kernel   string `toml:"kernel"`   // booted in place of the guest's vmlinuz; not with SNP
	Firmware string `toml:"firmware"` // OVMF, for SNP

	TEE      vm.TEE `toml:"tee"`      // "snp" (default), "emulated" or "none"
	Accel    string `toml:"accel"`    // "kvm", "tcg", or "" to find out; SNP is always KVM
	Emulator string `toml:"emulator"` // directory of the software SNP processor's authority, for "emulated"

	VCPUs        int `toml:"vcpus"`          // of a pod without a CPU limit
	MemoryMiB    int `toml:"memory_mib"`     // what guest and agent need, added to the pod's limit; all there is for a pod without one
	MaxVCPUs     int `toml:"max_vcpus"`      // a pod that asks for more is refused
	MaxMemoryMiB int `toml:"max_memory_mib"` // likewise
	// Static sizes a VM that could grow once and for all. A confidential VM always is.
	Static bool `toml:"static"`

	LayerFormat Format `toml:"layer_format"`
	Snapshotter string `toml:"snapshotter"` // socket of cloister-snapshotter, asked for a layer in another format

	// DefaultPolicy is the file with the policy of pods that bring none; empty: they are refused.
	DefaultPolicy string `toml:"default_policy"`

	// Scratch is where containers write: "memory" (tmpfs, encrypted as all memory is) or "block" (a sparse file, encrypted by a key of the guest's).
	Scratch    string `toml:"scratch"`
	ScratchMiB int    `toml:"scratch_mib"` // size of a block scratch

	// VMMUser is the numeric user and group QEMU runs as; 0 keeps the shim's own.
	VMMUser int `toml:"vmm_user"`

	StateDir string `toml:"state_dir"` // one directory a pod below it

	BootTimeout    Duration `toml:"boot_timeout"`    // until the agent's first answer
	RequestTimeout Duration `toml:"request_timeout"` // of one call to the agent, but waits and streams
	HealthInterval Duration `toml:"health_interval"` // between two health checks; 0: none

	MetricsDir    string `toml:"metrics_dir"`    // each shim listens on a Unix socket there; empty: no metrics
	TraceEndpoint string `toml:"trace_endpoint"` // OTLP over HTTP; empty: no traces
}

// Duration is a time.Duration as TOML text, such as "30s".
type Duration time.Duration

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Default is a node whose file says nothing.
func Default() Config {
	return Config{
		Guest: "/opt/cloister/guest", TEE: vm.TEESNP,
		VCPUs: 1, MemoryMiB: 512, MaxVCPUs: 64, MaxMemoryMiB: 256 << 10,
		LayerFormat: FormatAuto, Snapshotter: "/run/cloister/snapshotter.sock",
		Scratch: "memory", ScratchMiB: 8 << 10, StateDir: "/run/cloister/pods",
		BootTimeout: Duration(2 * time.Minute), RequestTimeout: Duration(time.Minute), HealthInterval: Duration(5 * time.Second),
	}
}

// Load reads a node's file over the defaults. An empty path is Env's, or else Path; only Path itself need not exist.
func Load(path string) (Config, error) {
	needed := true
	if path == "" {
		path = os.Getenv(Env)
	}
	if path == "" {
		path, needed = Path, false
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !needed {
		c := Default()
		return c, c.Validate()
	}
	if err != nil {
		return Config{}, fmt.Errorf("load node configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("load node configuration %q: %w", path, err)
	}
	return c, nil
}

// Parse reads the file's text over the defaults.
func Parse(data []byte) (Config, error) {
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, oneLine(err)
	}
	return c, c.Validate()
}

// oneLine is a reader's error for people: its first fault, with the line of the file.
func oneLine(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := strict.Errors[0]
		row, _ := first.Position()
		return fmt.Errorf("line %d: unknown key %q (cloister node check)", row, strings.Join(first.Key(), "."))
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		row, _ := wrong.Position()
		return fmt.Errorf("line %d: %w", row, wrong)
	}
	return err
}

// Validate reports the first value that no node can have.
func (c *Config) Validate() error {
	switch c.TEE {
	case vm.TEESNP, vm.TEEEmulated, vm.TEENone:
	default:
		return fmt.Errorf("tee: got %q, want %q, %q or %q", c.TEE, vm.TEESNP, vm.TEEEmulated, vm.TEENone)
	}
	switch c.LayerFormat {
	case FormatAuto, FormatExt4, FormatEROFS:
	default:
		return fmt.Errorf("layer_format: got %q, want %q, %q or %q", c.LayerFormat, FormatAuto, FormatExt4, FormatEROFS)
	}
	if c.Scratch != "memory" && c.Scratch != "block" {
		return fmt.Errorf("scratch: got %q, want \"memory\" or \"block\"", c.Scratch)
	}
	for _, n := range []struct {
		key           string
		got, min, max int
	}{
		{"vcpus", c.VCPUs, 1, 255},
		{"max_vcpus", c.MaxVCPUs, c.VCPUs, 255},
		{"memory_mib", c.MemoryMiB, 128, 16 << 20},
		{"max_memory_mib", c.MaxMemoryMiB, c.MemoryMiB, 16 << 20},
		{"scratch_mib", c.ScratchMiB, 64, 64 << 20},
		{"vmm_user", c.VMMUser, 0, 1<<31 - 2},
	} {
		if n.got < n.min || n.got > n.max {
			return fmt.Errorf("%s: got %d, want %d to %d", n.key, n.got, n.min, n.max)
		}
	}
	return c.validatePaths()
}

func (c *Config) validatePaths() error {
	for _, p := range []struct{ key, path string }{
		{"guest", c.Guest},
		{"kernel", c.Kernel},
		{"firmware", c.Firmware},
		{"emulator", c.Emulator},
		{"snapshotter", c.Snapshotter},
		{"default_policy", c.DefaultPolicy},
		{"state_dir", c.StateDir},
		{"metrics_dir", c.MetricsDir},
	} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			return fmt.Errorf("%s: got path %q, want an absolute one", p.key, p.path)
		}
	}
	for key, path := range map[string]string{"guest": c.Guest, "state_dir": c.StateDir} {
		if path == "" {
			return fmt.Errorf("%s: got none, want a path", key)
		}
	}
	return nil
}
