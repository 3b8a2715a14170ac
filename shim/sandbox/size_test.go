package sandbox

import (
	"math"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/vm"
)

func TestPodSize(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		memory, quota, period string
		want                  vm.Size
		err                   string
	}{
		{"no-limits", "", "", "", vm.Size{VCPUs: 1, MemoryMiB: 512}, ""},
		{"zero", "0", "0", "0", vm.Size{VCPUs: 1, MemoryMiB: 512}, ""},
		{"unlimited-cpu", "", "-1", "100000", vm.Size{VCPUs: 1, MemoryMiB: 512}, ""},
		{"half-a-cpu", "1", "50000", "100000", vm.Size{VCPUs: 1, MemoryMiB: 513}, ""},
		{"a-little-more-than-two", "1048576", "200001", "100000", vm.Size{VCPUs: 3, MemoryMiB: 513}, ""},
		{"all-there-is", "535822336", "800000", "100000", vm.Size{VCPUs: 8, MemoryMiB: 1023}, ""},
		{"memory-too-large", "536870913", "", "", vm.Size{}, "max_memory_mib"},
		{"memory-overflows", "9223372036854775807", "", "", vm.Size{}, "max_memory_mib"},
		{"cpus-too-many", "", "800001", "100000", vm.Size{}, "max_vcpus"},
		{"cpus-overflow", "", "9223372036854775807", "1", vm.Size{}, "max_vcpus"},
		{"no-number", "1Gi", "", "", vm.Size{}, annotationMemory},
		{"negative-memory", "-5", "", "", vm.Size{VCPUs: 1, MemoryMiB: 512}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := node.Default()
			n.MaxVCPUs, n.MaxMemoryMiB = 8, 1024
			s := &specs.Spec{Annotations: map[string]string{
				"io.kubernetes.cri.container-type": "sandbox", annotationMemory: tc.memory, annotationQuota: tc.quota, annotationPeriod: tc.period,
			}}
			got, err := podSize(&Config{Spec: s, Node: n})
			if tc.err != "" {
				if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %+v, %v, want an error about %q", got, err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tc.want)
			}
		})
	}
}

func TestContainerLimits(t *testing.T) {
	limit, quota, period, huge := int64(1<<30), int64(150000), uint64(100000), uint64(math.MaxUint64)
	none := int64(-1)
	for _, tc := range []struct {
		name string
		r    *specs.LinuxResources
		want limits
	}{
		{"nil", nil, limits{}},
		{"empty", &specs.LinuxResources{}, limits{}},
		{"both", &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period},
		}, limits{1500, 1 << 30}},
		{"none", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &none}, CPU: &specs.LinuxCPU{Quota: &none, Period: &period}}, limits{}},
		{"quota-alone", &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}}, limits{}},
		{"huge-period", &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &huge}}, limits{milliCPU: 1}},
	} {
		if got := containerLimits(tc.r); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestGrowable(t *testing.T) {
	for tee, want := range map[vm.TEE]bool{vm.TEESNP: false, vm.TEEEmulated: true, vm.TEENone: true} {
		n := node.Default()
		n.TEE = tee
		if got := growable(&n); got != want {
			t.Errorf("tee %q: got %t, want %t", tee, got, want)
		}
		n.Static = true
		if growable(&n) {
			t.Errorf("tee %q: grows although its node is static", tee)
		}
	}
}
