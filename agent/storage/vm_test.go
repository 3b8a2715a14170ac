package storage

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/storage/internal/check"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// guestVM is a booted guest image with storagecheck in the agent's place.
type guestVM struct {
	t      *testing.T
	vm     *qemu.VM
	client *rpc.Client
	dir    string
}

// vmLayer is a layer disk on the host.
type vmLayer struct {
	path string
	layer.Result
}

// TestInVM is where dm-verity, the kernel's ext4 and hotplug are real. The host's part, changing a disk at the worst moment,
// is played by the test.
func TestInVM(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a VM: run without -short")
	}
	if raceEnabled {
		// What it would watch is the building of the image, which guest's tests show it; the code that is tested runs in the VM.
		t.Skip("the VM's programs are built without the race detector: run without -race")
	}
	if _, err := exec.LookPath(qemu.Program); err != nil {
		t.Skipf("no %s: apt-get install qemu-system-x86", qemu.Program)
	}
	blk := makeLayer(t, tarFile{name: "on-virtio-blk", body: "yes"})
	g := bootGuest(t, blk.path)
	before := g.state()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *guestVM)
	}{
		{"layers-and-overlay", testLayersAndOverlay},
		{"virtio-blk", func(t *testing.T, g *guestVM) { testVirtioBlk(t, g, blk) }},
		{"flipped-data-byte", testFlippedData},
		{"flipped-superblock-byte", testFlippedSuperblock},
		{"superblock-differs-at-first", testSuperblockAtFirst},
		{"flipped-tree", testFlippedTree},
		{"swapped-between-approval-and-mount", testSwapped},
		{"tree-swapped-between-approval-and-mount", testTreeSwapped},
		{"busy", testBusy},
		{"unplugged-while-mounted", testUnplugged},
		{"removed-between-approval-and-mount", testRemoved},
		{"many-times", testManyTimes},
		{"scratch-disk", testScratchDisk},
		{"scratch-disk-changed", testScratchDiskChanged},
		{"scratch-disk-refused", testScratchDiskRefused},
		{"scratch-disk-unplugged", testScratchDiskUnplugged},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.t = t
			c.run(t, g)
			after := g.state()
			if len(after.Held) > 0 || len(after.Devices) > 0 || after.Mounts != before.Mounts {
				t.Errorf("left behind: got %+v, want as before %+v", after, before)
			}
			if after.Descriptors > before.Descriptors+1 || after.Goroutines > before.Goroutines+1 { // the mapper's control device
				t.Errorf("leaked: got %+v, before %+v", after, before)
			}
		})
	}
}

type tarFile struct {
	name, link, body string
	kind             byte
	mode             int64
	note             string
}

func makeLayer(t *testing.T, files ...tarFile) vmLayer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Linkname: f.link, Typeflag: f.kind, Mode: f.mode, Size: int64(len(f.body))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if f.note != "" {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.note": f.note}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := layer.Convert(t.Context(), &b, f, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return vmLayer{f.Name(), res}
}

// overwrite changes a disk under the guest's feet.
func (l vmLayer) overwrite(t *testing.T, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(l.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, at); err != nil {
		t.Fatal(err)
	}
}

func (l vmLayer) flip(t *testing.T, at int64) {
	t.Helper()
	b, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	l.overwrite(t, at, []byte{b[at] ^ 0x40})
}

// find returns where the content of a file is on the disk.
func (l vmLayer) find(t *testing.T, content string) int64 {
	t.Helper()
	b, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(content))
	if at < 0 {
		t.Fatal("the content is not on the disk")
	}
	return int64(at)
}

