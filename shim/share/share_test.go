package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/staging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest is a real staging area behind the agent's call. Owners are left out: only root can give files away.
type guest struct {
	t    *testing.T
	area *staging.Area

	mu    sync.Mutex
	calls int
	paths []string
	fail  error
	wake  chan struct{} // one token for each call
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	area, err := staging.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { area.Close() })
	return &guest{t: t, area: area, wake: make(chan struct{}, 1)}
}

func (g *guest) CopyFile(ctx context.Context, r *api.CopyFileRequest) (*emptypb.Empty, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	g.paths = append(g.paths, r.Path)
	if int(r.Uid) != os.Getuid() || int(r.Gid) != os.Getgid() {
		g.t.Errorf("%s: got owner %d:%d, want %d:%d", r.Path, r.Uid, r.Gid, os.Getuid(), os.Getgid())
	}
	if len(r.Data) > chunk {
		g.t.Errorf("%s: got a chunk of %d bytes, want at most %d", r.Path, len(r.Data), chunk)
	}
	err := g.fail
	if err == nil {
		err = g.area.Copy(r)
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return &emptypb.Empty{}, err
}

func (g *guest) setFail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

func (g *guest) requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}

// path is where the guest has an entry.
func (g *guest) path(source string) string {
	g.t.Helper()
	p, err := g.area.Resolve(source)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *guest) read(source string, name ...string) string {
	text, err := os.ReadFile(filepath.Join(append([]string{g.path(source)}, name...)...))
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}

// await waits until a condition holds; it looks again after each request.
func (g *guest) await(what string, holds func() bool) {
	g.t.Helper()
	for !holds() {
		select {
		case <-g.wake:
		case <-g.t.Context().Done():
			g.t.Fatalf("%s: never", what)
		}
	}
}

func newSet(t *testing.T, g *guest) (*Set, chan error) {
	t.Helper()
	failures := make(chan error, 16)
	s := New(g, "pod", OnFailure(func(_, _ string, err error) { failures <- err }))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, failures
}

// kubeletVolume writes a volume as kubelet's atomic writer does.
type kubeletVolume struct {
	t    *testing.T
	dir  string
	turn int
}

func newKubeletVolume(t *testing.T, files map[string]string) *kubeletVolume {
	v := &kubeletVolume{t: t, dir: t.TempDir()}
	v.write(files)
	return v
}

func (v *kubeletVolume) write(files map[string]string) {
	v.t.Helper()
	old, _ := os.Readlink(filepath.Join(v.dir, "..data"))
	v.turn++
	stamp := fmt.Sprintf("..2026_11_22_18_00_%02d.%09d", v.turn, v.turn)
	for name, text := range files {
		file := filepath.Join(v.dir, stamp, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			v.t.Fatal(err)
		}
	}
	if len(files) == 0 {
		v.must(os.Mkdir(filepath.Join(v.dir, stamp), 0o755))
	}
	v.must(os.Symlink(stamp, filepath.Join(v.dir, "..data_tmp")))
	v.must(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		if err := os.Symlink("..data/"+top, filepath.Join(v.dir, top)); err != nil && !errors.Is(err, fs.ErrExist) {
			v.t.Fatal(err)
		}
	}
	if old != "" {
		v.must(os.RemoveAll(filepath.Join(v.dir, old)))
	}
}

func (v *kubeletVolume) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *kubeletVolume) mount(destination string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: v.dir}
}

