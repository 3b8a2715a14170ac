package images

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cloister-cc/cloister/verity/layer"
)

// manyImages bounds how many images are looked for at a time; their layers have a bound of their own.
const manyImages = 8

// Resolver finds images by its options. It may be used by several goroutines; an image is looked for once, and a layer that
// several images share is read once.
type Resolver struct {
	opts     Options
	platform platform
	formats  []layer.Format
	given    []place // layouts and archives
	others   []place // containerd, then the registry
	cache    rootCache
	backoff  time.Duration // before a broken transfer is tried again

	images calls[*Image]
	roots  calls[map[layer.Format]string]
	slots  *semaphore.Weighted

	mu      sync.Mutex
	lock    *Lock // as it was read
	renewed map[string]*lockEntry
}

var _ Source = (*Resolver)(nil)

// Open reads the lock file and opens the layouts and archives. No network is touched before the first image is asked for.
// The caller closes the resolver.
func Open(ctx context.Context, opts Options) (_ *Resolver, err error) {
	r := &Resolver{opts: opts, renewed: map[string]*lockEntry{}, lock: &Lock{}, backoff: time.Second}
	if r.platform, err = parsePlatform(opts.Platform); err != nil {
		return nil, err
	}
	if r.formats, err = wantedFormats(opts.Formats); err != nil {
		return nil, err
	}
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	r.slots = semaphore.NewWeighted(int64(workers))
	if opts.Locked && (opts.Update || opts.Lock == "") {
		return nil, errors.New("--locked: want a lock file, and no --update-lock beside it")
	}
	if opts.Lock != "" {
		if r.lock, err = ReadLock(opts.Lock); err != nil {
			return nil, err
		}
	}
	if opts.Locked {
		return r, nil
	}
	r.cache = chooseCache(opts.Cache)
	if err := r.openPlaces(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func chooseCache(dir string) rootCache {
	switch dir {
	case "":
		return defaultRootCache()
	case "-":
		return ""
	}
	return rootCache(dir)
}

func wantedFormats(list []layer.Format) ([]layer.Format, error) {
	var out []layer.Format
	for _, f := range list {
		f, err := layer.ParseFormat(string(f))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		out = []layer.Format{layer.Ext4}
	}
	slices.Sort(out)
	return out, nil
}

// Close gives archives and connections back.
func (r *Resolver) Close() error {
	var errs []error
	for _, p := range slices.Concat(r.given, r.others) {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Image finds one image.
func (r *Resolver) Image(ctx context.Context, reference string) (*Image, error) {
	img, err := r.images.do(ctx, reference, func() (*Image, error) { return r.resolve(ctx, reference) })
	if err != nil {
		return nil, err
	}
	return img.clone(), nil
}

// All finds images together, layers of different images side by side. The first failure ends the search.
func (r *Resolver) All(ctx context.Context, references []string) ([]*Image, error) {
	out := make([]*Image, len(references))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(manyImages)
	for i, ref := range references {
		g.Go(func() (err error) {
			out[i], err = r.Image(ctx, ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// clone lets a caller change what it got.
func (i *Image) clone() *Image {
	c := *i
	c.Config = *i.Config.DeepCopy()
	c.Layers, c.Signers = slices.Clone(i.Layers), slices.Clone(i.Signers)
	return &c
}

// resolve asks the lock file first, then the places.
func (r *Resolver) resolve(ctx context.Context, text string) (*Image, error) {
	key, entry, err := r.lock.lookup(text)
	if err != nil {
		return nil, err
	}
	if entry != nil && !r.opts.Update {
		return r.fromLock(ctx, text, key, entry)
	}
	if r.opts.Locked {
		return nil, &lockedError{reference: text, lock: r.opts.Lock}
	}
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	c, err := r.search(ctx, ref)
	if err != nil {
		return nil, err
	}
	if key == "" {
		key = text
	}
	return r.take(ctx, ref, key, c, nil)
}

// take checks an image's signatures, finds its roots and notes it for the lock file. old is the entry of the same image, whose
// roots need not be found again, unless signatures are required: nobody signed the lock file.
func (r *Resolver) take(ctx context.Context, ref reference, key string, c *candidate, old *lockEntry) (*Image, error) {
	img := &Image{Reference: ref.text, Digest: c.digest, Platform: c.config.doc.platform().String(), Config: c.config.doc.Config}
	if old != nil {
		img.Signers = slices.Clone(old.Signers)
		if old.Manifest != "" {
			img.Digest = old.Manifest
		}
	}
	if r.opts.Verify != nil {
		signers, err := r.verify(ctx, ref, c)
		if err != nil {
			return nil, err
		}
		img.Signers = signers
	}
	if err := r.fillRoots(ctx, ref, c, old, img); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewed[key] = entryOf(img, c.config)
	return img, nil
}

func (r *Resolver) fillRoots(ctx context.Context, ref reference, c *candidate, old *lockEntry, img *Image) (err error) {
	formats := r.lacking(old)
	if r.opts.Verify != nil {
		formats = r.allFormats(old)
	}
	if img.Layers, err = r.layers(ctx, ref.text, c, formats); err != nil || old == nil {
		return err
	}
	if r.opts.Verify != nil {
		return r.againstLayers(ref, old, c, img.Layers)
	}
	old.complete(img)
	return nil
}

// allFormats are the wanted formats and those that an entry has.
func (r *Resolver) allFormats(e *lockEntry) []layer.Format {
	out := slices.Clone(r.formats)
	for _, f := range []layer.Format{layer.Ext4, layer.EROFS} {
		if e != nil && len(e.roots(f)) > 0 && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// lacking are the wanted formats whose roots an entry does not have; all of them without an entry.
func (r *Resolver) lacking(e *lockEntry) []layer.Format {
	var out []layer.Format
	for _, f := range r.formats {
		if e == nil || len(e.roots(f)) == 0 {
			out = append(out, f)
		}
	}
	return out
}

func (r *Resolver) verify(ctx context.Context, ref reference, c *candidate) ([]Signer, error) {
	if c.digest == "" {
		return nil, fmt.Errorf("image %s: %s: no signature can be checked: %w", quote(ref.text), c.place, errNoManifest)
	}
	signers, err := r.opts.Verify(ctx, SignatureRequest{
		Reference: ref.text, Repository: ref.repository(), Tag: ref.tag, Digest: c.digest, Index: c.index, Store: c.store,
	})
	if err != nil {
		return nil, fmt.Errorf("image %s: %s: %w", quote(ref.text), c.place, err)
	}
	return signers, nil
}

// WriteLock writes the lock file: the entries that were read, and those of the images found since. Nothing is written when
// that is what the file says already.
func (r *Resolver) WriteLock(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	merged := &Lock{path: path, entries: map[string]*lockEntry{}}
	for _, from := range []map[string]*lockEntry{r.lock.entries, r.renewed} {
		for k, e := range from {
			merged.entries[k] = e
		}
	}
	return merged.write()
}

// lockedError says how an entry comes into the lock file.
type lockedError struct{ reference, lock string }

func (e *lockedError) Error() string {
	return fmt.Sprintf("image %s: lock file %q has no entry for it, and nothing is looked up with --locked (to add it, run the same command once with --save-lock in place of --locked, where the image can be found)",
		quote(e.reference), e.lock)
}

func (e *lockedError) Is(target error) bool { return target == ErrLocked || target == ErrNotFound }

// search asks layouts and archives, then the other places.
func (r *Resolver) search(ctx context.Context, ref reference) (*candidate, error) {
	c, searched, err := r.searchGiven(ctx, ref)
	if c != nil || err != nil {
		return c, err
	}
	for _, p := range r.others {
		c, err := p.find(ctx, ref, r.platform)
		if err == nil {
			return c, nil
		}
		var none *missing
		if !errors.As(err, &none) {
			err = fmt.Errorf("image %s: %w", quote(ref.text), err)
			if len(searched) > 0 { // a mistyped name is often found out by what the nearer places have
				err = fmt.Errorf("%w (looked before in %s)", err, strings.Join(searched, "; "))
			}
			return nil, err
		}
		searched = append(searched, fmt.Sprintf("%s: %s", p, none))
	}
	next := "check its spelling"
	if !r.opts.Registry {
		next = "give its OCI layout with --images or its archive with --tar, or leave --offline out"
	}
	if r.opts.Lock != "" && !r.opts.Update {
		searched = slices.Insert(searched, 0, fmt.Sprintf("lock file %q: no entry", r.opts.Lock))
	}
	return nil, &NotFoundError{Reference: ref.text, Searched: searched, Next: next}
}

// searchGiven asks every layout and archive: two that answer with different images are an error. No candidate and no error
// means that none has it.
func (r *Resolver) searchGiven(ctx context.Context, ref reference) (found *candidate, searched []string, err error) {
	for _, p := range r.given {
		c, err := p.find(ctx, ref, r.platform)
		var none *missing
		switch {
		case errors.As(err, &none):
			searched = append(searched, fmt.Sprintf("%s: %s", p, none))
		case err != nil:
			return nil, nil, fmt.Errorf("image %s: %w", quote(ref.text), err)
		case found != nil && !sameContent(found, c):
			return nil, nil, fmt.Errorf("image %s: %s has %s, %s has %s (give one of them, or name the image by its digest)",
				quote(ref.text), found.place, found.name(), c.place, c.name())
		case found == nil:
			found = c
		}
	}
	return found, searched, nil
}

// name is what tells a candidate from another.
func (c *candidate) name() string {
	if c.digest != "" {
		return c.digest
	}
	return "layers " + strings.Join(c.diffIDs(), " ")
}
