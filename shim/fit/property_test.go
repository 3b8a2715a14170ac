package fit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// world is a random policy and what kubelet asks for one of its containers.
type world struct {
	*rand.Rand
	rules    []rule
	volumes  [][]string // by container: names of its emptyDirs, by position of its first mounts
	configs  []int      // by container: how many ConfigMaps
	dropping bool
}

func (w *world) chance(percent int) bool { return w.IntN(100) < percent }

func pick[T any](w *world, list ...T) T { return list[w.IntN(len(list))] }

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	w.dropping = w.chance(40)
	for i := range 1 + w.IntN(4) {
		w.container(i)
	}
	return w
}

func (w *world) container(i int) {
	r := web()
	r.Name = fmt.Sprintf("c%d", i)
	r.Layers = pick(w, roots, []string{rootA}, []string{rootB, rootA})
	r.Command = []string{"/bin/web"}
	if w.dropping || w.chance(50) {
		// With dropping, two containers that differ in their environment only cannot be told apart by anybody.
		r.Command = append(r.Command, r.Name)
	}
	r.EnvRules = []map[string]any{env("PATH=.+", "re2", true)}
	for n := range w.IntN(3) {
		r.EnvRules = append(r.EnvRules, env(fmt.Sprintf("C%dV%d=%d", i, n, w.IntN(3)), "string", w.chance(50)))
	}
	if w.chance(40) {
		r.EnvRules = append(r.EnvRules, env("(?:KUBERNETES|WEB)_.+", "re2", false))
	}
	if w.chance(40) {
		r.EnvRules = append(r.EnvRules, env("HOSTNAME=web-[a-z0-9]+", "re2", w.chance(50)))
	}
	var volumes []string
	for n := range w.IntN(3) {
		name := fmt.Sprintf("vol-%d", w.IntN(3))
		volumes = append(volumes, name)
		source := pick(w, "sandbox:///emptydir/"+name, "sandbox:///tmp/atlas/emptydir/.+", "sandbox:///[a-z]+/[a-z0-9-]{3,20}", "sandbox:///(?:fixed|other)", "sandbox://.*")
		r.Mounts = append(r.Mounts, mount(fmt.Sprintf("/dir%d", n), source, "rbind", pick(w, "rshared", "rprivate"), "rw"))
	}
	configs := w.IntN(3)
	for n := range configs {
		r.Mounts = append(r.Mounts, mount(fmt.Sprintf("/etc/file%d", n), pick(w, fmt.Sprintf("sandbox:///shared/file%d", n), "sandbox:///shared/.+"), "rbind", "rprivate", "ro"))
	}
	for destination, source := range map[string]string{
		"/dev/termination-log":                          pick(w, "", "sandbox:///shared/termination-log", "sandbox:///tmp/atlas/emptydir/.+"),
		"/var/run/secrets/kubernetes.io/serviceaccount": pick(w, "", "sandbox:///shared/serviceaccount", "sandbox:///tmp/atlas/emptydir/.+"),
		"/etc/hosts": pick(w, "", "sandbox:///tmp/atlas/emptydir/.+"),
	} {
		if source != "" {
			r.Mounts = append(r.Mounts, mount(destination, source, "rbind", "rshared", pick(w, "ro", "rw")))
		}
	}
	w.rules, w.volumes, w.configs = append(w.rules, r), append(w.volumes, volumes), append(w.configs, configs)
}

// ask is the specification for container i, as the one who wrote the policy meant it, with what kubelet adds.
func (w *world) ask(t testing.TB, i int) *specs.Spec {
	t.Helper()
	s, r := kubelet(t), w.rules[i]
	without(s, "/cache", "/etc/config")
	s.Process.Args, s.Process.Cwd = r.Command, r.WorkingDir
	s.Process.Env = slices.DeleteFunc(s.Process.Env, func(e string) bool { return e == "MODE=fast" })
	for _, e := range r.EnvRules {
		if e["strategy"] == "string" {
			s.Process.Env = append(s.Process.Env, e["pattern"].(string))
		}
	}
	for n, name := range w.volumes[i] {
		s.Mounts = append(s.Mounts, bind(fmt.Sprintf("/dir%d", n), podVolumes+"kubernetes.io~empty-dir/"+name, "rw"))
	}
	for n := range w.configs[i] {
		s.Mounts = append(s.Mounts, bind(fmt.Sprintf("/etc/file%d", n), podVolumes+"kubernetes.io~configmap/settings", "ro"))
	}
	return s
}

// TestFittedIsAllowed: whatever the policy's author asked for is allowed after fitting, and what the author did not list is refused.
func TestFittedIsAllowed(t *testing.T) {
	changes := []struct {
		name    string
		change  func(*specs.Spec)
		allowed func(*world) bool
	}{
		{"as-meant", func(*specs.Spec) {}, func(*world) bool { return true }},
		{"own-variable", func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "UNLISTED=1") }, func(w *world) bool { return w.dropping }},
		{"own-directory", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind("/unlisted", podVolumes+"kubernetes.io~empty-dir/unlisted", "rw"))
		}, func(*world) bool { return false }},
		{"own-files", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, bind("/unlisted", podVolumes+"kubernetes.io~secret/unlisted", "ro"))
		}, func(*world) bool { return false }},
		{"another-command", func(s *specs.Spec) { s.Process.Args = []string{"/bin/unlisted"} }, func(*world) bool { return false }},
		{"another-directory", func(s *specs.Spec) { s.Process.Cwd = "/unlisted" }, func(*world) bool { return false }},
		{"no-path", func(s *specs.Spec) { s.Process.Env = s.Process.Env[1:] }, func(*world) bool { return false }},
	}
	count := 400
	if testing.Short() {
		count = 50
	}
	for seed := range count {
		w := newWorld(uint64(seed))
		policy := policyOf(w.dropping, w.rules...)
		i := w.IntN(len(w.rules))
		c := changes[seed%len(changes)]
		if seed%2 == 0 {
			c = changes[0]
		}
		s := w.ask(t, i)
		c.change(s)
		notes, _, err := judge(t, policy, s, w.rules[i].Layers)
		if got, want := err == nil, c.allowed(w); got != want {
			t.Fatalf("seed %d, %s of %s: got allowed %t (%v), want %t\nnotes %v\nmounts %v\nenv %q\n%s", seed, c.name, w.rules[i].Name, got, err, want, notes, s.Mounts, s.Process.Env, policy)
		}
	}
}
