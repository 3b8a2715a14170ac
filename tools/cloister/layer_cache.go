package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// cacheFiller is `cloister layer cache`.
type cacheFiller struct {
	dir, links string
	from       imageSources
	asJSON     bool
	cache      layer.Cache
	done       map[string]bool // diff ids
	out        []cachedLayer
}

// cachedLayer is what is printed of each layer.
type cachedLayer struct {
	DiffID   string      `json:"diff_id"`
	RootHash verity.Hash `json:"root_hash"`
	Path     string      `json:"path"`
}

func newLayerCacheCommand() *cobra.Command {
	c := cacheFiller{done: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "cache --dir DIR IMAGE|LAYER...",
		Short: "Fill a layer content cache of containerd's EROFS snapshotter",
		Long: `Cache writes each layer's EROFS disk and, beside it, its .dmverity file where containerd's EROFS snapshotter looks for them
(option layer_content_caches, containerd 2.4). An argument that is a file is a layer (tar, plain or compressed with gzip or zstd);
any other is an image. Layers that are there already are left alone. One line a layer: diff id and root hash.`,
		Example: `  cloister layer cache --dir /var/lib/erofs-cache layer.tar
  cloister layer cache --dir /var/lib/erofs-cache --offline --images layouts registry.example/web:1
  cloister layer cache --dir /var/lib/erofs-cache --offline --containerd /run/containerd/containerd.sock registry.example/web:1`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&c.dir, "dir", "", "directory that layer_content_caches names")
	f.StringVar(&c.links, "hard-links", string(layer.CopyHardLinks), "what erofs, which has none, does with them: copy or refuse")
	f.StringVar(&c.from.images, "images", "", "directory of OCI layouts")
	f.StringVar(&c.from.tar, "tar", "", "archive of images (docker save, OCI layout), or JSON file {\"REFERENCE\": \"ARCHIVE\"}")
	f.StringVar(&c.from.containerd, "containerd", "", "containerd's socket or content store")
	f.BoolVar(&c.from.offline, "offline", false, "ask no registry")
	f.BoolVar(&c.asJSON, "json", false, "print diff ids, root hashes and paths as JSON")
	c.from.registryFlags.bind(f)
	return cmd
}

func (c *cacheFiller) run(cmd *cobra.Command, args []string) error {
	if c.dir == "" || len(args) == 0 {
		return &usageError{errors.New("layer cache: want --dir DIR and at least one IMAGE or LAYER")}
	}
	links, err := layer.ParseHardLinks(c.links)
	if err != nil {
		return &usageError{fmt.Errorf("layer cache: --hard-links: %w", err)}
	}
	c.cache = layer.Cache{Dir: c.dir, Format: layer.EROFS, HardLinks: links, Containerd: true}
	var references []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.Mode().IsRegular() {
			references = append(references, arg)
			continue
		}
		if err := c.file(cmd.Context(), arg); err != nil {
			return fmt.Errorf("layer cache: %q: %w", arg, err)
		}
	}
	if err := c.images(cmd, references); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	return c.print(cmd.OutOrStdout())
}

// file takes a layer whose diff id nobody has said: it is read once to find out.
func (c *cacheFiller) file(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	res, err := layer.Root(ctx, f, layer.Options{Format: layer.EROFS, HardLinks: c.cache.HardLinks})
	if err != nil {
		return err
	}
	return c.keep(ctx, res.DiffID, func() (io.ReadCloser, error) { return os.Open(path) })
}

func (c *cacheFiller) images(cmd *cobra.Command, references []string) error {
	if len(references) == 0 {
		return nil
	}
	from, err := c.from.open(cmd, string(layer.EROFS))
	if err != nil {
		return err
	}
	defer from.Close()
	for _, ref := range references {
		if err := c.image(cmd.Context(), from, ref); err != nil {
			return err
		}
	}
	return nil
}

func (c *cacheFiller) image(ctx context.Context, from *images.Resolver, reference string) error {
	img, err := from.Image(ctx, reference)
	if err != nil {
		return err
	}
	layers, err := from.Content(ctx, img)
	if err != nil {
		return err
	}
	for i, l := range img.Layers {
		if err := c.keep(ctx, l.DiffID, layers[i]); err != nil {
			return fmt.Errorf("%s: layer %d: %w", reference, i, err)
		}
	}
	return nil
}

// keep puts one layer into the cache, unless it is there.
func (c *cacheFiller) keep(ctx context.Context, diffID string, open func() (io.ReadCloser, error)) error {
	if c.done[diffID] {
		return nil
	}
	path, root, err := c.cache.Get(ctx, diffID, open)
	if err != nil {
		return err
	}
	c.done[diffID] = true
	c.out = append(c.out, cachedLayer{diffID, root, path})
	return nil
}

func (c *cacheFiller) print(w io.Writer) error {
	if c.asJSON {
		return printLayerJSON(w, c.out)
	}
	for _, l := range c.out {
		if _, err := fmt.Fprintln(w, l.DiffID, l.RootHash); err != nil {
			return err
		}
	}
	return nil
}
