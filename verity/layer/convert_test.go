package layer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

var update = flag.Bool("update", false, "write the golden files")

func convert(t testing.TB, in []byte) (layer.Result, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	res, err := layer.Convert(t.Context(), bytes.NewReader(in), f, layer.Options{})
	if err != nil {
		t.Fatalf("convert: %v", err)
	}
	return res, f
}

// A root that changes is a policy that no longer matches, so each quirk's root is pinned.
func TestConvertGoldenRoots(t *testing.T) {
	const golden = "testdata/roots.json"
	got := map[string]layer.Result{}
	for name, in := range fixtures(t) {
		got[name], _ = convert(t, in)
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]layer.Result{}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		t.Run(name, func(t *testing.T) {
			if got[name] != want[name] {
				t.Errorf("got %+v, want %+v", got[name], want[name])
			}
		})
	}
	if len(got) != len(want) {
		t.Errorf("got %d fixtures, want %d golden ones", len(got), len(want))
	}
}

// The roots are those of the tools that write ACI policies.
func TestConvertEqualsReference(t *testing.T) {
	for name, in := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			want, err := tar2ext4.ConvertAndComputeRootDigest(bytes.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := convert(t, in); got.RootHash.String() != want {
				t.Errorf("root hash: got %s, want %s", got.RootHash, want)
			}
		})
	}
}

func TestConvertCompressed(t *testing.T) {
	in := fixtures(t)["many-files"]
	want, plain := convert(t, in)
	var gz, zs bytes.Buffer
	gw := gzip.NewWriter(&gz)
	gw.Write(in[:len(in)/2])
	gw.Close()
	gw = gzip.NewWriter(&gz) // a second member: layers are made that way by parallel compressors
	gw.Write(in[len(in)/2:])
	gw.Close()
	zw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	zw.Write(in)
	zw.Close()
	for name, b := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		t.Run(name, func(t *testing.T) {
			got, f := convert(t, b)
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if !bytes.Equal(content(t, f), content(t, plain)) {
				t.Error("the disk differs from the one of the plain tar")
			}
		})
		t.Run(name+"-truncated", func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := layer.Convert(t.Context(), bytes.NewReader(b[:len(b)-20]), f, layer.Options{}); err == nil {
				t.Error("a truncated stream was converted")
			}
		})
	}
}

func content(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConvertDisk(t *testing.T) {
	in := fixtures(t)["hard-links"]
	res, f := convert(t, in)
	sum := sha256.Sum256(in)
	if want := "sha256:" + hex.EncodeToString(sum[:]); res.DiffID != want {
		t.Errorf("diff id: got %s, want %s", res.DiffID, want)
	}
	disk := content(t, f)
	if int64(len(disk)) != res.Size {
		t.Errorf("disk size: got %d, want %d", len(disk), res.Size)
	}
	img, err := verity.Inspect(bytes.NewReader(disk), int64(len(disk)), verity.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if img.Root != res.RootHash || img.DataSize() != res.DataSize || img.FS != verity.Ext4 {
		t.Errorf("inspected: got %+v, want %+v", img, res)
	}
	if err := verity.Verify(t.Context(), bytes.NewReader(disk), img); err != nil {
		t.Error(err)
	}
}

// e2fsck is another reader of the format than the one the converter was written with. It has one complaint about every disk
// (bits after the last inode of a bitmap), which changes nothing for a kernel and which the roots of ACI's tools contain.
func TestConvertFilesystemIsClean(t *testing.T) {
	fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Skip("e2fsck is missing: apt-get install e2fsprogs")
	}
	for name, in := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			_, f := convert(t, in)
			out, _ := exec.CommandContext(t.Context(), fsck, "-fn", f.Name()).CombinedOutput()
			if !bytes.Contains(out, []byte("Pass 5")) {
				t.Fatalf("e2fsck did not reach its last pass:\n%s", out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasSuffix(line, "? no\n") && line != "Padding at end of inode bitmap is not set. Fix? no\n" {
					t.Errorf("e2fsck: %s", line)
				}
			}
		})
	}
}

func TestConvertRefuses(t *testing.T) {
	good := fixtures(t)["plain"]
	cases := map[string][]byte{
		"cut-in-padding":  good[:512+200],
		"no-bytes":        {},
		"not-a-tar":       noise(5000, 1),
		"cut-in-header":   good[:1100],
		"bad-gzip":        append([]byte{0x1f, 0x8b}, noise(500, 2)...),
		"bad-zstd":        append([]byte{0x28, 0xb5, 0x2f, 0xfd}, noise(500, 3)...),
		"duplicate-path":  makeTar(t, entry{name: "x", body: []byte("first")}, entry{name: "x", body: []byte("second")}),
		"link-to-nowhere": makeTar(t, entry{name: "b", kind: '1', link: "absent"}),
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if res, err := layer.Convert(t.Context(), bytes.NewReader(in), f, layer.Options{}); err == nil {
				t.Errorf("converted to %+v", res)
			}
		})
	}
	t.Run("output-not-empty", func(t *testing.T) {
		_, f := convert(t, good)
		if _, err := layer.Convert(t.Context(), bytes.NewReader(good), f, layer.Options{}); err == nil {
			t.Error("wrote over a disk")
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := layer.Convert(ctx, bytes.NewReader(good), f, layer.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}
