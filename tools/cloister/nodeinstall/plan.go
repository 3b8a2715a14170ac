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

// Action is what becomes of one path.
type Action string

// The actions of an installation and of its end.
const (
	Create Action = "create"
	Update Action = "update"
	Same   Action = "same" // is there already, as it would be written
	Keep   Action = "keep" // is there, and somebody else's
	Remove Action = "remove"
)

// Change is one line of what an installation does.
type Change struct {
	Action Action   `json:"action"`
	Path   string   `json:"path"`
	Note   string   `json:"note,omitempty"`
	Diff   []string `json:"diff,omitempty"` // lines that are added or taken out, of a file that is edited

	do func(*record) error
}

// Plan is everything an installation does. Nothing is written before Apply.
type Plan struct {
	Changes []Change `json:"changes"`
	Notes   []string `json:"notes,omitempty"`
	// Restart says that containerd must be restarted to see what is new.
	Restart bool `json:"restart"`

	root   string
	record *record
}

// NewPlan reads the node and says what installing would do.
func NewPlan(o Options) (*Plan, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	have, err := readRecord(o.Root)
	if err != nil {
		return nil, err
	}
	if have == nil {
		have = &record{Version: 1}
	}
	t, err := load(o)
	if err != nil {
		return nil, err
	}
	drop, err := t.render(o)
	if err != nil {
		return nil, err
	}
	have.Options = kept{o.Containerd, o.Version, o.Prefix, o.Handler, o.Sandboxer, o.Socket, o.LayersRoot}
	p := &Plan{root: o.Root, record: have, Notes: drop.notes}
	for _, step := range []func() error{
		func() error { return p.programs(o) },
		func() error { return p.link(shimLink, filepath.Join(o.Prefix, "bin", Programs[0])) },
		func() error { return p.text(unitPath, 0o644, o, Unit) },
		func() error { return p.nodeConfig(o) },
		func() error { return p.file(t.dropIn, drop.text, 0o644) },
		func() error { return p.importLine(o, t) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, c := range p.Changes {
		if (c.Path == t.dropIn || c.Path == o.Containerd) && (c.Action == Create || c.Action == Update) {
			p.Restart = true
		}
	}
	p.Notes = append(p.Notes, guestNote(o)...)
	return p, nil
}

// guestNote says when no guest image is where shims look for one.
func guestNote(o Options) []string {
	var missing []string
	for _, name := range []string{"vmlinuz", "initrd.img", "cmdline"} {
		if _, err := os.Stat(filepath.Join(o.Root, o.Guest, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return []string{fmt.Sprintf("no guest image in %q (missing: %s): write one with \"cloister guest build -o %s\"", o.Guest, strings.Join(missing, ", "), o.Guest)}
}

func (p *Plan) text(path string, mode fs.FileMode, o Options, make func(Options) ([]byte, error)) error {
	text, err := make(o)
	if err != nil {
		return err
	}
	return p.file(path, text, mode)
}

// nodeConfig writes the node's configuration only where there is none.
func (p *Plan) nodeConfig(o Options) error {
	if _, err := os.Lstat(filepath.Join(p.root, nodeConfig)); err == nil {
		p.Changes = append(p.Changes, Change{Action: Keep, Path: nodeConfig, Note: "yours"})
		return nil
	}
	return p.text(nodeConfig, 0o644, o, NodeConfig)
}

// file plans a file of ours. One with other bytes that no installation recorded, or that was changed since, is somebody's work: refused.
func (p *Plan) file(path string, text []byte, mode fs.FileMode) error {
	now, err := digestFile(filepath.Join(p.root, path))
	if err != nil {
		return err
	}
	return p.put(path, now, digest(text), mode, func() error { return replaceFile(filepath.Join(p.root, path), text, mode) })
}

func (p *Plan) put(path, now, want string, mode fs.FileMode, write func() error) error {
	c := Change{Path: path}
	recorded := p.record.find(path)
	switch {
	case now == want:
		c.Action = Same
		write = func() error { return os.Chmod(filepath.Join(p.root, path), mode) }
	case now == "":
		c.Action = Create
	case recorded != nil && recorded.SHA256 == now:
		c.Action = Update
	default:
		return refuse("move it away and install again", "%q is there already and was not written by an installation, or was changed since", path)
	}
	c.do = func(r *record) error {
		if c.Action == Same && recorded == nil {
			return nil // equal, but somebody else's: it is not ours to remove
		}
		if err := p.parents(r, path); err != nil {
			return err
		}
		if err := write(); err != nil {
			return err
		}
		r.put(entry{Path: path, Kind: kindFile, SHA256: want})
		return nil
	}
	p.Changes = append(p.Changes, c)
	return nil
}

// programs copies what is not in place already.
func (p *Plan) programs(o Options) error {
	for _, name := range Programs {
		from, path := filepath.Join(o.From, name), filepath.Join(o.Prefix, "bin", name)
		info, err := os.Stat(from)
		if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o100 == 0) {
			err = errors.New("not a program")
		}
		if err != nil {
			return refuse("build the programs with make, or name their directory with --from", "program %q is not in %q: %v", name, o.From, err)
		}
		want, err := digestFile(from)
		if err != nil {
			return err
		}
		now, err := digestFile(filepath.Join(p.root, path))
		if err != nil {
			return err
		}
		err = p.put(path, now, want, 0o755, func() error {
			in, err := os.Open(from)
			if err != nil {
				return err
			}
			defer in.Close()
			return replaceWith(filepath.Join(p.root, path), in, 0o755)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) link(path, target string) error {
	full := filepath.Join(p.root, path)
	if path == target {
		return nil
	}
	c := Change{Path: path, Note: "-> " + target}
	recorded := p.record.find(path)
	switch now, err := os.Readlink(full); {
	case errors.Is(err, fs.ErrNotExist):
		c.Action = Create
	case err == nil && now == target:
		c.Action = Same
	case err == nil && recorded != nil && recorded.Target == now:
		c.Action = Update
	default:
		return refuse("move it away and install again", "%q is there already and is not a link of an installation", path)
	}
	c.do = func(r *record) error {
		if c.Action == Same {
			return nil
		}
		if err := p.parents(r, path); err != nil {
			return err
		}
		if c.Action == Update {
			if err := os.Remove(full); err != nil {
				return err
			}
		}
		if err := os.Symlink(target, full); err != nil {
			return err
		}
		r.put(entry{Path: path, Kind: kindLink, Target: target})
		return nil
	}
	p.Changes = append(p.Changes, c)
	return nil
}

// importLine gives the main file its import, or makes one that has nothing else.
func (p *Plan) importLine(o Options, t *tree) error {
	if t.imported {
		p.Changes = append(p.Changes, Change{Action: Same, Path: o.Containerd, Note: "imports " + t.dropIn})
		return nil
	}
	full := filepath.Join(p.root, o.Containerd)
	text, err := withImport(t.main, t.dropIn)
	if err != nil {
		return err
	}
	if _, err := os.Stat(full); errors.Is(err, fs.ErrNotExist) {
		return p.file(o.Containerd, text, 0o644)
	}
	info, err := os.Stat(full)
	if err != nil {
		return err
	}
	if _, err := resolve(p.root, o.Containerd); err != nil {
		return err
	}
	backup, err := p.backupName(o.Containerd)
	if err != nil {
		return err
	}
	c := Change{
		Action: Update, Path: o.Containerd, Note: "backup: " + backup,
		Diff: []string{fmt.Sprintf("+ imports = [%q] # added by cloister node install", t.dropIn)},
	}
	c.do = func(r *record) error {
		if err := p.keepBackup(backup, t.main.text, info); err != nil {
			return err
		}
		if err := editFile(p.root, o.Containerd, text); err != nil {
			return err
		}
		r.put(entry{Path: o.Containerd, Kind: kindEdit, SHA256: digest(text), Backup: backup})
		return nil
	}
	p.Changes = append(p.Changes, c)
	return nil
}

// parents makes a path's directories and records those that were not there.
func (p *Plan) parents(r *record, path string) error {
	var missing []string
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(p.root, dir)); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		if err := os.Mkdir(filepath.Join(p.root, dir), 0o755); err != nil {
			return err
		}
		r.put(entry{Path: dir, Kind: kindDir})
	}
	return nil
}

// Apply does what the plan says. The record is written after each step, so that an installation that was cut short can be removed or run again.
func (p *Plan) Apply() error {
	if err := p.parents(p.record, recordPath); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	for _, c := range p.Changes {
		if c.do == nil {
			continue
		}
		if err := c.do(p.record); err != nil {
			return fmt.Errorf("install %q: %w", c.Path, err)
		}
		if err := p.record.write(p.root); err != nil {
			return fmt.Errorf("install: record %q: %w", recordPath, err)
		}
	}
	return nil
}
