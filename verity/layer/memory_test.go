package layer_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity/layer"
)

var large = flag.Bool("large", false, "stream 4 GiB where 256 MiB are enough every day")

// generated is a tar of one file of size bytes that nobody has in memory: every fourth MiB is no hole.
func generated(size int64) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		w := tar.NewWriter(pw)
		err := w.WriteHeader(&tar.Header{Name: "blob", Typeflag: tar.TypeReg, Mode: 0o644, Size: size})
		hole, block := make([]byte, 1<<20), noise(1<<20, 9)
		for at := int64(0); at < size && err == nil; at += int64(len(block)) {
			piece := hole
			if at>>20%4 == 0 {
				piece = block
				piece[0]++
			}
			_, err = w.Write(piece)
		}
		if err == nil {
			err = w.Close()
		}
		pw.CloseWithError(err)
	}()
	return pr
}

// resident is the most memory that this process ever had, in MiB.
func resident() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	s := bufio.NewScanner(bytes.NewReader(status))
	for s.Scan() {
		if value, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(value, "kB")))
			return kib >> 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in %q", status)
}

const memoryCase = "CLOISTER_MEMORY_CASE" // format and size, for the process that is measured

// TestMemoryIsBounded: a layer streams through, whatever its length. Each is converted in a process of its own.
func TestMemoryIsBounded(t *testing.T) {
	if c := os.Getenv(memoryCase); c != "" {
		streamOnce(t, c)
		return
	}
	if _, err := resident(); err != nil {
		t.Skipf("no /proc of Linux: %v", err)
	}
	const ceiling = 200
	size := int64(256 << 20)
	if *large {
		size = 4 << 30
	}
	for _, format := range []layer.Format{layer.Ext4, layer.EROFS} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryIsBounded$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", memoryCase, format, size))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			_, rest, _ := strings.Cut(string(out), "resident ")
			got, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
			if err != nil || got >= ceiling {
				t.Errorf("resident: got %d MiB, %v, want less than %d", got, err, ceiling)
			}
			t.Logf("%d MiB resident for a layer of %d", got, size>>20)
		})
	}
}

func streamOnce(t *testing.T, c string) {
	var format string
	var size int64
	if _, err := fmt.Sscan(c, &format, &size); err != nil {
		t.Fatal(err)
	}
	res, err := layer.Root(t.Context(), generated(size), layer.Options{Format: layer.Format(format)})
	if err != nil || res.DataSize < size {
		t.Fatalf("got %+v, %v, want at least %d bytes", res, err, size)
	}
	got, err := resident()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("resident %d\n", got)
}
