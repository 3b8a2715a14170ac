package verity

import (
	"context"
	"fmt"
)

var errTooLarge = fmt.Errorf("hash tree: data ends after %d bytes, want at most that", int64(maxDataBlocks*BlockSize))

// usable says why there can be no more data.
func (t *TreeHasher) usable() error {
	if t.ctx.Err() != nil {
		return fmt.Errorf("hash tree: %w", context.Cause(t.ctx))
	}
	if t.ended {
		return errFinished
	}
	return nil
}

// buffer waits for an empty buffer: here whoever writes faster than the workers hash is held up.
func (t *TreeHasher) buffer() ([]byte, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	select {
	case buf := <-t.free:
		if buf == nil {
			buf = make([]byte, 0, groupSize)
		}
		return buf[:0], nil
	case <-t.ctx.Done():
		return nil, t.usable()
	}
}

// submit gives whole blocks of one group to the workers.
func (t *TreeHasher) submit(block uint64, buf []byte) error {
	end := block + uint64(len(buf)/BlockSize)
	if block >= maxDataBlocks || end > maxDataBlocks {
		return errTooLarge
	}
	t.end = max(t.end, end)
	g, err := t.groupOf(block)
	if err != nil {
		return err
	}
	g.done = make(chan struct{})
	t.jobs <- &job{group: g, at: int(block % digestsPerBlock), buf: buf, done: g.done} // has room for every buffer there is
	return nil
}

// groupOf returns the group of a block, when no job is on it any more.
func (t *TreeHasher) groupOf(block uint64) (*group, error) {
	at := block / digestsPerBlock
	if need := int(at) + 1; need > len(t.groups) {
		t.groups = append(t.groups, make([]*group, need-len(t.groups))...)
	}
	g := t.groups[at]
	if g != nil {
		return g, t.wait(g)
	}
	g = &group{index: at}
	if t.opts.Spool == nil {
		g.node = new([BlockSize]byte)
		t.leaf.zeroSums(g.node[:])
	}
	t.groups[at] = g
	return g, nil
}

func (t *TreeHasher) wait(g *group) error {
	select {
	case <-g.done:
		return nil
	case <-t.ctx.Done():
		return t.usable()
	}
}

func (t *TreeHasher) startWorkers() error {
	for range t.opts.Workers {
		leaf, err := newLeafHasher(t.opts.Salt)
		if err != nil {
			return err
		}
		t.workers.Go(func() {
			w := worker{leaf: leaf, spool: t.opts.Spool}
			for j := range t.jobs {
				if t.ctx.Err() == nil {
					if err := w.do(j); err != nil {
						t.fail(err)
					}
				}
				close(j.done)
				t.free <- j.buf
			}
		})
	}
	return nil
}

// worker is one goroutine that hashes.
type worker struct {
	leaf    *leafHasher
	spool   Disk
	scratch [BlockSize]byte
}

// do hashes the blocks of a job into its group, which no other worker has at the time.
func (w *worker) do(j *job) error {
	g := j.group
	if g.node != nil {
		w.leaf.sums(g.node[j.at*HashSize:], j.buf)
		return nil
	}
	node := w.scratch[:]
	at := int64(g.index) * BlockSize
	switch {
	case len(j.buf) == groupSize: // all of it is new
	case !g.spooled:
		w.leaf.zeroSums(node)
	default:
		if err := readBlock(w.spool, node, at, at+BlockSize); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	w.leaf.sums(node[j.at*HashSize:], j.buf)
	g.spooled = true
	if _, err := w.spool.WriteAt(node, at); err != nil {
		return fmt.Errorf("spool: write at %d: %w", at, err)
	}
	return nil
}

// stopWorkers waits until all jobs are done, or dropped if the work failed.
func (t *TreeHasher) stopWorkers() {
	if !t.ended {
		t.ended = true
		close(t.jobs)
	}
	t.workers.Wait()
}

// Close ends the work, whether finished or not, and waits for the workers. A finished tree stays usable.
func (t *TreeHasher) Close() error {
	t.fail(context.Canceled)
	t.stopWorkers()
	return nil
}
