package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
		want int
	}{
		{"none", []string{"snp-emulator"}, 2},
		{"unknown", []string{"snp-emulator", "dance"}, 2},
		{"then without a program", []string{"snp-emulator", "--then"}, 2},
		{"serve nothing", []string{"snp-emulator", "serve"}, 2},
		{"serve without an interface", []string{"snp-emulator", "serve", "--tee", "x"}, 2},
		{"serve with a stray word", []string{"snp-emulator", "serve", "--tee", "x", "--tsm", "y", "z"}, 2},
		{"serve an absent disk", []string{"snp-emulator", "serve", "--tee", "/nonexistent", "--tsm", "/nonexistent"}, 1},
		{"help", []string{"snp-emulator", "--help"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if got := run(c.argv, &stderr); got != c.want {
				t.Errorf("exit code: got %d, want %d\n%s", got, c.want, &stderr)
			}
			if (c.want == 2) != strings.Contains(stderr.String(), "usage:") && c.want != 0 {
				t.Errorf("stderr: %s", &stderr)
			}
		})
	}
}

func TestModuleOrder(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/virtio_pci.ko: kernel/virtio_pci_modern_dev.ko kernel/virtio_ring.ko kernel/virtio.ko\n" +
		"kernel/virtio-ring.ko:\nkernel/fuse.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := readModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"virtio_pci":  {"kernel/virtio.ko", "kernel/virtio_ring.ko", "kernel/virtio_pci_modern_dev.ko", "kernel/virtio_pci.ko"},
		"virtio_ring": {"kernel/virtio-ring.ko"},
		"fuse":        {"kernel/fuse.ko"},
		"built_in":    nil,
	} {
		if got := m.order(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if err := m.load("built_in"); err != nil {
		t.Errorf("a module that is not in the image: %v", err)
	}
	if err := m.load("fuse"); err == nil {
		t.Error("a module whose file is missing was loaded")
	}
	if m, err := readModules(filepath.Join(dir, "absent")); err != nil || m.order("fuse") != nil {
		t.Errorf("no modules.dep: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte("rubbish\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readModules(dir); err == nil {
		t.Error("a malformed modules.dep was read")
	}
}

func TestAwaitNode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sev-guest")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := awaitNode(ctx, path); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing comes: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	done := make(chan error)
	go func() { done <- awaitNode(t.Context(), path) }()
	for _, name := range []string{"other", "sev-guest"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("it comes: %v", err)
	}
	if err := awaitNode(t.Context(), path); err != nil {
		t.Errorf("it is there: %v", err)
	}
}

// TestServe runs the serving process's code on the host, where only the tree can be had.
func TestServe(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a FUSE tree needs root: run the tests as root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse: modprobe fuse, or give the container that device")
	}
	dir := t.TempDir()
	a, err := emulator.LoadOrInit(filepath.Join(dir, "emulator"))
	if err != nil {
		t.Fatal(err)
	}
	params, err := a.Params(emulator.DefaultIdentity())
	if err != nil {
		t.Fatal(err)
	}
	params.HostData = [32]byte{7}
	disk, tree := filepath.Join(dir, "tee.img"), filepath.Join(dir, "config")
	if err := errors.Join(emulator.WriteTEEDisk(disk, params), os.Mkdir(tree, 0o755)); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ready, err := syscall.Dup(int(w.Fd())) // serve closes its own
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, []string{"--tee", disk, "--tsm", tree, "--ready-fd", fmt.Sprint(ready)})
	}()
	line := make([]byte, 16)
	n, err := r.Read(line)
	if err != nil || string(line[:n]) != readyLine {
		t.Fatalf("got %q %v, want %q", line[:n], err, readyLine)
	}
	dev, err := snp.Open(ctx, snp.OpenOptions{TSMRoot: filepath.Join(tree, "tsm"), DevicePath: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.Self(ctx, dev)
	if err != nil || report.HostData != params.HostData {
		t.Errorf("got %v, want host data %x", err, params.HostData)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if left, err := os.ReadDir(tree); err != nil || len(left) != 0 {
		t.Errorf("after the end the tree is still mounted: %v %v", left, err)
	}
}
