package nodeinstall

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// file is one file of containerd's configuration.
type file struct {
	path    string // on the node
	text    []byte
	version int
	imports []string
	values  map[string]any
}

// HintError is a refusal with the step that comes next.
type HintError struct {
	What, Next string
}

func (e *HintError) Error() string { return e.What + " (" + e.Next + ")" }

func refuse(next, format string, args ...any) error {
	return &HintError{What: fmt.Sprintf(format, args...), Next: next}
}

// readFile reads one configuration file below root.
func readFile(root, path string) (*file, error) {
	full := filepath.Join(root, path)
	info, err := os.Stat(full)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil, fmt.Errorf("containerd's configuration %q: got %s of %d bytes, want a regular file of at most %d", path, info.Mode().Type(), info.Size(), maxConfig)
	}
	text, err := os.ReadFile(full)
	if err != nil {
		return nil, err
	}
	return parseFile(path, text)
}

func parseFile(path string, text []byte) (*file, error) {
	f := &file{path: path, text: text, values: map[string]any{}}
	if err := toml.Unmarshal(text, &f.values); err != nil {
		return nil, refuse("see whether containerd itself reads it: containerd --config "+path+" config dump", "containerd's configuration %q does not parse: %v", path, err)
	}
	var head struct {
		Version int      `toml:"version"`
		Imports []string `toml:"imports"`
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).Decode(&head); err != nil {
		return nil, refuse("correct version or imports", "containerd's configuration %q: %v", path, err)
	}
	f.version, f.imports = head.Version, head.Imports
	return f, nil
}

// section is a plugin's table; nil where the file does not have it.
func (f *file) section(id string) (map[string]any, error) {
	return table(f.values, f.path, "plugins", id)
}

// table walks down nested tables; nil where there is none.
func table(values map[string]any, where string, keys ...string) (map[string]any, error) {
	for i, key := range keys {
		v, ok := values[key]
		if !ok {
			return nil, nil
		}
		if values, ok = v.(map[string]any); !ok {
			return nil, refuse("correct it", "%q: %s is %T, want a table", where, strings.Join(keys[:i+1], "."), v)
		}
	}
	return values, nil
}

// tree is containerd's configuration as it loads it: the main file, then what it imports.
type tree struct {
	main  *file
	files []*file // in the order they are loaded, the drop-in left out
	// dropIn is where ours belongs; imported says that the main file or one it imports takes it in already.
	dropIn   string
	imported bool
	// before is how many files are loaded before the drop-in.
	before int
}

// load reads the main file and all it imports. Without a main file the result is what containerd would have: nothing.
func load(o Options) (*tree, error) {
	t := &tree{}
	main, err := readFile(o.Root, o.Containerd)
	if errors.Is(err, fs.ErrNotExist) {
		main, err = emptyMain(o)
	}
	if err != nil {
		return nil, err
	}
	if main.version < 2 || main.version > 4 {
		return nil, refuse("rewrite it with: containerd --config "+o.Containerd+" config migrate",
			"containerd's configuration %q has version %d, want 2, 3 or 4", o.Containerd, main.version)
	}
	t.main = main
	if err := t.choose(o); err != nil {
		return nil, err
	}
	return t, t.walk(o)
}

// emptyMain stands for a file that is not there: its version is containerd's newest that the drop-in is written in.
func emptyMain(o Options) (*file, error) {
	major, _, _ := release(o.Version)
	version := 3
	switch {
	case major == 0:
		return nil, refuse("say its version with --containerd-version, or write one with: containerd config default > "+o.Containerd,
			"containerd has no configuration %q and did not say its version", o.Containerd)
	case major == 1:
		version = 2
	}
	return parseFile(o.Containerd, fmt.Appendf(nil, "version = %d\n", version))
}

