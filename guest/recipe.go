package guest

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The recipe the binary was built with; a source tree's own recipe takes precedence (see Options.Source).
var (
	//go:embed modules.list
	embeddedModules []byte
	//go:embed packages.lock
	embeddedLock []byte
)

// Package is one locked .deb.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	// Pool is the path below the root of a Debian mirror.
	Pool string `json:"pool"`
}

// File is the name of the .deb in a mirror, in the cache and in a --packages directory.
func (p Package) File() string { return path.Base(p.Pool) }

// Module is one line of modules.list.
type Module struct {
	Name  string
	Needs []string // loaded before it, and required
	Soft  []string // loaded before it where the processor can
}

// Recipe is what an image is made of.
type Recipe struct {
	Production  []Module
	Development []Module
	Packages    []Package
}

// modules lists what goes into one kind of image.
func (r *Recipe) modules(dev bool) []Module {
	if dev {
		return slices.Concat(r.Production, r.Development)
	}
	return r.Production
}

// LoadRecipe reads the recipe of a source tree, or the one the program was built with when source is empty.
func LoadRecipe(source string) (*Recipe, error) {
	modules, lock := embeddedModules, embeddedLock
	if source != "" {
		var err error
		if modules, err = os.ReadFile(filepath.Join(source, "guest", "modules.list")); err != nil {
			return nil, err
		}
		if lock, err = os.ReadFile(LockPath(source)); err != nil {
			return nil, err
		}
	}
	r := &Recipe{}
	var err error
	if r.Production, r.Development, err = parseModules(modules); err != nil {
		return nil, err
	}
	if r.Packages, err = ParseLock(lock); err != nil {
		return nil, err
	}
	return r, nil
}

// LockPath is where a source tree keeps its package lock.
func LockPath(source string) string { return filepath.Join(source, "guest", "packages.lock") }

// modulePath is how FindSource recognises our tree.
const modulePath = "github.com/cloister-cc/cloister"

// FindSource walks up from dir to the root of the Cloister source tree; "" when there is none.
func FindSource(dir string) string {
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module "+modulePath+"\n")) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func parseModules(text []byte) (production, development []Module, err error) {
	var section *[]Module
	seen := map[string]bool{}
	for n, line := range lines(text) {
		switch line {
		case "[production]":
			section = &production
			continue
		case "[development]":
			section = &development
			continue
		}
		m, err := parseModule(line)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("modules.list line %d: %w", n, err)
		case section == nil:
			return nil, nil, fmt.Errorf("modules.list line %d: module %q stands before the first section", n, m.Name)
		case seen[moduleKey(m.Name)]:
			return nil, nil, fmt.Errorf("modules.list line %d: module %q is listed twice", n, m.Name)
		}
		seen[moduleKey(m.Name)] = true
		*section = append(*section, m)
	}
	if len(production) == 0 {
		return nil, nil, fmt.Errorf("modules.list: no module in section [production]")
	}
	return production, development, nil
}

func parseModule(line string) (Module, error) {
	name, rest, _ := strings.Cut(line, ":")
	m := Module{Name: strings.TrimSpace(name)}
	if !isModuleName(m.Name) {
		return Module{}, fmt.Errorf("got %q, want a module name", m.Name)
	}
	for _, word := range strings.Fields(rest) {
		soft := strings.HasPrefix(word, "?")
		word = strings.TrimPrefix(word, "?")
		if !isModuleName(word) {
			return Module{}, fmt.Errorf("module %q needs %q: want a module name", m.Name, word)
		}
		if soft {
			m.Soft = append(m.Soft, word)
		} else {
			m.Needs = append(m.Needs, word)
		}
	}
	return m, nil
}

func isModuleName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

const lockHeader = `# Packages of the guest image, one a line: name version sha256 path-in-the-mirror.
# Written by "cloister guest lock --update"; the build takes these bytes and nothing newer.
`

// ParseLock reads packages.lock.
func ParseLock(text []byte) ([]Package, error) {
	var packages []Package
	seen := map[string]bool{}
	for n, line := range lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("packages.lock line %d: got %d fields, want name, version, sha256 and path", n, len(fields))
		}
		p := Package{Name: fields[0], Version: fields[1], SHA256: fields[2], Pool: fields[3]}
		sum, err := hex.DecodeString(p.SHA256)
		switch {
		case err != nil || len(sum) != 32 || p.SHA256 != strings.ToLower(p.SHA256):
			return nil, fmt.Errorf("packages.lock line %d: got SHA-256 %q, want 64 lower-case hex digits", n, p.SHA256)
		case !strings.HasSuffix(p.Pool, ".deb") || path.Clean(p.Pool) != p.Pool || !filepath.IsLocal(p.Pool):
			return nil, fmt.Errorf("packages.lock line %d: got path %q, want one of a .deb below the mirror", n, p.Pool)
		case strings.HasPrefix(p.Name, "-"):
			return nil, fmt.Errorf("packages.lock line %d: got package name %q", n, p.Name)
		case seen[p.Name]:
			return nil, fmt.Errorf("packages.lock line %d: package %q is listed twice", n, p.Name)
		}
		seen[p.Name] = true
		packages = append(packages, p)
	}
	return packages, nil
}

// FormatLock writes packages.lock, sorted by name.
func FormatLock(packages []Package) []byte {
	sorted := slices.SortedFunc(slices.Values(packages), func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString(lockHeader)
	for _, p := range sorted {
		fmt.Fprintf(&b, "%s %s %s %s\n", p.Name, p.Version, p.SHA256, p.Pool)
	}
	return b.Bytes()
}

// WriteLock replaces the package lock of a source tree.
func WriteLock(source string, packages []Package) error {
	name := LockPath(source)
	tmp := name + ".new"
	if err := writeFile(tmp, FormatLock(packages)); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// lines yields the lines that are neither empty nor comments, with their numbers.
func lines(text []byte) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		s := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; s.Scan(); n++ {
			line, _, _ := strings.Cut(s.Text(), "#")
			if line = strings.TrimSpace(line); line != "" && !yield(n, line) {
				return
			}
		}
	}
}
