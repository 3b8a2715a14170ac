package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoModule says that the image has no such module. Where a function may be built into the kernel instead, that is no failure.
var ErrNoModule = errors.New("no such module in the image")

// Modules loads kernel modules, each with what it depends on, each once.
type Modules struct {
	dir  string
	deps map[string]entry
	load func(path string) error // finit_module, but for tests

	mu      sync.Mutex
	started map[string]*loading
}

// entry is one line of modules.dep: the file and the names of everything it needs, direct and indirect.
type entry struct {
	path  string
	needs []string
}

type loading struct {
	done chan struct{}
	err  error
}

// NewModules reads modules.dep of the directory of one kernel release.
func NewModules(dir string) (*Modules, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("open modules: %w", err)
	}
	defer func() { _ = f.Close() }()
	deps, err := parseDep(f)
	if err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	return &Modules{dir: dir, deps: deps, load: finitModule, started: map[string]*loading{}}, nil
}

// parseDep reads modules.dep. A module that needs itself, over however many corners, would wait for itself: that file is refused.
func parseDep(r io.Reader) (map[string]entry, error) {
	deps := map[string]entry{}
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return nil, err
			}
			break
		}
		path, rest, found := strings.Cut(lines.Text(), ":")
		if !found || path == "" {
			return nil, fmt.Errorf("line %.64q: got no colon", lines.Text())
		}
		e := entry{path: path}
		for _, need := range strings.Fields(rest) {
			e.needs = append(e.needs, moduleName(need))
		}
		deps[moduleName(path)] = e
	}
	for name, e := range deps {
		for _, need := range e.needs {
			other, ok := deps[need]
			if !ok {
				return nil, fmt.Errorf("%q needs %q: %w", name, need, ErrNoModule)
			}
			if need == name || slices.Contains(other.needs, name) {
				return nil, fmt.Errorf("%q and %q need each other", name, need)
			}
		}
	}
	return deps, nil
}

// moduleName is a module's name as the kernel spells it: the file's, with underscores.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// Load loads modules and what they need, side by side where the order allows. It returns when all are loaded or one failed; a failed
// module stays failed.
func (m *Modules) Load(ctx context.Context, names ...string) error {
	var waits []*loading
	m.mu.Lock()
	for _, name := range names {
		l, err := m.start(moduleName(name))
		if err != nil {
			m.mu.Unlock()
			return fmt.Errorf("load module %q: %w", name, err)
		}
		waits = append(waits, l)
	}
	m.mu.Unlock()
	for i, l := range waits {
		select {
		case <-l.done:
			if l.err != nil {
				return fmt.Errorf("load module %q: %w", names[i], l.err)
			}
		case <-ctx.Done():
			return fmt.Errorf("load module %q: %w", names[i], ctx.Err())
		}
	}
	return nil
}

// Has reports whether the image has a module.
func (m *Modules) Has(name string) bool {
	_, ok := m.deps[moduleName(name)]
	return ok
}

// start begins loading name unless that happened before. modules.dep names all that is needed, so each need is started here, and each waits
// for its own: the order comes out right however the goroutines run. The lock is held.
func (m *Modules) start(name string) (*loading, error) {
	if l := m.started[name]; l != nil {
		return l, nil
	}
	e, ok := m.deps[name]
	if !ok {
		return nil, ErrNoModule
	}
	var needs []*loading
	for _, need := range slices.Backward(e.needs) { // listed nearest first
		l, err := m.start(need)
		if err != nil {
			return nil, err
		}
		needs = append(needs, l)
	}
	l := &loading{done: make(chan struct{})}
	m.started[name] = l
	go func() {
		defer close(l.done)
		for _, need := range needs {
			<-need.done
			if need.err != nil {
				l.err = need.err
				return
			}
		}
		if err := m.load(filepath.Join(m.dir, e.path)); err != nil && !errors.Is(err, unix.EEXIST) {
			l.err = fmt.Errorf("%s: %w", e.path, err)
		}
	}()
	return l, nil
}

func finitModule(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer func() { _ = unix.Close(fd) }()
	return os.NewSyscallError("finit_module", unix.FinitModule(fd, "", 0))
}

// The loader that LoadModule uses, set once by Run.
var (
	installedMu sync.Mutex
	installed   *Modules
)

// LoadModule loads a module and what it needs on its first use. Where boot has not run, as in an agent that is an ordinary process,
// the kernel is taken as it is.
func LoadModule(name string) error {
	installedMu.Lock()
	m := installed
	installedMu.Unlock()
	if m == nil {
		return nil
	}
	return m.Load(context.Background(), name)
}

func install(m *Modules) {
	installedMu.Lock()
	defer installedMu.Unlock()
	installed = m
}

// modulesDir is where the running kernel's modules are.
func modulesDir() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return filepath.Join("/usr/lib/modules", unix.ByteSliceToString(u.Release[:])), nil
}
