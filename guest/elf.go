package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// libraryDirs is where Debian's dynamic linker looks, in its order.
var libraryDirs = []string{"usr/lib/x86_64-linux-gnu", "usr/lib"}

// linked copies a program to dst and every library it needs, all from the locked packages: what happens to be
// installed on the build machine is never looked at.
func linked(t *tree, set *packageSet, src, dst string, used map[string]bool) error {
	data, err := set.read(src)
	if err != nil {
		return err
	}
	_, m, err := set.resolve(src)
	if err != nil {
		return err
	}
	used[m.pkg] = true
	if err := t.file(dst, 0o755, data); err != nil {
		return err
	}
	return needed(t, set, src, data, used)
}

// needed adds the interpreter and libraries of one ELF file, and theirs.
func needed(t *tree, set *packageSet, name string, data []byte, used map[string]bool) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read program %q: %w", name, err)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("read program %q: got machine %v, want %v", name, f.Machine, elf.EM_X86_64)
	}
	interp, err := interpreter(f)
	if err != nil {
		return fmt.Errorf("read program %q: %w", name, err)
	}
	if interp != "" {
		// The path in the program is literal, so the linker stays at it rather than in /usr.
		if err := library(t, set, interp, strings.TrimPrefix(interp, "/"), used); err != nil {
			return fmt.Errorf("program %q: %w", name, err)
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read program %q: %w", name, err)
	}
	for _, lib := range libs {
		if strings.HasPrefix(lib, "ld-linux-") {
			continue // it is the interpreter, already in place and loaded
		}
		at, err := findLibrary(set, lib)
		if err != nil {
			return fmt.Errorf("program %q needs %q: %w", name, lib, err)
		}
		if err := library(t, set, at, at, used); err != nil {
			return err
		}
	}
	return nil
}

// library adds a shared object under the name it is asked for, so that the image needs no symbolic links.
func library(t *tree, set *packageSet, src, dst string, used map[string]bool) error {
	if _, done := t.entries[dst]; done {
		return nil
	}
	return linked(t, set, src, dst, used)
}

func findLibrary(set *packageSet, name string) (string, error) {
	if path.Base(name) != name {
		return "", errors.New("want a name without a directory")
	}
	for _, dir := range libraryDirs {
		if _, _, err := set.resolve(dir + "/" + name); err == nil {
			return dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("no locked package holds it (cloister guest lock --update writes the lock anew): %w", fs.ErrNotExist)
}

func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz > 4096 {
			return "", fmt.Errorf("interpreter of %d bytes", p.Filesz)
		}
		buf := make([]byte, p.Filesz)
		if _, err := p.ReadAt(buf, 0); err != nil {
			return "", err
		}
		return strings.TrimRight(string(buf), "\x00"), nil
	}
	return "", nil
}
