package defaults

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"
)

//go:embed data/levels/*.json data/defaults/*.json
var data embed.FS

const (
	levelsDir   = "data/levels"
	defaultsDir = "data/defaults"
)

// MaxFile bounds a file of defaults of the user's.
const MaxFile = 1 << 20

// Levels are the names of the levels, oldest first.
func Levels() []string {
	// By hand: the order of age is not that of the names, and a test compares this list with the files.
	return []string{"confcom-1.2.7", "confcom-1.2.8", "confcom-1.4", "confcom-2", "confcom-prerelease", "latest"}
}

// LoadLevel reads an embedded level.
func LoadLevel(name string) (*Level, error) {
	if !slices.Contains(Levels(), name) {
		return nil, fmt.Errorf("compatibility level is %.80q, want one of %s", name, strings.Join(Levels(), ", "))
	}
	text, err := LevelFile(name)
	if err != nil {
		return nil, err
	}
	var l Level
	if err = Decode(text, &l); err == nil {
		err = l.check()
	}
	if err != nil {
		return nil, fmt.Errorf("read level %q: %w", name, err)
	}
	return &l, nil
}

// LevelFile is the text of an embedded level.
func LevelFile(name string) ([]byte, error) { return file(levelsDir, name) }

// Load reads embedded defaults.
func Load(name string) (*Defaults, error) {
	text, err := File(name)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// File is the text of embedded defaults: what a user who wants others starts from.
func File(name string) ([]byte, error) { return file(defaultsDir, name) }

// Names are the names of the embedded files of defaults.
func Names() []string {
	entries, err := fs.ReadDir(data, defaultsDir)
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// Parse reads a file of defaults. A member that is not known is an error: it would be a rule that is not applied.
func Parse(text []byte) (*Defaults, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("read defaults: %d bytes, at most %d", len(text), MaxFile)
	}
	var d Defaults
	if err := Decode(text, &d); err != nil {
		return nil, fmt.Errorf("read defaults: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("read defaults %.80q: %w", d.Name, err)
	}
	return &d, nil
}

// Decode reads one JSON value and nothing after it. A member that the type has not, that is there twice or is spelled in
// another case is an error.
func Decode(text []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(text, into)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	return err
}

func file(dir, name string) ([]byte, error) {
	text, err := data.ReadFile(path.Join(dir, name+".json"))
	if err != nil {
		return nil, fmt.Errorf("no embedded file for %.80q", name)
	}
	return text, nil
}
