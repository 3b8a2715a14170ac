package snapshotter

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/erofs/go-erofs"
)

// maxAccounts bounds what is taken of a layer's passwd or group file, in bytes: a larger one counts as none.
const maxAccounts = 1 << 20

// accountNames are the files below etc that the host reads of an image: containerd resolves user names with them.
var accountNames = []string{"passwd", "group"}

// account is what one layer does to one of those files.
type account struct {
	// Hidden says that lower layers' file is not seen through this one; that includes a file that the view does not show (a link, a long one).
	Hidden bool `json:"hidden,omitempty"`
	// Present says that the layer has the file, and that its content was kept.
	Present bool   `json:"present,omitempty"`
	content []byte // while the layer is read
}

// accounts are those of one layer, by name.
type accounts map[string]*account

func newAccounts() accounts {
	a := accounts{}
	for _, name := range accountNames {
		a[name] = &account{}
	}
	return a
}

const (
	etc            = "etc"
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// visit takes one entry of a layer's tar. Of entries with one name the last counts, as in the disk.
func (a accounts) visit(h *tar.Header, content io.Reader) error {
	dir, name := path.Split(strings.TrimPrefix(path.Clean("/"+h.Name), "/"))
	switch strings.TrimSuffix(dir, "/") {
	case "":
		a.atRoot(name, h.Typeflag)
		return nil
	case etc:
		return a.inEtc(name, h, content)
	}
	return nil
}

// atRoot looks for what becomes of the directory itself.
func (a accounts) atRoot(name string, kind byte) {
	gone := name == whiteoutPrefix+etc || name == opaqueMarker
	if name == etc && kind != tar.TypeDir {
		gone = true
		a.drop()
	}
	if gone {
		a.hide()
	}
}

// drop forgets the files: what follows takes their directory's place.
func (a accounts) drop() {
	for _, f := range a {
		f.Present, f.content = false, nil
	}
}

func (a accounts) hide() {
	for _, f := range a {
		f.Hidden = true
	}
}

func (a accounts) inEtc(name string, h *tar.Header, content io.Reader) error {
	if name == opaqueMarker {
		a.hide()
		return nil
	}
	hidden, isWhiteout := strings.CutPrefix(name, whiteoutPrefix)
	f := a[hidden]
	if f == nil {
		return nil
	}
	if isWhiteout {
		f.Hidden = true
		return nil
	}
	f.Hidden, f.Present, f.content = true, false, nil
	if h.Typeflag != tar.TypeReg || h.Size > maxAccounts { // the reader makes this type of older ones
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(content, maxAccounts+1))
	if err != nil {
		return fmt.Errorf("read %q of the layer: %w", h.Name, err)
	}
	f.take(text)
	return nil
}

func (f *account) take(text []byte) {
	f.Hidden = true
	if len(text) <= maxAccounts {
		f.Present, f.content = true, text
	}
}

// accountsOfEROFS reads the files from an image that was pulled as it is. An image that our reader does not understand (compressed files, say) hides
// what lower layers have: a user name that is not found is better than the wrong user's number.
func accountsOfEROFS(image io.ReaderAt) (a accounts, err error) {
	a = newAccounts()
	defer func() {
		if r := recover(); r != nil { // other people's code over anybody's bytes
			err = fmt.Errorf("the EROFS reader gave up: %v", r)
		}
		if err != nil {
			a.drop()
			a.hide()
		}
	}()
	fsys, err := erofs.Open(image)
	if err != nil {
		return a, err
	}
	dir, stat, err := lstat(fsys, etc)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, nil
	case err != nil:
		return a, err
	case !dir.IsDir():
		a.hide()
		return a, nil
	case stat.Xattrs["trusted.overlay.opaque"] == "y":
		a.hide()
	}
	for name, f := range a {
		if err := f.fromEROFS(fsys, etc+"/"+name); err != nil {
			return a, err
		}
	}
	return a, nil
}

func lstat(fsys fs.FS, name string) (fs.FileInfo, *erofs.Stat, error) {
	info, err := fs.Lstat(fsys, name)
	if err != nil {
		return nil, nil, err
	}
	stat, ok := info.Sys().(*erofs.Stat)
	if !ok {
		return nil, nil, fmt.Errorf("%q: no attributes", name)
	}
	return info, stat, nil
}

func (f *account) fromEROFS(fsys fs.FS, name string) error {
	info, _, err := lstat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() > maxAccounts: // a whiteout is a device
		f.Hidden = true
		return nil
	}
	in, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxAccounts+1))
	if err != nil {
		return err
	}
	f.take(text)
	return nil
}
