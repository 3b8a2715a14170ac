package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// roots are the packages the image is made from; the lock also names those that hold their libraries.
const (
	kernelRoot = "linux-image-amd64" // depends on the newest linux-image-<release>-amd64
	crunRoot   = "crun"
	e2fsRoot   = "e2fsprogs"
)

// UpdateLock resolves the newest versions the machine's mirror has and returns the packages an image takes files from.
func UpdateLock(ctx context.Context, recipe *Recipe, progress Progress) ([]Package, error) {
	kernels, err := candidates(ctx, []string{kernelRoot}, func(name string) bool { return strings.HasPrefix(name, "linux-image-") })
	if err != nil {
		return nil, err
	}
	kernels = slices.DeleteFunc(kernels, func(p Package) bool { return p.Name == kernelRoot })
	if len(kernels) != 1 {
		return nil, fmt.Errorf("resolve %s: got %d kernel packages, want 1", kernelRoot, len(kernels))
	}
	programs, err := candidates(ctx, []string{crunRoot, e2fsRoot}, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	all := append(kernels, programs...)
	files, err := fetch(ctx, all, "", progress)
	if err != nil {
		return nil, err
	}
	set, err := openPackages(ctx, all, files, progress)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	// The new kernel must have every module before it is locked.
	k, err := openKernel(set)
	if err != nil {
		return nil, err
	}
	if _, err := k.collect(recipe.modules(true)); err != nil {
		return nil, err
	}
	used := map[string]bool{kernels[0].Name: true}
	if err := addPrograms(newTree(), set, used); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p Package) bool { return !used[p.Name] }), nil
}

// candidates is the closure over Depends and Pre-Depends of some packages, in the versions apt would install. It goes
// level by level: one question to apt takes most of a second, however many names are in it.
func candidates(ctx context.Context, names []string, follow func(string) bool) ([]Package, error) {
	known, err := aptShow(ctx, names)
	if err != nil {
		return nil, err
	}
	var found []Package
	taken := map[string]bool{}
	for level := names; len(level) > 0; {
		var clauses [][]string
		for _, name := range level {
			record := known[name]
			if record == nil {
				return nil, fmt.Errorf("resolve package %q: apt does not know it (is its list empty? run: apt-get update)", name)
			}
			if !taken[name] {
				taken[name] = true
				found = append(found, record.Package)
				clauses = append(clauses, record.depends...)
			}
		}
		if level, err = chooseNext(ctx, clauses, known, follow); err != nil {
			return nil, err
		}
		level = slices.DeleteFunc(level, func(name string) bool { return taken[name] })
	}
	return found, nil
}

// chooseNext picks the first alternative of each clause that is a real package, and learns about new names. A clause of
// only virtual ones is left out: what provides it is then named by a program's DT_NEEDED, and missing there.
func chooseNext(ctx context.Context, clauses [][]string, known map[string]*aptRecord, follow func(string) bool) ([]string, error) {
	var unknown []string
	for _, alternatives := range clauses {
		for _, name := range alternatives {
			if _, asked := known[name]; !asked && follow(name) {
				known[name] = nil
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) > 0 {
		records, err := aptShow(ctx, unknown)
		if err != nil {
			return nil, err
		}
		maps.Copy(known, records)
	}
	var next []string
	for _, alternatives := range clauses {
		i := slices.IndexFunc(alternatives, func(name string) bool { return known[name] != nil })
		if i >= 0 && !slices.Contains(next, alternatives[i]) {
			next = append(next, alternatives[i])
		}
	}
	return next, nil
}

// aptRecord is the part of a package's record that we use.
type aptRecord struct {
	Package
	depends [][]string
}

// aptShow returns the records of those names that are real packages.
func aptShow(ctx context.Context, names []string) (map[string]*aptRecord, error) {
	cmd := exec.CommandContext(ctx, "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// apt-cache fails when it knows one name too little and prints the others all the same.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return nil, fmt.Errorf("resolve packages with apt: %w", err)
	}
	records := map[string]*aptRecord{}
	for stanza := range strings.SplitSeq(stdout.String(), "\n\n") {
		record := parseRecord(stanza)
		if record.Name == "" {
			continue
		}
		if _, err := ParseLock(FormatLock([]Package{record.Package})); err != nil {
			return nil, fmt.Errorf("resolve package %q: apt's record is not complete: %w", record.Name, err)
		}
		records[record.Name] = record
	}
	return records, nil
}

// parseRecord reads one stanza of apt-cache show.
func parseRecord(stanza string) *aptRecord {
	r := &aptRecord{}
	for line := range strings.Lines(stanza) {
		field, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok {
			continue
		}
		switch field {
		case "Package":
			r.Name = value
		case "Version":
			r.Version = value
		case "SHA256":
			r.SHA256 = value
		case "Filename":
			r.Pool = value
		case "Depends", "Pre-Depends":
			r.depends = append(r.depends, parseDepends(value)...)
		}
	}
	return r
}

// parseDepends turns "a (>= 1) | b, c:any" into {{a, b}, {c}}.
func parseDepends(value string) [][]string {
	var clauses [][]string
	for clause := range strings.SplitSeq(value, ",") {
		var names []string
		for alternative := range strings.SplitSeq(clause, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
			name, _, _ = strings.Cut(name, ":")
			names = append(names, name)
		}
		clauses = append(clauses, names)
	}
	return clauses
}
