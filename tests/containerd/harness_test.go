package containerd_test

import (
	"context"
	"testing"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// TestHarness runs a pod without a VM: what fails here is the harness or the machine, not the shim.
func TestHarness(t *testing.T) {
	n := shared(t)
	p := n.run(simplePod(t, "harness"), bed.HandlerCrun)
	out, _, code, err := p.ExecSync(n.ctx, "main", "sh", "-c", "echo hello; exit 3")
	if err != nil || code != 3 || out != "hello\n" {
		t.Errorf("exec got %q, code %d, %v", out, code, err)
	}
	held, err := n.Held(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"process", "link", "mount", "socket", "snapshot", "file"} {
		if len(held[kind]) == 0 {
			t.Errorf("a pod runs, but nothing is held of kind %s: the comparison would see no leak", kind)
		}
	}
}
