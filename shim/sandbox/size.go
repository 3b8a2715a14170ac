package sandbox

import (
	"fmt"
	"math"
	"runtime"
	"strconv"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/spec"
	"github.com/cloister-cc/cloister/shim/vm"
)

// The annotations in which containerd gives the sum of a pod's limits to the sandbox container.
const (
	annotationMemory = "io.kubernetes.cri.sandbox-memory" // bytes
	annotationQuota  = "io.kubernetes.cri.sandbox-cpu-quota"
	annotationPeriod = "io.kubernetes.cri.sandbox-cpu-period"
)

const mib = 1 << 20

// limits are what a pod or a container may use; 0 is no limit.
type limits struct {
	milliCPU int64
	bytes    int64
}

func (l limits) plus(m limits) limits {
	return limits{l.milliCPU + m.milliCPU, l.bytes + m.bytes}
}

// podLimits reads what containerd says of the whole pod. Of a container that is its own sandbox the limits are its own.
func podLimits(s *specs.Spec) (limits, error) {
	if !spec.IsSandbox(s) {
		if s.Linux == nil {
			return limits{}, nil
		}
		return containerLimits(s.Linux.Resources), nil
	}
	var n [3]int64
	for i, key := range []string{annotationMemory, annotationQuota, annotationPeriod} {
		text := s.Annotations[key]
		if text == "" {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return limits{}, fault(errdefs.ErrInvalidArgument, "annotation %s: got %.32q, want a number", key, text)
		}
		n[i] = v
	}
	return limits{milliCPU(n[1], n[2]), max(0, n[0])}, nil
}

// containerLimits are those of one container.
func containerLimits(r *specs.LinuxResources) limits {
	var l limits
	if r == nil {
		return l
	}
	if r.Memory != nil && r.Memory.Limit != nil && *r.Memory.Limit > 0 {
		l.bytes = *r.Memory.Limit
	}
	if r.CPU != nil && r.CPU.Quota != nil && r.CPU.Period != nil {
		l.milliCPU = milliCPU(*r.CPU.Quota, int64(min(*r.CPU.Period, math.MaxInt32)))
	}
	return l
}

// milliCPU is a quota of CPU time a period, both in microseconds, as thousandths of a processor, rounded up.
func milliCPU(quota, period int64) int64 {
	if quota <= 0 || period <= 0 {
		return 0
	}
	quota = min(quota, math.MaxInt64/2000)
	return (quota*1000 + period - 1) / period
}

// sizeFor is the VM that limits need: the node's processors where there is no limit, and the node's memory for guest and agent besides the pod's own.
func sizeFor(l limits, n *node.Config) (vm.Size, error) {
	size := vm.Size{VCPUs: n.VCPUs, MemoryMiB: n.MemoryMiB}
	if l.milliCPU > 0 {
		cpus := (l.milliCPU + 999) / 1000
		if cpus > int64(n.MaxVCPUs) {
			return vm.Size{}, fault(errdefs.ErrInvalidArgument, "the pod's limits ask for %d processors, the node gives a pod at most %d (max_vcpus)", cpus, n.MaxVCPUs)
		}
		size.VCPUs = int(cpus)
	}
	if l.bytes > 0 {
		need := int64(n.MemoryMiB) + (l.bytes+mib-1)/mib
		if need > int64(n.MaxMemoryMiB) || need < 0 {
			return vm.Size{}, fault(errdefs.ErrInvalidArgument,
				"the pod's limits and %d MiB for its guest ask for %d MiB, the node gives a pod at most %d MiB (max_memory_mib)", n.MemoryMiB, need, n.MaxMemoryMiB)
		}
		size.MemoryMiB = int(need)
	}
	return size, nil
}

// growable says whether pods of this node may grow. A confidential VM never does: its size is fixed at launch. One with a software processor is not
// confidential.
func growable(n *node.Config) bool { return !n.Static && n.TEE != vm.TEESNP }

// maxSize is how far a VM of this node can grow: what the node allows and the host has.
func maxSize(now vm.Size, n *node.Config) (vm.Size, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return vm.Size{}, fmt.Errorf("memory of the host: %w", err)
	}
	host := int(min(info.Totalram*uint64(info.Unit)/mib, math.MaxInt32))
	return vm.Size{
		VCPUs:     max(now.VCPUs, min(n.MaxVCPUs, runtime.NumCPU())),
		MemoryMiB: max(now.MemoryMiB, min(n.MaxMemoryMiB, host)),
	}, nil
}
