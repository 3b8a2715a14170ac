package verity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

// fakeMapper is a kernel that can lie or fail at one step.
type fakeMapper struct {
	calls  []string
	failAt string
	table  dm.Target
	change func(*dm.Status)
}

func (f *fakeMapper) step(name string) error {
	f.calls = append(f.calls, name)
	if f.failAt == name {
		return fmt.Errorf("%s: %w", name, unix.EIO)
	}
	return nil
}

func (f *fakeMapper) Create(string) (dm.Number, error) {
	return dm.Number{Major: 253, Minor: 4}, f.step("create")
}

func (f *fakeMapper) Load(_ string, t dm.Target, readOnly bool) error {
	if !readOnly {
		return errors.New("table is not read-only")
	}
	f.table = t
	return f.step("load")
}
func (f *fakeMapper) Resume(string) error { return f.step("resume") }
func (f *fakeMapper) Remove(string) error { return f.step("remove") }

func (f *fakeMapper) Status(string) (dm.Status, error) {
	s := dm.Status{Number: dm.Number{Major: 253, Minor: 4}, ReadOnly: true, Active: true, Target: f.table}
	if f.change != nil {
		f.change(&s)
	}
	return s, f.step("status")
}

type node struct {
	b      []byte
	err    error
	closed *int
}

func (n node) ReadAt(p []byte, off int64) (int, error) {
	if n.err != nil {
		return 0, n.err
	}
	return readAt(n.b, p, off)
}
func (n node) Close() error { *n.closed++; return nil }

var disk = dm.Number{Major: 8, Minor: 16}

func TestTable(t *testing.T) {
	_, img := sealed(t, fakeExt4(200, 0))
	got := verity.Table(disk, img, img.Root)
	want := dm.Target{Length: 1600, Type: "verity", Params: "1 8:16 8:16 4096 4096 200 201 sha256 " + img.Root.String() + " " + strings.Repeat("00", 32)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	img.Superblock.Salt = nil
	if got := verity.Table(disk, img, img.Root); !strings.HasSuffix(got.Params, img.Root.String()+" -") {
		t.Errorf("without salt: got %q, want a dash at the end", got.Params)
	}
}

func TestActivate(t *testing.T) {
	b, img := sealed(t, fakeExt4(200, 0))
	m := &fakeMapper{}
	closed := 0
	open := func(path string, n dm.Number) (verity.Node, error) {
		if path != "/dev/dm-4" || n != (dm.Number{Major: 253, Minor: 4}) {
			t.Errorf("open: got %q, %s", path, n)
		}
		return node{b: b, closed: &closed}, nil
	}
	d, err := verity.Activator{Mapper: m, Open: open}.Activate(t.Context(), "x", disk, img, img.Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Deactivate(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create", "load", "resume", "status", "remove"}; !slices.Equal(m.calls, want) || closed != 1 {
		t.Errorf("got %q and %d closed, want %q", m.calls, closed, want)
	}
}

// Whatever goes wrong after the device exists, it is gone afterwards.
func TestActivateUndoes(t *testing.T) {
	b, img := sealed(t, fakeExt4(200, 0))
	changed := bytes.Clone(b)
	changed[1024+0x78] ^= 1 // the volume name: the size still fits
	cases := []struct {
		name string
		m    fakeMapper
		node node
		want error
	}{
		{"load-fails", fakeMapper{failAt: "load"}, node{b: b}, unix.EIO},
		{"resume-fails", fakeMapper{failAt: "resume"}, node{b: b}, unix.EIO},
		{"status-fails", fakeMapper{failAt: "status"}, node{b: b}, unix.EIO},
		{"other-root-in-the-kernel", fakeMapper{change: func(s *dm.Status) {
			s.Target.Params = strings.Replace(s.Target.Params, "sha256 ", "sha256 0", 1)
		}}, node{b: b}, verity.ErrChanged},
		{"optional-argument", fakeMapper{change: func(s *dm.Status) { s.Target.Params += " 1 ignore_corruption" }}, node{b: b}, verity.ErrChanged},
		{"other-type", fakeMapper{change: func(s *dm.Status) { s.Target.Type = "linear" }}, node{b: b}, verity.ErrChanged},
		{"longer", fakeMapper{change: func(s *dm.Status) { s.Target.Length++ }}, node{b: b}, verity.ErrChanged},
		{"writable", fakeMapper{change: func(s *dm.Status) { s.ReadOnly = false }}, node{b: b}, verity.ErrChanged},
		{"not-active", fakeMapper{change: func(s *dm.Status) { s.Active = false }}, node{b: b}, verity.ErrChanged},
		{"other-device", fakeMapper{change: func(s *dm.Status) { s.Number.Minor = 9 }}, node{b: b}, verity.ErrChanged},
		{"superblock-differs", fakeMapper{}, node{b: changed}, verity.ErrChanged},
		{"read-fails", fakeMapper{}, node{err: unix.EIO}, unix.EIO},
		{"read-is-short", fakeMapper{}, node{b: b[:1500]}, io.EOF},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.node.closed = new(int)
			open := func(string, dm.Number) (verity.Node, error) { return c.node, nil }
			d, err := verity.Activator{Mapper: &c.m, Open: open}.Activate(t.Context(), "x", disk, img, img.Root)
			if d != nil || !errors.Is(err, c.want) || errors.Is(err, verity.ErrLeftBehind) {
				t.Errorf("got %v, %v, want %v", d, err, c.want)
			}
			if c.m.calls[len(c.m.calls)-1] != "remove" {
				t.Errorf("the device stays: %q", c.m.calls)
			}
		})
	}
	t.Run("left-behind", func(t *testing.T) {
		m := &fakeMapper{failAt: "remove", change: func(s *dm.Status) { s.ReadOnly = false }}
		if _, err := (verity.Activator{Mapper: m}).Activate(t.Context(), "x", disk, img, img.Root); !errors.Is(err, verity.ErrLeftBehind) {
			t.Errorf("got %v, want %v", err, verity.ErrLeftBehind)
		}
	})
	t.Run("not-the-approved-root", func(t *testing.T) {
		m := &fakeMapper{}
		if _, err := (verity.Activator{Mapper: m}).Activate(t.Context(), "x", disk, img, verity.Hash{}); !errors.Is(err, verity.ErrChanged) || m.calls != nil {
			t.Errorf("got %v after %q, want %v and no call", err, m.calls, verity.ErrChanged)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m := &fakeMapper{}
		if _, err := (verity.Activator{Mapper: m}).Activate(ctx, "x", disk, img, img.Root); !errors.Is(err, context.Canceled) || m.calls != nil {
			t.Errorf("got %v after %q, want %v and no call", err, m.calls, context.Canceled)
		}
	})
	t.Run("node-is-no-block-device", func(t *testing.T) {
		m := &fakeMapper{}
		if _, err := (verity.Activator{Mapper: m}).Activate(t.Context(), "x", disk, img, img.Root); err == nil {
			t.Error("activated without a node")
		}
	})
}
