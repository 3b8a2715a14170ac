package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// requireEnv makes a missing program a failure instead of a skip: set where the suite must run.
const requireEnv = "CLOISTER_E2E_REQUIRE"

// caseTimeout bounds one case; a boot under emulation takes seconds, on a busy machine many. Long cases have names that begin with longPrefix: make test leaves them out.
const (
	caseTimeout = 3 * time.Minute
	longTimeout = 20 * time.Minute
	longPrefix  = "TestFull"
)

var programs = sync.OnceValues(func() (*bed.Programs, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	return bed.Build(ctx, func(format string, args ...any) { fmt.Fprintf(os.Stderr, "build: "+format+"\n", args...) })
})

// sharedNode is the node of all cases but those that break one.
var sharedNode struct {
	sync.Mutex
	*bed.Node
}

func TestMain(m *testing.M) {
	code := m.Run()
	if n := sharedNode.Node; n != nil {
		if err := n.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "stop the node:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// need skips a case that cannot run here and says what would let it run.
func need(t *testing.T) *bed.Programs {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs: run without -short")
	}
	if missing := bed.Missing(); missing != "" {
		if os.Getenv(requireEnv) != "" {
			t.Fatalf("missing on this machine: %s", missing)
		}
		t.Skipf("missing on this machine: %s", missing)
	}
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// node is a node with what a case needs around it.
type node struct {
	*bed.Node
	t   *testing.T
	ctx context.Context
}

// shared is the node that cases share, one at a time. After the case it must hold what it held before.
func shared(t *testing.T) *node {
	t.Helper()
	p := need(t)
	ctx := caseContext(t)
	if sharedNode.Node == nil {
		n, err := bed.Start(ctx, bed.Options{Programs: p})
		if err != nil {
			t.Fatal(err)
		}
		sharedNode.Node = n
	}
	return watch(t, ctx, sharedNode.Node)
}

// own is a node of the case's own, for cases that break it or configure it otherwise.
func own(t *testing.T, config string) *node {
	t.Helper()
	p := need(t)
	ctx := caseContext(t)
	n, err := bed.Start(ctx, bed.Options{Programs: p, NodeConfig: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			t.Errorf("stop the node: %v", err)
		}
	})
	return watch(t, ctx, n)
}

func caseContext(t *testing.T) context.Context {
	limit := caseTimeout
	if strings.HasPrefix(t.Name(), longPrefix) {
		limit = longTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// watch compares what the node holds before and after a case, and prints the daemons' logs with one that fails.
func watch(t *testing.T, ctx context.Context, n *bed.Node) *node {
	t.Helper()
	before, err := n.Held(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.AwaitHeld(context.Background(), before); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(n.Logs())
		}
	})
	return &node{Node: n, t: t, ctx: ctx}
}

// pod is a pod with what a case needs around it.
type pod struct {
	*bed.Pod
	n *node
}

// policed generates the pod's policy and puts it into the annotations.
func (n *node) policed(spec *corev1.Pod, more ...string) *corev1.Pod {
	n.t.Helper()
	policy, err := n.Programs().GeneratePolicy(n.ctx, spec, append(more, bed.ForCluster...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	spec = spec.DeepCopy()
	bed.SetPolicy(spec, policy)
	return spec
}

// run runs a pod whose sandbox and containers must start; it is removed after the case.
func (n *node) run(spec *corev1.Pod, handler string) *pod {
	n.t.Helper()
	p := n.sandbox(spec, handler)
	for _, c := range spec.Spec.Containers {
		if err := p.Start(n.ctx, c.Name); err != nil {
			n.t.Fatal(err)
		}
	}
	return p
}

// sandbox is run without the containers.
func (n *node) sandbox(spec *corev1.Pod, handler string) *pod {
	n.t.Helper()
	made, err := n.RunPod(n.ctx, spec, handler)
	if err != nil {
		n.t.Fatal(err)
	}
	p := &pod{Pod: made, n: n}
	n.t.Cleanup(func() {
		if p.ID != "" {
			p.remove()
		}
	})
	return p
}

// remove removes the pod once.
func (p *pod) remove() {
	p.n.t.Helper()
	if err := p.Remove(context.Background()); err != nil {
		p.n.t.Errorf("remove pod %q: %v", p.Spec.Name, err)
	}
	p.ID = ""
}

// await asks until a condition holds; CRI has no event for most of what cases wait for.
func await(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, context.Cause(ctx)))
		}
	}
}
