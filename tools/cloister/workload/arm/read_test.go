package arm

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

func file(t testing.TB, name string) workload.Document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return workload.Document{Name: name, Data: data}
}

// golden compares groups with a file of them.
func golden(t *testing.T, name string, groups []workload.Group) {
	t.Helper()
	got, err := json.MarshalIndent(groups, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
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
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestReadGolden(t *testing.T) {
	in := Input{Template: file(t, "two-groups.json"), Parameters: []workload.Document{file(t, "two-groups.parameters.json")}}
	groups, err := Read(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "two-groups.golden.json", groups)
}

// minimal is a template with one container; inner replaces parts of it.
func minimal(group, container string) string {
	return `{
  "parameters": {"open": {"type": "string"}, "flag": {"type": "bool"}, "list": {"type": "array"}},
  "resources": [{
    "type": "Microsoft.ContainerInstance/containerGroups", "name": "g",
    "properties": {` + group + `
      "containers": [{"name": "c", "properties": {"image": "i"` + container + `
      }}]
    }
  }]
}`
}

func readText(t *testing.T, template string, parameters ...string) ([]workload.Group, error) {
	t.Helper()
	in := Input{Template: workload.Document{Name: "t.json", Data: []byte(template)}}
	for _, p := range parameters {
		in.Parameters = append(in.Parameters, workload.Document{Name: "p.json", Data: []byte(p)})
	}
	return Read(t.Context(), in)
}

func TestReadRefuses(t *testing.T) {
	for _, test := range []struct{ name, template, want string }{
		{"not-json", "{", "t.json:1: got the end"},
		{"no-group", `{"resources": []}`, "no Microsoft.ContainerInstance/containerGroups"},
		{"unknown-section", `{"resource": []}`, "t.json:1: resource: not understood; what is understood here: $schema"},
		{"unknown-member", minimal("", ",\n\"comand\": []"), "t.json:7: resources[0].properties.containers[0].properties.comand: not understood; what is understood here: command,"},
		{"twice-by-case", minimal("", ",\n\"Image\": \"x\""), "t.json:7: resources[0].properties.containers[0].properties.Image: the member is there twice"},
		{"kind", minimal("", `,"command": "a b"`), "got a string, want an array of strings"},
		{"number-value", minimal("", `,"environmentVariables": [{"name": "A", "value": 1}]`), "environmentVariables[0].value: got a number (1), want a string"},
		{"unknown-list", minimal("", `,"command": "[parameters('list')]"`), "want an array of strings: the value is known at deployment time only"},
		{"unknown-bool", minimal("", `,"securityContext": {"privileged": "[parameters('flag')]"}`), "want a boolean: the value is known at deployment time only"},
		{"unknown-name", minimal("", `,"environmentVariables": [{"name": "[parameters('open')]", "value": "1"}]`), "name: the value is known at deployment time only"},
		{"unknown-probe", minimal("", `,"livenessProbe": {"exec": {"command": ["[parameters('open')]"]}}`), "command[0]: the value is known at deployment time only"},
		{"unknown-image", strings.Replace(minimal("", ""), `"i"`, `"[concat(parameters('open'), ':1')]"`, 1), "image: the value is known at deployment time only"},
		{"no-image", strings.Replace(minimal("", ""), `"image": "i"`, `"ports": []`, 1), "the container has no image"},
		{"windows", minimal(`"osType": "Windows",`, ""), `got "Windows", want Linux`},
		{"no-volume", minimal("", `,"volumeMounts": [{"name": "v", "mountPath": "/v"}]`), `no volume "v" in the group`},
		{"relative-mount", minimal(`"volumes": [{"name": "v", "emptyDir": {}}],`, `,"volumeMounts": [{"name": "v", "mountPath": "v"}]`), "want an absolute path"},
		{"volume-of-no-kind", minimal(`"volumes": [{"name": "v"}],`, ""), `volume "v" has no kind`},
		{"volume-of-two-kinds", minimal(`"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}],`, ""), "the volume has two kinds"},
		{"volume-twice", minimal(`"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}],`, ""), `volume "v" is there twice`},
		{"two-values", minimal("", `,"environmentVariables": [{"name": "A", "value": "1", "secureValue": "2"}]`), "the variable has two values"},
		{"variable-twice", minimal("", `,"environmentVariables": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]`), `variable "A" is there twice`},
		{"equals-in-name", minimal("", `,"environmentVariables": [{"name": "A=B", "value": "1"}]`), "a name without '='"},
		{"seccomp", minimal("", `,"securityContext": {"seccompProfile": "bm8="}`), "want the base64 of a JSON document"},
		{"function", minimal("", `,"command": ["[frob('a')]"]`), `command[0]: "[frob('a')]": function "frob" is not understood; those that are: add,`},
		{"syntax", minimal("", `,"command": ["[concat('a']"]`), `expression "[concat('a']", at byte 11`},
		{"parameter", minimal("", `,"command": ["[parameters('x')]"]`), `the template declares no parameter "x"`},
		{"variable", minimal("", `,"command": ["[variables('x')]"]`), `the template has no variable "x"`},
		{"loop-property", minimal("", `,"copy": [{"name": "frob", "count": 1, "input": 1}]`), `member "frob" is not understood here as a loop`},
		{"loop-count", minimal("", `,"copy": [{"name": "command", "count": 801, "input": "a"}]`), "properties.copy[0].count: got a number"},
		{"loop-open", minimal("", `,"copy": [{"name": "command", "count": "[length(parameters('list'))]", "input": "a"}]`), "how often the loop runs is known at deployment time only"},
		{"loop-of-resource", `{"resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "copy": {"name": "l", "count": 1, "x": 1}}]}`, "resources[0].copy.x: not understood"},
		{"linked", `{"resources": [{"type": "Microsoft.Resources/deployments", "properties": {"templateLink": {"uri": "https://x"}}}]}`, "templateLink: refused: the template is somewhere else"},
		{"type", `{"resources": [{"type": "[parameters('t')]"}]}`, "a resource has a type, as a plain string"},
		{"condition", strings.Replace(minimal("", ""), `"name": "g"`, `"condition": "yes"`, 1), "resources[0].condition: got a string, want a boolean"},
		{"many", minimal("", `,"frob": 1`+strings.Repeat(`,"x`, 1)+`": 1`), "frob"},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups, err := readText(t, test.template)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if groups != nil {
				t.Error("an error came with groups")
			}
		})
	}
}

