package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

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

// podImageFlags are those that with -f, too, say where images are looked for and what they must be.
func podImageFlags() []string {
	names := []string{"layer-format", "save-lock", "registry"}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(imageSources).bind(f)
	f.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// lookup prepares to look for images where the flags say: in a registry only with --registry. Without any of them nothing but the
// directory of layouts is read.
func (g *podGenerate) lookup(cmd *cobra.Command, group *groupGenerate) error {
	if len(givenFlags(cmd, podImageFlags()...)) == 0 {
		return nil
	}
	group.images, group.cache = g.images, g.cache
	if group.format == acigen.Both {
		return usage(cmd, "--layer-format both: a pod of -f has disks of one format, want ext4 or erofs")
	}
	if err := g.checkRegistry(cmd, group); err != nil {
		return err
	}
	if err := group.imageSources.check(cmd, group.saveLock); err != nil {
		return err
	}
	group.offline, g.saveLock = !g.kube.registry, group.saveLock
	if group.images == "" && group.tar == "" && group.containerd == "" && !group.locked && !g.kube.registry {
		group.images = presentImagesDir()
	}
	g.open = func() (*podImages, error) {
		resolver, err := group.open(cmd, group.format)
		if err != nil {
			return nil, err
		}
		found := &podImages{source: imageSource{resolver, group.locked, g.kube.registry}, roots: noRoots, close: resolver.Close, done: func() error { return nil }}
		if group.saveLock {
			found.done = func() error { return writeLock(cmd, resolver, group.lockPath()) }
		}
		return found, nil
	}
	return nil
}

// checkRegistry refuses flags that contradict what is said of registries, and such that would have no effect.
func (g *podGenerate) checkRegistry(cmd *cobra.Command, group *groupGenerate) error {
	if g.kube.registry {
		switch {
		case group.offline:
			return usage(cmd, "--offline and --registry contradict each other")
		case group.locked:
			return usage(cmd, "--locked looks nothing up: it excludes --registry")
		}
		return nil
	}
	if given := givenFlags(cmd, "mirror", "plain-http"); len(given) > 0 {
		return usage(cmd, "%s does nothing with -f unless --registry is given, too", given[0])
	}
	return nil
}

// presentImagesDir is the user's directory of layouts, "" if there is none.
func presentImagesDir() string {
	dir, err := pod.DefaultImagesDir()
	if err != nil {
		return ""
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return dir
}

// elsewhere is what to do about an image that is not where -f looks.
const elsewhere = "name the directory of OCI layouts with --images, or ask its registry with --registry"

// layouts is the directory of layouts; its errors say where else an image may be looked for.
type layouts struct{ *pod.Images }

func (l layouts) Image(ctx context.Context, reference string) (*pod.Image, error) {
	img, err := l.Images.Image(ctx, reference)
	var none *pod.NotFoundError
	if errors.As(err, &none) {
		err = fmt.Errorf("%w (%s)", err, elsewhere)
	}
	return img, err
}

// warnOfIdentities says before the time which containers a lock file alone will not do for: it has no users and groups.
func (g *podGenerate) warnOfIdentities(cmd *cobra.Command, name string, p *pod.Pod, cluster bool) {
	open := p.OpenIdentities()
	if !g.saveLock || len(open) == 0 {
		return
	}
	instead := "say runAsUser, runAsGroup and supplementalGroupsPolicy: Strict in the document"
	if !cluster { // cloister run does not know the policy
		instead = "use --lock with the images at hand instead"
	}
	newUI(cmd.ErrOrStderr()).warn("%s: --locked will not find out users and groups of %s: the lock file does not have them (%s)",
		printable(name), printable(strings.Join(open, ", ")), instead)
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
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; or ask the images' registries with --registry", err)
	}
	if err != nil {
		return nil, err
	}
	cache, err := layerCache(g.cache)
	nothing := func() error { return nil }
	return &podImages{source: layouts{source}, roots: cachedRoots(cache), done: nothing, close: nothing}, err
}

// imageSource gives the images of a resolver to what resolves pods.
type imageSource struct {
	*images.Resolver
	locked   bool // nothing but the lock file is asked, which has no content
	registry bool // registries are asked
}

// Image finds an image. Its layers are opened only when somebody has to look into them.
func (s imageSource) Image(ctx context.Context, reference string) (*pod.Image, error) {
	found, err := s.Resolver.Image(ctx, reference)
	var none *images.NotFoundError
	if errors.As(err, &none) && !s.registry {
		other := *none
		other.Next = elsewhere
		return nil, &other
	}
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
