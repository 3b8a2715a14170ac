package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

const modulesDir = "usr/lib/modules/"

// kernel is what one kernel package holds.
type kernel struct {
	set     *packageSet
	release string            // "6.1.0-56-amd64"
	paths   map[string]string // module key -> path below the release's directory
	builtin map[string]bool   // module keys of code that is in vmlinuz itself
}

// openKernel finds the only kernel among the packages.
func openKernel(set *packageSet) (*kernel, error) {
	k := &kernel{set: set, paths: map[string]string{}, builtin: map[string]bool{}}
	for name := range set.members {
		rest, ok := strings.CutPrefix(name, modulesDir)
		if !ok {
			continue
		}
		release, file, _ := strings.Cut(rest, "/")
		if k.release != "" && k.release != release {
			return nil, fmt.Errorf("find the kernel: the locked packages hold two, %q and %q", k.release, release)
		}
		k.release = release
		if strings.HasSuffix(file, ".ko") {
			key := moduleKey(file)
			if other, taken := k.paths[key]; taken {
				return nil, fmt.Errorf("find module %q: got both %q and %q", key, other, file)
			}
			k.paths[key] = file
		}
	}
	if k.release == "" {
		return nil, errors.New("find the kernel: no locked package holds modules")
	}
	builtin, err := set.read(modulesDir + k.release + "/modules.builtin")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		k.builtin[moduleKey(strings.TrimSpace(line))] = true
	}
	return k, nil
}

func (k *kernel) image() ([]byte, error) { return k.set.read("boot/vmlinuz-" + k.release) }

// moduleKey is how the kernel names a module whatever its file is called: sev-guest.ko is sev_guest.
func moduleKey(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(name), ".ko"), "-", "_")
}

// module is a module that goes into the image.
type module struct {
	path string // below the release's directory
	data []byte
	deps []string // keys of modules to load before it
	soft []string // keys of modules to load before it where the processor can
}

// moduleSet is the closure of a module list.
type moduleSet struct {
	kernel  *kernel
	recipe  map[string]Module
	modules map[string]module
	missing []error
}

// collect takes the listed modules and everything they need out of the kernel package. Its error names every module
// that is neither a file nor built in.
func (k *kernel) collect(list []Module) (*moduleSet, error) {
	s := &moduleSet{kernel: k, recipe: map[string]Module{}, modules: map[string]module{}}
	for _, m := range list {
		s.recipe[moduleKey(m.Name)] = m
	}
	for _, m := range list {
		if err := s.take(m.Name, "modules.list"); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.missing...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *moduleSet) take(name, wantedBy string) error {
	key := moduleKey(name)
	if _, done := s.modules[key]; done || s.kernel.builtin[key] {
		return nil
	}
	file, ok := s.kernel.paths[key]
	if !ok {
		s.missing = append(s.missing, fmt.Errorf("find module %q, wanted by %s: kernel %s has neither a file %s.ko nor the module built in",
			name, wantedBy, s.kernel.release, name))
		return nil
	}
	data, err := s.kernel.set.read(modulesDir + s.kernel.release + "/" + file)
	if err != nil {
		return err
	}
	depends, err := moduleDepends(data)
	if err != nil {
		return fmt.Errorf("read module %q: %w", name, err)
	}
	m := module{path: file, data: data}
	// A module that another entry of the recipe pulls in still has the recipe's own needs.
	own := s.recipe[key]
	for _, dep := range slices.Concat(depends, own.Needs) {
		m.deps = append(m.deps, moduleKey(dep))
	}
	for _, dep := range own.Soft {
		m.soft = append(m.soft, moduleKey(dep))
	}
	s.modules[key] = m
	for _, dep := range slices.Concat(m.deps, m.soft) {
		if err := s.take(dep, name); err != nil {
			return err
		}
	}
	return nil
}

// moduleDepends reads the "depends" line of a module's .modinfo section.
func moduleDepends(ko []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(line), "depends="); ok {
			return strings.FieldsFunc(list, func(r rune) bool { return r == ',' }), nil
		}
	}
	return nil, errors.New("its section .modinfo has no depends= line")
}

// keys lists the modules by the path of their files.
func (s *moduleSet) keys() []string {
	var keys []string
	for key := range s.modules {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(s.modules[a].path, s.modules[b].path) })
	return keys
}

// dep renders modules.dep: for each module all that must be loaded before it, nearest first, as depmod writes it. Who
// loads the list from its end has every module's own needs in place.
func (s *moduleSet) dep() ([]byte, error) {
	var b bytes.Buffer
	for _, key := range s.keys() {
		order, err := s.order(key)
		if err != nil {
			return nil, err
		}
		b.WriteString(s.modules[key].path + ":")
		for _, dep := range slices.Backward(order[:len(order)-1]) {
			b.WriteString(" " + s.modules[dep].path)
		}
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// order is the load order of one module, itself last.
func (s *moduleSet) order(key string) ([]string, error) {
	var order []string
	state := map[string]int{} // 1: being visited, 2: done
	var visit func(string) error
	visit = func(key string) error {
		switch {
		case s.kernel.builtin[key] || state[key] == 2:
			return nil
		case state[key] == 1:
			return fmt.Errorf("order modules: %q depends on itself", key)
		}
		state[key] = 1
		for _, dep := range s.modules[key].deps {
			if err := visit(dep); err != nil {
				return err
			}
		}
		state[key] = 2
		order = append(order, key)
		return nil
	}
	if err := visit(key); err != nil {
		return nil, err
	}
	return order, nil
}

// softdep renders modules.softdep in depmod's form.
func (s *moduleSet) softdep() []byte {
	var b bytes.Buffer
	for _, key := range s.keys() {
		var pre []string
		for _, dep := range s.modules[key].soft {
			if !s.kernel.builtin[dep] {
				pre = append(pre, dep)
			}
		}
		if len(pre) > 0 {
			fmt.Fprintf(&b, "softdep %s pre: %s\n", key, strings.Join(pre, " "))
		}
	}
	return b.Bytes()
}

// install puts the modules and their indexes into the image.
func (s *moduleSet) install(t *tree) error {
	dep, err := s.dep()
	if err != nil {
		return err
	}
	base := modulesDir + s.kernel.release + "/"
	for _, key := range s.keys() {
		if err := t.file(base+s.modules[key].path, 0o644, s.modules[key].data); err != nil {
			return err
		}
	}
	return errors.Join(t.file(base+"modules.dep", 0o644, dep), t.file(base+"modules.softdep", 0o644, s.softdep()))
}
