package storage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity/dm"
	"github.com/cloister-cc/cloister/verity/layer"
)

// machine is a guest without device-mapper: real mounts, disks that are loop devices behind a made-up sysfs, and a mapper
// whose devices are loop devices over the same files. What dm-verity itself does is for the tests in a VM.
type machine struct {
	t      *testing.T
	root   string
	mapper *loopMapper
	*Manager
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	root := t.TempDir()
	for _, dir := range []string{"dev", "sys/bus/scsi/devices", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mapper := &loopMapper{t: t, dev: filepath.Join(root, "dev"), disks: map[dm.Number]string{}, devices: map[string]*mapped{}}
	m, err := New(Config{Sysfs: filepath.Join(root, "sys"), Dev: mapper.dev, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if held := m.Held(); len(held) > 0 && !t.Failed() {
			t.Errorf("still held: %+v", held)
		}
		if len(mapper.devices) > 0 && !t.Failed() {
			t.Errorf("devices left behind: %+v", mapper.devices)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{t: t, root: root, mapper: mapper, Manager: m}
}

// path is an agent's name on this machine.
func (m *machine) path(name string) string { return filepath.Join(m.root, "run", name) }

// plug makes a disk of the content appear at scsi 0:lun, and returns its address.
func (m *machine) plug(lun int, content []byte) Address {
	m.t.Helper()
	file := filepath.Join(m.root, fmt.Sprintf("disk%d", lun))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		m.t.Fatal(err)
	}
	number := newLoop(m.t, file, false)
	m.mapper.disks[number] = file
	name := "sd" + string(rune('a'+lun))
	mknod(m.t, filepath.Join(m.mapper.dev, name), number)
	m.announce(lun, name, number)
	return m.address(lun)
}

func (m *machine) announce(lun int, name string, number dm.Number) {
	m.t.Helper()
	tree(m.t, filepath.Join(m.root, "sys"), map[string]string{
		"class/scsi_host/host2/proc_name":                                "virtio_scsi",
		fmt.Sprintf("bus/scsi/devices/2:0:0:%d/block/%s/dev", lun, name): number.String(),
	})
}

func (m *machine) address(lun int) Address {
	m.t.Helper()
	a, err := ParseAddress("scsi", fmt.Sprintf("0:%d", lun))
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

// disk converts a layer of the given files.
func disk(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range sortedKeys(files) {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := layer.Convert(t.Context(), &b, f, layer.Options{}); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// newLoop attaches a file to a free loop device, until the test ends.
func newLoop(t *testing.T, file string, readOnly bool) dm.Number {
	t.Helper()
	number, detach, err := attachLoop(file, t.TempDir(), readOnly)
	if err != nil {
		t.Fatalf("attach loop device: %v", err)
	}
	t.Cleanup(detach)
	return number
}

func attachLoop(file, dir string, readOnly bool) (dm.Number, func(), error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return dm.Number{}, nil, err
	}
	defer control.Close()
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return dm.Number{}, nil, err
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return dm.Number{}, nil, err
		}
		number := dm.Number{Major: 7, Minor: uint32(n)}
		node := filepath.Join(dir, fmt.Sprintf("loop%d", n))
		if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil && !errors.Is(err, os.ErrExist) {
			return dm.Number{}, nil, err
		}
		f, err := os.OpenFile(node, os.O_RDWR, 0)
		if err != nil {
			return dm.Number{}, nil, err
		}
		config := &unix.LoopConfig{Fd: uint32(backing.Fd())}
		if readOnly {
			config.Info.Flags = unix.LO_FLAGS_READ_ONLY
		}
		err = unix.IoctlLoopConfigure(int(f.Fd()), config)
		if errors.Is(err, unix.EBUSY) {
			f.Close()
			continue // another process was faster
		}
		if err != nil {
			f.Close()
			return dm.Number{}, nil, err
		}
		return number, func() {
			_ = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
			f.Close()
		}, nil
	}
}

func mknod(t *testing.T, path string, n dm.Number) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(n.Major, n.Minor))); err != nil {
		t.Fatal(err)
	}
}

// loopMapper stands for the device-mapper.
type loopMapper struct {
	t   *testing.T
	dev string

	mu      sync.Mutex
	disks   map[dm.Number]string // their files
	devices map[string]*mapped
	change  func(*dm.Status)
	// between is run when the device is created: after Inspect, before any read through the device.
	between func()
	stuck   bool // Remove gives EBUSY
}

type mapped struct {
	number dm.Number
	table  dm.Target
	detach func()
}

func (l *loopMapper) Create(name string) (dm.Number, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.between != nil {
		l.between()
	}
	var file string
	for _, f := range l.disks { // one disk at a time in these tests
		file = f
	}
	number, detach, err := attachLoop(file, l.t.TempDir(), true)
	if err != nil {
		return dm.Number{}, err
	}
	l.devices[name] = &mapped{number: number, detach: detach}
	mknod(l.t, filepath.Join(l.dev, fmt.Sprintf("dm-%d", number.Minor)), number)
	return number, nil
}

func (l *loopMapper) Load(name string, t dm.Target, readOnly bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !readOnly {
		return errors.New("the table is not read-only")
	}
	l.devices[name].table = t
	return nil
}

func (l *loopMapper) Resume(string) error { return nil }

func (l *loopMapper) Status(name string) (dm.Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.devices[name]
	s := dm.Status{Number: d.number, ReadOnly: true, Active: true, Target: d.table}
	if l.change != nil {
		l.change(&s)
	}
	return s, nil
}

func (l *loopMapper) Remove(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck {
		return fmt.Errorf("remove %q: %w", name, unix.EBUSY)
	}
	d := l.devices[name]
	d.detach()
	delete(l.devices, name)
	return os.Remove(filepath.Join(l.dev, fmt.Sprintf("dm-%d", d.number.Minor)))
}
