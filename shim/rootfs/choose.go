package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/shim/node"
)

// Maker makes a layer's disk in a format that the node does not have of it yet.
type Maker interface {
	Disk(ctx context.Context, diffID, format string) (Disk, error)
}

// Choose returns the disks to plug in, from the base up. want tells whether the pod's policy has a container with exactly these roots, from the base up;
// nil means that nobody here can tell (a policy in a form of its own), and the agent decides alone. maker may be nil where there is no daemon.
//
// With node.FormatAuto the disks are ext4 where a layer has one. If want does not take those, every layer is tried as EROFS and then as ext4, made where
// it is missing. The error of a policy that takes none is an [*UnmatchedError].
func (r Rootfs) Choose(ctx context.Context, want func(roots []string) bool, format node.Format, maker Maker) ([]Disk, error) {
	switch format {
	case node.FormatExt4:
		return r.chooseOnly(ctx, want, Ext4, maker)
	case node.FormatEROFS:
		return r.chooseOnly(ctx, want, EROFS, maker)
	case node.FormatAuto:
	default:
		return nil, fmt.Errorf("choose layer format: got %s, want %q, %q or %q", quote(string(format)), node.FormatAuto, node.FormatExt4, node.FormatEROFS)
	}
	first := r.preferred()
	if want == nil || want(Roots(first)) {
		return first, nil
	}
	var errs []error
	for _, f := range []string{EROFS, Ext4} {
		if !slices.ContainsFunc(first, func(d Disk) bool { return d.Format != f }) {
			continue // that was tried
		}
		disks, err := r.all(ctx, f, maker)
		if err == nil && want(Roots(disks)) {
			return disks, nil
		}
		errs = append(errs, err)
		r = r.with(disks)
	}
	return nil, r.unmatched(errors.Join(errs...))
}

// chooseOnly takes one format and no other.
func (r Rootfs) chooseOnly(ctx context.Context, want func([]string) bool, format string, maker Maker) ([]Disk, error) {
	disks, err := r.all(ctx, format, maker)
	if err != nil {
		return nil, fmt.Errorf("choose layer format: %w", err)
	}
	if want != nil && !want(Roots(disks)) {
		return nil, r.with(disks).unmatched(nil)
	}
	return disks, nil
}

// preferred are the disks that are there, ext4 before EROFS.
func (r Rootfs) preferred() []Disk {
	var disks []Disk
	for _, l := range r.Layers {
		d := l.Ext4
		if d == nil {
			d = l.EROFS
		}
		disks = append(disks, *d)
	}
	return disks
}

// atOnce is how many layers the daemon is asked for at a time. It has a bound of its own for what it works on.
const atOnce = 4

// all returns every layer's disk in one format, and has those made that are missing. The first layer that cannot be had ends it.
func (r Rootfs) all(ctx context.Context, format string, maker Maker) ([]Disk, error) {
	disks := make([]Disk, len(r.Layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, l := range r.Layers {
		if d := l.In(format); d != nil {
			disks[i] = *d
			continue
		}
		g.Go(func() (err error) {
			disks[i], err = l.made(ctx, format, maker)
			if err != nil {
				return fmt.Errorf("layer %d (%s) as %s: %w", i, l.name(), format, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return disks, nil
}

func (l Layer) made(ctx context.Context, format string, maker Maker) (Disk, error) {
	if maker == nil || l.DiffID == "" {
		return Disk{}, errors.New("there is no such disk, and no snapshotter here makes one")
	}
	d, err := maker.Disk(ctx, l.DiffID, format)
	d.Format = format
	return d, err
}

// with adds disks that were made to what is known of the layers.
func (r Rootfs) with(disks []Disk) Rootfs {
	layers := slices.Clone(r.Layers)
	for i, d := range disks {
		switch d.Format {
		case Ext4:
			layers[i].Ext4 = &d
		case EROFS:
			layers[i].EROFS = &d
		}
	}
	return Rootfs{Layers: layers}
}

// Roots are the root hashes of disks, in their order.
func Roots(disks []Disk) []string {
	roots := make([]string, 0, len(disks))
	for _, d := range disks {
		roots = append(roots, d.Root)
	}
	return roots
}

// UnmatchedError says that no container of the policy has a root file system's layers, in any format that the node may use.
type UnmatchedError struct {
	Layers []Layer // with the roots of every format that was tried
	Cause  error   // why a format could not be tried, or nil
}

func (r Rootfs) unmatched(cause error) error { return &UnmatchedError{Layers: r.Layers, Cause: cause} }

func (e *UnmatchedError) Unwrap() error { return e.Cause }

// Error is one line with every layer's roots: the policy's author compares them with what the policy has.
func (e *UnmatchedError) Error() string {
	const most = 8
	var b strings.Builder
	fmt.Fprintf(&b, "deviceHash not found: no container of the policy has these %d layers", len(e.Layers))
	for i, l := range e.Layers[:min(len(e.Layers), most)] {
		fmt.Fprintf(&b, "; layer %d: %s", i, l.roots())
	}
	if more := len(e.Layers) - most; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, "; not every format could be tried: %v", e.Cause)
	}
	return b.String()
}

// Explain names the layer that has a root hash: its index from the base, its diff id, the format, both roots. It is an error if no layer has it.
func (r Rootfs) Explain(root string) (string, error) {
	for i, l := range r.Layers {
		for _, format := range []string{Ext4, EROFS} {
			if d := l.In(format); d != nil && d.Root == root {
				return fmt.Sprintf("layer %d as %s: %s", i, format, l.roots()), nil
			}
		}
	}
	return "", errors.New("no layer of this root file system has root hash " + quote(root))
}

func (l Layer) name() string {
	if l.DiffID == "" {
		return "diff id unknown"
	}
	return l.DiffID
}

func (l Layer) roots() string {
	parts := []string{l.name()}
	for _, format := range []string{Ext4, EROFS} {
		root := "not made"
		if d := l.In(format); d != nil {
			root = d.Root
		}
		parts = append(parts, format+" "+root)
	}
	return strings.Join(parts, ", ")
}
