package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds a file of the kernel; memory.stat, the longest, has some 2 KiB.
const maxFile = 256 << 10

// Group is one control group. It holds no descriptor, so there is nothing to close.
type Group struct {
	path string
}

// Open takes the control group at path, which exists.
func Open(path string) (*Group, error) {
	g := &Group{path: path}
	if _, err := g.read("cgroup.procs"); err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	return g, nil
}

// Create makes the control group at path, and those above it that are missing, and takes it.
func Create(path string) (*Group, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("create control group: %w", err)
	}
	return Open(path)
}

// Remove removes an empty control group; one that is gone is no error.
func (g *Group) Remove() error {
	if err := os.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove control group: %w", err)
	}
	return nil
}

// Kill kills every process of the group and of those below it, and returns when none is left. A process cannot fork
// itself out of it: the kernel kills the group, not a list.
func (g *Group) Kill(ctx context.Context) error {
	if err := g.write("cgroup.kill", "1"); err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("kill control group: %w", err)
	}
	err := g.await(ctx, "cgroup.events", func() (bool, error) { return g.flag("populated", 0) })
	if err != nil && !gone(err) {
		return fmt.Errorf("kill control group: %w", err)
	}
	return nil
}

// Freeze stops every process of the group and returns when all have stopped; if that does not happen, they go on.
func (g *Group) Freeze(ctx context.Context) error {
	err := g.setFrozen(ctx, 1)
	if err == nil {
		return nil
	}
	if thaw := g.write("cgroup.freeze", "0"); thaw != nil {
		err = errors.Join(err, fmt.Errorf("undo: %w", thaw))
	}
	return fmt.Errorf("freeze control group: %w", err)
}

// Thaw lets the processes go on and returns when they do.
func (g *Group) Thaw(ctx context.Context) error {
	if err := g.setFrozen(ctx, 0); err != nil {
		return fmt.Errorf("thaw control group: %w", err)
	}
	return nil
}

func (g *Group) setFrozen(ctx context.Context, value uint64) error {
	if err := g.write("cgroup.freeze", strconv.FormatUint(value, 10)); err != nil {
		return err
	}
	return g.await(ctx, "cgroup.events", func() (bool, error) { return g.flag("frozen", value) })
}

// flag says whether a key of cgroup.events has a value.
func (g *Group) flag(key string, want uint64) (bool, error) {
	events, err := g.pairs("cgroup.events")
	if err != nil {
		return false, err
	}
	got, ok := events[key]
	if !ok {
		return false, fmt.Errorf("%s: got no %q: the kernel is too old", g.file("cgroup.events"), key)
	}
	return got == want, nil
}

func (g *Group) file(name string) string { return filepath.Join(g.path, name) }

// gone says that an error means that the group was removed: its files then answer ENODEV to who has them open.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// write writes a value without making a file: in a directory that is no control group it must fail.
func (g *Group) write(name, value string) error {
	f, err := os.OpenFile(g.file(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (g *Group) read(name string) ([]byte, error) {
	f, err := os.Open(g.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("read %q: got more than %d bytes", f.Name(), maxFile)
	}
	return b, err
}

// pairs reads a file of lines "key number".
func (g *Group) pairs(name string) (map[string]uint64, error) {
	b, err := g.read(name)
	if err != nil {
		return nil, err
	}
	values := make(map[string]uint64)
	for line := range bytes.Lines(b) {
		key, text, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		v, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("read %q: got line %.64q, want a key and a number", g.file(name), line)
		}
		values[key] = v
	}
	return values, nil
}

// number reads a file of one number; "max" is the largest there is.
func (g *Group) number(name string) (uint64, error) {
	b, err := g.read(name)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	if text == "max" {
		return math.MaxUint64, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %q: got %.64q, want a number", g.file(name), text)
	}
	return v, nil
}
