package staging

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
)

const (
	cfg   = "w1-0123456789abcdef-cfg"
	hosts = "w1-0123456789abcdef-hosts"
)

func newArea(t *testing.T) *Area {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "area")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func file(path, data string) *api.CopyFileRequest {
	return &api.CopyFileRequest{Path: SharedDir + path, FileSize: int64(len(data)), FileMode: unix.S_IFREG | 0o644, DirMode: 0o755, Data: []byte(data)}
}

func directory(path string) *api.CopyFileRequest {
	return &api.CopyFileRequest{Path: SharedDir + path, FileMode: unix.S_IFDIR | 0o755, DirMode: 0o755}
}

func link(path, target string) *api.CopyFileRequest {
	return &api.CopyFileRequest{Path: SharedDir + path, FileMode: unix.S_IFLNK | 0o777, DirMode: 0o755, Data: []byte(target)}
}

func mustCopy(t *testing.T, a *Area, reqs ...*api.CopyFileRequest) {
	t.Helper()
	for _, req := range reqs {
		if err := a.Copy(req); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, a *Area, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, treeDir, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCopyInChunks(t *testing.T) {
	a := newArea(t)
	content := bytes.Repeat([]byte("0123456789"), 1000)
	chunk := func(from, to int) *api.CopyFileRequest {
		req := file(hosts, "")
		req.FileSize, req.Offset, req.Data = int64(len(content)), int64(from), content[from:to]
		return req
	}
	mustCopy(t, a, chunk(0, 4000))
	if _, err := a.Resolve(hosts); !errors.Is(err, ErrIncomplete) {
		t.Errorf("after one chunk: got %v, want ErrIncomplete", err)
	}
	if _, err := os.Lstat(filepath.Join(a.dir, treeDir, hosts)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an incomplete file is visible: %v", err)
	}
	mustCopy(t, a, chunk(4000, 8000), chunk(4000, 8000), chunk(8000, 10000)) // a chunk sent twice is no error
	path, err := a.Resolve(SharedDir + hosts)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, len(content))
	}
	if left, _ := os.ReadDir(filepath.Join(a.dir, partDir)); len(left) != 0 {
		t.Errorf("parts left: %v", left)
	}
}

func TestCopyEmptyAndAnnouncedFile(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, file(hosts, ""))
	if got := read(t, a, hosts); got != "" {
		t.Errorf("empty file: got %q", got)
	}
	announced := file(cfg, "")
	announced.FileSize = 42
	mustCopy(t, a, announced)
	if _, err := a.Resolve(cfg); !errors.Is(err, ErrNotFound) {
		t.Errorf("announced file: got %v, want ErrNotFound", err)
	}
}

