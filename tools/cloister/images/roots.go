package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity/layer"
)

// tries is how often a layer is read when the connection breaks within it.
const tries = 3

// layers finds the roots of an image's layers, side by side.
func (r *Resolver) layers(ctx context.Context, reference string, c *candidate, formats []layer.Format) ([]Layer, error) {
	out := make([]Layer, len(c.layers))
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range c.layers {
		g.Go(func() error {
			roots, err := r.layerRoots(ctx, reference, l, formats)
			if err != nil {
				return fmt.Errorf("image %s: %s: layer %d (%s): %w", quote(reference), c.place, i, l.diffID, err)
			}
			out[i] = Layer{DiffID: l.diffID, Ext4: roots[layer.Ext4], EROFS: roots[layer.EROFS]}
			return nil
		})
	}
	return out, g.Wait()
}

// layerRoots finds the roots of one layer: each diff id is read once, whoever names it.
func (r *Resolver) layerRoots(ctx context.Context, reference string, l layerBlob, formats []layer.Format) (map[layer.Format]string, error) {
	key := fmt.Sprint(l.diffID, formats)
	return r.roots.do(ctx, key, func() (map[layer.Format]string, error) {
		known := map[layer.Format]string{}
		var unknown []layer.Format
		for _, f := range formats {
			if root, ok := r.cache.get(l.diffID, f); ok {
				known[f] = root
			} else {
				unknown = append(unknown, f)
			}
		}
		if len(unknown) == 0 {
			return known, nil
		}
		if err := r.slots.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		defer r.slots.Release(1)
		found, err := r.readLayer(ctx, reference, l, unknown)
		if err != nil {
			return nil, err
		}
		for f, root := range found {
			known[f] = root
			r.cache.put(l.diffID, f, root)
		}
		return known, nil
	})
}

// readLayer reads a layer again when the connection broke; a wrong byte is no reason to try again.
func (r *Resolver) readLayer(ctx context.Context, reference string, l layerBlob, formats []layer.Format) (map[layer.Format]string, error) {
	pause := r.backoff
	for try := 1; ; try++ {
		roots, err := r.readOnce(ctx, reference, l, formats)
		if err == nil || try == tries || ctx.Err() != nil || !broken(err) || !remoteBlob(l.from) {
			return roots, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		pause *= 3
	}
}

// broken tells an interrupted transfer from wrong content.
func broken(err error) bool {
	var network net.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &network) || strings.Contains(err.Error(), "stream error:") // HTTP/2's, which has no type of its own
}

func (r *Resolver) readOnce(ctx context.Context, reference string, l layerBlob, formats []layer.Format) (map[layer.Format]string, error) {
	rc, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	in := newChecked(ctx, rc, l.blob)
	if l.blob.Digest == (v1.Hash{}) || l.blob.Digest.String() == l.diffID {
		in.sum = nil // nothing names the stored bytes, or the diff id does and is compared already
	}
	p := Progress{Reference: reference, Layer: l.diffID, Size: l.blob.Size}
	if r.opts.Progress != nil {
		in.told = func(n int64) {
			p.Read = n
			r.opts.Progress(p)
		}
	}
	roots, err := rootsOf(ctx, in, l.diffID, formats)
	if err == nil {
		err = in.finish() // also what follows the layer in the blob
	}
	if err != nil {
		return nil, err
	}
	if r.opts.Progress != nil {
		p.Done = true
		r.opts.Progress(p)
	}
	return roots, nil
}

// rootsOf makes the roots of all formats in one pass over the bytes.
func rootsOf(ctx context.Context, in io.Reader, diffID string, formats []layer.Format) (map[layer.Format]string, error) {
	results := make([]layer.Result, len(formats))
	one := func(ctx context.Context, i int, in io.Reader) (err error) {
		results[i], err = layer.Root(ctx, in, layer.Options{Format: formats[i], DiffID: diffID})
		return err
	}
	var err error
	if len(formats) == 1 {
		err = one(ctx, 0, in)
	} else {
		err = fanOut(ctx, in, len(formats), one)
	}
	if err != nil {
		return nil, err
	}
	roots := map[layer.Format]string{}
	for i, f := range formats {
		roots[f] = results[i].RootHash.String()
	}
	return roots, nil
}

// fanOut gives n readers the same bytes. The first failure ends all of them.
func fanOut(ctx context.Context, in io.Reader, n int, read func(ctx context.Context, i int, in io.Reader) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var ends []*io.PipeWriter
	var writers []io.Writer
	for i := range n {
		pr, pw := io.Pipe()
		ends, writers = append(ends, pw), append(writers, pw)
		g.Go(func() error {
			err := read(ctx, i, pr)
			pr.CloseWithError(err) // unblocks the writer; nil makes it io.ErrClosedPipe, which copyTo takes for satisfied
			return err
		})
	}
	g.Go(func() error {
		err := copyTo(writers, in)
		for _, pw := range ends {
			pw.CloseWithError(err) // nil is the end of the stream
		}
		return err
	})
	return g.Wait()
}

// copyTo writes all of in to all writers; one that wants no more is left out.
func copyTo(writers []io.Writer, in io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := in.Read(buf)
		for i, w := range writers {
			if w == nil || n == 0 {
				continue
			}
			if _, werr := w.Write(buf[:n]); errors.Is(werr, io.ErrClosedPipe) {
				writers[i] = nil
			} else if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
