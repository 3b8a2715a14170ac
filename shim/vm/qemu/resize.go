package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cloister-cc/cloister/shim/vm"
)

// memorySlots is how often a VM's memory can grow.
const memorySlots = 32

// blocks rounds memory up to what the guest's kernel brings online in one piece. All in MiB; base is what it boots with.
func blocks(base, memory int) int {
	block := 128
	if base >= 64<<10 { // from there on the kernel may choose larger ones
		block = 2 << 10
	}
	return (memory + block - 1) / block * block
}

// Resize adds processors and memory. QEMU is asked what there is, before and after: an answer that was lost is made good by the next call.
func (m *VM) Resize(ctx context.Context, vcpus, memoryMiB int) (vm.Size, error) {
	m.sizing.Lock()
	defer m.sizing.Unlock()
	size, err := m.resize(ctx, vcpus, memoryMiB)
	if err != nil {
		return size, fmt.Errorf("resize vm to %d processors and %d MiB: %w", vcpus, memoryMiB, err)
	}
	return size, nil
}

func (m *VM) resize(ctx context.Context, vcpus, memoryMiB int) (vm.Size, error) {
	most := vm.Size{VCPUs: max(m.config.VCPUs, m.config.MaxVCPUs), MemoryMiB: max(m.config.MemoryMiB, m.config.MaxMemoryMiB)}
	size, free, err := m.measure(ctx)
	if err != nil {
		return size, err
	}
	if vcpus > most.VCPUs || memoryMiB > most.MemoryMiB {
		return size, fmt.Errorf("it was launched to have at most %d processors and %d MiB", most.VCPUs, most.MemoryMiB)
	}
	for i := size.VCPUs; i < vcpus; i++ {
		if len(free) == 0 {
			return size, fmt.Errorf("no place for processor %d", i)
		}
		if err := m.addCPU(ctx, free[0]); err != nil {
			return size, err
		}
		free = free[1:]
		size.VCPUs++
	}
	if grow := memoryMiB - size.MemoryMiB; grow > 0 {
		grow = blocks(m.config.MemoryMiB, grow)
		if err := m.addMemory(ctx, grow); err != nil {
			return size, err
		}
		size.MemoryMiB += grow
	}
	return size, nil
}

// place is where a processor is, or could be plugged in. Which of the numbers there are depends on QEMU's version.
type place struct {
	Node    *int `json:"node-id,omitempty"`
	Socket  *int `json:"socket-id,omitempty"`
	Die     *int `json:"die-id,omitempty"`
	Cluster *int `json:"cluster-id,omitempty"`
	Module  *int `json:"module-id,omitempty"`
	Core    *int `json:"core-id,omitempty"`
	Thread  *int `json:"thread-id,omitempty"`
}

// slot is one line of query-hotpluggable-cpus; without a path it is free.
type slot struct {
	Type  string  `json:"type"`
	Path  *string `json:"qom-path"`
	Props place   `json:"props"`
}

// measure asks QEMU how large the VM is and where more processors can go, the first place first.
func (m *VM) measure(ctx context.Context) (vm.Size, []slot, error) {
	answer, err := m.monitor.ask(ctx, "query-hotpluggable-cpus", nil)
	if err != nil {
		return vm.Size{}, nil, err
	}
	var slots []slot
	if err := json.Unmarshal(answer, &slots); err != nil {
		return vm.Size{}, nil, fmt.Errorf("list of processors: %w", err)
	}
	if answer, err = m.monitor.ask(ctx, "query-memory-size-summary", nil); err != nil {
		return vm.Size{}, nil, err
	}
	var memory struct {
		Base    int64 `json:"base-memory"`
		Plugged int64 `json:"plugged-memory"`
	}
	if err := json.Unmarshal(answer, &memory); err != nil {
		return vm.Size{}, nil, fmt.Errorf("size of memory: %w", err)
	}
	all := len(slots)
	slots = slices.DeleteFunc(slots, func(s slot) bool { return s.Path != nil })
	slices.Reverse(slots) // QEMU lists the last place first
	return vm.Size{VCPUs: all - len(slots), MemoryMiB: int((memory.Base + memory.Plugged) >> 20)}, slots, nil
}

// cpuDevice is a processor to plug in.
type cpuDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	place
}

func (m *VM) addCPU(ctx context.Context, s slot) error {
	return m.monitor.execute(ctx, "device_add", cpuDevice{Driver: s.Type, ID: s.Props.name(), place: s.Props})
}

// name is made of the numbers of a place, which no other processor has.
func (p place) name() string {
	name := "cpu"
	for _, n := range []*int{p.Node, p.Socket, p.Die, p.Cluster, p.Module, p.Core, p.Thread} {
		if n != nil {
			name += fmt.Sprintf("-%d", *n)
		}
	}
	return name
}

type memoryBackend struct {
	Type string `json:"qom-type"`
	ID   string `json:"id"`
	Size int64  `json:"size"`
}

type memoryDevice struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	Backend string `json:"memdev"`
}

func (m *VM) addMemory(ctx context.Context, mib int) error {
	backend := fmt.Sprintf("memory-%d", m.dimms)
	device := fmt.Sprintf("dimm-%d", m.dimms)
	m.dimms++
	err := m.monitor.execute(ctx, "object-add", memoryBackend{Type: "memory-backend-ram", ID: backend, Size: int64(mib) << 20})
	if err != nil {
		return err
	}
	err = m.monitor.execute(ctx, "device_add", memoryDevice{Driver: "pc-dimm", ID: device, Backend: backend})
	if err != nil && refused(err) {
		if undo := m.monitor.execute(ctx, "object-del", idArgument{backend}); undo != nil {
			return fmt.Errorf("%w; and its memory stays: %w", err, undo)
		}
	}
	return err
}
