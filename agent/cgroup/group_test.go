package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// fake is a directory with the files of a control group; those the package writes are plain files here.
func fake(t *testing.T, files map[string]string) *Group {
	t.Helper()
	g := &Group{path: t.TempDir()}
	for _, name := range []string{"cgroup.procs", "cgroup.kill", "cgroup.freeze"} {
		put(t, g, name, "")
	}
	for name, content := range files {
		put(t, g, name, content)
	}
	return g
}

// put writes a file in one step, as the kernel's files change: never empty in between for whoever watches.
func put(t *testing.T, g *Group, name, content string) {
	t.Helper()
	f, err := os.OpenFile(g.file(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > int64(len(content)) {
		t.Fatalf("%s: got %v, want a content that covers the old one", name, err)
	}
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

// allFiles are from a 6.1 kernel.
var allFiles = map[string]string{
	"cpu.stat":            "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 10\nnr_throttled 3\nthrottled_usec 4500\nnr_bursts 0\nburst_usec 0\n",
	"memory.current":      "8192\n",
	"memory.peak":         "16384\n",
	"memory.max":          "67108864\n",
	"memory.swap.current": "0\n",
	"memory.swap.max":     "max\n",
	"memory.stat":         "anon 4096\nfile 2048\nkernel 1024\nslab 512\n",
	"memory.events":       "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n",
	"memory.swap.events":  "high 0\nmax 0\nfail 5\n",
	"pids.current":        "4\n",
	"pids.max":            "100\n",
	"io.stat":             "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=30 dios=3\n253:1 \n",
	"hugetlb.2MB.current": "2097152\n", "hugetlb.2MB.events": "max 9\n", "hugetlb.2MB.rsvd.current": "0\n",
}

func TestStats(t *testing.T) {
	got, err := fake(t, allFiles).Stats()
	if err != nil {
		t.Fatal(err)
	}
	entry := func(op string, v uint64) *api.BlkioStatsEntry {
		return &api.BlkioStatsEntry{Major: 8, Op: op, Value: v}
	}
	want := &api.CgroupStats{
		CpuStats: &api.CpuStats{
			CpuUsage:       &api.CpuUsage{TotalUsage: 1234567000, UsageInUsermode: 1000000000, UsageInKernelmode: 234567000},
			ThrottlingData: &api.ThrottlingData{Periods: 10, ThrottledPeriods: 3, ThrottledTime: 4500000},
		},
		MemoryStats: &api.MemoryStats{
			Cache:        2048,
			Usage:        &api.MemoryData{Usage: 8192, MaxUsage: 16384, Failcnt: 7, Limit: 67108864},
			SwapUsage:    &api.MemoryData{Failcnt: 5, Limit: math.MaxUint64},
			KernelUsage:  &api.MemoryData{Usage: 1024},
			UseHierarchy: true,
			Stats:        map[string]uint64{"anon": 4096, "file": 2048, "kernel": 1024, "slab": 512},
		},
		PidsStats: &api.PidsStats{Current: 4, Limit: 100},
		BlkioStats: &api.BlkioStats{
			IoServiceBytesRecursive: []*api.BlkioStatsEntry{entry("Read", 10), entry("Write", 20), entry("Discard", 30)},
			IoServicedRecursive:     []*api.BlkioStatsEntry{entry("Read", 1), entry("Write", 2), entry("Discard", 3)},
		},
		HugetlbStats: map[string]*api.HugetlbStats{"2MB": {Usage: 2097152, Failcnt: 9}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
}

// TestStatsWithoutControllers: what is not enabled is empty and there, so that a client need not look for nil.
func TestStatsWithoutControllers(t *testing.T) {
	got, err := fake(t, nil).Stats()
	if err != nil {
		t.Fatal(err)
	}
	if got.CpuStats.CpuUsage == nil || got.MemoryStats.Usage == nil || got.PidsStats == nil || got.BlkioStats == nil {
		t.Errorf("got %v, want each part", got)
	}
	got, err = fake(t, map[string]string{"pids.max": "max\n"}).Stats()
	if err != nil || got.PidsStats.Limit != 0 {
		t.Errorf("no limit of processes: got %v, %v, want 0", got.PidsStats, err)
	}
}

// TestStatsMalformed: a file of another form than the kernel's is an error, not a zero.
func TestStatsMalformed(t *testing.T) {
	for name, content := range map[string]string{
		"cpu.stat":            "usage_usec\n",
		"memory.stat":         "anon many\n",
		"memory.current":      "\n",
		"memory.max":          "infinite\n",
		"memory.events":       "oom_kill -1\n",
		"memory.swap.events":  "fail 1 2\n",
		"pids.current":        "18446744073709551616\n",
		"io.stat":             "8:0 rbytes=x\n",
		"hugetlb.2MB.current": "one\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := fake(t, map[string]string{name: content}).Stats(); err == nil || got != nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, %v, want an error that names the file", got, err)
			}
		})
	}
	t.Run("io-device", func(t *testing.T) {
		if _, err := fake(t, map[string]string{"io.stat": "eight rbytes=1\n"}).Stats(); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("endless", func(t *testing.T) {
		if _, err := fake(t, map[string]string{"memory.stat": strings.Repeat("a 1\n", maxFile)}).Stats(); err == nil {
			t.Error("got no error")
		}
	})
}

func TestOpenRefusesWhatIsNoControlGroup(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	// And no operation makes the files that are missing.
	g := &Group{path: t.TempDir()}
	if err := g.Freeze(t.Context()); err == nil {
		t.Error("freeze: got no error")
	}
	if left, _ := os.ReadDir(g.path); len(left) != 0 {
		t.Errorf("got files %v, want none", left)
	}
}

// oomKills writes memory.events as the kernel does: at once, under the eyes of whoever watches.
func oomKills(t *testing.T, g *Group, n string) {
	put(t, g, "memory.events", "low 0\noom 1\noom_kill "+n+"\n")
}

func TestWatchOOM(t *testing.T) {
	g := fake(t, nil)
	oomKills(t, g, "0")
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan struct{}, 16), make(chan error, 1)
	go func() { done <- g.WatchOOM(ctx, func() { events <- struct{}{} }) }()
	oomKills(t, g, "1")
	<-events
	oomKills(t, g, "1") // a change of another counter is no kill
	oomKills(t, g, "3")
	<-events
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if len(events) != 0 {
		t.Errorf("got %d more events, want none", len(events))
	}
	if n, err := g.OOMKills(); err != nil || n != 3 {
		t.Errorf("OOMKills: got %d, %v, want 3", n, err)
	}
}

// TestWatchOOMMissesNothing: kills from before the watch and from its last moment are told.
func TestWatchOOMMissesNothing(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		g := fake(t, map[string]string{"memory.events": "oom_kill 2\n"})
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		if err := g.WatchOOM(ctx, func() { told++; cancel() }); !errors.Is(err, context.Canceled) || told != 1 {
			t.Errorf("got %v, %d events, want one", err, told)
		}
	})
	t.Run("at-the-end", func(t *testing.T) {
		g := fake(t, map[string]string{"memory.events": "oom_kill 1\n"})
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		err := g.WatchOOM(ctx, func() {
			if told++; told == 1 {
				cancel() // and only then the second kill
				oomKills(t, g, "2")
			}
		})
		if !errors.Is(err, context.Canceled) || told != 2 {
			t.Errorf("got %v, %d events, want two", err, told)
		}
	})
}

