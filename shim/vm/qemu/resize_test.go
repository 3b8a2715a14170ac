package qemu

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cloister-cc/cloister/shim/vm"
)

func TestGrows(t *testing.T) {
	c := tinyConfig(t, guestHalts)
	c.MaxVCPUs, c.MaxMemoryMiB = 4, 600
	m, ctx := boot(t, c), testContext(t)
	for _, tc := range []struct {
		cpus, memory int
		want         vm.Size
	}{
		{1, 64, vm.Size{VCPUs: 1, MemoryMiB: 64}},
		{2, 100, vm.Size{VCPUs: 2, MemoryMiB: 192}}, // a block at a time
		{1, 64, vm.Size{VCPUs: 2, MemoryMiB: 192}},  // nothing is taken back
		{4, 600, vm.Size{VCPUs: 4, MemoryMiB: 704}}, // the last block may pass the limit
	} {
		if got, err := m.Resize(ctx, tc.cpus, tc.memory); err != nil || got != tc.want {
			t.Errorf("to %d and %d: got %+v, %v, want %+v", tc.cpus, tc.memory, got, err, tc.want)
		}
	}
	for _, tc := range []struct{ cpus, memory int }{{5, 64}, {1, 601}} {
		if got, err := m.Resize(ctx, tc.cpus, tc.memory); err == nil || got.VCPUs != 4 || got.MemoryMiB != 704 {
			t.Errorf("to %d and %d: got %+v, %v, want an error and what there is", tc.cpus, tc.memory, got, err)
		}
	}
}

func TestStaticDoesNotGrow(t *testing.T) {
	m, ctx := boot(t, tinyConfig(t, guestHalts)), testContext(t)
	want := vm.Size{VCPUs: 1, MemoryMiB: 64}
	if got, err := m.Resize(ctx, 1, 64); err != nil || got != want {
		t.Errorf("to its own size: got %+v, %v, want %+v", got, err, want)
	}
	if got, err := m.Resize(ctx, 2, 64); err == nil || got != want {
		t.Errorf("got %+v, %v, want an error and %+v", got, err, want)
	}
}

// An answer that is lost is made good by the next call, which asks QEMU what there is.
func TestGrowthIsCountedByQEMU(t *testing.T) {
	cpus := []string{
		`{"return": [{"props": {"socket-id": 1, "core-id": 0, "thread-id": 0}, "vcpus-count": 1, "type": "t"}, ` +
			`{"props": {"socket-id": 0, "core-id": 0, "thread-id": 0}, "vcpus-count": 1, "qom-path": "/m", "type": "t"}], "id": %d}`,
		`{"return": [{"props": {"socket-id": 1}, "type": "t", "qom-path": "/n"}, {"props": {"socket-id": 0}, "qom-path": "/m", "type": "t"}], "id": %d}`,
	}
	var asked atomic.Int32
	ctx, cancel := context.WithCancel(testContext(t))
	m := &VM{config: vm.Config{VCPUs: 1, MemoryMiB: 64, MaxVCPUs: 2}, monitor: monitor(t, func(command string) []string {
		switch command {
		case "query-hotpluggable-cpus":
			return cpus[min(asked.Add(1), 2)-1:][:1]
		case "query-memory-size-summary":
			return []string{`{"return": {"base-memory": 67108864, "plugged-memory": 0}, "id": %d}`}
		}
		cancel()
		return nil // device_add: no answer
	})}
	if _, err := m.Resize(ctx, 2, 64); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want canceled", err)
	}
	if got, err := m.Resize(testContext(t), 2, 64); err != nil || got.VCPUs != 2 {
		t.Errorf("got %+v, %v, want two processors and no third asked for", got, err)
	}
}

// Two processors never share a name, wherever QEMU's version counts them.
func TestPlaceNamesAProcessor(t *testing.T) {
	n := func(i int) *int { return &i }
	for _, tc := range []struct {
		at   place
		want string
	}{
		{place{Socket: n(1), Core: n(0), Thread: n(0)}, "cpu-1-0-0"},
		{place{Socket: n(11), Core: n(0), Thread: n(10)}, "cpu-11-0-10"},
		{place{}, "cpu"},
	} {
		if got := tc.at.name(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