// TestCopyRefuses has a row for each request that must be refused; each row also asserts that nothing appeared.
func TestCopyRefuses(t *testing.T) {
	with := func(f func(*api.CopyFileRequest)) *api.CopyFileRequest {
		req := file(hosts, "data")
		f(req)
		return req
	}
	at := func(path string) *api.CopyFileRequest {
		return with(func(r *api.CopyFileRequest) { r.Path = path })
	}
	mode := func(m uint32) *api.CopyFileRequest {
		return with(func(r *api.CopyFileRequest) { r.FileMode = m })
	}
	tests := []struct {
		name string
		req  *api.CopyFileRequest
	}{
		{"nil", nil},
		{"path-empty", at("")},
		{"path-elsewhere", at("/tmp/x")},
		{"path-beside", at("/run/kata-containers/shared/foo")},
		{"path-the-directory", at(SharedDir)},
		{"path-relative", at("run/kata-containers/shared/containers/x")},
		{"path-not-clean", at("/run//kata-containers/shared/containers/x")},
		{"path-dot-dot", file("../x", "data")},
		{"path-dot-dot-inside", file(cfg+"/../../x", "data")},
		{"path-dot-dot-end", file(cfg+"/..", "data")},
		{"path-dot", file(cfg+"/./x", "data")},
		{"path-double-slash", file(cfg+"//x", "data")},
		{"path-trailing-slash", file(cfg+"/", "data")},
		{"path-absolute-inside", file("/etc/passwd", "data")},
		{"path-newline", file(cfg+"/a\nb", "data")},
		{"path-nul", file(cfg+"/a\x00b", "data")},
		{"path-not-utf8", file(cfg+"/a\xffb", "data")},
		{"path-deep", file(cfg+strings.Repeat("/d", maxDepth), "data")},
		{"path-long", file(cfg+strings.Repeat("/"+strings.Repeat("a", 200), 6), "data")},
		{"component-long", file(cfg+"/"+strings.Repeat("a", 256), "data")},
		{"top-hidden", file("..data", "data")},
		{"top-space", file("a b", "data")},
		{"type-device", mode(unix.S_IFBLK | 0o644)},
		{"type-char-device", mode(unix.S_IFCHR | 0o644)},
		{"type-fifo", mode(unix.S_IFIFO | 0o644)},
		{"type-socket", mode(unix.S_IFSOCK | 0o644)},
		{"type-all-bits", mode(unix.S_IFMT | 0o644)},
		{"size-negative", with(func(r *api.CopyFileRequest) { r.FileSize = -1 })},
		{"size-over-limit", with(func(r *api.CopyFileRequest) { r.FileSize = MaxBytes + 1 })},
		{"size-huge", with(func(r *api.CopyFileRequest) { r.FileSize = 1<<63 - 1 })},
		{"offset-negative", with(func(r *api.CopyFileRequest) { r.Offset = -1 })},
		{"offset-past-end", with(func(r *api.CopyFileRequest) { r.Offset = 5 })},
		{"offset-wraps", with(func(r *api.CopyFileRequest) { r.Offset = 1<<63 - 1 })},
		{"data-past-end", with(func(r *api.CopyFileRequest) { r.FileSize = 3 })},
		{"data-past-end-of-empty", with(func(r *api.CopyFileRequest) { r.FileSize = 0 })},
		{"chunk-without-its-first", with(func(r *api.CopyFileRequest) { r.FileSize, r.Offset = 8, 4 })},
		{"uid-negative", with(func(r *api.CopyFileRequest) { r.Uid = -1 })},
		{"gid-negative", with(func(r *api.CopyFileRequest) { r.Gid = -1 })},
		{"link-at-top", link(cfg, "w2-0123456789abcdef-cfg")},
		{"link-absolute", link(cfg+"/l", "/etc/shadow")},
		{"link-out", link(cfg+"/l", "../w2-0123456789abcdef-cfg/key")},
		{"link-far-out", link(cfg+"/a/b/l", "../../../../../etc")},
		{"link-up-after-down", link(cfg+"/a/l", "b/../../..")},
		{"link-up-after-down-inside", link(cfg+"/a/l", "b/../c")},
		{"link-dot", link(cfg+"/l", "./x")},
		{"link-empty", link(cfg+"/l", "")},
		{"link-trailing-slash", link(cfg+"/l", "x/")},
		{"link-newline", link(cfg+"/l", "x\ny")},
		{"link-nul", link(cfg+"/l", "x\x00y")},
		{"link-long", link(cfg+"/l", strings.Repeat("a/", maxLinkTarget)+"a")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newArea(t)
			err := a.Copy(tt.req)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("error carries raw bytes of the host: %q", err)
			}
			if len(a.entries)+len(a.pending) != 0 || a.bytes != 0 {
				t.Errorf("got %v, %v, %d bytes kept, want none", a.entries, a.pending, a.bytes)
			}
			assertOnlyAreaIn(t, a, 0)
		})
	}
}

// assertOnlyAreaIn checks that the area's parent holds nothing but it, and how many top entries there are.
func assertOnlyAreaIn(t *testing.T, a *Area, tops int) {
	t.Helper()
	beside, err := os.ReadDir(filepath.Dir(a.dir))
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the area: %v, %v", beside, err)
	}
	inside, err := os.ReadDir(filepath.Join(a.dir, treeDir))
	if err != nil || len(inside) != tops {
		t.Errorf("in the area: got %v, %v, want %d entries", inside, err, tops)
	}
}

