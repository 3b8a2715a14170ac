package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/images/signature"
	"github.com/cloister-cc/cloister/tools/cloister/progress"
	"github.com/cloister-cc/cloister/verity/layer"
)

// defaultLock is the lock file's name where none is given.
const defaultLock = "cloister.lock.json"

// imageSources say where images are looked for.
type imageSources struct {
	registryFlags
	images, cache         string
	lock, tar, containerd string
	locked, offline       bool
	updateLock            bool
	signatures, bundles   []string
}

func (g *imageSources) bind(f *pflag.FlagSet) {
	f.StringVar(&g.lock, "lock", "", "lock file: what each image was when it was found")
	f.BoolVar(&g.locked, "locked", false, "look nothing up but in the lock file (default "+defaultLock+")")
	f.BoolVar(&g.updateLock, "update-lock", false, "take an image that has changed since it was locked")
	f.BoolVar(&g.offline, "offline", false, "ask no registry")
	f.StringVar(&g.tar, "tar", "", "archive of images (docker save, OCI layout), or JSON file {\"REFERENCE\": \"ARCHIVE\"}")
	f.StringVar(&g.containerd, "containerd", "", "containerd's socket or content store")
	f.StringArrayVar(&g.signatures, "require-signature", nil, "signature that every image must have: a key file, cosign:… or notation:… (docs/signatures.md);\none of several is enough")
	f.StringArrayVar(&g.bundles, "signature-bundle", nil, "file or directory with signatures, for images whose place has none; may be given again")
	g.registryFlags.bind(f)
}

func (g *imageSources) check(cmd *cobra.Command, save bool) error {
	switch {
	case g.locked && (g.tar != "" || g.images != "" || g.containerd != ""):
		return usage(cmd, "--locked looks nothing up: it excludes --tar, --images and --containerd")
	case g.locked && (save || g.updateLock):
		return usage(cmd, "--locked changes no lock file: it excludes --save-lock and --update-lock")
	case len(g.bundles) > 0 && len(g.signatures) == 0:
		return usage(cmd, "--signature-bundle needs --require-signature")
	}
	for _, s := range g.signatures {
		if _, err := signature.ParseRequirement(s); err != nil {
			return usage(cmd, "--require-signature: %v", err)
		}
	}
	return nil
}

func (g *imageSources) lockPath() string {
	if g.lock == "" {
		return defaultLock
	}
	return g.lock
}

// digests refuses references by digest where archives are read: those have no manifest that the digest could be of.
func (g *imageSources) digests(cmd *cobra.Command, doc *document) error {
	if g.tar == "" {
		return nil
	}
	for _, group := range doc.groups {
		for _, c := range group.Containers {
			if strings.Contains(c.Image.Value, "@sha256:") {
				return usage(cmd, "image %.200q is named by its digest, which an archive (--tar) does not have", c.Image.Value)
			}
		}
	}
	return nil
}

// open opens the sources of images. The lock file is asked first.
func (g *imageSources) open(cmd *cobra.Command, format string) (*images.Resolver, error) {
	o := images.Options{
		Locked: g.locked, Lock: g.lock, Update: g.updateLock, Containerd: g.containerd, Registry: !g.offline && !g.locked, Cache: g.cache,
	}
	if g.locked {
		o.Lock = g.lockPath()
		if _, err := os.Stat(o.Lock); err != nil {
			return nil, err
		}
	} else if g.lock != "" {
		// A lock file that is named and not there is a slip of the pen, unless it is to be written.
		if _, err := os.Stat(g.lock); err != nil && !cmd.Flags().Changed("save-lock") {
			return nil, err
		}
	} else if cmd.Flags().Changed("save-lock") {
		o.Lock = defaultLock
	}
	switch format {
	case acigen.Both:
		o.Formats = []layer.Format{layer.Ext4, layer.EROFS}
	default:
		o.Formats = []layer.Format{layer.Format(format)}
	}
	if g.images != "" {
		o.Layouts = []string{g.images}
	}
	if err := g.archives(cmd, &o); err != nil {
		return nil, err
	}
	if err := g.registryFlags.apply(cmd, &o); err != nil {
		return nil, err
	}
	o.Progress = layerBars(progress.New(cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())))
	if len(g.signatures) > 0 {
		v, err := g.verifier()
		if err != nil {
			return nil, err
		}
		o.Verify = v.Verify
	}
	return images.Open(cmd.Context(), o)
}

// layerBars shows how far layers are that take longer than a moment. The images' readers call it side by side.
func layerBars(bars *progress.Bars) func(images.Progress) {
	var mu sync.Mutex
	tasks := map[string]*progress.Task{}
	return func(p images.Progress) {
		if p.Size < slowLayer {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		t := tasks[p.Layer]
		switch {
		case p.Done && t == nil: // it was known already
		case p.Done:
			t.Done()
			delete(tasks, p.Layer)
		case t == nil:
			name := strings.TrimPrefix(p.Layer, "sha256:")
			t = bars.Task(p.Reference+" "+name[:min(12, len(name))], p.Size)
			tasks[p.Layer] = t
			fallthrough
		default:
			t.Set(p.Read)
		}
	}
}

// archives tells a mapping from an archive by its first byte: no archive begins with a brace.
func (g *imageSources) archives(cmd *cobra.Command, o *images.Options) error {
	if g.tar == "" {
		return nil
	}
	f, err := os.Open(g.tar)
	if err != nil {
		return err
	}
	defer f.Close()
	var first [1]byte
	if _, err := f.Read(first[:]); err != nil || first[0] != '{' {
		o.ArchiveFiles = []string{g.tar}
		return nil
	}
	text, err := readInput(g.tar, nil, 1<<20)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &o.Archives); err != nil {
		return usage(cmd, "--tar %s: want an object of references and files: %v", g.tar, err)
	}
	return nil
}

func (g *imageSources) verifier() (*signature.Verifier, error) {
	var list []signature.Requirement
	for _, s := range g.signatures {
		r, err := signature.ParseRequirement(s)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return signature.NewVerifier(list, signature.Options{Bundles: g.bundles})
}

func isUsage(err error) bool {
	var u *usageError
	return errors.As(err, &u)
}
