package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What is kept in memory is bounded by these, whatever a registry or an archive says.
const (
	maxManifest    = 4 << 20
	maxConfig      = 4 << 20
	maxLayoutIndex = 32 << 20
	maxLayers      = 500 // overlayfs stacks no more
	maxLayerBlob   = 64 << 30
)

// errContent says that bytes are not the ones that their digest or size names.
var errContent = errors.New("content is not what its digest and size name")

// blobs is a place of blobs by digest.
type blobs interface {
	// open gives a blob's bytes, unchecked. ErrNotFound says that there is none.
	open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// readBlob reads a whole blob that is at most limit bytes and compares size and digest.
func readBlob(ctx context.Context, from blobs, what string, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("%s %s: got a size of %d bytes, want at most %d", what, d.Digest, d.Size, limit)
	}
	rc, err := from.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, d.Digest, err)
	}
	defer rc.Close()
	c := newChecked(ctx, rc, d)
	raw, err := io.ReadAll(c)
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return raw, nil
}

// checkBytes compares bytes that are there already.
func checkBytes(what string, raw []byte, want v1.Hash) error {
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != want.Hex || want.Algorithm != "sha256" {
		return fmt.Errorf("%s: got sha256:%x, want %s: %w", what, sum, want, errContent)
	}
	return nil
}

// checked hashes and counts a blob while others read it, and lets no byte pass after the size that was announced.
type checked struct {
	ctx  context.Context
	r    io.Reader
	want v1.Descriptor
	sum  hash.Hash // nil: somebody else compares the digest
	n    int64
	told func(n int64)
}

func newChecked(ctx context.Context, r io.Reader, d v1.Descriptor) *checked {
	return &checked{ctx: ctx, r: r, want: d, sum: sha256.New()}
}

func (c *checked) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if left := c.want.Size - c.n; left <= 0 {
		return 0, c.end()
	} else if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	if c.told != nil {
		c.told(c.n)
	}
	if err == io.EOF && c.n < c.want.Size {
		return n, fmt.Errorf("%s: got %d bytes, want %d: %w", c.want.Digest, c.n, c.want.Size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// end is reached with all the bytes read that were announced: one more is an error.
func (c *checked) end() error {
	n, err := io.ReadFull(c.r, make([]byte, 1))
	switch {
	case n > 0:
		return fmt.Errorf("%s: got more than %d bytes: %w", c.want.Digest, c.want.Size, errContent)
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return err
}

// finish reads what nobody wanted and compares the digest.
func (c *checked) finish() error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	if c.sum == nil {
		return nil
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want.Digest.Hex {
		return fmt.Errorf("got sha256:%s, want %s: %w", got, c.want.Digest, errContent)
	}
	return nil
}

// memory is a blob that was read already.
type memory []byte

func (m memory) open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m)), nil
}
