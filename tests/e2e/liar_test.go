package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/shim/run"
)

const block = 4096

// liar is a disk file that does not answer every read of a block alike.
type liar struct {
	fs.Inode
	size int64
	// answer fills a whole block; nth counts the reads of that block from 0.
	answer func(p []byte, number int64, nth int)

	mu    sync.Mutex
	reads map[int64]int
}

var (
	_ fs.NodeGetattrer = (*liar)(nil)
	_ fs.NodeOpener    = (*liar)(nil)
	_ fs.NodeReader    = (*liar)(nil)
)

func (l *liar) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = uint64(l.size), syscall.S_IFREG|0o444
	return 0
}

// Open asks for direct I/O: the host's page cache would make an honest disk of this one.
func (l *liar) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (l *liar) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := min(int64(len(dest)), l.size-off)
	if n <= 0 {
		return fuse.ReadResultData(nil), 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var whole [block]byte
	for at := off; at < off+n; {
		number := at / block
		l.answer(whole[:], number, l.reads[number])
		l.reads[number]++
		at += int64(copy(dest[at-off:n], whole[at%block:]))
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// mountLiar puts the file into a file system of its own and returns its path.
func mountLiar(t *testing.T, l *liar) string {
	t.Helper()
	l.reads = map[int64]int{}
	dir := t.TempDir()
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: os.Geteuid() == 0, Name: "liar", FsName: "liar"},
		OnAdd: func(ctx context.Context) {
			root.AddChild("disk", root.NewPersistentInode(ctx, l, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		missing(t, "mount a FUSE file system: %v: needs /dev/fuse, and root or fusermount3 (apt-get install fuse3)", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount the disk's file system: %v", err)
		}
	})
	return filepath.Join(dir, "disk")
}

// honestAnswer serves a file's blocks.
func honestAnswer(t *testing.T, path string) (size int64, answer func(p []byte, number int64)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(data)), func(p []byte, number int64) {
		clear(p)
		if at := number * block; at < int64(len(data)) {
			copy(p, data[at:])
		}
	}
}

// TestDiskThatAnswersDifferently swaps bytes between approval and mount, and between any two reads. Whatever is refused and
// whatever fails to read, no container may see a byte that the policy's root does not cover.
func TestDiskThatAnswersDifferently(t *testing.T) {
	m := shared(t)
	img := mustImage(t)
	honest := convert(t, m.ctx, fixture(t, "hash"))[0].Disks
	evil := convert(t, m.ctx, &pod.Container{Name: "evil", Layers: []pod.Layer{img.foreign}})[0].Disks[0]
	evilBlob := mustEvilBlob(t, m, img)

	for _, c := range []struct {
		name   string
		answer func(t *testing.T) *liar
	}{
		{"second-read-of-any-block", func(t *testing.T) *liar {
			size, good := honestAnswer(t, honest[1].Path)
			return &liar{size: size, answer: func(p []byte, number int64, nth int) {
				good(p, number)
				if nth > 0 {
					p[number%block] ^= 1
				}
			}}
		}},
		{"every-second-read", func(t *testing.T) *liar {
			size, good := honestAnswer(t, honest[1].Path)
			return &liar{size: size, answer: func(p []byte, number int64, nth int) {
				good(p, number)
				if nth%2 == 1 {
					p[0] ^= 0x80
				}
			}}
		}},
		{"another-file-system-after-the-first-read", func(t *testing.T) *liar {
			size, good := honestAnswer(t, honest[1].Path)
			_, bad := honestAnswer(t, evil.Path)
			return &liar{size: size, answer: func(p []byte, number int64, nth int) {
				if nth == 0 {
					good(p, number)
					return
				}
				bad(p, number)
			}}
		}},
		{"same-shape-other-content-after-the-first-read", func(t *testing.T) *liar {
			size, good := honestAnswer(t, honest[1].Path)
			_, bad := honestAnswer(t, evilBlob.Path)
			return &liar{size: size, answer: func(p []byte, number int64, nth int) {
				if nth == 0 {
					good(p, number)
					return
				}
				bad(p, number)
			}}
		}},
		{"same-shape-other-content-below-the-top", func(t *testing.T) *liar {
			// Superblocks and the top of the tree are always the approved ones; all else is the other disk's.
			size, good := honestAnswer(t, honest[1].Path)
			_, bad := honestAnswer(t, evilBlob.Path)
			tree := dataSize(t, honest[1]) / block
			return &liar{size: size, answer: func(p []byte, number int64, _ int) {
				if number == 0 || number == tree || number == tree+1 {
					good(p, number)
					return
				}
				bad(p, number)
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := m.in(t)
			path := mountLiar(t, c.answer(t))
			made, request := m.withDisks(fixture(t, "hash"), func(d []run.Layer) []run.Layer {
				d[1] = run.Layer{Path: path, Root: d[1].Root}
				return d
			})
			if _, err := m.Client().CreateContainer(m.ctx, request); err != nil {
				t.Logf("refused: %v", err)
				if err := m.Discard(m.ctx, made); err != nil {
					t.Error(err)
				}
				m.checkLeft()
				return
			}
			if err := m.Created(made); err != nil {
				t.Fatal(err)
			}
			if err := m.StartContainer(m.ctx, made); err != nil {
				t.Fatal(err)
			}
			stdout, stderr, code := m.finish(made)
			t.Logf("ran: %q, %q, status %d", stdout, stderr, code)
			if strings.TrimSpace(stdout) != "" && !strings.HasPrefix(stdout, blobSum(t)) {
				t.Errorf("the container read bytes that no policy covers: %s", stdout)
			}
			m.checkLeft()
		})
	}
}

// mustEvilBlob makes a disk of the same shape as the honest one with other content.
func mustEvilBlob(t *testing.T, m *machine, img image) run.Layer {
	t.Helper()
	other := make([]byte, len(img.blob))
	l, err := makeLayer(entry{name: "data/", kind: '5'}, entry{name: "data/blob", data: other})
	if err != nil {
		t.Fatal(err)
	}
	return convert(t, m.ctx, &pod.Container{Name: "evil-blob", Layers: []pod.Layer{l}})[0].Disks[0]
}
