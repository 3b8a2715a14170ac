package defaults

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestEveryFileIsListedAndSound(t *testing.T) {
	entries, err := fs.ReadDir(data, levelsDir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		files = append(files, strings.TrimSuffix(e.Name(), ".json"))
	}
	listed := slices.Sorted(slices.Values(Levels()))
	if !slices.Equal(files, listed) {
		t.Errorf("levels: got %v, files are %v", listed, files)
	}
	for _, name := range Levels() {
		l, err := LoadLevel(name)
		if err != nil {
			t.Fatal(err)
		}
		if l.Name != name || !slices.Contains(Names(), l.Defaults) {
			t.Errorf("%s calls itself %q and has defaults %q", name, l.Name, l.Defaults)
		}
	}
	for _, name := range Names() {
		d, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Name != name || len(d.Capabilities.Unprivileged) != 14 || len(d.Capabilities.Privileged) != 41 {
			t.Errorf("%s calls itself %q and has %d and %d capabilities", name, d.Name, len(d.Capabilities.Unprivileged), len(d.Capabilities.Privileged))
		}
	}
}

func TestLevelsDifferAsToldApart(t *testing.T) {
	want := map[string]string{
		"confcom-1.2.7": "0.10.0 0.2.3 1", "confcom-1.2.8": "0.10.0 0.2.3 4", "confcom-1.4": "0.10.0 0.2.3 4", "confcom-2": "0.11.0 0.2.3 4",
		"confcom-prerelease": "0.12.0 0.5.0 4", "latest": "0.12.0 0.5.0 4",
	}
	for name, versions := range want {
		l, err := LoadLevel(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.APIVersion + " " + l.FrameworkVersion + " " + l.InfrastructureSVN; got != versions {
			t.Errorf("%s: got %s, want %s", name, got, versions)
		}
		if got, want := l.EnvOrder == Sorted, name == "confcom-1.4"; got != want {
			t.Errorf("%s: sorted is %t, want %t", name, got, want)
		}
		if got, want := slices.Contains(l.Delegations, "rw_mount_device"), l.APIVersion != "0.10.0"; got != want {
			t.Errorf("%s: rw_mount_device is %t, want %t", name, got, want)
		}
	}
	if _, err := LoadLevel("../levels/latest"); err == nil || !strings.Contains(err.Error(), "want one of confcom-1.2.7") {
		t.Errorf("got %v, want the names", err)
	}
}

func TestParseRefuses(t *testing.T) {
	own, err := File("aci-2026-09")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, from, to, want string }{
		{"unknown-member", `"version": 1`, `"version": 1, "mounts": []`, `unknown field "mounts"`},
		{"no-name", `"aci-2026-09"`, `""`, "name or version"},
		{"strategy", `"pattern": "TERM=xterm", "required": false, "strategy": "string"`, `"pattern": "TERM=xterm", "required": false, "strategy": "glob"`, `strategy is "glob"`},
		{"pattern", `"HOSTNAME=.+"`, `"HOSTNAME=("`, "not RE2"},
		{"no-equals", `"TERM=xterm"`, `"TERM"`, `no "="`},
		{"pause-root", `"16b514057a06`, `"16B514057a06`, "pause_container: layers[0]"},
		{"mount", `"destination": "/etc/resolv.conf"`, `"destination": ""`, "destination, source or type"},
		{"issuer", `"issuer": "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.3"`, `"issuer": ""`, "issuer"},
		{"twice", `"version": 1`, `"version": 1, "version": 1`, "duplicate field"},
		{"not-json", `{`, `x`, "invalid character"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(string(own), c.from, c.to, 1)
			if text == string(own) {
				t.Fatal("the case changes nothing")
			}
			if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := Parse(append(own, []byte("{}")...)); err == nil {
		t.Error("a second value was accepted")
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too large: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	// Not the embedded files: the fuzzer would spend its time on making them smaller.
	f.Add([]byte(`{"name": "x", "version": 1, "aci": {"env_rules": [{"pattern": "A=.+", "strategy": "re2"}], "mounts": [{"destination": "/a", "source": "b", "type": "bind"}]},
		"capabilities": {"unprivileged": ["CAP_KILL"], "privileged": ["CAP_KILL"]}, "infrastructure_fragment": {"feed": "a", "issuer": "b", "includes": ["containers"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := Parse(text); (d == nil) == (err == nil) {
			t.Errorf("got %v and %v", d, err)
		}
	})
}
