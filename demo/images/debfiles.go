package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"strings"
)

// packageFile is a regular file or symbolic link of a package.
type packageFile struct {
	pkg  string
	mode int64
	link string // target, for a symbolic link
	data []byte
}

// packageFiles are the files of all packages by their path on a system whose /bin, /lib and /sbin are links into /usr.
type packageFiles map[string]packageFile

// add unpacks a .deb.
func (f packageFiles) add(ctx context.Context, name string, deb []byte) error {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(deb), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("unpack package %q: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	for r := tar.NewReader(&stdout); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack package %q: %w", name, err)
		}
		file := packageFile{pkg: name, mode: h.Mode}
		switch h.Typeflag {
		case tar.TypeReg:
			if file.data, err = io.ReadAll(r); err != nil {
				return fmt.Errorf("unpack package %q: %w", name, err)
			}
		case tar.TypeSymlink:
			file.link = h.Linkname
		case tar.TypeDir:
			continue
		default:
			return fmt.Errorf("unpack package %q: %q is of type %q", name, h.Name, h.Typeflag)
		}
		f[merged(h.Name)] = file
	}
}

// merged maps a package's path to where the file is on a merged system.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	switch top, _, _ := strings.Cut(name, "/"); top {
	case "bin", "sbin", "lib", "lib64":
		return "usr/" + name
	}
	return name
}

// put copies files into a layer: a file, or a directory when the name ends in a slash.
func (f packageFiles) put(l *layer, names ...string) error {
	for _, name := range names {
		found := false
		for at, file := range f {
			if at == name || (strings.HasSuffix(name, "/") && strings.HasPrefix(at, name)) {
				found = true
				l.fromPackage(at, file)
			}
		}
		if !found {
			return fmt.Errorf("no package has %q: %w", name, fs.ErrNotExist)
		}
	}
	return nil
}

// putLinked copies a program with its interpreter and all libraries it needs, found in the packages only.
func (f packageFiles) putLinked(l *layer, program string) error {
	if l.has(program) {
		return nil
	}
	file, ok := f[program]
	if !ok {
		return fmt.Errorf("no package has %q: %w", program, fs.ErrNotExist)
	}
	l.fromPackage(program, file)
	if file.link != "" {
		target := file.link
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(program), target)
		}
		return f.putLinked(l, merged(target))
	}
	object, err := elf.NewFile(bytes.NewReader(file.data))
	if err != nil {
		return fmt.Errorf("read %q: %w", program, err)
	}
	libraries, err := object.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read %q: %w", program, err)
	}
	if section := object.Section(".interp"); section != nil {
		name, err := section.Data()
		if err != nil {
			return fmt.Errorf("read %q: %w", program, err)
		}
		if err := f.putLinked(l, merged(strings.TrimRight(string(name), "\x00"))); err != nil {
			return fmt.Errorf("%q: %w", program, err)
		}
	}
	for _, library := range libraries {
		if err := f.putLinked(l, "usr/lib/x86_64-linux-gnu/"+library); err != nil {
			return fmt.Errorf("%q: %w", program, err)
		}
	}
	return nil
}
