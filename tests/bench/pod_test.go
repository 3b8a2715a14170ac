package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFirstByteWritesOneByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "first-byte")
	if err := os.WriteFile(path, firstByte(), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).CombinedOutput()
	if err != nil || string(out) != "\n" {
		t.Errorf("got %q, %v, want one line break", out, err)
	}
}

// TestStayStays: the program sleeps in the kernel until it is killed.
func TestStayStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stay")
	if err := os.WriteFile(path, stay(), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for stat := ""; !strings.Contains(stat, ") S "); {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if stat = string(text); strings.Contains(stat, ") Z ") {
			t.Fatalf("it ended: %s", stat)
		}
	}
}

func TestContainersShareLayers(t *testing.T) {
	list, err := makeContainers()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range list {
		if len(c.Layers) != layersEach {
			t.Errorf("container %q: got %d layers, want %d", c.Name, len(c.Layers), layersEach)
		}
		for _, l := range c.Layers {
			seen[l.DiffID] = true
		}
	}
	if want := layersShared + containers*(layersEach-layersShared); len(seen) != want {
		t.Errorf("got %d distinct layers, want %d", len(seen), want)
	}
}

func TestArchiveIsAligned(t *testing.T) {
	for size := range 9 {
		data := bytes.Repeat([]byte{1}, size)
		a := archive("hello", data)
		// 110 bytes of header and 6 of name, as newc pads them.
		if len(a)%4 != 0 || !bytes.HasPrefix(a, []byte("070701")) || !bytes.Equal(a[116:116+size], data) {
			t.Errorf("size %d: got %q", size, a)
		}
	}
}
