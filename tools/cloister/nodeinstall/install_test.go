package nodeinstall

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	containerdconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/vm"
)

var update = flag.Bool("update", false, "write golden files")

// host makes a directory that stands for a node with containerd's configuration, and options to install on it.
func host(t *testing.T, config string) Options {
	t.Helper()
	o := Defaults()
	o.Root, o.From, o.Version = t.TempDir(), t.TempDir(), "2.4.2"
	for _, name := range Programs {
		if err := os.WriteFile(filepath.Join(o.From, name), []byte("#!"+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/etc/containerd", "/etc/systemd/system", "/usr/local/bin", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(o.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if config != "" {
		put(t, o, o.Containerd, config)
	}
	return o
}

func put(t *testing.T, o Options, path, text string) {
	t.Helper()
	full := filepath.Join(o.Root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, o Options, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(o.Root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func install(t *testing.T, o Options) *Plan {
	t.Helper()
	p, err := NewPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(); err != nil {
		t.Fatal(err)
	}
	return p
}

// snapshot is every file and link below a directory.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[path] = info.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			out[path] += " " + target
			return err
		case !d.IsDir():
			text, err := os.ReadFile(path)
			out[path] += " " + string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDropInGolden(t *testing.T) {
	for _, tc := range []struct{ name, version string }{{"debian", "1.7.27"}, {"kubeadm", "2.4.2"}, {"mirrors", "2.2.0"}, {"confd", "2.4.2"}} {
		t.Run(tc.name, func(t *testing.T) {
			o := host(t, sample(t, tc.name))
			o.Version = tc.version
			p := install(t, o)
			got := get(t, o, "/etc/containerd/conf.d/99-cloister.toml") + "# notes: " + strings.Join(p.Notes[:len(p.Notes)-1], "\n# notes: ") + "\n"
			golden := filepath.Join("testdata", tc.name, "golden.toml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// loaded is what containerd's own loader makes of the node's configuration.
func loaded(t *testing.T, o Options) *containerdconfig.Config {
	t.Helper()
	// The loader knows no root: imports are made to point below ours.
	main := strings.ReplaceAll(get(t, o, o.Containerd), `"/etc/containerd/`, `"`+filepath.Join(o.Root, "/etc/containerd")+`/`)
	path := filepath.Join(o.Root, o.Containerd) + ".loaded"
	if err := os.WriteFile(path, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &containerdconfig.Config{
		Version: 3, Plugins: map[string]any{}, ProxyPlugins: map[string]containerdconfig.ProxyPlugin{},
		StreamProcessors: map[string]containerdconfig.StreamProcessor{}, Timeouts: map[string]string{},
	}
	if err := containerdconfig.LoadConfig(context.Background(), path, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func at(t *testing.T, v any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok || m[k] == nil {
			t.Fatalf("no %q in %v (of %v)", k, v, keys)
		}
		v = m[k]
	}
	return v
}

// containerd's own code reads the result: what the user had is there, and so is what we add.
func TestContainerdReadsTheResult(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	before := loaded(t, o)
	install(t, o)
	c := loaded(t, o)
	if p := c.ProxyPlugins["cloister"]; p.Type != "snapshot" || p.Address != o.Socket || !slices.Equal(p.Capabilities, []string{"rebase"}) || p.Exports["root"] != o.LayersRoot {
		t.Errorf("snapshotter: got %+v", p)
	}
	if p := c.ProxyPlugins["cloister-diff"]; p.Type != "diff" || p.Address != o.Socket {
		t.Errorf("differ: got %+v", p)
	}
	runtimes := at(t, c.Plugins[criRuntime], "containerd", "runtimes")
	if got := at(t, runtimes, "cloister", "runtime_type"); got != runtimeType {
		t.Errorf("runtime type: got %v", got)
	}
	if got := at(t, runtimes, "runc", "options", "SystemdCgroup"); got != true {
		t.Errorf("the user's runc lost SystemdCgroup: %v", got)
	}
	// What is left when ours is taken out is what was there before, whichever way files are merged.
	delete(runtimes.(map[string]any), "cloister")
	delete(c.Plugins[criImages].(map[string]any), "runtime_platforms")
	list := at(t, c.Plugins[transfer], "unpack_config").([]any)
	c.Plugins[transfer].(map[string]any)["unpack_config"] = slices.DeleteFunc(list, func(v any) bool { return at(t, v, "snapshotter") == "cloister" })
	for _, id := range []string{criRuntime, criImages, transfer} {
		if !reflect.DeepEqual(c.Plugins[id], before.Plugins[id]) {
			t.Errorf("%s: got %v, want %v", id, c.Plugins[id], before.Plugins[id])
		}
	}
}

// Versions before 2.4 replace a section: the drop-in alone must have all of it.
func TestDropInRepeatsSections(t *testing.T) {
	o := host(t, sample(t, "debian"))
	o.Version = "1.7.27"
	install(t, o)
	f, err := readFile(o.Root, "/etc/containerd/conf.d/99-cloister.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := at(t, f.values, "plugins", criV2, "cni", "bin_dir"); got != "/usr/lib/cni" {
		t.Errorf("the user's cni directory: got %v", got)
	}
	if got := at(t, f.values, "plugins", criV2, "containerd", "runtimes", "runc", "runtime_type"); got != "io.containerd.runc.v2" {
		t.Errorf("runc: got %v", got)
	}
	if _, ok := at(t, f.values, "plugins", criV2, "containerd", "runtimes", "cloister").(map[string]any)["sandboxer"]; ok {
		t.Error("containerd 1.7 knows no sandboxer")
	}
}

func TestInstallTwiceThenUninstall(t *testing.T) {
	for _, name := range []string{"debian", "kubeadm", "mirrors", "confd", ""} {
		t.Run(name, func(t *testing.T) {
			config := ""
			if name != "" {
				config = sample(t, name)
			}
			o := host(t, config)
			before := snapshot(t, o.Root)
			if p := install(t, o); !p.Restart {
				t.Error("the first installation asks for no restart of containerd")
			}
			once := snapshot(t, o.Root)
			p := install(t, o)
			for _, c := range p.Changes {
				if c.Action != Same && c.Path != nodeConfig {
					t.Errorf("second installation: %s %s", c.Action, c.Path)
				}
			}
			if twice := snapshot(t, o.Root); !maps.Equal(once, twice) || p.Restart {
				t.Error("the second installation changed something")
			}
			if state, err := DropIn(o.Root, ""); state != Current || err != nil {
				t.Errorf("drop-in: got %q, %v", state, err)
			}
			changes, err := Uninstall(o.Root, true)
			if err != nil || !maps.Equal(once, snapshot(t, o.Root)) || len(changes) == 0 {
				t.Errorf("a dry run changed something, or said nothing: %v, %v", changes, err)
			}
			if _, err := Uninstall(o.Root, false); err != nil {
				t.Fatal(err)
			}
			if after := snapshot(t, o.Root); !maps.Equal(before, after) {
				t.Errorf("left or lost:\n%v\nwant\n%v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
			}
			if changes, err := Uninstall(o.Root, false); err != nil || changes != nil {
				t.Errorf("a second end: got %v, %v", changes, err)
			}
		})
	}
}

func TestDryPlanWritesNothing(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	before := snapshot(t, o.Root)
	if _, err := NewPlan(o); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, snapshot(t, o.Root)) {
		t.Error("a plan wrote something")
	}
}

func TestUninstallKeepsWhatWasChanged(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	install(t, o)
	put(t, o, nodeConfig, "vcpus = 2\n")
	put(t, o, o.Containerd, get(t, o, o.Containerd)+"\noom_score = -999\n")
	changes, err := Uninstall(o.Root, false)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]Change{}
	for _, c := range changes {
		kept[c.Path] = c
	}
	if c := kept[nodeConfig]; c.Action != Keep || get(t, o, nodeConfig) != "vcpus = 2\n" {
		t.Errorf("node.toml: got %+v", c)
	}
	if got, want := get(t, o, o.Containerd), sample(t, "kubeadm")+"\noom_score = -999\n"; got != want {
		t.Errorf("containerd's file: got %q, want the import out and the rest as it is", got)
	}
	if c := kept[o.Containerd]; !strings.Contains(c.Note, "before-cloister") || get(t, o, o.Containerd+".before-cloister") != sample(t, "kubeadm") {
		t.Errorf("the backup is not named, or not there: %+v", c)
	}
}

// TestUninstallOfAFileThatGrew: the main file was made by the installation, and is the user's since he wrote into it. It must not import what goes.
func TestUninstallOfAFileThatGrew(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	if err := os.Remove(filepath.Join(o.Root, o.Containerd)); err != nil {
		t.Fatal(err)
	}
	install(t, o)
	made := get(t, o, o.Containerd)
	if !strings.Contains(made, "99-cloister.toml") {
		t.Fatalf("got main file %q, want one with the import", made)
	}
	put(t, o, o.Containerd, made+"\noom_score = -999\n")
	changes, err := Uninstall(o.Root, false)
	if err != nil {
		t.Fatal(err)
	}
	now := get(t, o, o.Containerd)
	if strings.Contains(now, "cloister") || !strings.Contains(now, "oom_score = -999") {
		t.Errorf("got %q, want the import out and the rest as it is", now)
	}
	for _, c := range changes {
		if c.Path == o.Containerd && (c.Action != Update || len(c.Diff) != 1) {
			t.Errorf("got %+v, want the line that was taken out", c)
		}
	}
}

func TestStaleAfterTheUsersChange(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	want := func(version string, want State) {
		t.Helper()
		if got, err := DropIn(o.Root, version); got != want || err != nil {
			t.Errorf("drop-in: got %q, %v, want %q", got, err, want)
		}
	}
	want("", NotInstalled)
	o.Handler, o.Prefix = "secret", "/opt/other"
	install(t, o)
	want("2.4.2", Current)
	want("2.0.1", Stale) // CRI of that version pulls otherwise
	put(t, o, o.Containerd, strings.Replace(get(t, o, o.Containerd), "enable_cdi = true", "enable_cdi = false", 1))
	want("", Stale)
	p := install(t, o)
	if !p.Restart || !strings.Contains(get(t, o, "/etc/containerd/conf.d/99-cloister.toml"), "enable_cdi = false") {
		t.Error("another installation did not take the change over")
	}
	want("", Current)
	put(t, o, o.Containerd, sample(t, "kubeadm"))
	want("", Missing)
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, config, want string
		change             func(*testing.T, *Options)
	}{
		{"version-1", "[plugins.cri]\n", "config migrate", nil},
		{"version-5", "version = 5\n", "want 2, 3 or 4", nil},
		{"no-toml", "version = \n", "does not parse", nil},
		{"version-text", "version = \"3\"\n", "correct version", nil},
		{"plugins-list", "version = 3\nplugins = []\n", "want a table", nil},
		{"unpack-text", "version = 3\n[plugins.\"io.containerd.transfer.v1.local\"]\nunpack_config = \"x\"\n", "want a list of tables", nil},
		{"other-imports", "version = 3\nimports = [\"/etc/other.toml\"]\n", "add \"/etc/containerd/conf.d/99-cloister.toml\" to imports", nil},
		{"empty-imports", "version = 3\nimports = []\n", "by hand", nil},
		{"version-in-text", "root = '''\nversion = 3\n'''\n\"version\" = 3\n", "by hand", nil},
		{"proxy-taken", "version = 3\n[proxy_plugins.cloister]\ntype = \"snapshot\"\n", "already", nil},
		{"handler-taken", "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.cloister]\nruntime_type = \"io.containerd.runc.v2\"\n", "--handler", nil},
		{"shim-sandboxer-1.7", "version = 2\n", "version 3", func(_ *testing.T, o *Options) { o.Sandboxer = "shim" }},
		{"no-config-no-version", "", "--containerd-version", func(_ *testing.T, o *Options) { o.Version = "" }},
		{"old-version", "version = 2\n", "too old", func(_ *testing.T, o *Options) { o.Version = "1.6.20~ds1" }},
		{"unknown-version", "version = 3\n", "2.4.2", func(_ *testing.T, o *Options) { o.Version = "new" }},
		{"no-programs", "version = 3\n", "--from", func(_ *testing.T, o *Options) { o.From = "/nonexistent" }},
		{"relative", "version = 3\n", "absolute", func(_ *testing.T, o *Options) { o.Prefix = "opt" }},
		{"quote", "version = 3\n", "quotes", func(_ *testing.T, o *Options) { o.Socket = "/run/\"\nx" }},
		{"unit-there", "version = 3\n", "move it away", func(t *testing.T, o *Options) { put(t, *o, unitPath, "mine") }},
		{"link-there", "version = 3\n", "move it away", func(t *testing.T, o *Options) { put(t, *o, shimLink, "mine") }},
		{
			"two-files", "imports = [\"/etc/containerd/conf.d/*.toml\"]\nversion = 3\n[plugins.\"io.containerd.cri.v1.runtime\"]\nenable_cdi = true\n", "one file",
			func(t *testing.T, o *Options) {
				put(t, *o, "/etc/containerd/conf.d/10-a.toml", "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\"]\nenable_selinux = true\n")
			},
		},
		{
			"loaded-later", "imports = [\"/etc/containerd/conf.d/*.toml\"]\nversion = 3\n", "comes before 99-cloister.toml",
			func(t *testing.T, o *Options) {
				put(t, *o, "/etc/containerd/conf.d/99-nvidia.toml", "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\"]\nenable_selinux = true\n")
			},
		},
		{"import-missing", "imports = [\"conf.d/*.toml\", \"/etc/gone.toml\"]\nversion = 3\n", "gone.toml", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := host(t, tc.config)
			if tc.change != nil {
				tc.change(t, &o)
			}
			before := snapshot(t, o.Root)
			_, err := NewPlan(o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if !maps.Equal(before, snapshot(t, o.Root)) {
				t.Error("a refused plan wrote something")
			}
		})
	}
}

func TestNotes(t *testing.T) {
	const images = "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\n"
	for _, tc := range []struct{ name, version, config, want string }{
		{"discards", "2.4.2", images + "discard_unpacked_layers = true\n", "made of the blob"},
		{"own-pull", "2.4.2", images + "use_local_image_pull = true\n", "use_local_image_pull is set"},
		{"downloads", "2.4.2", images + "max_concurrent_downloads = 9\n", "max_concurrent_downloads is not 3"},
		{"old", "2.0.5", "version = 3\n", "before containerd 2.1"},
		{"annotations", "2.4.2", images + "disable_snapshot_annotations = false\n", "disable_snapshot_annotations"},
		{"sync", "2.4.2", images + "image_pull_with_sync_fs = true\n", "image_pull_with_sync_fs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := host(t, tc.config)
			o.Version = tc.version
			p := install(t, o)
			if got := strings.Join(p.Notes, "\n"); !strings.Contains(got, tc.want) {
				t.Errorf("got notes %q, want one with %q", got, tc.want)
			}
			c := loaded(t, o)
			if got := at(t, c.Plugins[diffs], "default").([]any); got[0] != differ || got[1] != "walking" {
				t.Errorf("got differs %v, want ours first", got)
			}
		})
	}
}

// A file that imports loads before ours is taken over as the main file's own sections are.
func TestImportBeforeOurs(t *testing.T) {
	o := host(t, sample(t, "confd"))
	put(t, o, "/etc/containerd/conf.d/10-mirror.toml", "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"native\"\n")
	install(t, o)
	c := loaded(t, o)
	if got := at(t, c.Plugins[criImages], "snapshotter"); got != "native" {
		t.Errorf("got snapshotter %v, want the import's", got)
	}
	if got := at(t, c.Plugins[criImages], "runtime_platforms", "cloister", "snapshotter"); got != "cloister" {
		t.Errorf("got %v, want ours", got)
	}
}

// What is cut short can be run again, and removed.
func TestInstallCutShort(t *testing.T) {
	o := host(t, sample(t, "kubeadm"))
	before := snapshot(t, o.Root)
	p, err := NewPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	p.Changes[3].do = func(*record) error { return broken }
	if err := p.Apply(); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the disk's error", err)
	}
	if _, err := Uninstall(o.Root, false); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, o.Root); !maps.Equal(before, after) {
		t.Errorf("left: %v", slices.Sorted(maps.Keys(after)))
	}
	install(t, o)
}

func TestNodeConfigIsTheDefaultsWithComments(t *testing.T) {
	o := Defaults()
	text, err := NodeConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := node.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := node.Default()
	want.MetricsDir = o.MetricsDir
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// Every key is there, and taken out of its comment it still is what it was.
	whole := uncomment(text)
	if got, err = node.Parse(whole); err != nil || got != want {
		t.Errorf("with every key: got %+v, %v, want %+v", got, err, want)
	}
	fields := reflect.TypeFor[node.Config]()
	for i := range fields.NumField() {
		if key := fields.Field(i).Tag.Get("toml"); !bytes.Contains(whole, []byte("\n"+key+" = ")) {
			t.Errorf("key %q is not explained", key)
		}
	}
	o.TEE = vm.TEENone
	if text, err = NodeConfig(o); err != nil || !bytes.Contains(text, []byte("\ntee = \"none\"\n")) {
		t.Errorf("tee none: got %v\n%s", err, text)
	}
}

func TestUnit(t *testing.T) {
	o := Defaults()
	o.Prefix = "/srv/c"
	text, err := Unit(o)
	const want = "\nExecStart=/srv/c/bin/cloister-snapshotter --root /var/lib/cloister/snapshotter --socket /run/cloister/snapshotter.sock --metrics /run/cloister/metrics/+snapshotter.sock\n"
	if err != nil || !strings.Contains(string(text), want) {
		t.Errorf("got %v\n%s\nwant the line %q", err, text, want)
	}
	// What an image's author makes it do is bounded, and is not paid for by pods.
	for _, line := range []string{"MemoryMax=2G", "CPUWeight=50", "OOMScoreAdjust=0", "NoNewPrivileges=yes", "ProtectSystem=full"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("got no line %q in\n%s", line, text)
		}
	}
}

// uncomment takes "#" from lines that are keys.
func uncomment(text []byte) []byte {
	var out []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") {
			line = rest
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, ""))
}

func FuzzImportLine(f *testing.F) {
	for _, name := range []string{"debian", "kubeadm", "mirrors"} {
		text, err := os.ReadFile(filepath.Join("testdata", name, "config.toml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("version = 3")
	f.Add("a = '''\nversion = 3\n'''\nversion = 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := parseFile("config.toml", []byte(text))
		if err != nil || len(in.imports) > 0 {
			return
		}
		out, err := withImport(in, "/etc/x.toml")
		if err != nil {
			return
		}
		again, err := parseFile("config.toml", out)
		if err != nil || !slices.Equal(again.imports, []string{"/etc/x.toml"}) || again.version != in.version {
			t.Errorf("got %q, %v", out, err)
		}
	})
}
