package containerd_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/tests/containerd/bed"
)

// TestFullTwentyPods starts and removes 20 pods one after the other: the node holds then what it held after the first.
func TestFullTwentyPods(t *testing.T) {
	n := shared(t)
	spec := n.policed(simplePod(t, "pod", alive))
	before, err := n.Held(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		p := n.run(spec, bed.HandlerCloister)
		p.wantExec("main", alive, 0, "alive")
		p.remove()
		if err := n.AwaitHeld(n.ctx, before); err != nil {
			t.Fatalf("after pod %d: %v", i+1, err)
		}
	}
}

// TestFullFourPods starts four pods at a time.
func TestFullFourPods(t *testing.T) {
	n := shared(t)
	spec := n.policed(simplePod(t, "pod", alive))
	pods := make([]*bed.Pod, 4)
	var group errgroup.Group
	for i := range pods {
		group.Go(func() (err error) {
			own := spec.DeepCopy()
			own.Namespace = "at-once-" + strconv.Itoa(i)
			pods[i], err = n.Run(n.ctx, own, bed.HandlerCloister)
			return err
		})
	}
	err := group.Wait()
	for _, made := range pods {
		if made == nil {
			continue
		}
		p := &pod{Pod: made, n: n}
		t.Cleanup(p.remove)
		p.wantExec("main", alive, 0, "alive")
	}
	if err != nil {
		t.Error(err)
	}
}

// TestDeepImage runs an image of 30 layers: each is a disk of its own, and the topmost wins.
func TestDeepImage(t *testing.T) {
	n := shared(t)
	look := shell("cat /srv/top; ls /srv/layer | wc -l")
	p := n.run(n.policed(allow(t, newPod("deep", container("main", "deep", "/usr/bin/sleep", "100000")), "main", look)), bed.HandlerCloister)
	p.wantExec("main", look, 0, "30\n27\n")
}

// TestStats compares what CRI reports with the guest's own files of the container's cgroup.
func TestStats(t *testing.T) {
	n := shared(t)
	files := shell("cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory.max; sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat; cat /sys/fs/cgroup/pids.current")
	p := n.run(n.policed(simplePod(t, "stats", files)), bed.HandlerCloister)
	out, errOut, code, err := p.ExecSync(n.ctx, "main", files...)
	if err != nil || code != 0 {
		t.Fatalf("read the cgroup's files: code %d, %v: %s", code, err, errOut)
	}
	fields := strings.Fields(out)
	if len(fields) != 4 {
		t.Fatalf("got %q, want four numbers", out)
	}
	guest := map[string]uint64{}
	for i, name := range []string{"memory", "limit", "cpu", "pids"} {
		if guest[name], err = strconv.ParseUint(fields[i], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if guest["limit"] != 64<<20 {
		t.Errorf("limit in the guest: got %d, want the container's 64 MiB", guest["limit"])
	}
	stats, err := n.Runtime.ContainerStats(n.ctx, p.Created["main"])
	if err != nil {
		t.Fatal(err)
	}
	// The container sleeps: nothing but the command that read the files ran between the two looks.
	near := func(what string, got, want, slack uint64) {
		t.Helper()
		if got+slack < want || got > want+slack {
			t.Errorf("%s: CRI says %d, the guest's file %d, want within %d", what, got, want, slack)
		}
	}
	near("memory usage in bytes", stats.GetMemory().GetUsageBytes().GetValue(), guest["memory"], 4<<20)
	near("CPU in nanoseconds", stats.GetCpu().GetUsageCoreNanoSeconds().GetValue(), guest["cpu"]*1000, 2_000_000_000)
	if fmt.Sprint(guest["pids"]) == "0" {
		t.Error("no process in the guest's cgroup")
	}
}
