package verity

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// TreeOptions controls a TreeHasher.
type TreeOptions struct {
	BuildOptions
	// Spool, if set, keeps the lowest level of the tree (1/128 of the data) from offset 0 on; otherwise it is kept in memory.
	// What is in it before does not matter. Nobody else may write to it.
	Spool Disk
}

// TreeHasher builds the tree of data that is still being written: in order by [TreeHasher.Write] and
// [TreeHasher.WriteZeros], at any place by [TreeHasher.HashAt]. Blocks that were never given are blocks of zeros. Hashing
// happens on other goroutines meanwhile; the result depends on the data and the salt only.
//
// Memory: a buffer of 512 KiB for each worker and one or two more, and for each 512 KiB of data that is not all zeros 4 KiB
// without a Spool and about 150 bytes with one.
//
// The methods are for one goroutine at a time. After an error only Close is of use.
type TreeHasher struct {
	ctx     context.Context
	fail    context.CancelCauseFunc
	opts    TreeOptions
	leaf    *leafHasher // of the caller's goroutine
	groups  []*group    // by place; nil is all zeros
	end     uint64      // the first block after all that was given
	pending run         // what Write has gathered
	free    chan []byte
	jobs    chan *job
	workers sync.WaitGroup
	ended   bool // no more data
	tree    *finishedTree
}

// group is one block of the tree's lowest level and the 128 data blocks below it.
type group struct {
	index   uint64
	node    *[BlockSize]byte // the digests; nil if they are in the spool
	spooled bool
	done    chan struct{} // closed when the last job on this group is
}

// run is data that is next to each other: whole blocks and, while more is coming, part of one.
type run struct {
	block uint64 // where it starts
	buf   []byte // nil, or with room for a group
}

// job hashes whole blocks of one group.
type job struct {
	group *group
	at    int    // of the first block, within the group
	buf   []byte // goes back to TreeHasher.free
	done  chan struct{}
}

var errFinished = errors.New("hash tree: no data can be added after Finish or Close")

// NewTreeHasher starts the workers; Close ends them in any case, Finish when all went well. When ctx ends, so does the work.
func NewTreeHasher(ctx context.Context, opts TreeOptions) (*TreeHasher, error) {
	if opts.Salt == nil {
		opts.Salt = DefaultSalt()
	}
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	leaf, err := newLeafHasher(opts.Salt)
	if err != nil {
		return nil, err
	}
	t := &TreeHasher{opts: opts, leaf: leaf}
	t.ctx, t.fail = context.WithCancelCause(ctx)
	buffers := opts.Workers + 2 // one more is being filled, one waits
	t.free = make(chan []byte, buffers)
	t.jobs = make(chan *job, buffers)
	for range buffers {
		t.free <- nil // made when it is first needed
	}
	if err := t.startWorkers(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Write takes data in order, from the start of the data area on; p may have any length.
func (t *TreeHasher) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if err := t.room(); err != nil {
			return written, err
		}
		b := &t.pending
		n := copy(b.buf[len(b.buf):t.roomEnd()], p)
		b.buf = b.buf[:len(b.buf)+n]
		p = p[n:]
		written += n
		if err := t.flushFull(); err != nil {
			return written, err
		}
	}
	return written, nil
}

// WriteZeros is Write of n zero bytes, without the bytes: a whole group of them costs nothing, a block a comparison.
func (t *TreeHasher) WriteZeros(n int64) error {
	if n < 0 {
		return fmt.Errorf("hash tree: got %d zeros", n)
	}
	for n > 0 {
		if len(t.pending.buf) == 0 && t.pending.block%digestsPerBlock == 0 && n >= groupSize {
			skipped, err := t.skipGroups(uint64(n / groupSize))
			if err != nil {
				return err
			}
			n -= int64(skipped) * groupSize
			continue
		}
		if err := t.room(); err != nil {
			return err
		}
		b := &t.pending
		some := min(n, int64(t.roomEnd()-len(b.buf)))
		clear(b.buf[len(b.buf) : len(b.buf)+int(some)])
		b.buf = b.buf[:len(b.buf)+int(some)]
		n -= some
		if err := t.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// HashAt takes whole blocks that start at data block index, in any order. Blocks that were given before are replaced. It does
// not move the place where Write goes on; a block that Write is in the middle of is refused. blocks is free for other use when
// it returns.
func (t *TreeHasher) HashAt(index uint64, blocks []byte) error {
	if len(blocks)%BlockSize != 0 {
		return fmt.Errorf("hash tree: got %d bytes, want a multiple of %d", len(blocks), BlockSize)
	}
	if err := t.flushBlocks(); err != nil { // what came first is hashed first
		return err
	}
	if open := t.pending.block; len(t.pending.buf) > 0 && index <= open && open-index < uint64(len(blocks)/BlockSize) {
		return fmt.Errorf("hash tree: block %d: only a part of it was written", open)
	}
	for len(blocks) > 0 {
		buf, err := t.buffer()
		if err != nil {
			return err
		}
		n := min(len(blocks), groupSize-int(index%digestsPerBlock)*BlockSize)
		buf = append(buf, blocks[:n]...)
		if err := t.submit(index, buf); err != nil {
			return err
		}
		index += uint64(n / BlockSize)
		blocks = blocks[n:]
	}
	return nil
}

// skipGroups moves the place of Write over at most n whole groups of zeros.
func (t *TreeHasher) skipGroups(n uint64) (uint64, error) {
	if err := t.usable(); err != nil {
		return 0, err
	}
	first := t.pending.block / digestsPerBlock
	if n > maxDataBlocks/digestsPerBlock || first+n > maxDataBlocks/digestsPerBlock {
		return 0, errTooLarge
	}
	for i := first; i < min(first+n, uint64(len(t.groups))); i++ {
		if t.groups[i] == nil {
			continue
		}
		if err := t.wait(t.groups[i]); err != nil {
			return 0, err
		}
		t.groups[i] = nil
	}
	t.pending.block += n * digestsPerBlock
	t.end = max(t.end, t.pending.block)
	return n, nil
}

// room makes sure that there is a buffer with room in it.
func (t *TreeHasher) room() error {
	if t.pending.buf != nil {
		return nil
	}
	buf, err := t.buffer()
	t.pending.buf = buf
	return err
}

// roomEnd is where the group ends, within the pending buffer.
func (t *TreeHasher) roomEnd() int {
	return groupSize - int(t.pending.block%digestsPerBlock)*BlockSize
}

func (t *TreeHasher) flushFull() error {
	if len(t.pending.buf) < t.roomEnd() {
		return nil
	}
	return t.flushBlocks()
}

// flushBlocks gives the whole blocks that Write gathered to the workers.
func (t *TreeHasher) flushBlocks() error {
	if err := t.usable(); err != nil {
		return err
	}
	buf, block := t.pending.buf, t.pending.block
	whole := len(buf) / BlockSize * BlockSize
	if whole == 0 {
		return nil
	}
	t.pending = run{block: block + uint64(whole/BlockSize)}
	if rest := buf[whole:]; len(rest) > 0 {
		next, err := t.buffer()
		if err != nil {
			return err
		}
		t.pending.buf = append(next, rest...)
	}
	return t.submit(block, buf[:whole])
}
