package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
)

// A layer flows through four stages that run at the same time, a chunk at a time: the pump decompresses, the diff id is
// hashed, the scanner reads the tar's headers and refuses what must not be, the converter gets what the scanner has let
// through. Nobody waits for anybody but for the chunks, of which there are few: that bounds memory.
const (
	chunkSize  = 512 << 10
	chunkCount = 8
)

// chunk is a piece of the uncompressed stream; it is read only once it was sent.
type chunk struct {
	data  []byte
	users atomic.Int32
	pool  chan *chunk
}

func (c *chunk) release() {
	if c.users.Add(-1) == 0 {
		c.pool <- c // has room for all there are
	}
}

// pump reads the uncompressed stream.
type pump struct {
	in     io.Reader
	taken  *counter // of compressed bytes; nil when the stream is not compressed
	limits Limits
	size   int64 // of the stream so far
	pool   chan *chunk
}

func newPump(in io.Reader, taken *counter, limits Limits) *pump {
	p := &pump{in: in, taken: taken, limits: limits, pool: make(chan *chunk, chunkCount)}
	for range chunkCount {
		p.pool <- &chunk{pool: p.pool}
	}
	return p
}

// run sends every chunk to each of the channels, which it closes at the end of the stream.
func (p *pump) run(ctx context.Context, to ...chan<- *chunk) error {
	for {
		var c *chunk
		select {
		case c = <-p.pool:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if c.data == nil {
			c.data = make([]byte, chunkSize)
		}
		n, err := readUntilFull(p.in, c.data[:chunkSize])
		c.data = c.data[:n]
		if p.size += int64(n); p.size > p.limits.Size {
			return fmt.Errorf("layer is larger than %d bytes uncompressed, the limit", p.limits.Size)
		}
		if p.taken != nil && p.size > ratioFreely && p.size/p.limits.Ratio > p.taken.n.Load() {
			return fmt.Errorf("layer: %d compressed bytes became %d, more than %d times as many: refused as a decompression bomb",
				p.taken.n.Load(), p.size, p.limits.Ratio)
		}
		c.users.Store(int32(len(to)))
		for _, ch := range to {
			ch <- c // has room for all there are
		}
		switch {
		case err == nil:
		case err == io.EOF:
			for _, ch := range to {
				close(ch)
			}
			return nil
		default:
			return fmt.Errorf("read layer: %w", err)
		}
	}
}

// readUntilFull reads until p is full. The error is the reader's own: io.ReadFull would make the end of a stream and a cut one alike.
func readUntilFull(r io.Reader, p []byte) (int, error) {
	const patience = 100 // reads without a byte
	n, idle := 0, 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if idle++; m > 0 {
			idle = 0
		}
		if idle == patience {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// counter counts what is read through it, for another goroutine.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// digest hashes the chunks and returns them.
func digest(ctx context.Context, in <-chan *chunk, sum hash.Hash) error {
	for {
		c, err := next(ctx, in)
		if c == nil {
			return err
		}
		sum.Write(c.data)
		c.release()
	}
}

func diffIDOf(sum hash.Hash) string { return "sha256:" + hex.EncodeToString(sum.Sum(nil)) }

func newDigest() hash.Hash { return sha256.New() }

// next waits for a chunk; nil without an error is the end of the stream.
func next(ctx context.Context, in <-chan *chunk) (*chunk, error) {
	select {
	case c := <-in:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// chunkReader reads chunks as one stream and hands each on, or gives it back, when it was read to its end.
type chunkReader struct {
	ctx  context.Context
	in   <-chan *chunk
	pass chan<- *chunk // nil gives chunks back
	cur  *chunk
	rest []byte
	at   int64 // position in the stream
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.at += int64(n)
	return n, nil
}

// Seek goes forward only: archive/tar skips contents with it.
func (r *chunkReader) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("layer stream: it can only be read forward")
	}
	for offset > 0 {
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return r.at, err
		}
		n := min(offset, int64(len(r.rest)))
		r.rest = r.rest[n:]
		r.at += n
		offset -= n
	}
	return r.at, nil
}

// fill makes sure that there is something to read.
func (r *chunkReader) fill() error {
	for len(r.rest) == 0 {
		r.done()
		c, err := next(r.ctx, r.in)
		if err != nil {
			return err
		}
		if c == nil {
			return io.EOF
		}
		r.cur, r.rest = c, c.data
	}
	return nil
}

func (r *chunkReader) position() int64 { return r.at }

func (r *chunkReader) done() {
	switch {
	case r.cur == nil:
	case r.pass != nil:
		r.pass <- r.cur // has room for all there are
	default:
		r.cur.release()
	}
	r.cur = nil
}

// drain reads to the end of the stream.
func (r *chunkReader) drain() error {
	for {
		r.rest = nil
		switch err := r.fill(); err {
		case nil:
			r.at += int64(len(r.rest))
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// WriteTo writes all that is left, a chunk at a time.
func (r *chunkReader) WriteTo(w io.Writer) (int64, error) {
	start := r.at
	for {
		switch err := r.fill(); err {
		case nil:
		case io.EOF:
			return r.at - start, nil
		default:
			return r.at - start, err
		}
		n, err := w.Write(r.rest)
		r.at += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return r.at - start, err
		}
	}
}
