package nodeinstall

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// attributes are what an edit must leave as they are.
func attributes(t *testing.T, o Options, path string) (mode os.FileMode, uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(filepath.Join(o.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return info.Mode(), st.Uid, st.Gid
}

// A configuration that is a link, as configuration management makes them, stays a link; owner and mode of what it names stay too.
func TestEditOfALink(t *testing.T) {
	const target = "/srv/managed/containerd.toml"
	o := host(t, "")
	put(t, o, target, sample(t, "kubeadm"))
	managed, link := filepath.Join(o.Root, target), filepath.Join(o.Root, o.Containerd)
	owner := uint32(os.Getuid())
	if owner == 0 {
		owner = 4321
	}
	if err := errors.Join(os.Chown(managed, int(owner), -1), os.Chmod(managed, 0o640), os.Symlink("../../srv/managed/containerd.toml", link)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, o.Root)
	look := func(when string) {
		t.Helper()
		if mode, _, _ := attributes(t, o, o.Containerd); mode&os.ModeSymlink == 0 {
			t.Errorf("%s: %q got mode %v, want the link", when, o.Containerd, mode)
		}
		if mode, uid, _ := attributes(t, o, target); mode != 0o640 || uid != owner {
			t.Errorf("%s: %q got mode %v of user %d, want %v of %d", when, target, mode, uid, os.FileMode(0o640), owner)
		}
	}
	install(t, o)
	look("after an installation")
	if !strings.Contains(get(t, o, target), "added by cloister node install") {
		t.Error("the file that the link names has no import")
	}
	if mode, uid, _ := attributes(t, o, o.Containerd+backupSuffix); mode != 0o640 || uid != owner {
		t.Errorf("backup: got mode %v of user %d, want %v of %d", mode, uid, os.FileMode(0o640), owner)
	}
	if _, err := Uninstall(o.Root, false); err != nil {
		t.Fatal(err)
	}
	look("after its end")
	if after := snapshot(t, o.Root); !maps.Equal(before, after) {
		t.Errorf("got %v, want all as before", after)
	}
}

// A link out of the node's directory is not followed: what it names belongs to another machine.
func TestEditOfALinkToElsewhere(t *testing.T) {
	o := host(t, "")
	elsewhere := filepath.Join(t.TempDir(), "config.toml")
	if err := errors.Join(os.WriteFile(elsewhere, []byte(sample(t, "kubeadm")), 0o600), os.Symlink(elsewhere, filepath.Join(o.Root, o.Containerd))); err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(o); err == nil || !strings.Contains(err.Error(), elsewhere) {
		t.Errorf("got %v, want a refusal that names %q", err, elsewhere)
	}
}

// A backup that an installation did not make, of an earlier one whose record is gone or of the user's own, stays as it is.
func TestForeignBackup(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	foreign := o.Containerd + backupSuffix
	put(t, o, foreign, "the only copy")
	before := snapshot(t, o.Root)
	install(t, o)
	if got := get(t, o, foreign); got != "the only copy" {
		t.Errorf("%q: got %q, want it as it was", foreign, got)
	}
	if got := get(t, o, foreign+".1"); got != sample(t, "kubeadm") {
		t.Errorf("%q: got %q, want the file before its edit", foreign+".1", got)
	}
	if _, err := Uninstall(o.Root, false); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, o.Root); !maps.Equal(before, after) {
		t.Errorf("got %v, want all as before", after)
	}
}

// A file whose import was taken out is edited again; the backup is of the file before this edit, and there is one.
func TestSecondEdit(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	install(t, o)
	second := sample(t, "kubeadm") + "\noom_score = -999\n"
	put(t, o, o.Containerd, second)
	install(t, o)
	if got := get(t, o, o.Containerd+backupSuffix); got != second {
		t.Errorf("backup: got %q, want the file before its second edit", got)
	}
	if _, err := os.Lstat(filepath.Join(o.Root, o.Containerd+backupSuffix+".1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a second backup: got %v, want none", err)
	}
	if _, err := Uninstall(o.Root, false); err != nil {
		t.Fatal(err)
	}
	if got := get(t, o, o.Containerd); got != second {
		t.Errorf("got %q, want the file before its second edit", got)
	}
}
