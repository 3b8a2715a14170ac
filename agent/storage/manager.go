package storage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/dm"
)

// Config says where things are. The zero value is right in the guest.
type Config struct {
	// LoadModule loads a kernel module before its first use; nil where the kernel has everything.
	LoadModule func(name string) error
	// DeviceTimeout is how long Open waits for a disk, if its context does not end sooner; 0 means 10 seconds. A hotplug takes
	// some 20 milliseconds, but on an emulated processor that is busy it can take a hundred times that.
	DeviceTimeout time.Duration
	// RunProgram runs a program of the image to its end; nil where there is none, and no scratch disks. PID 1 starts programs through its reaper only.
	RunProgram func(ctx context.Context, path string, args ...string) error

	// For tests.
	Sysfs  string // "/sys"
	Dev    string // "/dev"
	Mapper verity.Mapper
}

const defaultDeviceTimeout = 10 * time.Second

// Manager makes mounts and knows what it still holds. Its methods may be called at the same time; the order of requests is
// the caller's business.
type Manager struct {
	cfg     Config
	events  *events
	counter atomic.Uint64 // of device names, never reused

	mapperMu sync.Mutex
	mapper   verity.Mapper
	control  *dm.Control // if this manager opened the mapper

	mu     sync.Mutex
	held   map[uint64]Held
	tokens uint64
}

// Held is something that was made and not yet undone.
type Held struct {
	Kind string // disk, device, mount or directory
	Name string
}

// New starts to listen for devices.
func New(cfg Config) (*Manager, error) {
	cfg.DeviceTimeout = cmp.Or(cfg.DeviceTimeout, defaultDeviceTimeout)
	cfg.Sysfs = cmp.Or(cfg.Sysfs, "/sys")
	cfg.Dev = cmp.Or(cfg.Dev, "/dev")
	if cfg.LoadModule == nil {
		cfg.LoadModule = func(string) error { return nil }
	}
	e, err := listenEvents()
	if err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg, events: e, mapper: cfg.Mapper, held: map[uint64]Held{}}, nil
}

// Close ends the listener and every wait. It undoes no mount: those belong to whoever made them, and Held names them.
func (m *Manager) Close() error {
	err := m.events.close()
	m.mapperMu.Lock()
	defer m.mapperMu.Unlock()
	if m.control != nil {
		err = errors.Join(err, m.control.Close())
		m.control, m.mapper = nil, nil
	}
	return err
}

// Held lists what is left, sorted: empty after everything was undone.
func (m *Manager) Held() []Held {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Held, 0, len(m.held))
	for _, h := range m.held {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Held) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return out
}

func (m *Manager) hold(h Held) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens++
	m.held[m.tokens] = h
	return m.tokens
}

func (m *Manager) release(token uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, token)
}

// deviceMapper opens the control device on first use: before the module is loaded there is none.
func (m *Manager) deviceMapper() (verity.Mapper, error) {
	m.mapperMu.Lock()
	defer m.mapperMu.Unlock()
	if m.mapper != nil {
		return m.mapper, nil
	}
	c, err := dm.Open()
	if err != nil {
		return nil, err
	}
	m.control, m.mapper = c, c
	return c, nil
}
