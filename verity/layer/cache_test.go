package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity/layer"
)

func opener(b []byte, calls *atomic.Int32) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		calls.Add(1)
		return io.NopCloser(bytes.NewReader(b)), nil
	}
}

func TestCacheConvertsOnce(t *testing.T) {
	in := fixtures(t)["plain"]
	want, _ := convert(t, in)
	c := layer.Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	var calls atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, root, err := c.Get(t.Context(), want.DiffID, opener(in, &calls))
			if err != nil || root != want.RootHash {
				t.Errorf("get: got %s, %v, want %s", root, err, want.RootHash)
			}
			if info, err := os.Stat(path); err != nil || info.Size() != want.Size {
				t.Errorf("stat: got %v, %v, want %d bytes", info, err, want.Size)
			}
		})
	}
	wg.Wait()
	if calls.Load() != 1 {
		t.Errorf("layer was opened %d times, want once", calls.Load())
	}
}

type counter struct{ atomic.Int32 }

// Formats share a directory, and none is served in the place of the other.
func TestCacheKeepsFormatsApart(t *testing.T) {
	in := fixtures(t)["hard-links"]
	dir := t.TempDir()
	var calls counter
	roots := map[string]bool{}
	for _, format := range []layer.Format{layer.Ext4, layer.EROFS, layer.Ext4, layer.EROFS} {
		want, _ := convertTo(t, in, layer.Options{Format: format})
		path, root, err := layer.Cache{Dir: dir, Format: format}.Get(t.Context(), want.DiffID, opener(in, &calls.Int32))
		if err != nil || root != want.RootHash || !strings.Contains(path, layer.FormatVersion(format)) {
			t.Errorf("%s: got %s, %s, %v, want %s", format, path, root, err, want.RootHash)
		}
		roots[root.String()] = true
	}
	if len(roots) != 2 || calls.Load() != 2 {
		t.Errorf("got %d roots of %d conversions, want 2 of 2", len(roots), calls.Load())
	}
	if _, _, err := (layer.Cache{Dir: dir, Format: "squashfs"}).Get(t.Context(), "sha256:"+strings.Repeat("a", 64), opener(in, &calls.Int32)); err == nil {
		t.Error("a format that is none was accepted")
	}
}

const cacheCase = "CLOISTER_CACHE_CASE" // the directory that several processes fill

// Several processes that want one layer get the same disk, and one of them makes it.
func TestCacheAmongProcesses(t *testing.T) {
	in := fixtures(t)["many-files"]
	want, _ := convert(t, in)
	if dir := os.Getenv(cacheCase); dir != "" {
		var calls counter
		path, root, err := layer.Cache{Dir: dir}.Get(t.Context(), want.DiffID, opener(in, &calls.Int32))
		if err == nil {
			_, err = layer.InspectFile(t.Context(), path, true)
		}
		if err != nil || root != want.RootHash {
			t.Fatalf("got %s, %v, want %s", root, err, want.RootHash)
		}
		fmt.Printf("conversions %d\n", calls.Load())
		return
	}
	dir := t.TempDir()
	var made counter
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCacheAmongProcesses$", "-test.v")
			cmd.Env = append(os.Environ(), cacheCase+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			made.Add(int32(strings.Count(string(out), "conversions 1")))
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d processes converted the layer, want one", made.Load())
	}
}

func TestCacheRefusesOtherContent(t *testing.T) {
	in := fixtures(t)
	want, _ := convert(t, in["plain"])
	c := layer.Cache{Dir: t.TempDir()}
	var calls atomic.Int32
	if _, _, err := c.Get(t.Context(), want.DiffID, opener(in["setuid"], &calls)); !errors.Is(err, layer.ErrDiffID) {
		t.Fatalf("got %v, want %v", err, layer.ErrDiffID)
	}
	// Bytes after the end of the archive change nothing in the disk, but they are not the layer that was named.
	if _, _, err := c.Get(t.Context(), want.DiffID, opener(append(in["plain"], 0), &calls)); !errors.Is(err, layer.ErrDiffID) {
		t.Fatalf("with a byte appended: got %v, want %v", err, layer.ErrDiffID)
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	dot, err := filepath.Glob(filepath.Join(c.Dir, "*", ".new-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(left, dot...) {
		if !strings.HasSuffix(f, ".lock") {
			t.Errorf("left behind: %s", f)
		}
	}
}

func TestCacheReplacesDamagedDisk(t *testing.T) {
	in := fixtures(t)["plain"]
	want, _ := convert(t, in)
	var calls atomic.Int32
	damage := map[string]func(*os.File) error{
		"truncated":  func(f *os.File) error { return f.Truncate(want.Size - 1) },
		"superblock": func(f *os.File) error { _, err := f.WriteAt([]byte("x"), want.DataSize); return err },
		"data":       func(f *os.File) error { _, err := f.WriteAt([]byte("x"), want.DataSize/2); return err },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			c := layer.Cache{Dir: t.TempDir(), Recheck: true}
			path, _, err := c.Get(t.Context(), want.DiffID, opener(in, &calls))
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(do(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			if _, root, err := c.Get(t.Context(), want.DiffID, opener(in, &calls)); err != nil || root != want.RootHash {
				t.Errorf("get: got %s, %v, want %s", root, err, want.RootHash)
			}
			if _, err := layer.InspectFile(t.Context(), path, true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCacheDiffIDForm(t *testing.T) {
	c := layer.Cache{Dir: t.TempDir()}
	hex := strings.Repeat("a", 64)
	for _, id := range []string{"", hex, "sha256:", "sha512:" + hex, "sha256:" + hex + "a", "sha256:" + strings.ToUpper(hex), "sha256:../" + hex[3:]} {
		if _, _, err := c.Get(t.Context(), id, func() (io.ReadCloser, error) { t.Error("opened"); return nil, io.EOF }); err == nil {
			t.Errorf("diff id %q was accepted", id)
		}
	}
}

func TestCacheWaitEndsWithContext(t *testing.T) {
	in := fixtures(t)["plain"]
	want, _ := convert(t, in)
	c := layer.Cache{Dir: t.TempDir()}
	var calls atomic.Int32
	path, _, err := c.Get(t.Context(), want.DiffID, opener(in, &calls))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(strings.TrimSuffix(path, ".disk") + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.Get(ctx, want.DiffID, opener(in, &calls)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
