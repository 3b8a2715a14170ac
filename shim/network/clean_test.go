package network

import (
	"context"
	"strings"
	"testing"
)

func TestCleanAfterKill(t *testing.T) {
	node, b := newPod(t, 1500)
	wire(t, b, "net1", node, "veth1")
	b.run("ip link set net1 up\nip addr add 10.99.0.5/24 dev net1")
	before := b.state()
	// Its descriptors stay open, as QEMU's would.
	pod, err := Join(context20(t), b.path, 1)
	must(t, err)
	if b.state() == before {
		t.Fatal("Join left the namespace as it was")
	}
	must(t, Clean(context20(t), b.path))
	if got := b.state(); got != before {
		t.Errorf("after Clean got\n%s\nwant\n%s", got, before)
	}
	must(t, Clean(context20(t), b.path))
	must(t, pod.Close())
	again := join(t, b, 1)
	if len(again.Links()) != 2 {
		t.Errorf("after Clean got %d links, want 2", len(again.Links()))
	}
}

// After a kill the taps are gone with their descriptors, and the redirects to them are left.
func TestCleanRedirectsToNowhere(t *testing.T) {
	_, b := newPod(t, 1500)
	before := b.state()
	pod, err := Join(context20(t), b.path, 1)
	must(t, err)
	must(t, pod.Links()[0].Tap.Close())
	left := b.state()
	if strings.Contains(left, tapPrefix) || !strings.Contains(left, "filter eth0 u32 ") {
		t.Fatalf("a closed tap leaves\n%s", left)
	}
	must(t, Clean(context20(t), b.path))
	if got := b.state(); got != before {
		t.Errorf("after Clean got\n%s\nwant\n%s", got, before)
	}
	must(t, pod.Close())
}

func TestCleanNothing(t *testing.T) {
	needRoot(t)
	must(t, Clean(context20(t), t.TempDir()+"/gone"))
	// What is left of a path when the namespace mounted there is gone.
	must(t, Clean(context20(t), t.TempDir()))
	if err := Clean(context20(t), "/proc/self/ns/net"); err == nil {
		t.Error("the node's own namespace: got no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Clean(ctx, newBed(t).path); err == nil {
		t.Error("a context that ended: got no error")
	}
}
