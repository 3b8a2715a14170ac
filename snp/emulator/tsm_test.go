package emulator

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	tsmreport "github.com/google/go-configfs-tsm/report"

	"github.com/cloister-cc/cloister/snp"
)

// mountTSM serves a processor and returns the report directory.
func mountTSM(t *testing.T, edit func(*TEEParams)) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a FUSE tree needs root: run the tests as root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse: modprobe fuse, or give the container that device")
	}
	p := testParams(t, DefaultIdentity())
	if edit != nil {
		edit(&p)
	}
	proc, err := NewProcessor(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d, err := ServeTSM(proc, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return filepath.Join(dir, "tsm", "report")
}

// step is one access to an entry and what must come of it.
type step struct {
	write, read string
	data        string
	want        string
	errno       syscall.Errno
}

func TestTSMSemantics(t *testing.T) {
	nonce, other := strings.Repeat("n", 64), strings.Repeat("m", 64)
	for _, c := range []struct {
		name  string
		floor uint32
		steps []step
	}{
		{"fresh entry", 0, []step{
			{read: "provider", want: "sev_guest\n"},
			{read: "generation", want: "0\n"},
			{read: "privlevel_floor", want: "0\n"},
			{read: "outblob", errno: syscall.EINVAL},
			{read: "auxblob", errno: syscall.EINVAL},
		}},
		{"generation counts writes", 0, []step{
			{write: "inblob", data: nonce},
			{read: "generation", want: "1\n"},
			{write: "inblob", data: other},
			{read: "generation", want: "2\n"},
			{write: "privlevel", data: "1"},
			{read: "generation", want: "3\n"},
			{read: "outblob", want: other},
			{read: "generation", want: "3\n"},
		}},
		{"refused writes do not count", 0, []step{
			{write: "inblob", data: nonce + "x", errno: syscall.EFBIG},
			{write: "privlevel", data: "4", errno: syscall.EINVAL},
			{write: "privlevel", data: "x", errno: syscall.EINVAL},
			{read: "generation", want: "0\n"},
		}},
		{"short nonce", 0, []step{
			{write: "inblob", data: nonce[:63]}, {read: "generation", want: "1\n"}, {read: "outblob", errno: syscall.EINVAL},
		}},
		{"below the floor", 2, []step{
			{read: "privlevel_floor", want: "2\n"},
			{write: "privlevel", data: "1", errno: syscall.EINVAL},
			{write: "privlevel", data: "3"},
			{write: "inblob", data: nonce},
			{read: "outblob", want: nonce},
		}},
		{"wrong direction", 0, []step{
			{write: "outblob", data: "x", errno: syscall.EACCES},
			{read: "inblob", errno: syscall.EACCES},
			{read: "privlevel", errno: syscall.EACCES},
			{write: "generation", data: "9", errno: syscall.EACCES},
			{read: "nothing", errno: syscall.ENOENT},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp(mountTSM(t, func(p *TEEParams) { p.VMPLFloor = c.floor }), "e-")
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range c.steps {
				runStep(t, dir, i, s)
			}
		})
	}
}

func runStep(t *testing.T, dir string, i int, s step) {
	t.Helper()
	var err error
	var got []byte
	name := s.read
	if s.write != "" {
		name = s.write
		err = os.WriteFile(filepath.Join(dir, s.write), []byte(s.data), 0)
	} else {
		got, err = os.ReadFile(filepath.Join(dir, s.read))
	}
	if errnoOf(err) != s.errno {
		t.Errorf("step %d, %s: got %v, want %v", i, name, err, s.errno)
		return
	}
	if name == "outblob" && err == nil {
		r, err := snp.ParseReport(got)
		if err != nil || string(r.ReportData[:]) != s.want {
			t.Errorf("step %d: got a report over %q (%v), want %q", i, r.ReportData, err, s.want)
		}
		return
	}
	if s.read != "" && err == nil && string(got) != s.want {
		t.Errorf("step %d, %s: got %q, want %q", i, name, got, s.want)
	}
}

func TestTSMCachesBlobs(t *testing.T) {
	dir := filepath.Join(mountTSM(t, nil), "e")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); !os.IsExist(err) {
		t.Errorf("second mkdir: got %v, want EEXIST", err)
	}
	read := func() []byte {
		b, err := os.ReadFile(filepath.Join(dir, "outblob"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func() {
		if err := os.WriteFile(filepath.Join(dir, "inblob"), make([]byte, 64), 0); err != nil {
			t.Fatal(err)
		}
	}
	write()
	first := read()
	if !bytes.Equal(first, read()) {
		t.Error("the same generation gave two reports")
	}
	write()
	if bytes.Equal(first, read()) { // signatures are random
		t.Error("a new generation gave the old report")
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != len(attributes) {
		t.Errorf("got %d attributes %v, want %d", len(names), err, len(attributes))
	}
	if err := os.Remove(filepath.Join(dir, "inblob")); err == nil {
		t.Error("an attribute could be unlinked")
	}
	if err := syscall.Rmdir(filepath.Dir(dir)); err != syscall.EPERM {
		t.Errorf("rmdir of the report directory: got %v, want EPERM", err)
	}
	if err := syscall.Rmdir(dir); err != nil {
		t.Errorf("rmdir: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "outblob")); !os.IsNotExist(err) {
		t.Errorf("after rmdir: got %v, want ENOENT", err)
	}
}

// rebased is the file system as go-configfs-tsm uses it, with its fixed root somewhere else.
type rebased struct{ root string }

func (r rebased) path(p string) string {
	return filepath.Join(r.root, strings.TrimPrefix(p, configfsi.TsmPrefix))
}

func (r rebased) back(p string) string { return configfsi.TsmPrefix + strings.TrimPrefix(p, r.root) }

func (r rebased) MkdirTemp(dir, pattern string) (string, error) {
	p, err := os.MkdirTemp(r.path(dir), pattern)
	return r.back(p), err
}
func (r rebased) ReadFile(name string) ([]byte, error)       { return os.ReadFile(r.path(name)) }
func (r rebased) WriteFile(name string, b []byte) error      { return os.WriteFile(r.path(name), b, 0o220) }
func (r rebased) RemoveAll(p string) error                   { return syscall.Rmdir(r.path(p)) }
func (r rebased) ReadDir(name string) ([]os.DirEntry, error) { return os.ReadDir(r.path(name)) }

// TestTSMWithGoConfigfsTSM asks through Google's client, unmodified.
func TestTSMWithGoConfigfsTSM(t *testing.T) {
	root := filepath.Dir(mountTSM(t, nil))
	var nonce [64]byte
	copy(nonce[:], "hello")
	resp, err := tsmreport.Get(rebased{root}, &tsmreport.Request{InBlob: nonce[:], GetAuxBlob: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := snp.ParseReport(resp.OutBlob)
	if err != nil || r.ReportData != nonce || resp.Provider != "sev_guest\n" {
		t.Errorf("got %v, provider %q", err, resp.Provider)
	}
	if certs, err := snp.ParseCerts(resp.AuxBlob); err != nil || len(certs) != 3 {
		t.Errorf("certificates: got %d %v, want 3", len(certs), err)
	}
}

func TestTSMGenerationDoesNotWrap(t *testing.T) {
	proc, err := NewProcessor(testParams(t, DefaultIdentity()))
	if err != nil {
		t.Fatal(err)
	}
	e, errno := newTSMState(proc).make("e")
	if errno != 0 {
		t.Fatal(errno)
	}
	e.write, e.read = 6, 7 // one write before the generation that was read
	if err := e.setInblob(make([]byte, 64)); err != syscall.EBUSY {
		t.Errorf("got %v, want EBUSY", err)
	}
}

func TestTSMEntriesAreBounded(t *testing.T) {
	report := mountTSM(t, func(p *TEEParams) { p.Entries = 1 })
	first, second := filepath.Join(report, "a"), filepath.Join(report, "b")
	if err := os.Mkdir(first, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(second, 0o700); errnoOf(err) != syscall.ENOSPC {
		t.Errorf("second entry: got %v, want %v", err, syscall.ENOSPC)
	}
	if err := syscall.Rmdir(first); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Errorf("after the first was removed: %v", err)
	}
}
