package guest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

// sample is a small tree whose entries are added in any order.
var sample = []struct {
	name string
	e    entry
}{
	{"init", entry{typeSymlink | 0o777, []byte("/sbin/agent")}},
	{"proc", entry{typeDir | 0o555, nil}},
	{"sbin/agent", entry{typeRegular | 0o755, []byte("program")}},
	{"etc/empty", entry{typeRegular | 0o644, nil}},
	{"tmp", entry{typeDir | 0o1777, nil}},
	{"usr/lib/a-b", entry{typeRegular | 0o644, []byte("12345")}},
	{"usr/lib/a/b", entry{typeRegular | 0o644, []byte("1")}},
}

func writeSample(t *testing.T, order []int, c Compression) []byte {
	t.Helper()
	tree := newTree()
	for _, i := range order {
		if err := tree.add(sample[i].name, sample[i].e); err != nil {
			t.Fatal(err)
		}
	}
	b, err := pack(tree, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestArchiveIsDeterministic packs one tree in several orders, under other time zones and umasks.
func TestArchiveIsDeterministic(t *testing.T) {
	for _, c := range []Compression{LZ4, Plain} {
		want := writeSample(t, []int{0, 1, 2, 3, 4, 5, 6}, c)
		r := rand.New(rand.NewPCG(1, 2))
		for _, umask := range []int{0, 0o077} {
			old := syscall.Umask(umask)
			t.Setenv("TZ", []string{"UTC", "Pacific/Auckland"}[umask&1])
			got := writeSample(t, r.Perm(len(sample)), c)
			syscall.Umask(old)
			if !bytes.Equal(got, want) {
				t.Errorf("compression %d, umask %#o: the bytes differ", c, umask)
			}
		}
	}
}

// TestArchiveReadsBack reads the archive with another implementation.
func TestArchiveReadsBack(t *testing.T) {
	r := cpio.NewReader(bytes.NewReader(writeSample(t, []int{6, 5, 4, 3, 2, 1, 0}, Plain)))
	type row struct {
		Name, Content string
		Mode          uint32
		Inode         int64
	}
	var got []row
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Guid != 0 || h.ModTime.Unix() > 0 {
			t.Errorf("%s: got owner %d:%d, time %v, want root and none", h.Name, h.Uid, h.Guid, h.ModTime)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row{h.Name, string(content) + h.Linkname, uint32(h.Mode), h.Inode})
	}
	want := []row{
		{"etc", "", 0o40755, 1},
		{"etc/empty", "", 0o100644, 2},
		{"init", "/sbin/agent", 0o120777, 3},
		{"proc", "", 0o40555, 4},
		{"sbin", "", 0o40755, 5},
		{"sbin/agent", "program", 0o100755, 6},
		{"tmp", "", 0o41777, 7},
		{"usr", "", 0o40755, 8},
		{"usr/lib", "", 0o40755, 9},
		{"usr/lib/a", "", 0o40755, 10},
		{"usr/lib/a-b", "12345", 0o100644, 11},
		{"usr/lib/a/b", "1", 0o100644, 12},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTreeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"taken", "sbin/agent", "it is there already"},
		{"absolute", "/sbin/other", "clean relative path"},
		{"parent", "../other", "clean relative path"},
		{"unclean", "sbin//other", "clean relative path"},
		{"empty", "", "clean relative path"},
		{"below-a-file", "sbin/agent/x", `"sbin/agent" is not a directory`},
		{"below-a-link", "init/x", `"init" is not a directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree()
			if err := errors.Join(tree.file("sbin/agent", 0o755, nil), tree.symlink("init", "/sbin/agent")); err != nil {
				t.Fatal(err)
			}
			if err := tree.file(tt.path, 0o644, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
