package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
	"github.com/cloister-cc/cloister/verity/layer"
)

const (
	layersEach   = 6
	layersShared = 2
	containers   = 10 // in the policy
)

// firstByte is the smallest program there is: it writes one byte and ends. A larger one would add the same to both sides of a ratio
// and so make it look better.
func firstByte() []byte {
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, SYS_write
		0xbf, 1, 0, 0, 0, // mov edi, 1
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16]
		0xba, 1, 0, 0, 0, // mov edx, 1
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, SYS_exit
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
		'\n',
	}
	return program(code)
}

// stay is a program that does nothing until it is killed.
func stay() []byte {
	return program([]byte{
		0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the begin
	})
}

// program is an ELF file of this code and nothing else.
func program(code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	size := uint64(headers + len(code))
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(base + headers), uint64(64), uint64(0), // type, machine, version, entry, phoff, shoff
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0), // flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(4096), // PT_LOAD, r-x, all of the file
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // a bytes.Buffer does not fail
	}
	b.Write(code)
	return b.Bytes()
}

// file is one entry of a layer.
type file struct {
	name string
	mode int64
	data []byte
}

func makeLayer(files ...file) (pod.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: f.mode, Size: int64(len(f.data))}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return pod.Layer{}, err
		}
		if _, err := w.Write(f.data); err != nil {
			return pod.Layer{}, err
		}
	}
	if err := w.Close(); err != nil {
		return pod.Layer{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return pod.Layer{
		DiffID: "sha256:" + hex.EncodeToString(sum[:]),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
	}, nil
}

// makeContainers makes containers of six layers, the lowest two shared.
func makeContainers() ([]*pod.Container, error) {
	random := rand.NewChaCha8([32]byte{1})
	more := func(name string, size int) (pod.Layer, error) {
		data := make([]byte, size)
		_, _ = random.Read(data) // does not fail
		return makeLayer(file{"data/", 0o755, nil}, file{"data/" + name, 0o644, data})
	}
	base, err := makeLayer(
		file{"bin/", 0o755, nil}, file{"bin/first-byte", 0o755, firstByte()},
		file{"bin/stay", 0o755, stay()},
		file{"etc/", 0o755, nil}, file{"etc/passwd", 0o644, []byte("root:x:0:0::/:/bin/first-byte\n")},
		file{"etc/group", 0o644, []byte("root:x:0:\n")}, file{"tmp/", 0o1777, nil},
	)
	if err != nil {
		return nil, err
	}
	library, err := more("library", 4<<20)
	if err != nil {
		return nil, err
	}
	var out []*pod.Container
	for i := range containers {
		c := newContainer(i, base, library)
		for n := layersShared; n < layersEach; n++ {
			l, err := more(fmt.Sprintf("%d-%d", i, n), 256<<10)
			if err != nil {
				return nil, err
			}
			c.Layers = append(c.Layers, l)
		}
		out = append(out, c)
	}
	return out, nil
}

// newContainer is a container as Kubernetes makes them: the default capabilities, a dozen variables.
func newContainer(i int, layers ...pod.Layer) *pod.Container {
	capabilities := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"}
	c := &pod.Container{
		Name: fmt.Sprintf("c%d", i), ImageRef: "localhost/bench", Args: []string{"/bin/first-byte", fmt.Sprint(i)}, Cwd: "/",
		AdditionalGIDs: []uint32{0}, NoNewPrivileges: true,
		Capabilities: pod.Capabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		Env:          []string{"PATH=/bin", "HOSTNAME=bench"}, Layers: layers,
	}
	for n := range 8 {
		c.Env = append(c.Env, fmt.Sprintf("SETTING_%d_%d=value", i, n))
	}
	return c
}

func (b *bench) layerCache() layer.Cache { return layer.Cache{Dir: filepath.Join(b.scratch, "layers")} }

// policy allows the containers, and diagnostics.
func (b *bench) policy(ctx context.Context, list []*pod.Container) ([]byte, error) {
	roots := func(ctx context.Context, l pod.Layer) (string, error) {
		_, root, err := b.layerCache().Get(ctx, l.DiffID, l.Open)
		return root.String(), err
	}
	return policygen.Generate(ctx, list, roots, policygen.Options{AllowStacks: true})
}

// boot starts a VM from a development image, with the policy bound and the sandbox made.
func (b *bench) boot(ctx context.Context, image string, policy []byte) (*podrun.Sandbox, error) {
	kernel, err := guest.VMLinux(filepath.Join(image, guest.FileKernel))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.scratch, "vm-")
	if err != nil {
		return nil, err
	}
	o := podrun.Options{
		Name: "bench", Policy: policy, TEE: vm.TEEEmulated, Guest: image, Kernel: kernel, Keep: true,
		StateDir: filepath.Join(dir, "state"), Emulator: filepath.Join(b.scratch, "authority"),
	}
	s, err := podrun.Start(ctx, o)
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(o.StateDir, "console.log"))
		return nil, fmt.Errorf("%w\nconsole:\n%s", err, console)
	}
	return s, nil
}