func file(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddFile(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	for name, text := range map[string]string{"empty": "", "small": "hello", "chunks": strings.Repeat("0123456789abcdef", 200<<10)} {
		t.Run(name, func(t *testing.T) {
			source, err := s.Add(t.Context(), "web", specs.Mount{Destination: "/dev/termination-log", Source: file(t, text)})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := staging.ParseName(source)
			if err != nil || parsed.Owner != "web" || parsed.Base != "termination-log" {
				t.Errorf("got %q: %+v and %v", source, parsed, err)
			}
			if got := g.read(source); got != text {
				t.Errorf("got %d bytes, want %d", len(got), len(text))
			}
			st, err := os.Stat(g.path(source))
			if err != nil || st.Mode().Perm() != 0o640 {
				t.Errorf("got mode %v and %v, want 0640", st.Mode(), err)
			}
		})
	}
}

func TestAddKubeletVolume(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"mode": "fast", "deep/er/key": "k"})
	source, err := s.Add(t.Context(), "web", v.mount("/etc/app config"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(source, "-app_config") {
		t.Errorf("got source %q, want it to end as the destination", source)
	}
	for name, want := range map[string]string{"mode": "fast", "deep/er/key": "k", "..data/mode": "fast"} {
		if got := g.read(source, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestAddManyFiles: more than are kept open at a time.
func TestAddManyFiles(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	files := map[string]string{}
	for i := range maxOpen + 20 {
		files[fmt.Sprintf("f%03d", i)] = fmt.Sprint(i)
	}
	source, err := s.Add(t.Context(), "web", newKubeletVolume(t, files).mount("/many"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got := g.read(source, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if want := 2*len(files) + 3; s.used.entries != want {
		t.Errorf("got %d entries, want %d", s.used.entries, want)
	}
}

func TestAddPlainDirectory(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/sub", 0o750), os.WriteFile(dir+"/sub/one", []byte("1"), 0o600), os.Symlink("sub/one", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	source, err := s.Add(t.Context(), "web", specs.Mount{Destination: "/data", Source: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := g.read(source, "link"); got != "1" {
		t.Errorf("got %q through the link", got)
	}
	st, err := os.Stat(filepath.Join(g.path(source), "sub"))
	if err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("got %v and %v, want mode 0750", st, err)
	}
	if err := os.WriteFile(dir+"/two", []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.await("the new file", func() bool { return g.read(source, "two") == "2" })
}

func TestRefresh(t *testing.T) {
	g := newGuest(t)
	s, failures := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"token": "1"})
	one, err := s.Add(t.Context(), "web", v.mount("/token"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Add(t.Context(), "side", v.mount("/token"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 30; i++ {
		want := fmt.Sprint(i)
		v.write(map[string]string{"token": want, "extra": want})
		if i%3 == 0 {
			continue // swaps follow one another
		}
		for _, source := range []string{one, two} {
			g.await("refresh "+want, func() bool { return g.read(source, "token") == want && g.read(source, "extra") == want })
		}
	}
	for _, source := range []string{one, two} {
		entries, err := os.ReadDir(g.path(source))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 4 {
			t.Errorf("got %v, want two keys, the link and one directory", entries)
		}
	}
	select {
	case err := <-failures:
		t.Errorf("a refresh failed: %v", err)
	default:
	}
}

// TestRefreshSendsOnlyWhatChanged: events that change nothing send nothing.
func TestRefreshSendsOnlyWhatChanged(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"a": "1", "b": "2"})
	source, err := s.Add(t.Context(), "web", v.mount("/c"))
	if err != nil {
		t.Fatal(err)
	}
	before := g.requests()
	// A file that is no part of the volume, then a swap: both come through the same watch, in order.
	v.must(os.WriteFile(filepath.Join(v.dir, "..other"), nil, 0o600))
	v.write(map[string]string{"a": "3"})
	g.await("the swap", func() bool { return g.read(source, "a") == "3" })
	if got := g.requests() - before; got != 3 {
		t.Errorf("got %d requests, want the directory, the file and the link: %q", got, g.paths[before:])
	}
}

func TestRefreshFailure(t *testing.T) {
	g := newGuest(t)
	s, failures := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"a": "1"})
	source, err := s.Add(t.Context(), "web", v.mount("/c"))
	if err != nil {
		t.Fatal(err)
	}
	g.setFail(errors.New("told to fail"))
	v.write(map[string]string{"a": "2"})
	select {
	case err := <-failures:
		if !strings.Contains(err.Error(), `"/c"`) || !strings.Contains(err.Error(), "told to fail") {
			t.Errorf("got %v, want the mount and the reason", err)
		}
	case <-t.Context().Done():
		t.Fatal("no failure was told")
	}
	if got := g.read(source, "a"); got != "1" {
		t.Errorf("got %q, want what was there", got)
	}
	g.setFail(nil)
	v.write(map[string]string{"a": "3"})
	g.await("the next swap", func() bool { return g.read(source, "a") == "3" })
}

func TestAddRefuses(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := errors.Join(os.WriteFile(big, nil, 0o600), os.Truncate(big, staging.MaxBytes+1)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(big, link); err != nil {
		t.Fatal(err)
	}
	pipe := t.TempDir()
	if err := unix.Mkfifo(pipe+"/p", 0o600); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Symlink("../outside", outside+"/..data"); err != nil {
		t.Fatal(err)
	}
	climbing := t.TempDir()
	if err := os.Symlink("../../etc/passwd", climbing+"/x"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ source, id, want string }{
		"too-large":    {big, "web", "too large"},
		"link":         {link, "web", ""},
		"pipe":         {pipe, "web", "want files, directories and links"},
		"pipe-itself":  {pipe + "/p", "web", "want a file or a directory"},
		"data-outside": {outside, "web", "want a directory beside it"},
		"link-outside": {climbing, "web", "leaves its entry"},
		"none":         {"/no/such", "web", "no such file"},
		"bad-id":       {big, "a/b", "want the form"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSet(t, newGuest(t))
			_, err := s.Add(t.Context(), c.id, specs.Mount{Destination: "/etc/keys", Source: c.source})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"/etc/keys"`) {
				t.Errorf("got %v, want an error with %q that names the mount", err, c.want)
			}
			if s.used != (usage{}) || len(s.volumes) != 0 {
				t.Errorf("%+v and %d mounts are left", s.used, len(s.volumes))
			}
		})
	}
}

// TestAddFollowsNoLinkToVolume: whoever can put a link in the place of a directory above a volume does not choose what the guest is given.
func TestAddFollowsNoLinkToVolume(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	secret := filepath.Dir(file(t, "of the host"))
	dir := t.TempDir()
	if err := os.Symlink(filepath.Dir(secret), filepath.Join(dir, "pods")); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(dir, "pods", filepath.Base(secret))
	for _, source := range []string{directory, filepath.Join(directory, "file")} {
		m := specs.Mount{Destination: "/etc/config", Source: source}
		if _, err := s.Add(t.Context(), "web", m); err == nil || !strings.Contains(err.Error(), "leads through a link") {
			t.Errorf("%q: got %v, want that its path leads through a link", source, err)
		}
	}
	if n := g.requests(); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}

func TestAddTooMuchInAll(t *testing.T) {
	s, _ := newSet(t, newGuest(t))
	half := filepath.Join(t.TempDir(), "half")
	if err := errors.Join(os.WriteFile(half, nil, 0o600), os.Truncate(half, staging.MaxBytes/2+page)); err != nil {
		t.Fatal(err)
	}
	m := specs.Mount{Destination: "/half", Source: half}
	if _, err := s.Add(t.Context(), "web", m); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "side", m); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v, want the pod's limit", err)
	}
	s.Remove("web")
	if s.used != (usage{}) || len(s.volumes) != 0 {
		t.Errorf("%+v is left after Remove", s.used)
	}
}

func TestRemoveStopsWatching(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"a": "1"})
	gone, err := s.Add(t.Context(), "gone", v.mount("/c"))
	if err != nil {
		t.Fatal(err)
	}
	stays, err := s.Add(t.Context(), "stays", v.mount("/c"))
	if err != nil {
		t.Fatal(err)
	}
	s.Remove("gone")
	v.write(map[string]string{"a": "2"})
	g.await("the other container's refresh", func() bool { return g.read(stays, "a") == "2" })
	if got := g.read(gone, "a"); got != "1" {
		t.Errorf("got %q, want what was there when the container went", got)
	}
	s.Remove("stays")
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if len(s.watch.byDesc) != 0 || len(s.watch.desc) != 0 {
		t.Error("a watch is left")
	}
}

func TestVolumeDirectoryGoes(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"a": "1"})
	other := newKubeletVolume(t, map[string]string{"a": "1"})
	if _, err := s.Add(t.Context(), "web", v.mount("/c")); err != nil {
		t.Fatal(err)
	}
	source, err := s.Add(t.Context(), "web", other.mount("/d"))
	if err != nil {
		t.Fatal(err)
	}
	v.must(os.RemoveAll(v.dir))
	other.write(map[string]string{"a": "2"})
	g.await("the other volume's refresh", func() bool { return g.read(source, "a") == "2" })
	s.Remove("web")
}

func TestClose(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	v := newKubeletVolume(t, map[string]string{"a": "1"})
	if _, err := s.Add(t.Context(), "web", v.mount("/c")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Add(t.Context(), "web", v.mount("/d")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	s.Remove("web")
	before := g.requests()
	v.write(map[string]string{"a": "2"})
	if got := g.requests(); got != before {
		t.Errorf("got %d requests after Close", got-before)
	}
}

// TestCloseDuringRefresh: a request that hangs is cancelled.
func TestCloseDuringRefresh(t *testing.T) {
	started := make(chan struct{})
	var once sync.Once
	hang := false
	var mu sync.Mutex
	c := copier(func(ctx context.Context) error {
		mu.Lock()
		h := hang
		mu.Unlock()
		if !h {
			return nil
		}
		once.Do(func() { close(started) })
		<-ctx.Done()
		return ctx.Err()
	})
	s := New(c, "pod")
	v := newKubeletVolume(t, map[string]string{"a": "1"})
	if _, err := s.Add(t.Context(), "web", v.mount("/c")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	hang = true
	mu.Unlock()
	v.write(map[string]string{"a": "2"})
	<-started
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type copier func(ctx context.Context) error

func (c copier) CopyFile(ctx context.Context, _ *api.CopyFileRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, c(ctx)
}

func TestAddHosts(t *testing.T) {
	g := newGuest(t)
	s, _ := newSet(t, g)
	text := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\nfe00::0\tip6-localnet\n10.244.1.5\tweb-7d4b9\n\n" +
		"# Entries added by HostAliases.\n1.2.3.4\tdb db.local\r\n0.0.0.0 ads\nnonsense here\n"
	source, err := s.Add(t.Context(), "web", specs.Mount{Destination: "/etc/hosts", Source: file(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := g.read(source), "10.244.1.5\tweb-7d4b9\n1.2.3.4\tdb db.local\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.Add(t.Context(), "web", specs.Mount{Destination: "/etc/hosts", Source: file(t, strings.Repeat("x", maxHosts+1))}); err == nil {
		t.Error("a hosts file over the limit was taken")
	}
	many := bytes.Repeat([]byte("1.2.3.4 a\n"), maxAliases+1)
	if got := bytes.Count(hostLines(many), []byte("\n")); got != maxAliases {
		t.Errorf("got %d lines, want %d", got, maxAliases)
	}
}

func TestEventsOfALostQueue(t *testing.T) {
	w := &watcher{byDesc: map[int32]map[*volume]bool{}, desc: map[*volume]int32{}}
	one, two := &volume{}, &volume{}
	w.byDesc[1], w.byDesc[2] = map[*volume]bool{one: true}, map[*volume]bool{two: true}
	event := make([]byte, unix.SizeofInotifyEvent)
	event[0], event[1], event[2], event[3] = 0xff, 0xff, 0xff, 0xff
	event[5] = byte(unix.IN_Q_OVERFLOW >> 8)
	if got := w.changed(event); len(got) != 2 || !slices.Contains(got, one) || !slices.Contains(got, two) {
		t.Errorf("got %d volumes, want both", len(got))
	}
	if got := w.changed([]byte{1, 2, 3}); got != nil {
		t.Errorf("got %v of a piece of an event", got)
	}
}