func TestWatchOOMWithoutController(t *testing.T) {
	if err := fake(t, nil).WatchOOM(t.Context(), func() {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

// TestWatchOOMOfARemovedGroup: the kernel's files answer ENODEV then, or are not found.
func TestWatchOOMOfARemovedGroup(t *testing.T) {
	g := fake(t, map[string]string{"memory.events": "oom_kill 1\n"})
	err := g.WatchOOM(t.Context(), func() {
		oomKills(t, g, "1") // a change to wake up for
		if err := os.Remove(g.file("memory.events")); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if err := (&Group{path: filepath.Join(g.path, "gone")}).Kill(t.Context()); err != nil {
		t.Errorf("kill of a group that is gone: got %v, want nil", err)
	}
}

// TestFreezeThatDoesNotHappen: the deadline passes, the error says so, and the processes are let go.
func TestFreezeThatDoesNotHappen(t *testing.T) {
	g := fake(t, map[string]string{"cgroup.events": "populated 1\nfrozen 0\n"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Freeze(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if got, _ := os.ReadFile(g.file("cgroup.freeze")); string(got) != "0" {
		t.Errorf("cgroup.freeze: got %q, want 0", got)
	}
}

// TestWaitsForTheKernel: the call returns when the file changes, and not before.
func TestWaitsForTheKernel(t *testing.T) {
	tests := []struct {
		name, before, between, after, file, want string
		call                                     func(*Group, context.Context) error
	}{
		{"kill", "populated 1\nfrozen 0\n", "populated 1\nfrozen 1\n", "populated 0\nfrozen 0\n", "cgroup.kill", "1", (*Group).Kill},
		{"freeze", "populated 1\nfrozen 0\n", "populated 0\nfrozen 0\n", "populated 1\nfrozen 1\n", "cgroup.freeze", "1", (*Group).Freeze},
		{"thaw", "populated 1\nfrozen 1\n", "populated 0\nfrozen 1\n", "populated 1\nfrozen 0\n", "cgroup.freeze", "0", (*Group).Thaw},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := fake(t, map[string]string{"cgroup.events": tt.before})
			done := make(chan error, 1)
			go func() { done <- tt.call(g, t.Context()) }()
			put(t, g, "cgroup.events", tt.between)
			select {
			case err := <-done:
				t.Fatalf("returned too early: %v", err)
			default:
			}
			put(t, g, "cgroup.events", tt.after)
			if err := <-done; err != nil {
				t.Errorf("got %v", err)
			}
			if got, _ := os.ReadFile(g.file(tt.file)); string(got) != tt.want {
				t.Errorf("%s: got %q, want %q", tt.file, got, tt.want)
			}
		})
	}
	t.Run("old-kernel", func(t *testing.T) {
		g := fake(t, map[string]string{"cgroup.events": "populated 1\n"})
		if err := g.Freeze(t.Context()); err == nil || !strings.Contains(err.Error(), "too old") {
			t.Errorf("got %v", err)
		}
	})
}