func bootGuest(t *testing.T, blkDisk string) *guestVM {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("", "clstor-") // its sockets' paths must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "storagecheck")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./internal/storagecheck")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build storagecheck: %v\n%s", err, out)
	}
	image := filepath.Join(dir, "image")
	if _, err := guest.Build(ctx, guest.Options{Out: image, Source: "../..", Agent: program}); err != nil {
		t.Fatal(err)
	}
	kernel, err := guest.VMLinux(filepath.Join(image, guest.FileKernel))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "vm")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	config := vm.Config{
		ID: "storage-test", Dir: state, Kernel: kernel, Initrd: filepath.Join(image, guest.FileInitrd), Cmdline: guest.Cmdline,
		VCPUs: 1, MemoryMiB: 512, TEE: vm.TEENone, InitdataDisk: blkDisk, Console: filepath.Join(dir, "console"), Accel: "tcg",
	}
	machine, err := qemu.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("stop: %v", err)
		}
		if console, err := os.ReadFile(config.Console); t.Failed() && err == nil {
			t.Logf("console:\n%s", console)
		}
	})
	conn, err := machine.Dial(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	client := rpc.NewClientWithCodec(jsonrpc.NewClientCodec(conn))
	t.Cleanup(func() { client.Close() })
	return &guestVM{t: t, vm: machine, client: client, dir: dir}
}

func (g *guestVM) call(method string, args, out any) {
	g.t.Helper()
	call := g.client.Go(check.ServiceName+"."+method, args, out, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			g.t.Fatalf("%s: %v", method, call.Error)
		}
	case <-time.After(time.Minute):
		g.t.Fatalf("%s: no answer", method)
	}
}

func (g *guestVM) state() check.State {
	g.t.Helper()
	var s check.State
	g.call("State", 0, &s)
	return s
}

func (g *guestVM) plug(l vmLayer) vm.Address {
	g.t.Helper()
	a, err := g.vm.Plug(g.t.Context(), vm.Disk{Path: l.path, ReadOnly: true})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = g.vm.Unplug(context.Background(), a) // unless the test did it already
	})
	return a
}

func (g *guestVM) open(driver, source string) check.Opened {
	g.t.Helper()
	var o check.Opened
	g.call("Open", check.OpenArgs{Driver: driver, Source: source}, &o)
	return o
}

// candidate opens a plugged disk, which must succeed.
func (g *guestVM) candidate(a vm.Address) check.Opened {
	g.t.Helper()
	o := g.open("scsi", a.String())
	g.must("open", o.Outcome)
	return o
}

func (g *guestVM) must(what string, o check.Outcome) check.Outcome {
	g.t.Helper()
	if o.Err != "" {
		g.t.Fatalf("%s: %s", what, o.Err)
	}
	return o
}

func (g *guestVM) layer(c check.Opened, target string) check.Outcome {
	g.t.Helper()
	var o check.Outcome
	g.call("Layer", check.LayerArgs{Candidate: c.ID, Target: target}, &o)
	return o
}

func (g *guestVM) close(c check.Opened) {
	g.t.Helper()
	var o check.Outcome
	g.call("CloseCandidate", c.ID, &o)
	g.must("close", o)
}

func (g *guestVM) unmount(id int) check.Outcome {
	g.t.Helper()
	var o check.Outcome
	g.call("Unmount", id, &o)
	return o
}

func (g *guestVM) read(path string, drop bool) check.File {
	g.t.Helper()
	var f check.File
	g.call("Read", check.FileArgs{Path: path, Drop: drop}, &f)
	return f
}

const (
	m0 = "/run/mounts/scsi/m0"
	m1 = "/run/mounts/scsi/m1"
)

