package share

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// changes are the events of a directory after which it is read again: a name that appears or is replaced, and a file that was written.
const changes = unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR

// watcher is one inotify descriptor for all volumes of a pod. What changes while a volume is being brought waits in the kernel and is then brought once, however much it
// was: nothing has to wait for a quiet moment.
type watcher struct {
	file *os.File
	done chan struct{}

	mu     sync.Mutex
	byDesc map[int32]map[*volume]bool // one directory may be mounted by several containers
	desc   map[*volume]int32
}

func newWatcher(changed func(*volume)) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start inotify (the limit is sysctl fs.inotify.max_user_instances): %w", err)
	}
	w := &watcher{
		file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}),
		byDesc: map[int32]map[*volume]bool{}, desc: map[*volume]int32{},
	}
	go w.run(changed)
	return w, nil
}

func (w *watcher) add(v *volume, dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var wd int
	err := w.control(func(fd int) (err error) {
		wd, err = unix.InotifyAddWatch(fd, dir, changes)
		return err
	})
	if err != nil {
		return fmt.Errorf("watch %q (the limit is sysctl fs.inotify.max_user_watches): %w", dir, err)
	}
	if w.byDesc[int32(wd)] == nil {
		w.byDesc[int32(wd)] = map[*volume]bool{}
	}
	w.byDesc[int32(wd)][v] = true
	w.desc[v] = int32(wd)
	return nil
}

func (w *watcher) remove(v *volume) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, ok := w.desc[v]
	if !ok {
		return
	}
	delete(w.desc, v)
	delete(w.byDesc[wd], v)
	if len(w.byDesc[wd]) == 0 {
		delete(w.byDesc, wd)
		// The directory may be gone, and the watch with it.
		_ = w.control(func(fd int) error { _, err := unix.InotifyRmWatch(fd, uint32(wd)); return err })
	}
}

// control uses the descriptor unless it is closed.
func (w *watcher) control(f func(fd int) error) error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// close ends the loop and waits for it.
func (w *watcher) close() error {
	err := w.file.Close()
	<-w.done
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// run reads events until the descriptor is closed, and tells of each volume once for all that was there to read.
func (w *watcher) run(changed func(*volume)) {
	defer close(w.done)
	buffer := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return
		}
		for _, v := range w.changed(buffer[:n]) {
			changed(v)
		}
	}
}

// changed are the volumes that a piece of the event stream speaks of. The kernel writes whole events.
func (w *watcher) changed(events []byte) []*volume {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*volume
	seen := map[*volume]bool{}
	tell := func(list map[*volume]bool) {
		for v := range list {
			if !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
	}
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events[0:]))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			for _, list := range w.byDesc {
				tell(list)
			}
		case mask&unix.IN_IGNORED != 0: // the directory is gone
			for v := range w.byDesc[wd] {
				delete(w.desc, v)
			}
			delete(w.byDesc, wd)
		default:
			tell(w.byDesc[wd])
		}
		events = events[min(size, len(events)):]
	}
	return out
}
