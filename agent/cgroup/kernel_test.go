package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv marks the copy of the test program that runs in a mount namespace of its own.
const insideEnv = "CLOISTER_CGROUP_TEST_INSIDE"

// TestRealKernel runs its cases in a private mount namespace, where cgroup2 is mounted whatever this machine has at
// /sys/fs/cgroup: it starts this program again there.
func TestRealKernel(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		t.Run("kill", testKill)
		t.Run("kill-below", testKillBelow)
		t.Run("freeze", testFreeze)
		t.Run("stats", testStats)
		t.Run("oom", testOOM)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN for a mount namespace and cgroup2: run the tests as root")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRealKernel$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRealKernel/kill") {
		t.Errorf("in the namespace: %v", err)
	}
}

// real makes a group for one test.
func real(t *testing.T) *Group {
	t.Helper()
	root := os.Getenv(insideEnv)
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			t.Fatalf("mount cgroup2: %v", err)
		}
	}
	g, err := Create(filepath.Join(root, fmt.Sprintf("cloister-test-%d", os.Getpid()), filepath.Base(t.Name())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(context.Background()), g.Remove(), os.Remove(filepath.Dir(g.path))); err != nil {
			t.Error(err)
		}
	})
	return g
}

// start runs a program in the group: clone into it, so that there is no moment outside.
func start(t *testing.T, g *Group, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(g.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testKill(t *testing.T) {
	g := real(t)
	parent := start(t, g, "/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
	alone := start(t, g, "/bin/sleep", "1000")
	reaped := make(chan error, 2)
	for _, cmd := range []*exec.Cmd{parent, alone} {
		go func() { reaped <- cmd.Wait() }()
	}
	if err := g.Kill(within(t)); err != nil {
		t.Fatal(err)
	}
	if procs, err := g.read("cgroup.procs"); err != nil || len(procs) != 0 {
		t.Errorf("after the kill: got processes %q, %v, want none", procs, err)
	}
	for range 2 {
		if err := <-reaped; err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("got %v, want killed", err)
		}
	}
	if err := g.Kill(within(t)); err != nil {
		t.Errorf("kill of an empty group: %v", err)
	}
}

// testKillBelow: a container with a writable mount can hide processes in a group of its own.
func testKillBelow(t *testing.T) {
	g := real(t)
	below, err := Create(filepath.Join(g.path, "below"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := start(t, below, "/bin/sleep", "1000")
	if err := g.Kill(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process below was not killed")
	}
	if err := below.Remove(); err != nil {
		t.Error(err)
	}
}

func testFreeze(t *testing.T) {
	g := real(t)
	if err := g.Freeze(within(t)); err != nil {
		t.Fatalf("empty group: %v", err)
	}
	if err := g.Thaw(within(t)); err != nil {
		t.Fatalf("empty group: %v", err)
	}
	cmd := exec.Command("/bin/sh", "-c", "while read line; do echo $line; done")
	dir, err := os.Open(g.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if err := g.Freeze(within(t)); err != nil {
		t.Fatal(err)
	}
	// The kernel says frozen; the process does not answer until it is thawed.
	if frozen, err := g.flag("frozen", 1); err != nil || !frozen {
		t.Errorf("got frozen %v, %v", frozen, err)
	}
	fmt.Fprintln(stdin, "hello")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		t.Errorf("a frozen process answered %q", line)
	default:
	}
	if err := g.Thaw(within(t)); err != nil {
		t.Fatal(err)
	}
	if line := <-answer; line != "hello\n" {
		t.Errorf("after thawing: got %q", line)
	}
	// A frozen group can be killed: teardown must not depend on the host thawing it first.
	if err := g.Freeze(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(within(t)); err != nil {
		t.Errorf("kill while frozen: %v", err)
	}
	_ = cmd.Wait()
}

func testStats(t *testing.T) {
	g := real(t)
	cmd := start(t, g, "/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	stats, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.CpuStats.CpuUsage.TotalUsage == 0 {
		t.Error("a busy loop used no CPU time")
	}
}

// testOOM needs the memory controller in version 2, which is not there where version 1 has it.
func testOOM(t *testing.T) {
	g := real(t)
	parent := filepath.Dir(g.path)
	root := filepath.Dir(parent)
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		t.Skip("no memory controller in cgroup2 here: boot with cgroup_no_v1=memory; the in-VM suite has an OOM kill of its own")
	}
	for _, dir := range []string{root, parent} {
		if err := (&Group{path: dir}).write("cgroup.subtree_control", "+memory"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(g.write("memory.max", "8388608"), g.write("memory.swap.max", "0")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(within(t))
	events, done := make(chan struct{}, 16), make(chan error, 1)
	go func() { done <- g.WatchOOM(ctx, func() { events <- struct{}{} }) }()
	cmd := start(t, g, "/usr/bin/tail", "/dev/zero")
	<-events
	if err := cmd.Wait(); err == nil {
		t.Error("the process was not killed")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n, err := g.OOMKills(); err != nil || n == 0 {
		t.Errorf("OOMKills: got %d, %v", n, err)
	}
}
