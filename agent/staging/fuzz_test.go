package staging

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

// words are what paths and link targets of the fuzz target are made of: everything that has a meaning somewhere, few
// enough that two requests meet at one place.
var words = []string{
	"", "a", "b", "..", ".", "/", "..data", "..data_tmp", "..v1", "..v2", cfg, "w2-0123456789abcdef-cfg", "x\x00y", "\n",
	"tree", "part", "1", "canary", "../..", "//", "/etc", strings.Repeat("n", 256),
}

// program reads requests from bytes.
type program struct{ code []byte }

func (p *program) byte() byte {
	if len(p.code) == 0 {
		return 0
	}
	b := p.code[0]
	p.code = p.code[1:]
	return b
}

func (p *program) words() string {
	var parts []string
	for range p.byte() % 6 {
		parts = append(parts, words[int(p.byte())%len(words)])
	}
	return strings.Join(parts, "/")
}

func (p *program) request() *api.CopyFileRequest {
	types := []uint32{unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, 0, unix.S_IFCHR, unix.S_IFMT}
	op := p.byte()
	req := &api.CopyFileRequest{
		Path:     SharedDir + p.words(),
		FileMode: types[int(op)%len(types)] | uint32(p.byte())<<4 | 0o6000,
		DirMode:  uint32(p.byte())<<4 | 0o6000,
	}
	switch op >> 6 {
	case 0:
		req.Data = []byte(p.words())
		req.FileSize = int64(len(req.Data))
	case 1:
		req.Data = make([]byte, p.byte())
		req.FileSize, req.Offset = int64(p.byte()), int64(p.byte())
	case 2:
		req.Data = []byte(p.words())
		req.FileSize, req.Offset = int64(int8(p.byte()))<<55, int64(int8(p.byte()))<<55
	case 3:
		req.Path = strings.TrimPrefix(req.Path, SharedDir)
	}
	return req
}

// FuzzCopy runs a sequence of requests and then looks at everything around the area.
func FuzzCopy(f *testing.F) {
	f.Add([]byte{1, 1, 10, 0xff, 0xff, 2, 2, 10, 1, 0, 0, 1, 3, 0, 3, 10, 1, 2, 0, 0, 2, 1, 1})
	f.Fuzz(func(t *testing.T, code []byte) {
		outside := t.TempDir()
		dir := filepath.Join(outside, "area")
		canary := filepath.Join(outside, "canary")
		if err := os.WriteFile(canary, []byte("tweet"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		a, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		a.maxBytes, a.maxEntries = 8*pageSize, 12
		for p := (&program{code}); len(p.code) > 0; {
			_ = a.Copy(p.request())
			if a.bytes < 0 || a.bytes > a.maxBytes || len(a.entries)+len(a.pending) > a.maxEntries {
				t.Fatalf("got %d bytes and %d entries, want them within limits", a.bytes, len(a.entries)+len(a.pending))
			}
		}
		if got, err := os.ReadFile(canary); err != nil || string(got) != "tweet" {
			t.Fatalf("canary: got %q, %v", got, err)
		}
		if beside, _ := os.ReadDir(outside); len(beside) != 2 {
			t.Fatalf("beside the area: %v", beside)
		}
		if own, _ := os.ReadDir(dir); len(own) != 2 {
			t.Fatalf("in the area's directory: %v", own)
		}
		checkTree(t, a)
	})
}

// checkTree compares the tree with the area's books, and each entry with what an entry may be.
func checkTree(t *testing.T, a *Area) {
	root := filepath.Join(a.dir, treeDir)
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		seen++
		at := strings.TrimPrefix(path, root+"/")
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); mode.Type() {
		case 0:
			if mode&^0o644 != 0 || info.Size() > a.maxBytes {
				t.Errorf("file %q: got mode %v, %d bytes", at, mode, info.Size())
			}
		case fs.ModeDir:
			if mode.Perm()&^0o755 != 0 || mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
				t.Errorf("directory %q: got mode %v", at, mode)
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			top, _, _ := strings.Cut(at, "/")
			ends := filepath.Join(filepath.Dir(at), target)
			if filepath.IsAbs(target) || at == top || ends != top && !strings.HasPrefix(ends, top+"/") {
				t.Errorf("link %q -> %q leaves its entry", at, target)
			}
		default:
			t.Errorf("%q: got type %v", at, mode.Type())
		}
		if _, ok := a.entries[at]; !ok {
			t.Errorf("%q is in the tree and not in the books", at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != len(a.entries) {
		t.Errorf("got %d entries in the tree, want %d", seen, len(a.entries))
	}
	if parts, _ := os.ReadDir(filepath.Join(a.dir, partDir)); len(parts) != len(a.pending) {
		t.Errorf("got %d parts, want %d", len(parts), len(a.pending))
	}
}
