package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// modules is a kernel's modules.dep: each module's file and those it needs, nearest first.
type modules struct {
	dir   string
	files map[string]string   // name to path below dir
	needs map[string][]string // name to paths below dir
}

// readModules reads dir/modules.dep. Without one there are no modules to load: the kernel may have all built in.
func readModules(dir string) (*modules, error) {
	m := &modules{dir: dir, files: map[string]string{}, needs: map[string][]string{}}
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		path, deps, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("read %q: got line %.100q, want \"path: dependencies\"", f.Name(), lines.Text())
		}
		name := moduleName(path)
		m.files[name], m.needs[name] = path, strings.Fields(deps)
	}
	return m, lines.Err()
}

// moduleName is the name that a module's file goes by: dashes and underscores are the same.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// order lists the files to load for a module, what is needed first. It is empty for one that the image does not have.
func (m *modules) order(name string) []string {
	path, ok := m.files[name]
	if !ok {
		return nil
	}
	var files []string
	deps := m.needs[name]
	for i := len(deps) - 1; i >= 0; i-- {
		files = append(files, deps[i])
	}
	return append(files, path)
}

// load loads a module and what it needs; one that is loaded already is as good.
func (m *modules) load(name string) error {
	for _, path := range m.order(name) {
		f, err := os.Open(filepath.Join(m.dir, path))
		if err != nil {
			return fmt.Errorf("load module %q: %w", name, err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %q: %q: %w", name, path, err)
		}
	}
	return nil
}
