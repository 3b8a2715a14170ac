package sandbox

import (
	"testing"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
)

// FuzzMetrics: whatever a guest answers becomes figures that can be sent on and are not much larger than the answer.
func FuzzMetrics(f *testing.F) {
	for _, r := range []*api.StatsContainerResponse{
		{},
		{CgroupStats: &api.CgroupStats{
			CpuStats:     &api.CpuStats{CpuUsage: &api.CpuUsage{TotalUsage: 7000}},
			MemoryStats:  &api.MemoryStats{Usage: &api.MemoryData{Usage: 1}, Stats: map[string]uint64{"anon": 1}},
			BlkioStats:   &api.BlkioStats{IoServiceBytesRecursive: []*api.BlkioStatsEntry{{Major: 1, Op: "Read", Value: 1 << 63}, {Major: 1, Op: "Read", Value: 1 << 63}}},
			HugetlbStats: map[string]*api.HugetlbStats{"2MB": {Usage: 1}},
		}, NetworkStats: []*api.NetworkStats{{Name: "eth0", RxBytes: 1}}},
	} {
		message, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		r := &api.StatsContainerResponse{}
		if proto.Unmarshal(message, r) != nil {
			return
		}
		out, err := proto.Marshal(metrics(r))
		if err != nil {
			t.Fatalf("figures cannot be sent on: %v", err)
		}
		if want := 1024 + 16*len(message); len(out) > want {
			t.Errorf("figures of %d bytes: got %d bytes, want at most %d", len(message), len(out), want)
		}
	})
}

func TestMetrics(t *testing.T) {
	got := metrics(&api.StatsContainerResponse{
		CgroupStats: &api.CgroupStats{
			CpuStats: &api.CpuStats{
				CpuUsage:       &api.CpuUsage{TotalUsage: 7000, UsageInUsermode: 4000, UsageInKernelmode: 3000},
				ThrottlingData: &api.ThrottlingData{Periods: 5, ThrottledPeriods: 2, ThrottledTime: 9000},
			},
			MemoryStats: &api.MemoryStats{
				Usage:     &api.MemoryData{Usage: 100, MaxUsage: 120, Failcnt: 4, Limit: 200},
				SwapUsage: &api.MemoryData{Usage: 1, Limit: 2},
				Stats:     map[string]uint64{"anon": 60, "file": 30, "pgfault": 11, "unknown": 1},
			},
			PidsStats: &api.PidsStats{Current: 3, Limit: 10},
			BlkioStats: &api.BlkioStats{
				IoServiceBytesRecursive: []*api.BlkioStatsEntry{
					{Major: 8, Minor: 1, Op: "Read", Value: 4096}, {Major: 8, Minor: 1, Op: "Write", Value: 512}, {Major: 8, Op: "Discard", Value: 1},
				},
				IoServicedRecursive: []*api.BlkioStatsEntry{{Major: 8, Minor: 1, Op: "Read", Value: 2}, {Major: 8, Minor: 2, Op: "Write", Value: 1}},
			},
			HugetlbStats: map[string]*api.HugetlbStats{"2MB": {Usage: 1}, "1GB": {Failcnt: 2}},
		},
		NetworkStats: []*api.NetworkStats{{Name: "eth0", RxBytes: 1, TxBytes: 2, RxPackets: 3, TxPackets: 4, RxErrors: 5, TxErrors: 6, RxDropped: 7, TxDropped: 8}},
	})
	want := &stats.Metrics{
		CPU:          &stats.CPUStat{UsageUsec: 7, UserUsec: 4, SystemUsec: 3, NrPeriods: 5, NrThrottled: 2, ThrottledUsec: 9},
		Memory:       &stats.MemoryStat{Anon: 60, File: 30, Pgfault: 11, Usage: 100, UsageLimit: 200, MaxUsage: 120, SwapUsage: 1, SwapLimit: 2},
		MemoryEvents: &stats.MemoryEvents{Max: 4},
		Pids:         &stats.PidsStat{Current: 3, Limit: 10},
		Io: &stats.IOStat{Usage: []*stats.IOEntry{
			{Major: 8, Minor: 1, Rbytes: 4096, Wbytes: 512, Rios: 2}, {Major: 8, Minor: 2, Wios: 1},
		}},
		Hugetlb: []*stats.HugeTlbStat{{Pagesize: "1GB", Failcnt: 2}, {Pagesize: "2MB", Current: 1}},
		Network: []*stats.NetworkStat{{Name: "eth0", RxBytes: 1, TxBytes: 2, RxPackets: 3, TxPackets: 4, RxErrors: 5, TxErrors: 6, RxDropped: 7, TxDropped: 8}},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestMetricsOfNothing: the built-in pause has no counters.
func TestMetricsOfNothing(t *testing.T) {
	if m := metrics(&api.StatsContainerResponse{}); m.GetMemory() == nil || m.GetCPU() == nil || m.GetPids() == nil {
		t.Errorf("got %v, want empty parts", m)
	}
}
