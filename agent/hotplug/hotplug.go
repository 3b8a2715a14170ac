package hotplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Sys is where the kernel shows its devices.
const Sys = "/sys"

const (
	cpuFiles    = "devices/system/cpu/cpu[0-9]*/online"
	blockFiles  = "devices/system/memory/memory[0-9]*/state"
	autoOnline  = "devices/system/memory/auto_online_blocks"
	cpuOffline  = "0"
	blocksState = "online"
)

// Memory brings all memory online that is there, and has the kernel bring online by itself what is still on its way. sys is Sys.
func Memory(sys string) error {
	// First: a block that is added after this is online before anybody sees it, one that was added before is in the list.
	err := write(filepath.Join(sys, autoOnline), blocksState)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("bring memory online: this kernel takes none while it runs")
	}
	if err != nil {
		return fmt.Errorf("bring memory online: %w", err)
	}
	_, err = bring(sys, blockFiles, "offline", blocksState)
	return err
}

// Processors brings n processors online that are not. It waits until the kernel has found as many, or for the end of ctx. sys is Sys.
func Processors(ctx context.Context, sys string, n int) error {
	if n == 0 {
		return nil
	}
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })()
	for done := 0; ; {
		now, err := bring(sys, cpuFiles, cpuOffline, "1")
		if err != nil {
			return err
		}
		if done += now; done >= n {
			return nil
		}
		if err := next(events); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fmt.Errorf("bring processors online: got %d, want %d: %w", done, n, err)
		}
	}
}

// bring writes on to each file that says off, and returns how many that were.
func bring(sys, pattern, off, on string) (int, error) {
	files, err := filepath.Glob(filepath.Join(sys, pattern))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) { // taken away again
			continue
		}
		if err != nil {
			return n, fmt.Errorf("bring online: %w", err)
		}
		if strings.TrimSpace(string(text)) != off {
			continue
		}
		if err := write(file, on); err != nil {
			return n, fmt.Errorf("bring online: %w", err)
		}
		n++
	}
	return n, nil
}

// write writes to a file that is there.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// listen opens the kernel's events. What one says, and who sent it, is not used: it is a reason to look again.
func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind uevent socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// next waits for an event. Events that were lost are one.
func next(events *os.File) error {
	buf := make([]byte, 8<<10) // longer than any the kernel makes
	if _, err := events.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	return nil
}