// TestWriteThroughLink is CVE-2026-41326: a link planted by one request, followed by the next.
func TestWriteThroughLink(t *testing.T) {
	a := newArea(t)
	victim := t.TempDir()
	secret := filepath.Join(victim, "shadow")
	if err := os.WriteFile(secret, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCopy(t, a, directory(cfg), directory(cfg+"/real"), file(cfg+"/real/f", "before"), link(cfg+"/inside", "real"))
	// What CopyFile itself refuses to plant, a container with write access can: a link out of the area.
	top := filepath.Join(a.dir, treeDir, cfg)
	for name, target := range map[string]string{"out": victim, "file": secret, "up": "../..", "to-part": "../../" + partDir} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, through := range []string{"out/shadow", "out/new", "inside/f", "inside/new", "up/x", "to-part/x"} {
		for _, req := range []*api.CopyFileRequest{file(cfg+"/"+through, "after"), directory(cfg + "/" + through), link(cfg+"/"+through, "x")} {
			if err := a.Copy(req); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, mode %o: got %v, want ErrInvalid", through, req.FileMode, err)
			}
		}
	}
	for _, asDirectory := range []string{"out", "inside"} {
		if err := a.Copy(directory(cfg + "/" + asDirectory)); !errors.Is(err, ErrInvalid) {
			t.Errorf("directory over link %s: got %v, want ErrInvalid", asDirectory, err)
		}
	}
	// A file copied over a link replaces the link.
	mustCopy(t, a, file(cfg+"/file", "after"), file(cfg+"/inside", "after"))
	if got, _ := os.ReadFile(secret); string(got) != "before" {
		t.Errorf("the file behind the link: got %q, want it untouched", got)
	}
	if got := read(t, a, cfg+"/real/f"); got != "before" {
		t.Errorf("the file behind the inner link: got %q, want it untouched", got)
	}
	if info, err := os.Lstat(filepath.Join(top, "file")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("got %v, %v, want a regular file", info, err)
	}
	if left, _ := os.ReadDir(victim); len(left) != 1 {
		t.Errorf("outside: got %v, want the one file", left)
	}
}

func TestModes(t *testing.T) {
	a := newArea(t)
	tests := []struct {
		name string
		req  *api.CopyFileRequest
		mode uint32
		want fs.FileMode
	}{
		{"file-plain", file(cfg+"/a", "x"), 0o644, 0o644},
		{"file-executable", file(cfg+"/b", "x"), 0o755, 0o644},
		{"file-setuid", file(cfg+"/c", "x"), 0o6755, 0o644},
		{"file-writable", file(cfg+"/d", "x"), 0o666, 0o644},
		{"file-none", file(cfg+"/e", "x"), 0, 0o600},
		{"file-private", file(cfg+"/f", "x"), 0o400, 0o600},
		{"dir-sticky", directory(cfg + "/g"), 0o1777, fs.ModeDir | 0o755},
		{"dir-setgid", directory(cfg + "/h"), 0o2750, fs.ModeDir | 0o750},
		{"dir-none", directory(cfg + "/i"), 0, fs.ModeDir | 0o700},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.req.FileMode = tt.req.FileMode&unix.S_IFMT | tt.mode
			mustCopy(t, a, tt.req)
			info, err := os.Lstat(filepath.Join(a.dir, treeDir, strings.TrimPrefix(tt.req.Path, SharedDir)))
			if err != nil || info.Mode() != tt.want {
				t.Errorf("got %v, %v, want %v", info.Mode(), err, tt.want)
			}
		})
	}
	// Mode bits above the permissions cannot be smuggled in through Go's own spelling of them either.
	if got := fileMode(1<<31 | 1<<23 | 0o7777); got != 0o644 {
		t.Errorf("fileMode: got %v, want 0644", got)
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_CHOWN: run the tests as root")
	}
	a := newArea(t)
	for _, req := range []*api.CopyFileRequest{directory(cfg), file(cfg+"/f", "x"), link(cfg+"/l", "f")} {
		req.Uid, req.Gid = 1000, 1001
		mustCopy(t, a, req)
		info, err := os.Lstat(filepath.Join(a.dir, treeDir, strings.TrimPrefix(req.Path, SharedDir)))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*unixStat); st.Uid != 1000 || st.Gid != 1001 {
			t.Errorf("%s: got %d:%d, want 1000:1001", req.Path, st.Uid, st.Gid)
		}
	}
}

