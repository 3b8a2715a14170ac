package spec

import (
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// Resources are the limits of a container, at its creation and of an update: memory, CPU, pids and huge pages. A value that the wire cannot hold is an error.
func Resources(r *specs.LinuxResources) (*api.LinuxResources, error) {
	out := &api.LinuxResources{}
	if r == nil {
		return out, nil
	}
	out.Memory, out.CPU = memory(r.Memory), cpu(r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		out.Pids = &api.LinuxPids{Limit: *r.Pids.Limit}
	}
	for _, h := range r.HugepageLimits {
		if h.Limit == 0 {
			continue // kubelet sends a zero for each size that a node has
		}
		if h.Limit > math.MaxInt64 {
			return nil, refuse("Linux.Resources.HugepageLimits", "the limit %d is out of range", h.Limit)
		}
		out.HugepageLimits = append(out.HugepageLimits, &api.LinuxHugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	return out, nil
}

func memory(m *specs.LinuxMemory) *api.LinuxMemory {
	if m == nil {
		return nil
	}
	out := &api.LinuxMemory{Limit: value(m.Limit), Reservation: value(m.Reservation), Swap: value(m.Swap)}
	if out.Limit <= 0 && out.Swap > 0 {
		out.Swap = 0 // it counts memory and swap together: without a limit on memory it has no meaning
	}
	if out.Limit == 0 && out.Reservation == 0 && out.Swap == 0 {
		return nil
	}
	return out
}

func cpu(c *specs.LinuxCPU) *api.LinuxCPU {
	if c == nil {
		return nil
	}
	out := &api.LinuxCPU{Shares: value(c.Shares), Quota: value(c.Quota), Period: value(c.Period)}
	if out.Shares == 0 && out.Quota == 0 && out.Period == 0 {
		return nil
	}
	return out
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func droppedResources(r *specs.LinuxResources) []Note {
	if r == nil {
		return nil
	}
	var notes []Note
	note := func(is bool, field, why string) {
		if is {
			notes = append(notes, Note{"Linux.Resources." + field, "left out", why})
		}
	}
	const unsupported = "the guest has no such limit"
	note(len(r.Unified) > 0, "Unified", unsupported)
	if m := r.Memory; m != nil {
		note(value(m.DisableOOMKiller), "Memory.DisableOOMKiller", unsupported)
	}
	if c := r.CPU; c != nil {
		note(value(c.RealtimeRuntime) != 0 || value(c.RealtimePeriod) != 0, "CPU.Realtime", unsupported)
		note(value(c.Burst) != 0, "CPU.Burst", unsupported)
		note(value(c.Idle) != 0, "CPU.Idle", unsupported)
		note(c.Cpus != "" || c.Mems != "", "CPU.Cpus", "numbers of the host's processors and memory nodes mean nothing in the guest")
	}
	return notes
}
