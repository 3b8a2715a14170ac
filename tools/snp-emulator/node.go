package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// awaitNode returns when a device node exists: devtmpfs makes it a moment after the driver registered. The watch comes before the look, so that
// no moment is missed.
func awaitNode(ctx context.Context, path string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %q: %w", path, err)
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	defer watch.Close()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE); err != nil {
		return fmt.Errorf("watch %q: %w", path, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := watch.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	buf := make([]byte, 4096)
	for {
		if _, err := os.Lstat(path); err == nil {
			return nil
		}
		if _, err := watch.Read(buf); err != nil {
			return fmt.Errorf("wait for %q: %w", path, err)
		}
	}
}
