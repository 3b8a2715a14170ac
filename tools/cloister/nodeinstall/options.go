package nodeinstall

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/shim/vm"
)

// Programs are what a node needs, in the order they are installed.
var Programs = []string{"containerd-shim-cloister-v2", "cloister-snapshotter", "cloister"}

// Options say what to install. Paths are absolute on the node; Root goes before each.
type Options struct {
	Root       string // "" is the node itself; else a directory that stands for it
	Containerd string // containerd's main configuration
	Version    string // containerd's version, such as "2.4.2"; "" is not known
	From       string // directory with the programs; not below Root
	Prefix     string // programs go to Prefix/bin
	Guest      string // of node.toml, where there is none yet
	TEE        vm.TEE // likewise
	Handler    string // the runtime handler that a RuntimeClass names
	Sandboxer  string // "podsandbox" or "shim"
	Socket     string // of cloister-snapshotter
	LayersRoot string // its directory
	MetricsDir string // of node.toml, where there is none yet
}

// Defaults are the paths and names of the documentation.
func Defaults() Options {
	return Options{
		Containerd: "/etc/containerd/config.toml", Prefix: "/opt/cloister", Guest: "/opt/cloister/guest", TEE: vm.TEESNP,
		Handler: "cloister", Sandboxer: "podsandbox", Socket: "/run/cloister/snapshotter.sock", LayersRoot: "/var/lib/cloister/snapshotter",
		MetricsDir: "/run/cloister/metrics",
	}
}

// Paths that are fixed, because others look there.
const (
	nodeConfig  = "/etc/cloister/node.toml"
	unitPath    = "/etc/systemd/system/cloister-snapshotter.service"
	recordPath  = "/var/lib/cloister/install.json"
	shimLink    = "/usr/local/bin/containerd-shim-cloister-v2" // containerd looks for shims in PATH
	dropInName  = "99-cloister.toml"
	runtimeType = "io.containerd.cloister.v2"
	snapshotter = "cloister"
	differ      = "cloister-diff"
)

var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (o *Options) validate() error {
	for _, p := range []struct{ name, path string }{
		{"containerd's configuration", o.Containerd},
		{"prefix", o.Prefix},
		{"guest", o.Guest},
		{"snapshotter socket", o.Socket},
		{"snapshotter root", o.LayersRoot},
		{"programs", o.From},
		{"metrics", o.MetricsDir},
	} {
		if !filepath.IsAbs(p.path) || strings.ContainsAny(p.path, "\x00\n\"'\\%") {
			return fmt.Errorf("%s: got path %q, want an absolute one without quotes, backslashes and percent signs", p.name, p.path)
		}
	}
	if !handlerName.MatchString(o.Handler) {
		return fmt.Errorf("handler: got %.64q, want lower-case letters, digits and hyphens, as a RuntimeClass has it", o.Handler)
	}
	switch o.TEE {
	case vm.TEESNP, vm.TEEEmulated, vm.TEENone:
	default:
		return fmt.Errorf("tee: got %.64q, want %q, %q or %q", o.TEE, vm.TEESNP, vm.TEEEmulated, vm.TEENone)
	}
	if o.Sandboxer != "podsandbox" && o.Sandboxer != "shim" {
		return fmt.Errorf("sandboxer: got %.64q, want \"podsandbox\" or \"shim\"", o.Sandboxer)
	}
	if _, _, err := release(o.Version); err != nil {
		return err
	}
	if before(o.Version, 1, 7) {
		return refuse("install containerd 2.x, or 1.7", "containerd %.32s is too old: its shims' interface and its pulls are others", o.Version)
	}
	return nil
}

var versionForm = regexp.MustCompile(`^v?(\d{1,3})\.(\d{1,3})(?:[.+~-].*)?$`)

// release is a version's first two numbers; those of "" are 0.
func release(version string) (major, minor int, err error) {
	if version == "" {
		return 0, 0, nil
	}
	m := versionForm.FindStringSubmatch(version)
	if m == nil {
		return 0, 0, fmt.Errorf("version of containerd: got %.64q, want a form such as 2.4.2", version)
	}
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	return major, minor, nil
}

// before says whether the version is known and older than major.minor.
func before(version string, major, minor int) bool {
	a, b, err := release(version)
	return err == nil && version != "" && (a < major || a == major && b < minor)
}

func platform() string { return "linux/" + runtime.GOARCH }
