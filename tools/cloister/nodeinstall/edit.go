package nodeinstall

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// backupSuffix ends the name of the file that keeps an edited one as it was. A number follows where the name is taken.
const backupSuffix = ".before-cloister"

// mostBackups bounds the search for a free name.
const mostBackups = 1000

// backupName is where an edited file is kept as it was: a name that is free, or is the backup of an edit of ours before this one.
func (p *Plan) backupName(path string) (string, error) {
	if e := p.record.find(path); e != nil && e.Kind == kindEdit && e.Backup != "" {
		return e.Backup, nil
	}
	for n := range mostBackups {
		name := path + backupSuffix
		if n > 0 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		if _, err := os.Lstat(filepath.Join(p.root, name)); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", refuse("move them away and install again", "%q and %d with numbers are there already", path+backupSuffix, mostBackups-1)
}

// ours tells whether a backup is that of an edit before.
func (p *Plan) ours(backup string) bool {
	for _, e := range p.record.Entries {
		if e.Kind == kindEdit && e.Backup == backup {
			return true
		}
	}
	return false
}

// keepBackup writes what a file was into a file of its own, which belongs to whom the first one does. Nothing but an older backup of ours is replaced.
func (p *Plan) keepBackup(backup string, text []byte, of fs.FileInfo) error {
	full := filepath.Join(p.root, backup)
	if p.ours(backup) {
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, likeness(f, of), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(full))
	}
	return nil
}

// likeness gives a file the owner and the mode of another one, in this order: a change of the owner takes bits off the mode.
func likeness(f *os.File, of fs.FileInfo) error {
	if st, ok := of.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(of.Mode().Perm())
}

// editFile gives a file of somebody else's another text by one rename. What was a link stays one, and owner and mode stay.
func editFile(root, path string, text []byte) (err error) {
	full, err := resolve(root, path)
	if err != nil {
		return err
	}
	info, err := os.Stat(full)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(full), ".cloister-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	return placeFile(f, bytes.NewReader(text), full, func() error { return likeness(f, info) })
}

// resolve follows links to the file that is meant. One outside of the node's directory is not the node's.
func resolve(root, path string) (string, error) {
	full, err := filepath.EvalSymlinks(filepath.Join(root, path))
	if err != nil {
		return "", err
	}
	top, err := filepath.EvalSymlinks(filepath.Join("/", root))
	if err != nil {
		return "", err
	}
	if top != "/" && !strings.HasPrefix(full, top+"/") {
		return "", refuse("name the file itself", "%q is a link to %q, which is not below %q", path, full, root)
	}
	return full, nil
}