// TestRefreshAsKubeletDoes: a new directory, then ..data moved to it, seen by a reader as one change.
func TestRefreshAsKubeletDoes(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, directory(cfg), directory(cfg+"/..2026_1"), file(cfg+"/..2026_1/key", "old"),
		link(cfg+"/..data", "..2026_1"), link(cfg+"/key", "..data/key"))
	if got := read(t, a, cfg+"/key"); got != "old" {
		t.Fatalf("got %q, want old", got)
	}
	before := a.bytes
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			data, err := os.ReadFile(filepath.Join(a.dir, treeDir, cfg, "..data"))
			if err == nil || !errors.Is(err, unix.EISDIR) {
				t.Errorf("..data was not always a link to a directory: %q, %v", data, err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	mustCopy(t, a, file(cfg+"/..2026_2/key", "new"), link(cfg+"/..data", "..2026_2"))
	close(stop)
	wg.Wait()
	if got := read(t, a, cfg+"/key"); got != "new" {
		t.Errorf("got %q, want new", got)
	}
	if _, err := os.Lstat(filepath.Join(a.dir, treeDir, cfg, "..2026_1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the old version: got %v, want it gone", err)
	}
	if a.bytes != before {
		t.Errorf("after the refresh: got %d bytes, want %d", a.bytes, before)
	}
	// For the life of a pod: refreshes must not fill the area.
	entries := len(a.entries)
	for i := range 200 {
		version := "..v" + strings.Repeat("x", i+1)
		mustCopy(t, a, file(cfg+"/"+version+"/key", version), link(cfg+"/..data", version))
	}
	if len(a.entries) != entries {
		t.Errorf("after 200 refreshes: got %d entries, want %d", len(a.entries), entries)
	}
}

// TestRetireRemovesOnlyAVersion: ..data may point to what is not a version, and that stays.
func TestRetireRemovesOnlyAVersion(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, file(cfg+"/keep/f", "x"), link(cfg+"/..data", "keep"), link(cfg+"/..data", "keep/sub"), link(cfg+"/..data", "..v"))
	if got := read(t, a, cfg+"/keep/f"); got != "x" {
		t.Errorf("got %q, want x", got)
	}
}

func TestLimits(t *testing.T) {
	t.Run("bytes", func(t *testing.T) {
		a := newArea(t)
		a.maxBytes = 10 * pageSize
		mustCopy(t, a, file(cfg+"/a", strings.Repeat("x", 6*pageSize)))
		if err := a.Copy(file(cfg+"/b", strings.Repeat("x", 4*pageSize+1))); !errors.Is(err, ErrLimit) {
			t.Errorf("got %v, want ErrLimit", err)
		}
		// Announcing is enough to reserve: many half-sent files cannot exceed it together.
		half := file(cfg+"/c", "x")
		half.FileSize = 4 * pageSize
		mustCopy(t, a, half)
		if err := a.Copy(file(cfg+"/d", "x")); !errors.Is(err, ErrLimit) {
			t.Errorf("beside a reservation: got %v, want ErrLimit", err)
		}
		mustCopy(t, a, file(cfg+"/c", "small")) // starting anew gives the reservation back
		mustCopy(t, a, file(cfg+"/d", "x"))
	})
	t.Run("entries", func(t *testing.T) {
		a := newArea(t)
		a.maxEntries = 4
		mustCopy(t, a, directory(cfg), file(cfg+"/a", "x"), link(cfg+"/l", "a"))
		mustCopy(t, a, link(cfg+"/l", "b")) // the same entry again needs room for one
		for name, req := range map[string]*api.CopyFileRequest{
			"parents": file(cfg+"/d/e/f", "x"), "directories": directory(cfg + "/d/e/f"), "link": link(cfg+"/e/l", "x"),
		} {
			if err := a.Copy(req); !errors.Is(err, ErrLimit) {
				t.Errorf("%s: got %v, want ErrLimit", name, err)
			}
		}
		if len(a.entries)+len(a.pending) > 4 {
			t.Errorf("got %d entries, want at most 4", len(a.entries))
		}
	})
	t.Run("half-sent", func(t *testing.T) {
		a := newArea(t)
		a.maxEntries = 3
		for _, name := range []string{"a-12345678-x", "b-12345678-x", "c-12345678-x"} {
			req := file(name, "x")
			req.FileSize = 2
			mustCopy(t, a, req)
		}
		if err := a.Copy(file("d-12345678-x", "x")); !errors.Is(err, ErrLimit) {
			t.Errorf("got %v, want ErrLimit", err)
		}
	})
}

