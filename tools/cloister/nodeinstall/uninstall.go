package nodeinstall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Uninstall removes what the record names and is still as it was written, files before the directories they are in; what was changed stays, and is named. With
// dry set it only says so. Without a record there is nothing to do.
func Uninstall(root string, dry bool) ([]Change, error) {
	r, err := readRecord(root)
	if r == nil || err != nil {
		return nil, err
	}
	u := &uninstall{root: root, dry: dry}
	for _, e := range slices.Backward(r.Entries) {
		var c Change
		switch e.Kind {
		case kindFile:
			c, err = u.file(e)
		case kindLink:
			c, err = u.link(e)
		case kindEdit:
			c, err = u.edit(e)
		case kindDir:
			u.dirs = append(u.dirs, e.Path)
			continue
		default:
			err = fmt.Errorf("record has kind %.32q", e.Kind)
		}
		if err != nil {
			return u.changes, fmt.Errorf("uninstall %q: %w", e.Path, err)
		}
		u.changes = append(u.changes, c)
	}
	if dry {
		return u.changes, nil
	}
	if err := os.Remove(filepath.Join(root, recordPath)); err != nil {
		return u.changes, fmt.Errorf("uninstall: %w", err)
	}
	u.removeDirs()
	return u.changes, nil
}

type uninstall struct {
	root    string
	dry     bool
	dirs    []string
	changes []Change
}

func (u *uninstall) remove(path string) error {
	if u.dry {
		return nil
	}
	return os.Remove(filepath.Join(u.root, path))
}

func (u *uninstall) file(e entry) (Change, error) {
	now, err := digestFile(filepath.Join(u.root, e.Path))
	switch {
	case err != nil:
		return Change{}, err
	case now == "":
		return Change{Action: Same, Path: e.Path, Note: "gone already"}, nil
	case now != e.SHA256:
		return u.kept(e.Path)
	}
	return Change{Action: Remove, Path: e.Path}, u.remove(e.Path)
}

// kept leaves a file that was changed. One that imports the drop-in, containerd's main file where there was none before, loses that line: without the drop-in
// containerd would not start.
func (u *uninstall) kept(path string) (Change, error) {
	text, err := os.ReadFile(filepath.Join(u.root, path))
	if err != nil {
		return Change{}, err
	}
	c := Change{Action: Keep, Path: path, Note: "changed since it was installed"}
	rest, line, ok := withoutImport(text)
	if !ok {
		return c, nil
	}
	c.Action, c.Diff = Update, []string{"- " + line}
	if u.dry {
		return c, nil
	}
	return c, editFile(u.root, path, rest)
}

func (u *uninstall) link(e entry) (Change, error) {
	switch now, err := os.Readlink(filepath.Join(u.root, e.Path)); {
	case errors.Is(err, fs.ErrNotExist):
		return Change{Action: Same, Path: e.Path, Note: "gone already"}, nil
	case err != nil || now != e.Target:
		return Change{Action: Keep, Path: e.Path, Note: "changed since it was installed"}, nil
	}
	return Change{Action: Remove, Path: e.Path}, u.remove(e.Path)
}

// edit takes the import out of containerd's main file: the line is known by its mark, so changes elsewhere in the file are no hindrance.
func (u *uninstall) edit(e entry) (Change, error) {
	text, err := os.ReadFile(filepath.Join(u.root, e.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return Change{Action: Same, Path: e.Path, Note: "gone already"}, nil
	}
	if err != nil {
		return Change{}, err
	}
	rest, line, ok := withoutImport(text)
	if !ok {
		return Change{Action: Keep, Path: e.Path, Note: "the import was changed or taken out; the file as it was: " + e.Backup}, nil
	}
	c := Change{Action: Update, Path: e.Path, Diff: []string{"- " + line}}
	if u.dry {
		return c, nil
	}
	if err := editFile(u.root, e.Path, rest); err != nil {
		return Change{}, err
	}
	if digest(text) == e.SHA256 { // nothing else was changed, so the backup says nothing new
		err = u.remove(e.Backup)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		c.Note = "changed otherwise since; the file as it was: " + e.Backup
	}
	return c, err
}

// withoutImport takes the marked line out of a text.
func withoutImport(text []byte) (rest []byte, line string, ok bool) {
	lines := strings.SplitAfter(string(text), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return importMark.MatchString(l) })
	if at < 0 {
		return text, "", false
	}
	line = strings.TrimSuffix(lines[at], "\n")
	return []byte(strings.Join(slices.Delete(lines, at, at+1), "")), line, true
}

// removeDirs removes directories of ours that are empty now, the deepest first.
func (u *uninstall) removeDirs() {
	slices.SortFunc(u.dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range u.dirs {
		_ = os.Remove(filepath.Join(u.root, dir)) // what is in use is not empty, and stays
	}
}
