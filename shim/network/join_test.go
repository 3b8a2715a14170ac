package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestJoinGuestIsThePod(t *testing.T) {
	node, b := newPod(t, 1400)
	before := b.state()
	pod := join(t, b, 1)
	if got, want := len(pod.Links()), 1; got != want {
		t.Fatalf("got %d links, want %d", got, want)
	}
	if link := pod.Links()[0]; link.Name != "eth0" || link.Pod != "eth0" || link.MTU != 1400 {
		t.Errorf("got link %+v, want eth0 with MTU 1400", link)
	}
	guest := newGuest(t, pod)
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	for _, to := range []struct{ guest, node string }{{"10.88.0.5", "10.88.0.1"}, {"fd00:88::5", "fd00:88::1"}} {
		if err := node.ping(to.guest); err != nil {
			t.Errorf("ping the guest's %s: %v", to.guest, err)
		}
		if err := guest.ping(to.node); err != nil {
			t.Errorf("ping %s from the guest: %v", to.node, err)
		}
		in := guest.listen("tcp", net.JoinHostPort(to.guest, "0"))
		out := node.listen("tcp", net.JoinHostPort(to.node, "0"))
		for name, echo := range map[string]func() ([]byte, error){
			"in":  func() ([]byte, error) { return node.echo("tcp", net.JoinHostPort(to.guest, fmt.Sprint(in)), data) },
			"out": func() ([]byte, error) { return guest.echo("tcp", net.JoinHostPort(to.node, fmt.Sprint(out)), data) },
		} {
			if got, err := echo(); err != nil || !bytes.Equal(got, data) {
				t.Errorf("TCP %s with %s: got %d bytes (%v), want the %d sent", name, to.guest, len(got), err, len(data))
			}
		}
	}
	must(t, pod.Close())
	if after := b.state(); after != before {
		t.Errorf("after Close got\n%s\nwant\n%s", after, before)
	}
	if err := node.ping("10.88.0.5"); err != nil {
		t.Errorf("ping the namespace after Close: %v", err)
	}
}

// The namespace has the pod's addresses too. It must not answer for them: neighbour discovery, echo or a connection reset would be the pod's own voice.
func TestJoinNamespaceIsSilent(t *testing.T) {
	node, b := newPod(t, 1500)
	// What its kernel had to say on the interface before is said: an address settled, groups joined.
	must(t, node.ping("10.88.0.5"))
	must(t, node.ping("fd00:88::5"))
	must(t, node.ping("10.88.0.5"))
	node.run("ip neigh flush dev br0")
	pod := join(t, b, 1)
	link := pod.Links()[0]
	before := b.sent("eth0")
	for _, to := range []string{"10.88.0.5", "fd00:88::5"} {
		must(t, node.do(func() error {
			conn, err := net.Dial("udp", net.JoinHostPort(to, "9"))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("anybody there"))
			return err
		}))
	}
	// The request for the address arrives at the tap: so it was not the namespace's to answer.
	must(t, link.Tap.SetReadDeadline(time.Now().Add(patience)))
	seen := map[uint16]bool{}
	frame := make([]byte, 1<<16)
	for !seen[unix.ETH_P_ARP] || !seen[unix.ETH_P_IPV6] {
		n, err := link.Tap.Read(frame)
		if err != nil || n < 10+14 {
			t.Fatalf("read from the tap: %d bytes, %v", n, err)
		}
		seen[uint16(frame[22])<<8|uint16(frame[23])] = true
	}
	if after := b.sent("eth0"); after != before {
		t.Errorf("the namespace sent %d packets while the guest was silent", after-before)
	}
	for _, state := range strings.Split(strings.TrimSpace(node.run("ip neigh show dev br0")), "\n") {
		if strings.Contains(state, "lladdr") && (strings.HasPrefix(state, "10.88.0.5 ") || strings.HasPrefix(state, "fd00:88::5 ")) {
			t.Errorf("somebody answered for the pod's address: %s", state)
		}
	}
}

func TestJoinWithoutInterfaces(t *testing.T) {
	needRoot(t)
	b := newBed(t)
	before := b.state()
	pod := join(t, b, 1)
	if len(pod.Links()) != 0 || len(pod.Guest().Interfaces) != 0 {
		t.Errorf("got links %v, want none", pod.Links())
	}
	if got := b.state(); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
}