// TestFailedCopyLeavesNothing: the part and its reservation go with the failure.
func TestFailedCopyLeavesNothing(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, file(hosts, "x"))
	before := a.bytes
	if err := a.Copy(file(hosts+"/below-a-file", "data")); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	if left, _ := os.ReadDir(filepath.Join(a.dir, partDir)); len(left) != 0 || len(a.pending) != 0 || a.bytes != before {
		t.Errorf("left %v, %v, %d bytes, want none and %d", left, a.pending, a.bytes, before)
	}
	mustCopy(t, a, directory(cfg))
	for _, req := range []*api.CopyFileRequest{file(cfg, "data"), directory(hosts)} {
		if err := a.Copy(req); !errors.Is(err, ErrInvalid) {
			t.Errorf("change of type at %s: got %v, want ErrInvalid", req.Path, err)
		}
	}
}

func TestParseName(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct {
		source, owner, base string
		ok                  bool
	}{
		{SharedDir + hosts, "w1", "hosts", true},
		{hosts, "w1", "hosts", true},
		{long + "-0123456789abcdef-resolv.conf", long, "resolv.conf", true},
		{"w1-01234567-hosts", "w1", "hosts", true},
		{"my-pod-0123456789abcdef-a-b", "my-pod", "a-b", true},
		{"0f8fad5b-d9cb-469f-a165-70867728950e-0123456789abcdef-hosts", "0f8fad5b-d9cb-469f-a165-70867728950e", "hosts", true},
		{"w1-0123456789abcdef-..", "", "", false},
		{"w1-0123456789ABCDEF-hosts", "", "", false},
		{"w1-0123456789abcde-hosts", "", "", false},
		{"w1-0123456789abcdef-", "", "", false},
		{"-0123456789abcdef-hosts", "", "", false},
		{"w1-0123456789abcdef-hosts/x", "", "", false},
		{"../w1-0123456789abcdef-hosts", "", "", false},
		{"/etc/w1-0123456789abcdef-hosts", "", "", false},
		{"w1-0123456789abcdef-ho sts", "", "", false},
		{"w1-0123456789abcdef-hosts\n", "", "", false},
		{"", "", "", false},
	}
	for _, tt := range tests {
		got, err := ParseName(tt.source)
		if (err == nil) != tt.ok || got.Owner != tt.owner || got.Base != tt.base {
			t.Errorf("%q: got %+v, %v, want owner %q, base %q, ok %v", tt.source, got, err, tt.owner, tt.base, tt.ok)
		}
	}
}

func TestResolve(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, file("foo", "copied, but no container can be given it"))
	if _, err := a.Resolve("foo"); !errors.Is(err, ErrInvalid) {
		t.Errorf("entry of no owner: got %v, want ErrInvalid", err)
	}
	if _, err := a.Resolve(hosts); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing copied: got %v, want ErrNotFound", err)
	}
	mustCopy(t, a, file(cfg+"/a", "x"))
	half := file(cfg+"/b", "x")
	half.FileSize = 2
	mustCopy(t, a, half)
	if _, err := a.Resolve(cfg); !errors.Is(err, ErrIncomplete) {
		t.Errorf("directory with a half-sent file: got %v, want ErrIncomplete", err)
	}
	mustCopy(t, a, file(cfg+"/b", "xx"))
	path, err := a.Resolve(cfg)
	if err != nil || path != filepath.Join(a.dir, treeDir, cfg) {
		t.Errorf("got %q, %v, want the entry's path", path, err)
	}
	// Even if a link got to the top by another way, it is not followed.
	if err := os.Rename(path, path+"-moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", path); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Resolve(cfg); !errors.Is(err, unix.ELOOP) {
		t.Errorf("link at the top: got %v, want ELOOP", err)
	}
}

