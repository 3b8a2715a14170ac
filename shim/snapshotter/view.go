package snapshotter

import (
	"os"
	"path/filepath"
)

// view is what the host may see of a stack of layers, which are added from the top down.
type view struct {
	from map[string]string // the file that is seen, by name; "" hides what is below
}

func newView() *view { return &view{from: map[string]string{}} }

func (v *view) add(layers *store, diffID string) error {
	f, err := layers.get(diffID)
	if err != nil {
		return err
	}
	for _, name := range accountNames {
		if _, decided := v.from[name]; decided {
			continue
		}
		switch a := f.Accounts[name]; {
		case a.Present:
			v.from[name] = filepath.Join(layers.path(diffID), name)
		case a.Hidden:
			v.from[name] = ""
		}
	}
	return nil
}

// write makes the directory. The modes are set whatever the process's mask is.
func (v *view) write(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, etc)} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	for name, from := range v.from {
		if from == "" {
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, etc, name)
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o644); err != nil {
			return err
		}
	}
	return nil
}
