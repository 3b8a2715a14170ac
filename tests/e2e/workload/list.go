package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// list prints a line for everything below the directories: what the kernel says of it, and its content.
func list(args []string) error {
	out := bufio.NewWriter(os.Stdout)
	for _, root := range args {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line, err := describe(path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(out, line)
			return err
		})
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

func describe(path string) (string, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return "", fmt.Errorf("stat %q: %w", path, err)
	}
	line := fmt.Sprintf("%q %#o %d:%d", path, st.Mode, st.Uid, st.Gid)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" %d.%09d links %d, %d %x", st.Mtim.Sec, st.Mtim.Nsec, st.Nlink, len(data), sha256.Sum256(data))
	case syscall.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		return line + fmt.Sprintf(" -> %q", target), nil
	case syscall.S_IFCHR, syscall.S_IFBLK:
		line += fmt.Sprintf(" device %#x", st.Rdev)
	}
	return line + attributes(path), nil
}

// attributes are those that a container can see: not the trusted ones.
func attributes(path string) string {
	names := make([]byte, 4096)
	n, err := syscall.Listxattr(path, names)
	if err != nil {
		return " listxattr: " + err.Error()
	}
	out := ""
	for _, name := range slices.Sorted(strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00")) {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := syscall.Getxattr(path, name, value)
		if err != nil {
			out += fmt.Sprintf(" %s: %v", name, err)
			continue
		}
		out += fmt.Sprintf(" %s=%x", name, value[:n])
	}
	return out
}
