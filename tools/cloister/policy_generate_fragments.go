package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/policydoc"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// includedFragments are the fragments of --fragments-json.
type includedFragments struct {
	references []workload.Fragment
	containers []*entry.Container // of those whose document is at hand
}

// fragmentsFile is the form of --fragments-json: what "fragment generate --generate-import" prints, with files.
type fragmentsFile struct {
	Fragments []struct {
		defaults.Fragment
		Path string `json:"path"` // signed fragment, relative to the file
	} `json:"fragments"`
}

func readFragments(cmd *cobra.Command, name string) (*includedFragments, error) {
	text, err := readInput(name, cmd.InOrStdin(), maxDocument)
	if err != nil {
		return nil, err
	}
	var file fragmentsFile
	if err := defaults.Decode(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := &includedFragments{}
	for i, f := range file.Fragments {
		reference := workload.Fragment{Feed: f.Feed, Includes: f.Includes, Issuer: f.Issuer, MinimumSVN: f.MinimumSVN, Path: f.Path}
		if f.Path != "" {
			if !filepath.IsAbs(f.Path) && name != "-" {
				f.Path = filepath.Join(filepath.Dir(name), f.Path)
			}
			if err := out.open(cmd.Context(), f.Path, reference); err != nil {
				return nil, fmt.Errorf("%s: fragments[%d]: %s: %w", name, i, f.Path, err)
			}
		}
		out.references = append(out.references, reference)
	}
	return out, nil
}

// open reads a signed fragment. Its containers count only if the policy that refers to it would take them over.
func (f *includedFragments) open(ctx context.Context, path string, reference workload.Fragment) error {
	raw, err := readInput(path, nil, fragment.MaxSize)
	if err != nil {
		return err
	}
	signed, err := fragment.Open(raw)
	if err != nil {
		return err
	}
	if signed.Issuer != reference.Issuer || signed.Feed != reference.Feed {
		return fmt.Errorf("it is feed %.200q of %.200q, want %.200q of %.200q", signed.Feed, signed.Issuer, reference.Feed, reference.Issuer)
	}
	if err := newEnough(ctx, raw, reference.MinimumSVN); err != nil {
		return err
	}
	p, err := policydoc.ReadFragment(ctx, signed.Text)
	if err != nil {
		return err
	}
	if slices.Contains(reference.Includes, "containers") {
		f.containers = append(f.containers, p.Containers...)
	}
	return nil
}

// newEnough loads the fragment as an agent does and compares its security version.
func newEnough(ctx context.Context, raw []byte, minimum string) error {
	have, err := fragmentgen.Load(ctx, raw)
	if err != nil {
		return err
	}
	var n [2]int64
	for i, svn := range []string{have, minimum} {
		if n[i], err = strconv.ParseInt(svn, 10, 64); err != nil {
			return fmt.Errorf("svn is %.40q, want a whole number", svn)
		}
	}
	if n[0] < n[1] {
		return fmt.Errorf("its svn is %d, want at least %d", n[0], n[1])
	}
	return nil
}

// covers says of a container whether a fragment has the same one, but for id and name.
func (f *includedFragments) covers(ctx context.Context, level string) func(*acigen.Container) (bool, error) {
	if len(f.containers) == 0 {
		return nil
	}
	return func(c *acigen.Container) (bool, error) {
		l, err := defaults.LoadLevel(level)
		if err != nil {
			return false, err
		}
		text, err := json.Marshal([]*acigen.Container{c})
		if err != nil {
			return false, err
		}
		p, err := policydoc.Read(ctx, fmt.Appendf(nil, "package policy\n\napi_version := %q\nframework_version := %q\ncontainers := %s\n", l.APIVersion, l.FrameworkVersion, text))
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(f.containers, func(have *entry.Container) bool {
			return len(policydoc.DiffContainers("", p.Containers[0], have)) == 0
		}), nil
	}
}
