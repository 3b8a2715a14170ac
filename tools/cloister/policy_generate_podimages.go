package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/shim/pod"
	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/policygen"
)

// podImages are the images that the pods of -f name, and how their roots are found.
type podImages struct {
	source pod.Source
	roots  policygen.Roots
	done   func() error // what is left to do when the policies are made
	close  func() error
}

// podImageFlags are those that with -f, too, let images be looked for elsewhere than in the directory of layouts.
func podImageFlags() []string {
	names := []string{"layer-format", "save-lock", "registry"}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(imageSources).bind(f)
	f.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// lookup prepares to look for images where the flags say. Without any of them nothing but the directory of layouts is read.
func (g *podGenerate) lookup(cmd *cobra.Command, group *groupGenerate) error {
	if len(givenFlags(cmd, podImageFlags()...)) == 0 {
		return nil
	}
	group.images, group.cache = g.images, g.cache
	if group.format == acigen.Both {
		return usage(cmd, "--layer-format both: a pod of -f has disks of one format, want ext4 or erofs")
	}
	if err := group.imageSources.check(cmd, group.saveLock); err != nil {
		return err
	}
	g.open = func() (*podImages, error) {
		resolver, err := group.open(cmd, group.format)
		if err != nil {
			return nil, err
		}
		found := &podImages{source: imageSource{resolver, group.locked}, roots: noRoots, close: resolver.Close, done: func() error { return nil }}
		if group.saveLock {
			found.done = func() error { return resolver.WriteLock(group.lockPath()) }
		}
		return found, nil
	}
	return nil
}

// noRoots is never asked: these images come with their roots.
func noRoots(context.Context, pod.Layer) (string, error) {
	return "", errors.New("the layer came without its root")
}

// podImages opens where the images are.
func (g *podGenerate) podImages() (*podImages, error) {
	if g.open != nil {
		return g.open()
	}
	source, err := openPodImages(g.images)
	if err != nil {
		return nil, err
	}
	cache, err := layerCache(g.cache)
	nothing := func() error { return nil }
	return &podImages{source: source, roots: cachedRoots(cache), done: nothing, close: nothing}, err
}

// imageSource gives the images of a resolver to what resolves pods.
type imageSource struct {
	*images.Resolver
	locked bool // nothing but the lock file is asked, which has no content
}

// Image finds an image. Its layers are opened only when somebody has to look into them.
func (s imageSource) Image(ctx context.Context, reference string) (*pod.Image, error) {
	found, err := s.Resolver.Image(ctx, reference)
	if err != nil {
		return nil, err
	}
	out := &pod.Image{Digest: found.Digest, Config: found.Config}
	for i, l := range found.Layers {
		layer := pod.Layer{DiffID: l.DiffID, Root: l.Ext4}
		if layer.Root == "" {
			layer.Root = l.EROFS
		}
		if !s.locked && l.DiffID != "" {
			layer.Open = func() (io.ReadCloser, error) {
				layers, err := s.Content(ctx, found)
				if err != nil {
					return nil, err
				}
				return layers[i]()
			}
		}
		out.Layers = append(out.Layers, layer)
	}
	return out, nil
}
