package nodecheck

import (
	"context"
	"time"

	"github.com/cloister-cc/cloister/shim/node"
)

// Level is what a finding means for pods.
type Level string

// The levels. Only Fail stops pods from running as the node is configured.
const (
	OK   Level = "ok"
	Note Level = "note" // worth knowing
	Warn Level = "warn" // works, but weaker or slower than it could
	Fail Level = "fail"
)

// Finding is one line of the report.
type Finding struct {
	What    string `json:"what"`
	Level   Level  `json:"level"`
	Got     string `json:"got"`
	Follows string `json:"follows,omitempty"`
	Next    string `json:"next,omitempty"`
}

// Host is the node that is looked at.
type Host struct {
	Root       string      // "" is this machine; else its files are looked for below, and programs and sockets are not asked
	Node       node.Config // as the shim reads it
	Containerd string      // containerd's socket
	Shim       string      // name of the shim's program, looked for in PATH
	// Quick leaves out what takes seconds: booting a kernel under KVM.
	Quick bool
}

// timeout bounds one check.
const timeout = 15 * time.Second

// Run looks at everything, in the order of the report.
func (h *Host) Run(ctx context.Context) []Finding {
	var out []Finding
	for _, check := range []func(context.Context) Finding{
		h.snp, h.kvm, h.qemu, h.firmware, h.guest, h.policy, h.user, h.vsock, h.network, h.cgroups, h.erofs, h.shim, h.snapshotter, h.containerd,
	} {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		f := check(ctx)
		cancel()
		if f.What != "" {
			out = append(out, f)
		}
	}
	return out
}

// Usable says whether pods can run: nothing failed.
func Usable(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return false
		}
	}
	return true
}
