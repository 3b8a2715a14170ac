package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// candidates is the closure over Depends and Pre-Depends of some packages, in the versions apt would install.
func candidates(ctx context.Context, names []string, follow func(string) bool) ([]Package, error) {
	var found []Package
	seen := map[string]bool{}
	queue := slices.Clone(names)
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		record, err := aptShow(ctx, name)
		if err != nil {
			return nil, err
		}
		found = append(found, record.Package)
		for _, clause := range record.depends {
			dep, err := choose(ctx, clause)
			if err != nil {
				return nil, fmt.Errorf("resolve the dependencies of %q: %w", name, err)
			}
			if dep != "" && follow(dep) {
				queue = append(queue, dep)
			}
		}
	}
	return found, nil
}

// choose picks the first alternative that is a real package; a clause of only virtual ones holds no file we could need.
func choose(ctx context.Context, alternatives []string) (string, error) {
	for _, name := range alternatives {
		_, err := aptShow(ctx, name)
		var unknown *unknownPackageError
		if errors.As(err, &unknown) {
			continue
		}
		return name, err
	}
	return "", nil
}

type unknownPackageError struct{ name string }

func (e *unknownPackageError) Error() string {
	return fmt.Sprintf("resolve package %q: apt does not know it (is its list empty? run: apt-get update)", e.name)
}

// aptRecord is the part of a package's record that we use.
type aptRecord struct {
	Package
	depends [][]string
}

func aptShow(ctx context.Context, name string) (*aptRecord, error) {
	cmd := exec.CommandContext(ctx, "apt-cache", "show", "--no-all-versions", name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && ctx.Err() == nil {
			return nil, &unknownPackageError{name}
		}
		return nil, fmt.Errorf("resolve package %q: %w", name, err)
	}
	record := parseRecord(stdout.String())
	if record.Name == "" {
		return nil, &unknownPackageError{name} // a virtual package: apt-cache succeeds and prints nothing
	}
	if _, err := ParseLock(FormatLock([]Package{record.Package})); err != nil {
		return nil, fmt.Errorf("resolve package %q: apt's record is not complete: %w", name, err)
	}
	return record, nil
}

// parseRecord reads the first stanza of apt-cache show.
func parseRecord(text string) *aptRecord {
	stanza, _, _ := strings.Cut(text, "\n\n")
	r := &aptRecord{}
	for line := range strings.Lines(stanza) {
		field, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(line, " ") {
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