func testLayersAndOverlay(t *testing.T, g *guestVM) {
	base := makeLayer(t, tarFile{name: "etc/", kind: tar.TypeDir}, tarFile{name: "etc/hello", body: "hello", note: "kept"}, tarFile{name: "etc/old", body: "old"},
		tarFile{name: "dir/", kind: tar.TypeDir}, tarFile{name: "dir/hidden", body: "x"}, tarFile{name: "su", mode: 0o4755, body: "suid"},
		tarFile{name: "hard", kind: tar.TypeLink, link: "su"})
	top := makeLayer(t, tarFile{name: "etc/", kind: tar.TypeDir}, tarFile{name: "etc/.wh.old"}, tarFile{name: "dir/", kind: tar.TypeDir},
		tarFile{name: "dir/.wh..wh..opq"}, tarFile{name: "dir/shown", body: "y"})
	cb, ct := g.candidate(g.plug(base)), g.candidate(g.plug(top))
	if cb.Root != base.RootHash.String() || ct.Root != top.RootHash.String() {
		t.Errorf("roots: got %s and %s, want %s and %s", cb.Root, ct.Root, base.RootHash, top.RootHash)
	}
	lb, lt := g.must("mount base", g.layer(cb, m0)), g.must("mount top", g.layer(ct, m1))
	g.close(cb)
	g.close(ct)
	t.Logf("open %.1f and %.1f ms, activate and mount %.1f and %.1f ms", cb.Millis, ct.Millis, lb.Millis, lt.Millis)
	var scratch, overlay check.Outcome
	g.call("Scratch", check.ScratchArgs{Dir: "/run/gcs/c/k/scratch", Size: 1 << 20}, &scratch)
	g.must("scratch", scratch)
	root := "/run/gcs/c/k/rootfs"
	g.call("Overlay", check.OverlayArgs{Lowers: []string{m1, m0}, Upper: "/run/gcs/c/k/scratch/upper", Work: "/run/gcs/c/k/scratch/work", Target: root}, &overlay)
	g.must("overlay", overlay)
	for _, c := range []struct {
		path, content, names string
		absent               bool
	}{
		{path: "/etc", names: "hello"},
		{path: "/etc/hello", content: "hello"},
		{path: "/etc/old", absent: true},
		{path: "/dir", names: "shown"},
		{path: "/hard", content: "suid"},
	} {
		f := g.read(root+c.path, false)
		if c.absent != (unix.Errno(f.Errno) == unix.ENOENT) || string(f.Content) != c.content || strings.Join(f.Names, " ") != c.names {
			t.Errorf("%s: got %q, %q, %s, want %q, %q", c.path, f.Content, f.Names, f.Err, c.content, c.names)
		}
	}
	if f := g.read(root+"/su", false); f.Mode&unix.S_ISUID == 0 || f.Links != 2 {
		t.Errorf("su: got mode %o and %d links, want set-user-id and 2", f.Mode, f.Links)
	}
	if f := g.read(root+"/etc/hello", false); f.Xattr != "kept" {
		t.Errorf("user.note: got %q, want kept", f.Xattr)
	}
	var w check.Outcome
	g.call("Write", check.FileArgs{Path: root + "/etc/hello", Content: []byte("changed")}, &w)
	g.must("write through the overlay", w)
	g.call("Write", check.FileArgs{Path: m0 + "/etc/hello", Content: []byte("changed")}, &w)
	if unix.Errno(w.Errno) != unix.EROFS {
		t.Errorf("write to a layer: got %q, want %v", w.Err, unix.EROFS)
	}
	if got := g.unmount(lb.ID); got.Err == "" {
		// The overlay holds its own reference: the mount point goes, the device must not.
		t.Error("a layer below a mounted overlay was removed")
	} else if !got.Unknown || unix.Errno(got.Errno) != unix.EBUSY {
		t.Errorf("unmount a layer below an overlay: got %+v, want EBUSY and an unknown state", got)
	}
	g.must("unmount overlay", g.unmount(overlay.ID))
	g.must("unmount scratch", g.unmount(scratch.ID))
	g.must("unmount top", g.unmount(lt.ID))
	g.must("unmount base, again", g.unmount(lb.ID))
}

func testVirtioBlk(t *testing.T, g *guestVM, l vmLayer) {
	absent := g.open("blk", "1f/00") // loads the driver
	if !strings.Contains(absent.Err, "deadline exceeded") {
		t.Errorf("a disk that is not there: got %+v", absent)
	}
	var slot string
	g.call("BlkSlot", 0, &slot)
	c := g.open("blk", slot)
	g.must("open slot "+slot, c.Outcome)
	if c.Root != l.RootHash.String() {
		t.Errorf("root: got %s, want %s", c.Root, l.RootHash)
	}
	m := g.must("mount", g.layer(c, m0))
	g.close(c)
	if f := g.read(m0+"/on-virtio-blk", false); string(f.Content) != "yes" {
		t.Errorf("read: got %q, %s", f.Content, f.Err)
	}
	g.must("unmount", g.unmount(m.ID))
}

