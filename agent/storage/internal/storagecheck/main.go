// Command storagecheck takes the agent's place in the guest image for the in-VM test of agent/storage: after the same boot it serves
// the manager's calls over the first port. It is in no image that anybody ships.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api/session"
	"github.com/cloister-cc/cloister/agent/boot"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/agent/storage/internal/check"
	"github.com/cloister-cc/cloister/verity"
)

// deviceTimeout is short: one disk of the test never comes. Nothing else runs on this machine's processor.
const deviceTimeout = 3 * time.Second

func main() {
	err := run(context.Background())
	// The boot turned the standard streams away from the host, who is the only one to read this.
	if console, openErr := os.OpenFile("/dev/console", os.O_WRONLY, 0); openErr == nil {
		fmt.Fprintln(console, "storagecheck:", err)
	}
	_ = boot.PowerOff()
}

func run(ctx context.Context) error {
	system, err := boot.Run(ctx, boot.DefaultConfig())
	if err != nil {
		return err
	}
	m, err := storage.New(storage.Config{LoadModule: boot.LoadModule, DeviceTimeout: deviceTimeout, RunProgram: system.Reaper.Run})
	if err != nil {
		return err
	}
	port, err := session.OpenPort(ctx, "cloister.agent.0")
	if err != nil {
		return err
	}
	conn, err := session.Listen(port).Accept()
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName(check.ServiceName, &service{m: m, things: map[int]any{}}); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(conn))
	return errors.New("the test hung up")
}

// service offers the manager's calls; what they return is kept by number.
type service struct {
	m *storage.Manager

	mu     sync.Mutex
	last   int
	things map[int]any
}

func (s *service) keep(thing any) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.things[s.last] = thing
	return s.last
}

func (s *service) take(id int) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.things[id]
}

// outcome fills in what became of a call that began at start.
func outcome(start time.Time, err error) check.Outcome {
	o := check.Outcome{Millis: float64(time.Since(start).Microseconds()) / 1000}
	if err != nil {
		o.Err = err.Error()
		o.Unknown = errors.Is(err, storage.ErrStateUnknown)
		o.Changed = errors.Is(err, verity.ErrChanged)
		o.Format = errors.Is(err, verity.ErrFormat)
		var errno unix.Errno
		if errors.As(err, &errno) {
			o.Errno = int(errno)
		}
	}
	return o
}

func (s *service) Open(args check.OpenArgs, out *check.Opened) error {
	start := time.Now()
	a, err := storage.ParseAddress(args.Driver, args.Source)
	var c *storage.Candidate
	if err == nil {
		c, err = s.m.Open(context.Background(), a)
	}
	out.Outcome = outcome(start, err)
	if err == nil {
		out.ID, out.Root = s.keep(c), c.RootHash()
	}
	return nil
}

func (s *service) CloseCandidate(id int, out *check.Outcome) error {
	*out = outcome(time.Now(), s.take(id).(*storage.Candidate).Close())
	return nil
}

func (s *service) mounted(start time.Time, m *storage.Mount, err error, out *check.Outcome) error {
	*out = outcome(start, err)
	if err == nil {
		out.ID = s.keep(m)
	}
	return nil
}

func (s *service) Layer(args check.LayerArgs, out *check.Outcome) error {
	start := time.Now()
	m, err := s.m.MountLayer(context.Background(), s.take(args.Candidate).(*storage.Candidate), args.Target)
	return s.mounted(start, m, err, out)
}

func (s *service) Scratch(args check.ScratchArgs, out *check.Outcome) error {
	start := time.Now()
	m, err := s.m.MountScratchTmpfs(context.Background(), args.Dir, args.Size)
	return s.mounted(start, m, err, out)
}

func (s *service) ScratchDisk(args check.DiskArgs, out *check.Outcome) error {
	start := time.Now()
	a, err := storage.ParseAddress(args.Driver, args.Source)
	var m *storage.Mount
	if err == nil {
		m, err = s.m.MountScratchDisk(context.Background(), a, args.Dir)
	}
	return s.mounted(start, m, err, out)
}

func (s *service) Overlay(args check.OverlayArgs, out *check.Outcome) error {
	start := time.Now()
	m, err := s.m.MountOverlay(context.Background(), args.Lowers, args.Upper, args.Work, args.Target)
	return s.mounted(start, m, err, out)
}

func (s *service) Unmount(id int, out *check.Outcome) error {
	start := time.Now()
	*out = outcome(start, s.take(id).(*storage.Mount).Unmount(context.Background()))
	return nil
}

// Read returns a file or the names in a directory.
func (s *service) Read(args check.FileArgs, out *check.File) error {
	start := time.Now()
	if args.Drop {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	err := unix.Lstat(args.Path, &st)
	if err == nil {
		out.Mode, out.Links = st.Mode, uint64(st.Nlink)
		note := make([]byte, 64)
		if n, err := unix.Lgetxattr(args.Path, "user.note", note); err == nil {
			out.Xattr = string(note[:n])
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			var entries []os.DirEntry
			entries, err = os.ReadDir(args.Path)
			for _, e := range entries {
				out.Names = append(out.Names, e.Name())
			}
		case unix.S_IFREG:
			out.Content, err = os.ReadFile(args.Path)
		}
	}
	out.Outcome = outcome(start, err)
	return nil
}

func (s *service) Write(args check.FileArgs, out *check.Outcome) error {
	*out = outcome(time.Now(), os.WriteFile(args.Path, args.Content, 0o644))
	unix.Sync() // the test looks at the disk next
	return nil
}

// Hold keeps a file open.
func (s *service) Hold(args check.FileArgs, out *check.Outcome) error {
	f, err := os.Open(args.Path)
	*out = outcome(time.Now(), err)
	if err == nil {
		out.ID = s.keep(f)
	}
	return nil
}

func (s *service) LetGo(id int, out *check.Outcome) error {
	*out = outcome(time.Now(), s.take(id).(*os.File).Close())
	return nil
}

// State says what there is.
func (s *service) State(_ int, out *check.State) error {
	for _, h := range s.m.Held() {
		out.Held = append(out.Held, h.Kind+" "+h.Name)
	}
	devices, err := filepath.Glob("/sys/block/dm-*")
	if err != nil {
		return err
	}
	for _, d := range devices {
		name, err := os.ReadFile(d + "/dm/name")
		if err != nil {
			return err
		}
		out.Devices = append(out.Devices, strings.TrimSpace(string(name)))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	out.Mounts = strings.Count(string(mounts), "\n")
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	out.Descriptors, out.Goroutines = len(descriptors), runtime.NumGoroutine()
	return nil
}

// BlkSlot returns the slot of the only virtio block device, which has no address that the host chose.
func (s *service) BlkSlot(_ int, slot *string) error {
	devices, err := filepath.Glob("/sys/bus/virtio/drivers/virtio_blk/virtio*")
	if err != nil || len(devices) != 1 {
		return fmt.Errorf("got virtio block devices %q, %v, want one", devices, err)
	}
	path, err := filepath.EvalSymlinks(devices[0])
	if err != nil {
		return err
	}
	*slot = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "0000:00:"), ".0")
	return nil
}
