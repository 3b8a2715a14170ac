package e2e

import (
	"testing"
)

// TestNothingIsLeftOfFiftyContainers counts what the agent holds after the first few containers, when everything that is
// made once has been made, and after the last.
func TestNothingIsLeftOfFiftyContainers(t *testing.T) {
	m := sharedFor(t, 4*caseTimeout)
	const rounds, warm = 50, 5
	var before held
	for i := range rounds + warm {
		if i == warm {
			before = m.held()
		}
		names := []string{"echo", "exit", "user", "two-layers", "write"}
		if _, _, code := m.run(fixture(t, names[i%len(names)])); code != 0 && names[i%len(names)] != "exit" {
			t.Fatalf("round %d ended with status %d", i, code)
		}
	}
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
