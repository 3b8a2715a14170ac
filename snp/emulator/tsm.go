package emulator

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// maxInblob is the kernel's limit for a nonce; SNP wants exactly this many.
const maxInblob = 64

// tsm is the state behind the tree, without the tree: entries and their attributes with the semantics of the kernel's drivers/virt/coco/tsm.c.
type tsm struct {
	proc    *Processor
	mu      sync.Mutex // the kernel builds reports one at a time too
	entries map[string]*tsmEntry
	most    int // entries
}

// tsmEntry is one report directory.
type tsmEntry struct {
	tsm       *tsm
	inblob    []byte
	privlevel uint32
	write     uint64 // generation of the options
	read      uint64 // generation the cached blobs belong to
	outblob   []byte // nil before the first read
	auxblob   []byte
}

func newTSMState(proc *Processor) *tsm {
	most := maxEntries
	if n := proc.params.Entries; n != 0 {
		most = int(min(n, maxEntries))
	}
	return &tsm{proc: proc, entries: map[string]*tsmEntry{}, most: most}
}

// maxEntries bounds what clients that never clean up can pile up.
const maxEntries = 4096

func (t *tsm) make(name string) (*tsmEntry, syscall.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.entries[name]; ok {
		return nil, syscall.EEXIST
	}
	if len(t.entries) >= t.most {
		return nil, syscall.ENOSPC
	}
	e := &tsmEntry{tsm: t} // privilege level 0, even where the floor is higher: so does the kernel
	t.entries[name] = e
	return e, 0
}

func (t *tsm) get(name string) (*tsmEntry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	return e, ok
}

func (t *tsm) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(t.entries))
	for n := range t.entries {
		names = append(names, n)
	}
	return names
}

func (t *tsm) remove(name string) syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.entries[name]; !ok {
		return syscall.ENOENT
	}
	delete(t.entries, name)
	return 0
}

// attribute is one file of an entry: how it is read and written, and its mode.
type attribute struct {
	name string
	mode uint32
	get  func(ctx context.Context, e *tsmEntry) ([]byte, error)
	set  func(e *tsmEntry, b []byte) error
}

var attributes = []attribute{
	{name: "inblob", mode: 0o200, set: (*tsmEntry).setInblob},
	{name: "outblob", mode: 0o444, get: func(ctx context.Context, e *tsmEntry) ([]byte, error) {
		err := e.build(ctx)
		return e.outblob, err
	}},
	{name: "auxblob", mode: 0o444, get: func(ctx context.Context, e *tsmEntry) ([]byte, error) {
		err := e.build(ctx)
		return e.auxblob, err
	}},
	{name: "provider", mode: 0o444, get: text(func(*tsmEntry) string { return "sev_guest" })},
	{name: "generation", mode: 0o444, get: text(func(e *tsmEntry) string { return strconv.FormatUint(e.write, 10) })},
	{name: "privlevel", mode: 0o200, set: (*tsmEntry).setPrivlevel},
	{name: "privlevel_floor", mode: 0o444, get: text(func(e *tsmEntry) string {
		return strconv.FormatUint(uint64(e.tsm.proc.params.VMPLFloor), 10)
	})},
}

func text(f func(*tsmEntry) string) func(context.Context, *tsmEntry) ([]byte, error) {
	return func(_ context.Context, e *tsmEntry) ([]byte, error) { return []byte(f(e) + "\n"), nil }
}

// advance counts an accepted write. A counter about to reach the generation that was read last would make stale blobs look fresh.
func (e *tsmEntry) advance() error {
	if e.write == e.read-1 {
		return syscall.EBUSY
	}
	e.write++
	return nil
}

func (e *tsmEntry) setInblob(b []byte) error {
	e.tsm.mu.Lock()
	defer e.tsm.mu.Unlock()
	if len(b) > maxInblob {
		return syscall.EFBIG
	}
	if err := e.advance(); err != nil {
		return err
	}
	e.inblob = append([]byte(nil), b...)
	return nil
}

func (e *tsmEntry) setPrivlevel(b []byte) error {
	e.tsm.mu.Lock()
	defer e.tsm.mu.Unlock()
	level, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 32)
	if err != nil || level > 3 || uint32(level) < e.tsm.proc.params.VMPLFloor {
		return syscall.EINVAL
	}
	if err := e.advance(); err != nil {
		return err
	}
	e.privlevel = uint32(level)
	return nil
}

// build makes the blobs unless those at hand belong to the options as they stand.
func (e *tsmEntry) build(ctx context.Context) error {
	if e.outblob != nil && e.read == e.write {
		return nil
	}
	if len(e.inblob) != maxInblob {
		return syscall.EINVAL
	}
	room := uint32(anyRoom)
	a := e.tsm.proc.report(ctx, [64]byte(e.inblob), e.privlevel, &room)
	switch {
	case a.errno != 0:
		return a.errno
	case a.status != 0:
		return syscall.ENXIO
	}
	e.outblob, e.auxblob, e.read = a.report, a.certs, e.write
	if a.race {
		e.write++ // another writer was here
	}
	return nil
}

// readAttribute returns an attribute's whole value.
func (e *tsmEntry) readAttribute(ctx context.Context, a attribute) ([]byte, syscall.Errno) {
	if a.get == nil {
		return nil, syscall.EACCES
	}
	e.tsm.mu.Lock()
	defer e.tsm.mu.Unlock()
	b, err := a.get(ctx, e)
	return b, errnoOf(err)
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return syscall.EIO
}
