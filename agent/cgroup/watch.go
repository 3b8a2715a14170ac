package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// OOMKills returns how many processes of the group, and of those below it, the kernel has killed for memory.
func (g *Group) OOMKills() (uint64, error) {
	events, err := g.pairs("memory.events")
	if err != nil {
		return 0, fmt.Errorf("count OOM kills: %w", err)
	}
	return events["oom_kill"], nil
}

// WatchOOM calls event each time the kernel has killed processes of the group for memory, until ctx ends. Kills from
// before the call count, and those up to the end of ctx do: the caller may end it when the container has exited and
// misses nothing. It returns ctx's error, or nil when it finds the group removed.
func (g *Group) WatchOOM(ctx context.Context, event func()) error {
	var seen uint64
	watching := false
	look := func() (bool, error) {
		n, err := g.OOMKills()
		if err != nil {
			return false, err
		}
		watching = true
		if n > seen {
			seen = n
			event()
		}
		return false, nil
	}
	err := g.await(ctx, "memory.events", look)
	if ctx.Err() != nil {
		if _, last := look(); last != nil && !gone(last) {
			return errors.Join(ctx.Err(), last)
		}
		return ctx.Err()
	}
	if watching && gone(err) {
		return nil
	}
	return err
}

// await calls done at once and after each change of a file that the kernel announces, until it says true.
func (g *Group) await(ctx context.Context, name string, done func() (bool, error)) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %q: %w", g.file(name), err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	// The watch comes before the first look: a change between the two is seen, one way or the other.
	if _, err := unix.InotifyAddWatch(fd, g.file(name), unix.IN_MODIFY); err != nil {
		return &os.PathError{Op: "watch", Path: g.file(name), Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	buf := make([]byte, 4096) // what changed is not read from it; done looks
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %q: %w", g.file(name), err)
		}
	}
}
