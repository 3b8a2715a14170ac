package e2e

import (
	"strconv"
	"testing"
)

// TestNothingIsLeftOfFiftyContainers counts what the agent holds after the first few containers, when everything that is
// made once has been made, and after the last. Two run at a time: they share layers, and come and go in any order.
func TestNothingIsLeftOfFiftyContainers(t *testing.T) {
	m := sharedFor(t, 4*caseTimeout)
	const rounds, warm = 50, 5
	m.runMany(t, "warm", warm)
	before := m.held()
	m.runMany(t, "counted", rounds)
	after := m.held()
	if after.Containers != 0 || after.Devices != 0 || after.Mounts != 0 || after.Mapped != 0 {
		t.Errorf("left: %+v", after)
	}
	if after.Goroutines > before.Goroutines || after.FDs > before.FDs || after.AllMounts > before.AllMounts {
		t.Errorf("after %d containers more: got %+v, before %+v", rounds, after, before)
	}
	if grown := after.RSS - before.RSS; grown > 8<<10 {
		t.Errorf("resident memory grew by %d KiB, want less than 8 MiB", grown)
	}
}

// runMany runs containers of several kinds, in subtests, to their ends, at most as many at a time as the VM has CPUs.
func (m *machine) runMany(t *testing.T, what string, n int) {
	slots := make(chan struct{}, 2)
	t.Run(what, func(t *testing.T) {
		names := []string{"echo", "exit", "user", "two-layers", "write"}
		for i := range n {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				name := names[i%len(names)]
				if _, _, code := m.in(t).run(fixture(t, name)); code != 0 && name != "exit" {
					t.Fatalf("%s ended with status %d", name, code)
				}
			})
		}
	})
}