func TestReadParameters(t *testing.T) {
	template := `{"parameters": {"a": {"type": "string", "defaultValue": "d"}, "n": {"type": "int", "defaultValue": 1}, "o": {"type": "string", "allowedValues": ["x"], "defaultValue": "x"}},
		"resources": [{"type": "microsoft.containerinstance/CONTAINERGROUPS", "properties": {"containers": [{"properties": {"image": "i",
		"command": ["[parameters('A')]", "[string(parameters('n'))]", "[parameters('o')]"]}}]}}]}`
	for _, test := range []struct{ name, parameters, want, err string }{
		{"defaults", `{}`, "d 1 x", ""},
		{"given", `{"parameters": {"A": {"value": "[not an expression]"}, "n": {"value": 2}}}`, "[not an expression] 2 x", ""},
		{"vault", `{"parameters": {"a": {"reference": {}}}}`, ".* 1 x", ""},
		{"not-declared", `{"parameters": {"b": {"value": 1}}}`, "", `a value for "b", which the template does not declare`},
		{"type", `{"parameters": {"a": {"value": 1}}}`, "", "parameters.a: the value is a number, want a string"},
		{"allowed", `{"parameters": {"o": {"value": "y"}}}`, "", "parameters.o: the value is none of the allowedValues"},
		{"form", `{"parameters": {"a": "x"}}`, "", "p.json:1: parameters.a: want an object with value or reference"},
		{"member", `{"parameter": {}}`, "", "p.json:1: parameter: not understood"},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups, err := readText(t, template, test.parameters)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, w := range groups[0].Containers[0].Command {
				words = append(words, w.Value)
			}
			if got := strings.Join(words, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A template may take its policy from a parameter that is to be filled with what is generated.
func TestReadPolicyThatIsNotThere(t *testing.T) {
	for _, policy := range []string{"[parameters('policies').g]", "[parameters('none')]", "[frob()]", "[parameters('open')]", ""} {
		doc := strings.Replace(minimal(`"confidentialComputeProperties": {"ccePolicy": "`+policy+`"},`, ""), `"parameters": {`, `"parameters": {"policies": {"type": "object", "defaultValue": {}}, `, 1)
		groups, err := readText(t, doc)
		if err != nil || groups[0].Existing != nil {
			t.Errorf("%q: got %v, %v", policy, groups, err)
		}
	}
}

func TestReadExactWildcards(t *testing.T) {
	template := minimal("", `,"command": ["[format('--a={0}.b', parameters('open'))]", "[resourceGroup().location]", "[toUpper(parameters('open'))]"]`)
	want := map[bool][]string{false: {".*", ".*", ".*"}, true: {`--a=.*\.b`, ".*", ".*"}}
	for exact, words := range want {
		groups, err := Read(t.Context(), Input{Template: workload.Document{Name: "t.json", Data: []byte(template)}, ExactWildcards: exact})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range groups[0].Containers[0].Command {
			if !w.Wildcard || w.Value != words[i] || w.Origin.Line != 6 {
				t.Errorf("exact %t, word %d: got %+v, want %q", exact, i, w, words[i])
			}
		}
	}
}

// A template can ask for any amount of computing in a few lines.
func TestReadIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"variables": {"v0": "0123456789"`)
	for i := range 60 {
		prev := "variables('v" + string(rune('0'+i%10)) + strings.Repeat("x", i/10) + "')"
		next := "v" + string(rune('0'+(i+1)%10)) + strings.Repeat("x", (i+1)/10)
		b.WriteString(`, "` + next + `": "[concat(` + prev + `, ` + prev + `)]"`)
	}
	b.WriteString(`}, "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "properties": {"containers": [{"properties": {"image": "[variables('v0xxxxxx')]"}}]}}]}`)
	_, err := readText(t, b.String())
	if err == nil || !strings.Contains(err.Error(), "more computing than is given to one") {
		t.Errorf("got %v", err)
	}
	_, err = readText(t, `{"variables": {"a": "[variables('b')]", "b": "[variables('A')]"}, "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "properties": {"containers": [{"properties": {"image": "[variables('a')]"}}]}}]}`)
	if err == nil || !strings.Contains(err.Error(), "variables.a is made from itself") {
		t.Errorf("got %v", err)
	}
}
