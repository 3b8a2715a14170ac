package boot

import (
	"context"
	"errors"
	"fmt"
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

// entry is one line of modules.dep: the file and the names of everything it needs, direct and indirect. Wants come from
// modules.softdep: faster implementations that a processor may refuse.
type entry struct {
	path  string
	needs []string
	wants []string
}

type loading struct {
	done chan struct{}
	err  error
}

// NewModules reads modules.dep, and modules.softdep if there is one, of the directory of one kernel release.
func NewModules(dir string) (*Modules, error) {
	deps := map[string]entry{}
	for _, f := range []struct {
		name     string
		parse    func(string, map[string]entry) error
		optional bool
	}{{"modules.dep", parseDep, false}, {"modules.softdep", parseSoftdep, true}} {
		text, err := os.ReadFile(filepath.Join(dir, f.name))
		if f.optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = f.parse(string(text), deps)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	if err := checkOrder(deps); err != nil {
		return nil, fmt.Errorf("read %q: %w", dir, err)
	}
	return &Modules{dir: dir, deps: deps, load: finitModule, started: map[string]*loading{}}, nil
}

func parseDep(text string, deps map[string]entry) error {
	for line := range strings.Lines(text) {
		path, rest, found := strings.Cut(strings.TrimSpace(line), ":")
		if !found || path == "" {
			return fmt.Errorf("got line %.64q, want FILE: FILE", line)
		}
		e := entry{path: path}
		for _, need := range strings.Fields(rest) {
			e.needs = append(e.needs, moduleName(need))
		}
		deps[moduleName(path)] = e
	}
	return nil
}

// parseSoftdep reads the one form of line there is: softdep NAME pre: NAME...
func parseSoftdep(text string, deps map[string]entry) error {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 4 || words[0] != "softdep" || words[2] != "pre:" {
			return fmt.Errorf("got line %.64q, want softdep NAME pre: NAME", line)
		}
		e, ok := deps[moduleName(words[1])]
		if !ok {
			return fmt.Errorf("module %q: %w", words[1], ErrNoModule)
		}
		for _, want := range words[3:] {
			e.wants = append(e.wants, moduleName(want))
		}
		deps[moduleName(words[1])] = e
	}
	return nil
}

// checkOrder makes sure that everything named is there and that no module waits for itself, over however many corners: that wait would never
// end.
func checkOrder(deps map[string]entry) error {
	const inProgress, checked = 1, 2
	state := map[string]int{}
	var visit func(string) error
	visit = func(name string) error {
		e, ok := deps[name]
		switch {
		case !ok:
			return fmt.Errorf("module %q: %w", name, ErrNoModule)
		case state[name] == inProgress:
			return fmt.Errorf("module %q needs itself", name)
		case state[name] == checked:
			return nil
		}
		state[name] = inProgress
		for _, other := range slices.Concat(e.needs, e.wants) {
			if err := visit(other); err != nil {
				return err
			}
		}
		state[name] = checked
		return nil
	}
	for name := range deps {
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
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

// start begins loading name unless that happened before. Whatever it needs is started too and each module waits for its own: the
// order comes out right however the goroutines run. The lock is held.
func (m *Modules) start(name string) (*loading, error) {
	if l := m.started[name]; l != nil {
		return l, nil
	}
	e, ok := m.deps[name]
	if !ok {
		return nil, ErrNoModule
	}
	l := &loading{done: make(chan struct{})}
	var needs, wants []*loading
	for _, list := range []struct {
		names []string
		to    *[]*loading
	}{{e.wants, &wants}, {e.needs, &needs}} {
		for _, other := range slices.Backward(list.names) { // listed nearest first
			o, err := m.start(other)
			if err != nil {
				return nil, err
			}
			*list.to = append(*list.to, o)
		}
	}
	m.started[name] = l
	go func() {
		defer close(l.done)
		for _, want := range wants {
			<-want.done // refused or not: there is a slower one
		}
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