// choose finds the place of the drop-in: a directory that the main file imports *.toml of, or conf.d beside it.
func (t *tree) choose(o Options) error {
	dir := filepath.Dir(o.Containerd)
	t.dropIn = filepath.Join(dir, "conf.d", dropInName)
	for _, pattern := range t.main.imports {
		pattern = absolute(dir, pattern)
		path := filepath.Join(filepath.Dir(pattern), dropInName)
		if match, err := filepath.Match(pattern, path); err != nil {
			return refuse("correct it", "%q imports %q: %v", o.Containerd, pattern, err)
		} else if match && !strings.Contains(filepath.Dir(pattern), "*") {
			t.dropIn, t.imported = path, true
			return nil
		}
	}
	if len(t.main.imports) > 0 {
		return refuse(fmt.Sprintf("add %q to imports there", t.dropIn), "%q has imports that do not take in %q", o.Containerd, t.dropIn)
	}
	return nil
}

func absolute(dir, path string) string {
	if !filepath.IsAbs(path) {
		return filepath.Join(dir, path)
	}
	return filepath.Clean(path)
}

// walk reads imports, in containerd's own order: breadth first, each file once, those of a pattern by name.
func (t *tree) walk(o Options) error {
	pending, seen := []*file{t.main}, map[string]bool{t.main.path: true}
	for len(pending) > 0 {
		f := pending[0]
		pending = pending[1:]
		t.files = append(t.files, f)
		for _, pattern := range f.imports {
			paths, err := matches(o.Root, absolute(filepath.Dir(f.path), pattern))
			if err != nil {
				return err
			}
			if !slices.Contains(paths, t.dropIn) && f == t.main && t.imported && covers(absolute(filepath.Dir(f.path), pattern), t.dropIn) {
				paths = append(paths, t.dropIn)
				slices.Sort(paths)
			}
			for _, path := range paths {
				switch {
				case seen[path]:
				case path == t.dropIn:
					seen[path] = true
					t.before = len(t.files) + len(pending)
				case len(seen) > 256:
					return refuse("take some out", "%q imports more than 256 files", o.Containerd)
				default:
					seen[path] = true
					in, err := readFile(o.Root, path)
					if err != nil {
						return fmt.Errorf("import of %q: %w", f.path, err)
					}
					pending = append(pending, in)
				}
			}
		}
	}
	if t.before == 0 {
		t.before = len(t.files)
	}
	return nil
}

func covers(pattern, path string) bool {
	ok, err := filepath.Match(pattern, path)
	return err == nil && ok
}

// matches are the files of a pattern below root, as paths on the node, sorted. Only a pattern without a star must exist, as containerd has it.
func matches(root, pattern string) ([]string, error) {
	if !strings.Contains(pattern, "*") {
		return []string{pattern}, nil
	}
	found, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		return nil, fmt.Errorf("imports %q: %w", pattern, err)
	}
	for i, path := range found {
		found[i] = filepath.Join("/", strings.TrimPrefix(path, filepath.Clean(root)))
	}
	slices.Sort(found)
	return found, nil
}

// plugin is the section that the user's files have of a plugin, as a copy. Which of two files counts depends on containerd's version, so more than one is
// refused, and so is one that is loaded after the drop-in.
func (t *tree) plugin(id string) (map[string]any, error) {
	var out map[string]any
	var owner string
	for i, f := range t.files {
		s, err := f.section(id)
		switch {
		case err != nil:
			return nil, err
		case s == nil:
			continue
		case out != nil:
			return nil, refuse("move both into one file", "plugin %q is configured in %q and in %q, and containerd's versions differ in what they make of that", id, owner, f.path)
		case i >= t.before:
			return nil, refuse("give that file a name that comes before "+dropInName, "plugin %q is configured in %q, which containerd loads after %q", id, f.path, t.dropIn)
		}
		out, owner = clone(s), f.path
	}
	if out == nil {
		out = map[string]any{}
	}
	return out, nil
}

// clone copies nested tables.
func clone(m map[string]any) map[string]any {
	out := maps.Clone(m)
	for k, v := range out {
		if t, ok := v.(map[string]any); ok {
			out[k] = clone(t)
		}
	}
	return out
}

// sub is the table below m at keys, made where it is missing.
func sub(m map[string]any, where string, keys ...string) (map[string]any, error) {
	for i, key := range keys {
		v, ok := m[key]
		if !ok {
			next := map[string]any{}
			m[key], m = next, next
			continue
		}
		if m, ok = v.(map[string]any); !ok {
			return nil, refuse("correct it", "plugin %q: %s is %T, want a table", where, strings.Join(keys[:i+1], "."), v)
		}
	}
	return m, nil
}
