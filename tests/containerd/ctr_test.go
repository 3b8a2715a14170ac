package containerd_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// TestCtrRun is one container without CRI: a VM of its own, standard streams, its exit code, and a refusal.
func TestCtrRun(t *testing.T) {
	n := shared(t)
	if err := n.CtrPull(n.ctx, "work"); err != nil {
		t.Fatal(err)
	}
	script := []string{"/usr/bin/sh", "-c", "cat; echo err >&2; exit 3"}
	policy, err := n.Programs().GeneratePolicy(n.ctx, newPod("ctr", container("main", "work", script...)))
	if err != nil {
		t.Fatal(err)
	}
	args := bed.CtrRunArgs(base64.StdEncoding.EncodeToString(policy), "ctr", bed.Ref("work"))
	t.Run("run", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
		defer cancel()
		out, errOut, code, err := n.Ctr(ctx, strings.NewReader("from stdin\n"), append(append(args[:len(args):len(args)], "honest"), script...)...)
		// ctr itself warns of the machine's cgroups before.
		if err != nil || code != 3 || out != "from stdin\n" || !strings.HasSuffix(errOut, "err\n") {
			t.Errorf("got code %d, %v, %q and %q", code, err, out, errOut)
		}
	})
	t.Run("refused", func(t *testing.T) {
		_, errOut, code, err := n.Ctr(n.ctx, nil, append(args[:len(args):len(args)], "other", "/usr/bin/id")...)
		if err != nil || code == 0 {
			t.Fatalf("got code %d, %v, want a refusal", code, err)
		}
		for _, want := range []string{"blocked by policy", "create_container"} {
			if !strings.Contains(errOut, want) {
				t.Errorf("got %q, want it to have %q", errOut, want)
			}
		}
	})
}