// One byte of a file is not what was approved: the root is the approved one, so the disk mounts, and that block reads EIO.
func testFlippedData(t *testing.T, g *guestVM) {
	body := strings.Repeat("some text of the file ", 1000)
	l := makeLayer(t, tarFile{name: "bad", body: body}, tarFile{name: "good", body: "good"})
	l.flip(t, l.find(t, body[:2000])+9000)
	c := g.candidate(g.plug(l))
	if c.Root != l.RootHash.String() {
		t.Errorf("root: got %s, want %s", c.Root, l.RootHash)
	}
	m := g.must("mount", g.layer(c, m0))
	g.close(c)
	if f := g.read(m0+"/bad", false); unix.Errno(f.Errno) != unix.EIO {
		t.Errorf("read the flipped block: got %d bytes, %q, want %v", len(f.Content), f.Err, unix.EIO)
	}
	if f := g.read(m0+"/good", false); string(f.Content) != "good" {
		t.Errorf("read another file: got %q, %s", f.Content, f.Err)
	}
	g.must("unmount", g.unmount(m.ID))
}

// The first block is used (for the size) before it is verified; activation must find what is wrong with it.
func testFlippedSuperblock(t *testing.T, g *guestVM) {
	l := makeLayer(t, tarFile{name: "a", body: "a"})
	l.flip(t, 1024+0x78) // the volume name
	c := g.candidate(g.plug(l))
	if got := g.layer(c, m0); got.Err == "" || got.Unknown {
		t.Errorf("mounted: %+v", got)
	} else {
		t.Log(got.Err)
	}
	g.close(c)
}

// The host shows another superblock while the disk is inspected, and the approved one from then on: the disk verifies, but it
// is not the one that was looked at.
func testSuperblockAtFirst(t *testing.T, g *guestVM) {
	l := makeLayer(t, tarFile{name: "a", body: "a"})
	l.flip(t, 1024+0x78)
	c := g.candidate(g.plug(l))
	l.flip(t, 1024+0x78)
	if got := g.layer(c, m0); !got.Changed || got.Unknown {
		t.Errorf("got %+v, want %v", got, verity.ErrChanged)
	}
	g.close(c)
}

func testFlippedTree(t *testing.T, g *guestVM) {
	l := makeLayer(t, tarFile{name: "a", body: strings.Repeat("0123456789abcdef", 1<<16)})
	levels := l.Size - l.DataSize - verity.BlockSize
	if levels < 3*verity.BlockSize {
		t.Fatalf("the tree has %d bytes, want two levels", levels)
	}
	tree := l.DataSize + verity.BlockSize
	good := l.RootHash.String()
	l.flip(t, tree+5)
	a := g.plug(l)
	c := g.candidate(a)
	if c.Root == good {
		t.Error("the root does not cover the top of the tree")
	}
	g.close(c)
	l.flip(t, tree+5) // back
	l.flip(t, tree+verity.BlockSize+3)
	c = g.candidate(a)
	if c.Root != good {
		t.Errorf("root: got %s, want %s", c.Root, good)
	}
	if got := g.layer(c, m0); got.Err == "" || got.Unknown {
		t.Errorf("the tree's first hash is wrong and the disk mounts: %+v", got)
	}
	g.close(c)
}

// The host shows an approved layer, and another one when it is mounted.
func testSwapped(t *testing.T, g *guestVM) {
	l := makeLayer(t, tarFile{name: "a", body: "approved"})
	evil := makeLayer(t, tarFile{name: "a", body: "approvea"})
	if l.Size != evil.Size || l.RootHash == evil.RootHash {
		t.Fatal("the two layers must differ in content only")
	}
	c := g.candidate(g.plug(l))
	b, err := os.ReadFile(evil.path)
	if err != nil {
		t.Fatal(err)
	}
	l.overwrite(t, 0, b)
	got := g.layer(c, m0)
	if got.Unknown {
		t.Errorf("state: %+v", got)
	}
	if got.Err == "" { // allowed only if nothing of the other layer can be read
		if f := g.read(m0+"/a", true); f.Err == "" {
			t.Errorf("read %q from a disk that was swapped", f.Content)
		}
		g.must("unmount", g.unmount(got.ID))
	}
	t.Log(got.Err)
	g.close(c)
}

