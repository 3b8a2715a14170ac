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

// keysDir is where the tests' authority is made, once.
var keysDir string

func TestMain(m *testing.M) {
	// make test names a directory in which the keys are made once for all packages.
	if keysDir = os.Getenv("CLOISTER_TEST_AUTHORITY"); keysDir != "" {
		os.Exit(m.Run())
	}
	var err error
	if keysDir, err = os.MkdirTemp("", "cloister-keys-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(keysDir)
	os.Exit(code)
}

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

// served is the serving process's code run on the host, where only the tree can be had.
type served struct {
	t      *testing.T
	params emulator.TEEParams
	tree   string
	ended  chan error
	stop   context.CancelFunc
	answer *os.File // what it says
	order  *os.File // what it is told, under orders
}

// serveTree serves parameters; under orders it is told of the disk by its parent.
func serveTree(t *testing.T, orders bool, edit func(*emulator.TEEParams)) *served {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a FUSE tree needs root: run the tests as root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse: modprobe fuse, or give the container that device")
	}
	dir := t.TempDir()
	a, err := emulator.LoadOrInit(filepath.Join(keysDir, "emulator"))
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, tree: filepath.Join(dir, "config"), ended: make(chan error, 1)}
	if s.params, err = a.Params(emulator.DefaultIdentity()); err != nil {
		t.Fatal(err)
	}
	s.params.HostData = [32]byte{7}
	edit(&s.params)
	disk := filepath.Join(dir, "tee.img")
	if err := errors.Join(emulator.WriteTEEDisk(disk, s.params), os.Mkdir(s.tree, 0o755)); err != nil {
		t.Fatal(err)
	}
	answer, ready := pipe(t)
	args := []string{"--cuse", "/nonexistent", "--tsm", s.tree, "--ready-fd", fmt.Sprint(ready)}
	s.answer = answer
	if orders {
		var own int
		own, s.order = orderPipe(t)
		args = append(args, "--order-fd", fmt.Sprint(own))
	} else {
		args = append(args, "--tee", disk)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.ended <- serve(ctx, args) }()
	if orders {
		s.say(disk + "\n")
	}
	return s
}

// pipe returns the end to read and a descriptor that serve will close.
func pipe(t *testing.T) (*os.File, int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, duplicate(t, w)
}

func orderPipe(t *testing.T) (int, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return duplicate(t, r), w
}

// duplicate gives serve a descriptor of its own.
func duplicate(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return fd
}

func (s *served) say(line string) {
	s.t.Helper()
	if _, err := s.order.WriteString(line); err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) wantReady() {
	s.t.Helper()
	line := make([]byte, 16)
	n, err := s.answer.Read(line)
	if err != nil || string(line[:n]) != readyLine {
		s.t.Fatalf("got %q %v, want %q", line[:n], err, readyLine)
	}
}

func (s *served) open() *snp.Guest {
	s.t.Helper()
	dev, err := snp.Open(s.t.Context(), snp.OpenOptions{TSMRoot: filepath.Join(s.tree, "tsm"), DevicePath: "/nonexistent"})
	if err != nil {
		s.t.Fatal(err)
	}
	return dev
}

func (s *served) end() {
	s.t.Helper()
	s.stop()
	if err := <-s.ended; err != nil {
		s.t.Errorf("serve: %v", err)
	}
	if left, err := os.ReadDir(s.tree); err != nil || len(left) != 0 {
		s.t.Errorf("after the end the tree is still mounted: %v %v", left, err)
	}
}

func TestServe(t *testing.T) {
	s := serveTree(t, false, func(p *emulator.TEEParams) { p.Interface = emulator.ConfigfsOnly })
	s.wantReady()
	report, err := snp.Self(t.Context(), s.open())
	if err != nil || report.HostData != s.params.HostData {
		t.Errorf("got %v, want host data %x", err, s.params.HostData)
	}
	s.end()
}

// TestServeUnderOrders: the script begins when the parent says so, not with what the parent asks itself.
func TestServeUnderOrders(t *testing.T) {
	s := serveTree(t, true, func(p *emulator.TEEParams) {
		p.Interface, p.Faults = emulator.ConfigfsOnly, []emulator.Fault{{Kind: emulator.FaultWiped, After: 2}}
	})
	s.wantReady()
	dev := s.open()
	for range 2 {
		if _, err := snp.Self(t.Context(), dev); err != nil {
			t.Errorf("held: %v", err)
		}
	}
	s.say(startLine)
	s.wantReady()
	if _, err := snp.Self(t.Context(), dev); err != nil { // two requests
		t.Errorf("before the fault: %v", err)
	}
	if _, err := snp.Self(t.Context(), dev); !errors.Is(err, snp.ErrKeyLost) {
		t.Errorf("after it: got %v, want %v", err, snp.ErrKeyLost)
	}
	s.end()
}

// TestServeEndsWithItsParent: an init that fails after the interfaces were served takes the server with it.
func TestServeEndsWithItsParent(t *testing.T) {
	s := serveTree(t, true, func(p *emulator.TEEParams) { p.Interface = emulator.ConfigfsOnly })
	s.wantReady()
	if err := s.order.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-s.ended; err == nil {
		t.Error("got nil, want an error")
	}
	s.stop()
}
