package confcomjson

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestReadGolden(t *testing.T) {
	for _, name := range []string{"present", "older"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			groups, err := Read(t.Context(), workload.Document{Name: name + ".json", Data: data})
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(groups, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	present := func(rest string) string {
		return `{"containers": [{"name": "c", "properties": {"image": "i", ` + rest + `}}]}`
	}
	old := func(rest string) string { return `{"containers": [{"containerImage": "i", ` + rest + `}]}` }
	for _, test := range []struct{ name, text, want string }{
		{"not-json", "{", "c.json:1: got the end"},
		{"null", "null", "got null, want an object"},
		{"empty", "{}", "neither containers nor fragments"},
		{"unknown", "{\n\"container\": []}", "c.json:2: container: not understood; what is understood here: containers, fragments,"},
		{"unknown-property", present(`"comand": []`), "containers[0].properties.comand: not understood"},
		{"twice", `{"containers": [], "Containers": []}`, "the member is there twice"},
		{"mixed", `{"containers": [{"containerImage": "i", "properties": {"image": "i"}}]}`, "containers[0].containerImage: the container has properties"},
		{"no-image", `{"containers": [{"name": "c"}]}`, "the container has no image"},
		{"scenario", `{"scenario": "x", "containers": []}`, `got "x", want aci or vn2`},
		{"mount-type", present(`"volumeMounts": [{"mountPath": "/a", "mountType": "x"}]`), `got mountType "x"`},
		{"mount-path", present(`"volumeMounts": [{"mountType": "secret"}]`), "the mount has no mountPath"},
		{"two-values", present(`"environmentVariables": [{"name": "A", "value": "a", "secureValue": "b"}]`), "the variable has two values"},
		{"no-name", present(`"environmentVariables": [{"value": "a"}]`), "a name without '='"},
		{"pattern", present(`"environmentVariables": [{"name": "A", "value": "(", "regex": true}]`), "the value is no pattern"},
		{"strategy", old(`"environmentVariables": [{"name": "A", "strategy": "glob"}]`), `got "glob", want string or re2`},
		{"elevated", old(`"allow_elevated": true, "securityContext": {"privileged": false}`), "securityContext.privileged says the opposite"},
		{"signal", present(`"execProcesses": [{"command": ["a"], "signals": [0]}]`), `got a number "0", want the number of a signal`},
		{"signals", present(`"execProcesses": [{"command": ["a"], "signals": 9}]`), "got a number, want an array of numbers"},
		{"no-command", present(`"execProcesses": [{"command": []}]`), "the process has no command"},
		{"seccomp", present(`"securityContext": {"seccompProfile": "{}"}`), "want the base64 of a JSON document"},
		{"svn", `{"fragments": [{"feed": "f", "minimum_svn": -1}]}`, `got a number "-1", want a whole number`},
		{"two-svns", `{"fragments": [{"feed": "f", "minimum_svn": 1, "minimumSvn": 1}]}`, "want one of minimum_svn and minimumSvn"},
		{"no-feed", `{"fragments": [{"issuer": "f"}]}`, "neither feed nor path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups, err := Read(t.Context(), workload.Document{Name: "c.json", Data: []byte(test.text)})
			if err == nil || !strings.Contains(err.Error(), test.want) || groups != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"present.json", "older.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		groups, err := Read(t.Context(), workload.Document{Name: "c.json", Data: data})
		if err != nil {
			if groups != nil {
				t.Fatal("an error came with groups")
			}
			return
		}
		for _, c := range groups[0].Containers {
			if c.Image.Value == "" || c.ID == "" {
				t.Fatalf("a container without an image: %+v", c)
			}
			for _, m := range c.Mounts {
				if m.Source == "" || m.Destination == "" {
					t.Fatalf("mount %+v", m)
				}
			}
		}
	})
}
