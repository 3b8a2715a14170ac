package container

import (
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// ParseResources takes CPU, memory, pids and hugepage limits after a range check. On create (lenient), device, block and
// network rules are ignored, for containerd always sends some; on update they are refused when not empty
// (docs/architecture.md).
func ParseResources(in *api.LinuxResources, lenient bool) (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{}
	if in == nil {
		return out, nil
	}
	if !lenient {
		switch {
		case len(in.Devices) > 0:
			return nil, refuse("resources.Devices", "device rules are the agent's own")
		case in.BlockIO != nil:
			return nil, refuse("resources.BlockIO", "block rules are not supported")
		case in.Network != nil:
			return nil, refuse("resources.Network", "network rules are not supported")
		}
	}
	var err error
	if out.Memory, err = parseMemory(in.Memory); err != nil {
		return nil, err
	}
	if out.CPU, err = parseCPU(in.CPU); err != nil {
		return nil, err
	}
	if p := in.Pids; p != nil && p.Limit != 0 {
		if p.Limit < -1 || p.Limit > 1<<22 {
			return nil, refuse("resources.Pids.Limit", "is outside -1..4194304")
		}
		out.Pids = &specs.LinuxPids{Limit: &p.Limit}
	}
	for _, h := range in.HugepageLimits {
		if len(in.HugepageLimits) > 16 || !pageForm.MatchString(h.GetPagesize()) {
			return nil, refuse("resources.HugepageLimits", "is not a page size")
		}
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	return out, nil
}

func parseMemory(m *api.LinuxMemory) (*specs.LinuxMemory, error) {
	if m == nil {
		return nil, nil
	}
	out := &specs.LinuxMemory{}
	for _, f := range []struct {
		name string
		v    int64
		to   **int64
	}{
		{"Limit", m.Limit, &out.Limit},
		{"Reservation", m.Reservation, &out.Reservation},
		{"Swap", m.Swap, &out.Swap},
	} {
		if f.v < -1 {
			return nil, refuse("resources.Memory."+f.name, "is below -1")
		}
		if f.v != 0 {
			v := f.v
			*f.to = &v
		}
	}
	if m.DisableOOMKiller {
		return nil, refuse("resources.Memory.DisableOOMKiller", "is not supported")
	}
	return out, nil
}

func parseCPU(c *api.LinuxCPU) (*specs.LinuxCPU, error) {
	if c == nil {
		return nil, nil
	}
	if c.RealtimePeriod != 0 || c.RealtimeRuntime != 0 {
		return nil, refuse("resources.CPU.Realtime", "is not supported")
	}
	if c.Shares > 262144 || c.Period > 1000000 || c.Quota < -1 || c.Quota > math.MaxInt32*1000 {
		return nil, refuse("resources.CPU", "is outside the kernel's range")
	}
	if !cpusetForm.MatchString(c.Cpus) || !cpusetForm.MatchString(c.Mems) {
		return nil, refuse("resources.CPU.Cpus", "is not a list of numbers")
	}
	out := &specs.LinuxCPU{Cpus: c.Cpus, Mems: c.Mems}
	if c.Shares != 0 {
		out.Shares = &c.Shares
	}
	if c.Quota != 0 {
		out.Quota = &c.Quota
	}
	if c.Period != 0 {
		out.Period = &c.Period
	}
	return out, nil
}