func TestRemoveOwned(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, file(hosts, "x"), file(cfg+"/..v/key", "x"), link(cfg+"/..data", "..v"), file("w2-0123456789abcdef-hosts", "x"))
	half := file("w1-0123456789abcdef-half", "x")
	half.FileSize = 2
	mustCopy(t, a, half)
	if err := a.RemoveOwned("w1"); err != nil {
		t.Fatal(err)
	}
	if len(a.entries) != 1 || len(a.pending) != 0 || a.bytes != pageSize {
		t.Errorf("got %v, %v, %d bytes, want the entry of w2 alone", a.entries, a.pending, a.bytes)
	}
	assertOnlyAreaIn(t, a, 1)
	if left, _ := os.ReadDir(filepath.Join(a.dir, partDir)); len(left) != 0 {
		t.Errorf("parts left: %v", left)
	}
}

func TestNewRefusesAUsedDirectory(t *testing.T) {
	a := newArea(t)
	if _, err := New(a.dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want ErrExist", err)
	}
}

// TestSwappedDirectoryIsRefused is the race of TestConcurrentCopies at its worst moment: the name was seen as a directory
// and is a link inside the area when it is opened. os.Root alone would follow it into another entry.
func TestSwappedDirectoryIsRefused(t *testing.T) {
	a := newArea(t)
	mustCopy(t, a, directory(cfg+"/d"), directory(cfg+"/other"))
	parent, err := a.walk([]string{cfg}, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	seen, err := parent.Lstat("d")
	if err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(a.dir, treeDir, cfg)
	if err := errors.Join(os.Remove(filepath.Join(top, "d")), os.Symlink("other", filepath.Join(top, "d"))); err != nil {
		t.Fatal(err)
	}
	if _, err := openSeen(parent, "d", seen); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

// TestConcurrentCopies runs writers against each other, and against a container that swaps a directory for a link.
func TestConcurrentCopies(t *testing.T) {
	a := newArea(t)
	victim := t.TempDir()
	mustCopy(t, a, directory(cfg), directory(cfg+"/d"))
	top := filepath.Join(a.dir, treeDir, cfg)
	stop := make(chan struct{})
	var swapper, writers sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Rename(filepath.Join(top, "d"), filepath.Join(top, "real"))
				_ = os.Symlink(victim, filepath.Join(top, "d"))
				_ = os.Remove(filepath.Join(top, "d"))
				_ = os.Rename(filepath.Join(top, "real"), filepath.Join(top, "d"))
			}
		}
	})
	for i := range 4 {
		writers.Go(func() {
			for range 100 {
				_ = a.Copy(file(cfg+"/d/f", strings.Repeat("x", i+1))) // may be refused while the name is swapped
				if err := a.Copy(file(hosts, strings.Repeat("y", i+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	swapper.Wait()
	if got, _ := os.ReadDir(victim); len(got) != 0 {
		t.Errorf("outside the area: got %v, want nothing", got)
	}
	if got := read(t, a, hosts); strings.Trim(got, "y") != "" || got == "" {
		t.Errorf("got %q, want the content of one writer", got)
	}
}

// TestOnTmpfs runs on the file system the agent mounts: its own limits must hold, and nothing on it may run.
func TestOnTmpfs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN for mount: run the tests as root")
	}
	dir := filepath.Join(t.TempDir(), "area")
	if err := Mount(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	a, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if want := int64(unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC); st.Flags&want != want {
		t.Errorf("got flags %#x, want nosuid, nodev, noexec", st.Flags)
	}
	// As many entries as allowed fit, one more does not, and it is our limit that says so.
	mustCopy(t, a, directory(cfg))
	for i := range MaxEntries - 1 {
		name := cfg + "/" + strings.Repeat("d", 1+i%200) + string(rune('a'+i/200%26)) + string(rune('a'+i/5200))
		if err := a.Copy(file(name, "x")); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if err := a.Copy(file(cfg+"/one-more", "x")); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v, want ErrLimit", err)
	}
}
