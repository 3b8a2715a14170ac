// Package memory keeps the agent quick at work and small at rest: the guest's memory is the workload's.
//
// A decision leaves about a megabyte of garbage on a live heap of a few: collecting it at once would cost more than deciding. So garbage may grow while
// requests come, up to a limit, and goes back to the kernel when they stop.
package memory

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	atRest = 50       // how far garbage may grow over the live heap, in percent
	atWork = 400      // the same while requests come
	limit  = 64 << 20 // soft limit of all that Go holds, in bytes
	quiet  = 2 * time.Second
)

// Setup sets the collector as it is at rest; called once, first thing in main.
func Setup() {
	debug.SetGCPercent(atRest)
	debug.SetMemoryLimit(limit)
}

// Trimmer gives memory back once nothing has happened for a while. The zero value is ready.
type Trimmer struct {
	mu    sync.Mutex
	busy  bool
	timer *time.Timer

	work, rest func() // for tests
}

// Touch says that something happens.
func (t *Trimmer) Touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.busy {
		t.busy = true
		if t.work == nil {
			t.work, t.rest = work, rest
		}
		t.work()
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(quiet, t.trim)
		return
	}
	t.timer.Reset(quiet)
}

func (t *Trimmer) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	t.rest()
}

func work() { debug.SetGCPercent(atWork) }

func rest() {
	debug.SetGCPercent(atRest)
	debug.FreeOSMemory()
}
