package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a layer under construction, by path without a leading slash.
type layer struct {
	entries map[string]entry
}

type entry struct {
	kind     byte
	mode     int64
	uid, gid int
	link     string
	data     []byte
	xattrs   map[string]string
}

func newLayer() *layer { return &layer{entries: map[string]entry{}} }

func (l *layer) has(name string) bool { _, ok := l.entries[name]; return ok }

// add puts an entry with its parents: a layer that leaves them out gets them with made-up attributes from some converters.
func (l *layer) add(name string, e entry) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if !l.has(dir) {
			l.entries[dir] = entry{kind: tar.TypeDir, mode: 0o755}
		}
	}
	l.entries[name] = e
}

func (l *layer) fromPackage(name string, f packageFile) {
	if f.link != "" {
		l.symlink(name, f.link)
		return
	}
	l.file(name, f.mode, f.data)
}

func (l *layer) dir(name string, mode int64) { l.add(name, entry{kind: tar.TypeDir, mode: mode}) }

func (l *layer) file(name string, mode int64, data []byte) {
	l.add(name, entry{kind: tar.TypeReg, mode: mode, data: data})
}

func (l *layer) symlink(name, target string) {
	l.add(name, entry{kind: tar.TypeSymlink, mode: 0o777, link: target})
}

// hardLink gives a file of this layer another name.
func (l *layer) hardLink(name, target string) {
	l.add(name, entry{kind: tar.TypeLink, mode: l.entries[target].mode, link: target})
}

// owner sets who a path belongs to.
func (l *layer) owner(name string, uid, gid int) {
	e := l.entries[name]
	e.uid, e.gid = uid, gid
	l.entries[name] = e
}

func (l *layer) xattr(name, key, value string) {
	e := l.entries[name]
	if e.xattrs == nil {
		e.xattrs = map[string]string{}
	}
	e.xattrs[key] = value
	l.entries[name] = e
}

// whiteout removes a path of the layers below.
func (l *layer) whiteout(name string) {
	l.file(path.Join(path.Dir(name), ".wh."+path.Base(name)), 0o644, nil)
}

// opaque hides what the layers below have in a directory.
func (l *layer) opaque(dir string) { l.file(path.Join(dir, ".wh..wh..opq"), 0o644, nil) }

// tar writes the entries in the order of their names, hard links last because their targets have to be there.
func (l *layer) tar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	names := slices.Sorted(maps.Keys(l.entries))
	for _, links := range []bool{false, true} {
		for _, name := range names {
			e := l.entries[name]
			if (e.kind == tar.TypeLink) != links {
				continue
			}
			if err := w.WriteHeader(e.header(name)); err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			}
			if _, err := w.Write(e.data); err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			}
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func (e entry) header(name string) *tar.Header {
	h := &tar.Header{
		Name: name, Typeflag: e.kind, Mode: e.mode & 0o7777, Uid: e.uid, Gid: e.gid, Linkname: e.link,
		Size: int64(len(e.data)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	if e.kind == tar.TypeDir {
		h.Name = strings.TrimSuffix(name, "/") + "/"
	}
	for key, value := range e.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+key] = value
	}
	return h
}

// image is the layer as the image stores it.
func (l *layer) image(options ...tarball.LayerOption) (v1.Layer, error) {
	data, err := l.tar()
	if err != nil {
		return nil, err
	}
	options = append([]tarball.LayerOption{tarball.WithMediaType(types.OCILayer)}, options...)
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, options...)
}
