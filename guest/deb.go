package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
)

// maxFile bounds one file taken out of a package; the largest one, ext4.ko or libc, is near 2 MiB, vmlinuz near 16.
const maxFile = 128 << 20

// member is a file inside an unpacked package.
type member struct {
	pkg    string // name of the package
	link   string // target, for a symlink
	offset int64  // where its bytes lie in the spool
	size   int64
	spool  *os.File
}

// packageSet holds the files of several packages, by path in the merged-/usr layout ("lib/x" is "usr/lib/x"). The
// bytes stay in one unlinked temporary file a package: a kernel unpacks to 400 MB, of which the image takes 8.
type packageSet struct {
	members map[string]member
	spools  []*os.File
}

func newPackageSet() *packageSet { return &packageSet{members: map[string]member{}} }

func (s *packageSet) Close() error {
	var errs []error
	for _, f := range s.spools {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// add unpacks the .deb at file and takes its files in. The bytes that are unpacked are the bytes that were verified:
// the file is read once.
func (s *packageSet) add(ctx context.Context, p Package, file string) error {
	deb, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("unpack package %q: %w", p.Name, err)
	}
	if err := p.verify(sha256.Sum256(deb), file); err != nil {
		return err
	}
	spool, err := os.CreateTemp("", "cloister-deb-")
	if err != nil {
		return err
	}
	s.spools = append(s.spools, spool)
	if err := os.Remove(spool.Name()); err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(deb), spool, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("unpack package %q: %w (dpkg-deb is in Debian's package dpkg)", p.Name, err)
		}
		return fmt.Errorf("unpack package %q: %w: %s", p.Name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return s.index(p.Name, spool)
}

func (s *packageSet) index(name string, spool *os.File) error {
	for r := tar.NewReader(spool); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read package %q: %w", name, err)
		}
		m := member{pkg: name, size: h.Size, spool: spool}
		switch h.Typeflag {
		case tar.TypeReg:
			// The reader asks the file for whole headers and nothing ahead, so the file stands where the data begins.
			if m.offset, err = spool.Seek(0, io.SeekCurrent); err != nil {
				return err
			}
		case tar.TypeSymlink:
			m.link = h.Linkname
		case tar.TypeLink:
			target, ok := s.members[mergedPath(h.Linkname)]
			if !ok {
				return fmt.Errorf("read package %q: hard link %q to %q, which it does not hold", name, h.Name, h.Linkname)
			}
			m = target
		default:
			continue // directories need no entry; packages hold no devices
		}
		key := mergedPath(h.Name)
		if other, taken := s.members[key]; taken && other.pkg != name {
			return fmt.Errorf("read package %q: %q is in package %q too", name, key, other.pkg)
		}
		s.members[key] = m
	}
}

// mergedPath maps the path of a package's file to where it is on a system whose /lib, /bin and /sbin are links to /usr.
func mergedPath(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	top, _, _ := strings.Cut(name, "/")
	switch top {
	case "bin", "sbin", "lib", "lib64":
		return "usr/" + name
	}
	return name
}

// resolve follows symlinks from package to package and returns the path of a regular file.
func (s *packageSet) resolve(name string) (string, member, error) {
	at := mergedPath(name)
	for range 16 {
		m, ok := s.members[at]
		if !ok {
			return "", member{}, fmt.Errorf("find %q in the locked packages: %w", name, fs.ErrNotExist)
		}
		if m.link == "" {
			return at, m, nil
		}
		if path.IsAbs(m.link) {
			at = mergedPath(m.link)
		} else {
			at = mergedPath(path.Join(path.Dir(at), m.link))
		}
	}
	return "", member{}, fmt.Errorf("find %q in the locked packages: too many symbolic links", name)
}

// read returns the content of a regular file, following symlinks.
func (s *packageSet) read(name string) ([]byte, error) {
	_, m, err := s.resolve(name)
	if err != nil {
		return nil, err
	}
	if m.size > maxFile {
		return nil, fmt.Errorf("read %q of package %q: got %d bytes, want at most %d", name, m.pkg, m.size, maxFile)
	}
	data := make([]byte, m.size)
	if _, err := m.spool.ReadAt(data, m.offset); err != nil {
		return nil, fmt.Errorf("read %q of package %q: %w", name, m.pkg, err)
	}
	return data, nil
}