func TestJoinQueues(t *testing.T) {
	_, b := newPod(t, 1500)
	pod := join(t, b, 3)
	if got := len(pod.Links()[0].Queues); got != 3 {
		t.Errorf("got %d queues, want 3", got)
	}
	if pod.Links()[0].Tap != pod.Links()[0].Queues[0] {
		t.Error("the tap is not the first queue")
	}
	if _, err := Join(context20(t), b.path, 0); err == nil || !strings.Contains(err.Error(), "got 0 queues, want 1 to 64") {
		t.Errorf("no queues: got %v", err)
	}
}

// A second VM on the same namespace, and an interface that somebody else filters, are refused, and what is there stays.
func TestJoinClaimedInterface(t *testing.T) {
	_, b := newPod(t, 1500)
	pod := join(t, b, 1)
	joined := b.state()
	if _, err := Join(context20(t), b.path, 1); err == nil || !strings.Contains(err.Error(), "the namespace is joined to a VM already") {
		t.Errorf("second Join: got %v", err)
	}
	if got := b.state(); got != joined {
		t.Errorf("after a second Join got\n%s\nwant\n%s", got, joined)
	}
	must(t, pod.Close())
	b.run(`tc qdisc add dev eth0 ingress
		ip link add d0 type bridge
		tc filter add dev eth0 parent ffff: prio 7 protocol ip u32 match u32 0 0 action mirred egress mirror dev d0`)
	foreign := b.state()
	if _, err := Join(context20(t), b.path, 1); err == nil || !strings.Contains(err.Error(), `filter of type "u32" and priority 7`) {
		t.Errorf("Join with somebody's filter: got %v", err)
	}
	must(t, Clean(context20(t), b.path))
	if got := b.state(); got != foreign {
		t.Errorf("somebody's filter: got\n%s\nwant\n%s", got, foreign)
	}
}

func TestJoinWrongNamespace(t *testing.T) {
	needRoot(t)
	file := t.TempDir() + "/file"
	must(t, os.WriteFile(file, nil, 0o600))
	for _, test := range []struct{ name, path, want string }{
		{"none", "", "got no path"},
		{"missing", file + ".missing", "no such file"},
		{"a-file", file, "no network namespace"},
		{"of-another-type", "/proc/self/ns/mnt", "no network namespace"},
		{"the-node's", "/proc/self/ns/net", "hostNetwork"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Join(context20(t), test.path, 1); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// cancelAfter ends when it was asked for its end so many times: at each step of Join in turn.
type cancelAfter struct {
	context.Context
	left atomic.Int64
}

func (c *cancelAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

func TestJoinCancelledAtEachStep(t *testing.T) {
	_, b := newPod(t, 1500)
	before := b.state()
	steps := 0
	for ; ; steps++ {
		ctx := &cancelAfter{Context: context20(t)}
		ctx.left.Store(int64(steps))
		pod, err := Join(ctx, b.path, 1)
		if err == nil {
			must(t, pod.Close())
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("step %d: %v", steps, err)
		}
		if got := b.state(); got != before {
			t.Fatalf("cancelled at step %d got\n%s\nwant\n%s", steps, got, before)
		}
	}
	if steps < 8 {
		t.Errorf("got %d steps that ask the context, want at least 8", steps)
	}
}

// Neither descriptors nor threads in somebody's namespace are left, however often a pod comes and goes.
func TestJoinLeaksNothing(t *testing.T) {
	_, b := newPod(t, 1500)
	cycle := func() {
		pod, err := Join(context20(t), b.path, 2)
		must(t, err)
		must(t, pod.Close())
		must(t, pod.Close())
		must(t, Clean(context20(t), b.path))
	}
	cycle()
	own, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		must(t, err)
		return len(entries)
	}
	files, threads := count("/proc/self/fd"), count("/proc/self/task")
	for range 30 {
		cycle()
	}
	if got := count("/proc/self/fd"); got != files {
		t.Errorf("got %d open files after 30 pods, want %d", got, files)
	}
	if got := count("/proc/self/task"); got > threads+8 {
		t.Errorf("got %d threads after 30 pods, want about %d", got, threads)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	must(t, err)
	for _, task := range tasks {
		in, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net")
		if err == nil && in != own {
			t.Errorf("thread %s is in %s, want %s", task.Name(), in, own)
		}
	}
}
