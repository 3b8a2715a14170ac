package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containerd/console"
)

var rootLine = regexp.MustCompile(`[0-9a-f]{64}\r?\n$`)

// TestRootStaysOnTheTerminal: the bar is gone before the answer is printed, so that nothing erases it.
func TestRootStaysOnTheTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	const size = 2 * slowLayer
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()

	master, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	slave, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with EIO when the last writer is gone
		shown <- string(text)
	}()
	root := newRoot()
	root.SetArgs([]string{"layer", "root", path})
	root.SetOut(slave)
	root.SetErr(slave)
	err = root.ExecuteContext(t.Context())
	slave.Close()
	text := <-shown
	if err != nil {
		t.Fatal(err)
	}
	if !rootLine.MatchString(text) || !strings.Contains(text, "big.tar") {
		t.Errorf("got %q, want progress and then the root as the last line", text)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
