package images

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
)

// openPlaces opens what the options name, in the order in which it is asked.
func (r *Resolver) openPlaces(ctx context.Context) error {
	for _, dir := range r.opts.Layouts {
		if err := r.openGiven(dir, ""); err != nil {
			return err
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(r.opts.Archives)) {
		if ref != "" {
			if _, err := parseReference(ref); err != nil {
				return fmt.Errorf("archive %q: %w", r.opts.Archives[ref], err)
			}
		}
		if err := r.openGiven(r.opts.Archives[ref], ref); err != nil {
			return err
		}
	}
	for _, file := range r.opts.ArchiveFiles {
		if err := r.openGiven(file, ""); err != nil {
			return err
		}
	}
	if r.opts.Containerd != "" {
		p, err := openContainerd(ctx, r.opts.Containerd, r.opts.Namespace)
		if err != nil {
			return err
		}
		r.others = append(r.others, p)
	}
	if r.opts.Registry {
		p, err := openRegistry(r.opts)
		if err != nil {
			return err
		}
		r.others = append(r.others, p)
	}
	return nil
}

// openGiven opens a layout or an archive, whichever the path is. only is the reference that it is given for.
func (r *Resolver) openGiven(path, only string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open images: %w", err)
	}
	var p place
	if info.IsDir() {
		p, err = openLayoutDir(path, only)
	} else {
		p, err = openArchive(path, only)
	}
	if err != nil {
		return err
	}
	if only != "" {
		p = namedPlace{p, only}
	}
	r.given = append(r.given, p)
	return nil
}

// namedPlace answers to one reference only.
type namedPlace struct {
	place
	only string
}

func (n namedPlace) find(ctx context.Context, ref reference, want platform) (*candidate, error) {
	if n.only != ref.text && !ref.isNamed(n.only) {
		return nil, &missing{why: "given for " + quote(n.only)}
	}
	return n.place.find(ctx, ref, want)
}
