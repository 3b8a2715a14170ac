package run

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/verity/layer"
)

// Convert turns the containers' image layers into verity disks through the cache, each layer once, several at a time.
func Convert(ctx context.Context, cache layer.Cache, containers []*pod.Container) ([]*Container, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	disks := map[string]*Layer{}
	for _, c := range containers {
		for i, l := range c.Layers {
			if disks[l.DiffID] != nil {
				continue
			}
			disk := &Layer{}
			disks[l.DiffID] = disk
			group.Go(func() error {
				path, root, err := cache.Get(ctx, l.DiffID, l.Open)
				if err != nil {
					return fmt.Errorf("convert layer %d of %q: %w", i, c.Name, err)
				}
				*disk = Layer{Path: path, Root: root.String()}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []*Container
	for _, c := range containers {
		made := &Container{Container: c}
		for _, l := range c.Layers {
			made.Disks = append(made.Disks, *disks[l.DiffID])
		}
		out = append(out, made)
	}
	return out, nil
}