// Data stays, tree and superblock change: the root in the table is still the approved one.
func testTreeSwapped(t *testing.T, g *guestVM) {
	l := makeLayer(t, tarFile{name: "a", body: "approved"})
	evil := makeLayer(t, tarFile{name: "a", body: "approvea"})
	c := g.candidate(g.plug(l))
	b, err := os.ReadFile(evil.path)
	if err != nil {
		t.Fatal(err)
	}
	l.overwrite(t, l.DataSize, b[l.DataSize:])
	if got := g.layer(c, m0); got.Err == "" || got.Unknown {
		t.Errorf("mounted: %+v", got)
	}
	g.close(c)
}

func testBusy(t *testing.T, g *guestVM) {
	c := g.candidate(g.plug(makeLayer(t, tarFile{name: "a", body: "a"})))
	m := g.must("mount", g.layer(c, m0))
	g.close(c)
	var held, o check.Outcome
	g.call("Hold", check.FileArgs{Path: m0 + "/a"}, &held)
	if got := g.unmount(m.ID); unix.Errno(got.Errno) != unix.EBUSY || got.Unknown {
		t.Errorf("got %+v, want EBUSY with nothing undone", got)
	}
	g.call("LetGo", held.ID, &o)
	g.must("unmount", g.unmount(m.ID))
}

func testUnplugged(t *testing.T, g *guestVM) {
	body := strings.Repeat("x", 1<<20)
	a := g.plug(makeLayer(t, tarFile{name: "a", body: body}))
	c := g.candidate(a)
	m := g.must("mount", g.layer(c, m0))
	g.close(c)
	if err := g.vm.Unplug(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if f := g.read(m0+"/a", true); f.Err == "" && string(f.Content) != body {
		t.Error("a disk that is gone gave other bytes")
	}
	g.must("unmount", g.unmount(m.ID))
}

// The host takes the approved disk away while the approval is pending and plugs in another: the descriptor that is still open
// keeps the disk's number from it, so the table can only name the disk that was judged.
func testRemoved(t *testing.T, g *guestVM) {
	first := makeLayer(t, tarFile{name: "a", body: "first"})
	second := makeLayer(t, tarFile{name: "a", body: "other"})
	a := g.plug(first)
	c := g.candidate(a)
	if err := g.vm.Unplug(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	other := g.candidate(g.plug(second))
	if other.Root != second.RootHash.String() {
		t.Errorf("the new disk: got root %s, want %s", other.Root, second.RootHash)
	}
	if got := g.layer(c, m0); got.Err == "" || got.Unknown {
		t.Errorf("mounted: %+v", got)
	} else {
		t.Log(got.Err)
	}
	g.close(c)
	m := g.must("mount the new disk", g.layer(other, m0))
	g.close(other)
	g.must("unmount", g.unmount(m.ID))
}

func testManyTimes(t *testing.T, g *guestVM) {
	a := g.plug(makeLayer(t, tarFile{name: "a", body: "a"}))
	const rounds = 20
	var opens, mounts, unmounts []float64
	for i := range rounds {
		c := g.candidate(a)
		m := g.must("mount", g.layer(c, fmt.Sprintf("/run/mounts/scsi/n%d", i)))
		g.close(c)
		u := g.must("unmount", g.unmount(m.ID))
		opens, mounts, unmounts = append(opens, c.Millis), append(mounts, m.Millis), append(unmounts, u.Millis)
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	t.Logf("medians of %d: open %.1f ms, activate and mount %.1f ms, unmount and remove %.1f ms", rounds, median(opens), median(mounts), median(unmounts))
}
