package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/cgroups/v3/cgroup2/stats"

	"github.com/cloister-cc/cloister/agent/api"
)

// Stats answers a container's counters in the form of control groups of version 2, which is what the guest has. Where the policy does not give them out the
// error is a PermissionDenied.
func (p *Pod) Stats(ctx context.Context, id string) (*stats.Metrics, error) {
	if _, err := p.find(id); err != nil {
		return nil, err
	}
	var answer *api.StatsContainerResponse
	err := p.call(ctx, fmt.Sprintf("counters of container %.128q", id), func(ctx context.Context) (err error) {
		answer, err = p.client.StatsContainer(ctx, &api.StatsContainerRequest{ContainerId: id})
		return err
	})
	if err != nil {
		return nil, err
	}
	return metrics(answer), nil
}

// metrics translates. The agent counts CPU time in nanoseconds, control groups in microseconds.
func metrics(r *api.StatsContainerResponse) *stats.Metrics {
	c := r.GetCgroupStats()
	m := &stats.Metrics{
		Pids: &stats.PidsStat{Current: c.GetPidsStats().GetCurrent(), Limit: c.GetPidsStats().GetLimit()},
		CPU:  cpuStat(c.GetCpuStats()), Memory: memoryStat(c.GetMemoryStats()), MemoryEvents: memoryEvents(c.GetMemoryStats()),
		Io: ioStat(c.GetBlkioStats()),
	}
	for _, size := range slices.Sorted(maps.Keys(c.GetHugetlbStats())) {
		h := c.GetHugetlbStats()[size]
		m.Hugetlb = append(m.Hugetlb, &stats.HugeTlbStat{Current: h.GetUsage(), Max: h.GetMaxUsage(), Pagesize: size, Failcnt: h.GetFailcnt()})
	}
	for _, n := range r.GetNetworkStats() {
		m.Network = append(m.Network, &stats.NetworkStat{
			Name: n.GetName(), RxBytes: n.GetRxBytes(), RxPackets: n.GetRxPackets(), RxErrors: n.GetRxErrors(), RxDropped: n.GetRxDropped(),
			TxBytes: n.GetTxBytes(), TxPackets: n.GetTxPackets(), TxErrors: n.GetTxErrors(), TxDropped: n.GetTxDropped(),
		})
	}
	return m
}

func cpuStat(c *api.CpuStats) *stats.CPUStat {
	u, t := c.GetCpuUsage(), c.GetThrottlingData()
	return &stats.CPUStat{
		UsageUsec: u.GetTotalUsage() / 1000, UserUsec: u.GetUsageInUsermode() / 1000, SystemUsec: u.GetUsageInKernelmode() / 1000,
		NrPeriods: t.GetPeriods(), NrThrottled: t.GetThrottledPeriods(), ThrottledUsec: t.GetThrottledTime() / 1000,
	}
}

func memoryStat(m *api.MemoryStats) *stats.MemoryStat {
	s := m.GetStats()
	return &stats.MemoryStat{
		Anon: s["anon"], File: s["file"], KernelStack: s["kernel_stack"], Slab: s["slab"], Sock: s["sock"], Shmem: s["shmem"],
		FileMapped: s["file_mapped"], FileDirty: s["file_dirty"], FileWriteback: s["file_writeback"], AnonThp: s["anon_thp"],
		InactiveAnon: s["inactive_anon"], ActiveAnon: s["active_anon"], InactiveFile: s["inactive_file"], ActiveFile: s["active_file"],
		Unevictable: s["unevictable"], SlabReclaimable: s["slab_reclaimable"], SlabUnreclaimable: s["slab_unreclaimable"],
		Pgfault: s["pgfault"], Pgmajfault: s["pgmajfault"], WorkingsetRefault: s["workingset_refault"],
		WorkingsetActivate: s["workingset_activate"], WorkingsetNodereclaim: s["workingset_nodereclaim"],
		Pgrefill: s["pgrefill"], Pgscan: s["pgscan"], Pgsteal: s["pgsteal"], Pgactivate: s["pgactivate"], Pgdeactivate: s["pgdeactivate"],
		Pglazyfree: s["pglazyfree"], Pglazyfreed: s["pglazyfreed"], ThpFaultAlloc: s["thp_fault_alloc"], ThpCollapseAlloc: s["thp_collapse_alloc"],
		Usage: m.GetUsage().GetUsage(), UsageLimit: m.GetUsage().GetLimit(), MaxUsage: m.GetUsage().GetMaxUsage(),
		SwapUsage: m.GetSwapUsage().GetUsage(), SwapLimit: m.GetSwapUsage().GetLimit(), SwapMaxUsage: m.GetSwapUsage().GetMaxUsage(),
	}
}

// memoryEvents has what the agent's API tells of memory.events: how often the limit was reached.
func memoryEvents(m *api.MemoryStats) *stats.MemoryEvents {
	return &stats.MemoryEvents{Max: m.GetUsage().GetFailcnt()}
}

func ioStat(b *api.BlkioStats) *stats.IOStat {
	type device struct{ major, minor uint64 }
	found := map[device]*stats.IOEntry{}
	out := &stats.IOStat{}
	entry := func(e *api.BlkioStatsEntry) *stats.IOEntry {
		d := device{e.GetMajor(), e.GetMinor()}
		if found[d] == nil {
			found[d] = &stats.IOEntry{Major: d.major, Minor: d.minor}
			out.Usage = append(out.Usage, found[d])
		}
		return found[d]
	}
	for _, e := range b.GetIoServiceBytesRecursive() {
		switch e.GetOp() {
		case "Read", "read":
			entry(e).Rbytes += e.GetValue()
		case "Write", "write":
			entry(e).Wbytes += e.GetValue()
		}
	}
	for _, e := range b.GetIoServicedRecursive() {
		switch e.GetOp() {
		case "Read", "read":
			entry(e).Rios += e.GetValue()
		case "Write", "write":
			entry(e).Wios += e.GetValue()
		}
	}
	return out
}
