package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	manifestFile = "manifest.json"
	// maxEntries bounds the table of an archive: far more than images of many layers have, far less than a file system.
	maxEntries = 100_000
	maxName    = 4096
	maxLinks   = 8
)

// archive is a tar file of images: an OCI layout, what `docker save` writes (which since version 25 is both), or the older
// form, which has only a manifest.json. The file's headers are read once; blobs are read where they lie.
type archive struct {
	r     io.ReaderAt
	file  io.Closer
	name  string
	only  string // the one reference that this archive was named for
	files map[string]section
	links map[string]string
}

// section is where a file's bytes lie in the archive.
type section struct{ offset, size int64 }

func openArchive(name, only string) (*archive, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a, err := newArchive(f, info.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open archive %q: %w", name, err)
	}
	a.file, a.name, a.only = f, name, only
	return a, nil
}

// newArchive reads an archive's table.
func newArchive(r io.ReaderAt, size int64) (*archive, error) {
	a := &archive{r: r, files: map[string]section{}, links: map[string]string{}}
	if err := a.index(io.NewSectionReader(r, 0, size)); err != nil {
		return nil, err
	}
	if !a.has(layoutFile) && !a.has(manifestFile) {
		return nil, fmt.Errorf("got neither %s nor %s in it, want an OCI layout or what docker save writes", layoutFile, manifestFile)
	}
	return a, nil
}

// index notes where each file lies. A name that occurs twice is refused: readers do not agree on which one counts.
func (a *archive) index(f io.ReadSeeker) error {
	if err := refuseCompressed(f); err != nil {
		return err
	}
	r := tar.NewReader(f)
	for range maxEntries {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(h.Name) > maxName || len(h.Linkname) > maxName {
			return fmt.Errorf("entry %s: its name is longer than %d bytes", quote(h.Name), maxName)
		}
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if _, twice := a.links[name]; twice || a.has(name) {
			return fmt.Errorf("entry %s occurs twice", quote(h.Name))
		}
		if err := a.entry(f, name, h); err != nil {
			return fmt.Errorf("entry %s: %w", quote(h.Name), err)
		}
	}
	return fmt.Errorf("got more than %d entries", maxEntries)
}

func (a *archive) entry(f io.Seeker, name string, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return errors.New("sparse files are not read")
			}
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.files[name] = section{at, h.Size}
	case tar.TypeSymlink: // older dockers link equal layers
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
	case tar.TypeLink:
		a.links[name] = path.Clean(h.Linkname)
	default:
		return fmt.Errorf("type %q is neither a file nor a link", h.Typeflag)
	}
	return nil
}

// refuseCompressed says what to do about an archive that went through gzip or zstd: its blobs cannot be read where they lie.
func refuseCompressed(f io.ReadSeeker) error {
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	for magic, tool := range map[string]string{"\x1f\x8b": "gunzip", "\x28\xb5\x2f\xfd": "unzstd", "\xfd7zX": "unxz", "BZh": "bunzip2"} {
		if bytes.HasPrefix(head[:n], []byte(magic)) {
			return fmt.Errorf("it is compressed (run %s first)", tool)
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

func (a *archive) String() string { return fmt.Sprintf("archive %q", a.name) }

func (a *archive) Close() error { return a.file.Close() }

func (a *archive) has(name string) bool { _, ok := a.files[name]; return ok }

// at follows links within the archive.
func (a *archive) at(name string) (section, error) {
	name = path.Clean(name)
	for range maxLinks {
		if s, ok := a.files[name]; ok {
			return s, nil
		}
		target, ok := a.links[name]
		if !ok {
			return section{}, fmt.Errorf("file %s is %w in the archive", quote(name), ErrNotFound)
		}
		name = target
	}
	return section{}, fmt.Errorf("file %s: got more than %d links", quote(name), maxLinks)
}

func (a *archive) reader(s section) io.Reader { return io.NewSectionReader(a.r, s.offset, s.size) }

// read reads a whole file of the archive that is at most limit bytes.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	s, err := a.at(name)
	if err != nil {
		return nil, err
	}
	if s.size > limit {
		return nil, fmt.Errorf("file %s: got %d bytes, want at most %d", quote(name), s.size, limit)
	}
	raw := make([]byte, s.size)
	if _, err := io.ReadFull(a.reader(s), raw); err != nil {
		return nil, fmt.Errorf("file %s: %w", quote(name), err)
	}
	return raw, nil
}

// open gives a blob of the OCI layout.
func (a *archive) open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if _, err := parseDigest(d.Digest.String()); err != nil {
		return nil, err
	}
	s, err := a.at(path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(a.reader(s)), nil
}

// find prefers the OCI layout, which names blobs by digest, to the older form.
func (a *archive) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	var none *missing
	if a.has(layoutFile) {
		index, err := a.read(indexFile, maxLayoutIndex)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		how := fullNames
		if a.only != "" {
			how = givenFor
		}
		c, err := findInIndex(ctx, a.String(), index, a, how, ref, want)
		if !errors.As(err, &none) || !a.has(manifestFile) {
			return c, err
		}
	}
	c, err := a.findSaved(ctx, ref, want)
	if err != nil && !errors.As(err, &none) {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return c, err
}
