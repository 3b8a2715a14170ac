package snapshotter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

const (
	factsFile = "facts.json"
	maxFacts  = 256 << 10
	maxBlobs  = 64 // of one layer; the oldest are forgotten
)

// facts is what is known of one layer: the file facts.json of its directory.
type facts struct {
	DiffID   string          `json:"diff_id"`
	Disks    map[string]disk `json:"disks"` // by format
	Blobs    []blob          `json:"blobs"` // what it was made of, newest last
	Accounts accounts        `json:"accounts"`
	// Native says that the layer is an EROFS image itself; there is no tar to make another format of.
	Native bool `json:"native,omitempty"`
}

// disk is one file of a layer's directory.
type disk struct {
	File string `json:"file"`
	Root string `json:"root"`
	Size int64  `json:"size"` // in bytes
}

// blob is where a layer's bytes can be had again.
type blob struct {
	Namespace string        `json:"namespace"`
	MediaType string        `json:"media_type"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

// remember notes a blob, once.
func (f *facts) remember(b blob) (isNew bool) {
	if slices.Contains(f.Blobs, b) {
		return false
	}
	f.Blobs = append(f.Blobs, b)
	if extra := len(f.Blobs) - maxBlobs; extra > 0 {
		f.Blobs = f.Blobs[extra:]
	}
	return true
}

// fileOf names a disk by its format and how it was made, so that an upgrade never serves a root that this version would not make.
func fileOf(format layer.Format, native bool) string {
	if native {
		return "erofs-pulled.disk"
	}
	return layer.FormatVersion(format) + ".disk"
}

// readFacts reads a layer's directory. A disk that is not there, has another length, or was made by another version counts as none; there may be none left.
func readFacts(dir string) (*facts, error) {
	f, err := os.Open(filepath.Join(dir, factsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFacts+1))
	if err != nil {
		return nil, err
	}
	var out facts
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if err := out.check(filepath.Base(dir)); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for format, d := range out.Disks {
		info, err := os.Lstat(filepath.Join(dir, d.File))
		if err != nil || !info.Mode().IsRegular() || info.Size() != d.Size || d.File != fileOf(layer.Format(format), out.Native) {
			delete(out.Disks, format)
		}
	}
	return &out, nil
}

func (f *facts) check(digits string) error {
	if err := rootfs.CheckDiffID(f.DiffID); err != nil {
		return err
	}
	if f.DiffID != "sha256:"+digits {
		return fmt.Errorf("diff id %s in the directory of another", f.DiffID)
	}
	for format, d := range f.Disks {
		if _, err := layer.ParseFormat(format); err != nil || format == "" {
			return fmt.Errorf("format %q", format)
		}
		if _, err := verity.ParseHash(d.Root); err != nil {
			return err
		}
	}
	for _, name := range accountNames {
		if f.Accounts[name] == nil {
			return errors.New("nothing about etc/" + name)
		}
	}
	return nil
}

// writeFacts replaces the file; it is there in full or as before, whatever happens.
func writeFacts(dir string, f *facts) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return writeSynced(filepath.Join(dir, factsFile), text)
}

// writeSynced writes a file that appears under its name when it is whole and on the disk.
func writeSynced(path string, text []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := io.Copy(tmp, bytes.NewReader(text)); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes names in a directory last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
