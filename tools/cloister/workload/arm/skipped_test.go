package arm

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// twoGroups is a template of two groups, the first of them with more members and a policy of its own.
func twoGroups(more string) string {
	return `{"parameters": {"off": {"type": "bool", "defaultValue": false}, "none": {"type": "int", "defaultValue": 0}},
  "variables": {"off": "[parameters('off')]"},
  "resources": [
    {"type": "Microsoft.ContainerInstance/containerGroups", "name": "a", ` + more + `
     "properties": {"confidentialComputeProperties": {"ccePolicy": "b2xk"}, "containers": [{"name": "c", "properties": {"image": "i"}}]}},
    {"type": "Microsoft.ContainerInstance/containerGroups", "name": "b", "properties": {"containers": [{"name": "c", "properties": {"image": "i"}}]}}
  ]}`
}

func TestSkipped(t *testing.T) {
	const given = `{"parameters": {"off": {"value": false}, "none": {"value": 0}}}`
	for _, test := range []struct{ name, more, parameters, why, err string }{
		{"none", "", "", "", ""},
		{"literal", `"condition": false,`, "", "its condition is false", ""},
		{"given", `"condition": "[parameters('off')]",`, given, "its condition is false", ""},
		{"given-by-variable", `"condition": "[variables('off')]",`, given, "its condition is false", ""},
		{"default", `"condition": "[parameters('off')]",`, "", "", ""},
		{"default-by-variable", `"condition": "[and(true(), variables('off'))]",`, "", "", ""},
		{"false-whatever-the-default", `"condition": "[and(false(), variables('off'))]",`, "", "its condition is false", ""},
		{"no-turns", `"copy": {"name": "l", "count": 0},`, "", "its loop runs 0 times", ""},
		{"no-turns-given", `"copy": {"name": "l", "count": "[parameters('none')]"},`, given, "its loop runs 0 times", ""},
		{"no-turns-default", `"copy": {"name": "l", "count": "[parameters('none')]"},`, "", "", "t.json:4: resources[0].copy: the loop runs 0 times by the default value of a parameter only: give the parameter a value with -p"},
		{"existing-in-array", `"existing": true,`, "", "", "t.json:4: resources[0].existing: counts only where resources have symbolic names"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Template: workload.Document{Name: "t.json", Data: []byte(twoGroups(test.more))}}
			if test.parameters != "" {
				in.Parameters = []workload.Document{{Name: "p.json", Data: []byte(test.parameters)}}
			}
			groups, err := Read(t.Context(), in)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			skipped, err := Skipped(t.Context(), in)
			if err != nil || len(groups)+len(skipped) != 2 {
				t.Fatalf("got %d groups, skipped %+v, %v", len(groups), skipped, err)
			}
			if test.why == "" {
				return
			}
			want := workload.Skipped{Name: "a", Why: test.why, Policy: true, Origin: workload.Origin{File: "t.json", Path: "resources[0]", Line: 4}}
			if len(skipped) != 1 || skipped[0] != want {
				t.Errorf("got %+v, want %+v", skipped, want)
			}
		})
	}
}

// An inner template's parameters have values from outside; what these come from decides.
func TestSkippedInner(t *testing.T) {
	for value, want := range map[string]int{"false": 1, `"[parameters('off')]"`: 0, `"[not(true())]"`: 1} {
		doc := `{"parameters": {"off": {"type": "bool", "defaultValue": false}}, "resources": [
  {"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"},
   "parameters": {"p": {"value": ` + value + `}}, "template": {"parameters": {"p": {"type": "bool"}}, "resources": [
   {"type": "Microsoft.ContainerInstance/containerGroups", "name": "g", "condition": "[parameters('p')]", "properties": {"containers": [{"name": "c", "properties": {"image": "i"}}]}}]}}}]}`
		skipped, err := Skipped(t.Context(), Input{Template: workload.Document{Name: "t.json", Data: []byte(doc)}})
		if err != nil || len(skipped) != want {
			t.Errorf("%s: got %+v, %v, want %d", value, skipped, err, want)
		}
	}
}

func TestExistingByName(t *testing.T) {
	doc := `{"languageVersion": "2.0", "resources": {
  "old": {"type": "Microsoft.ContainerInstance/containerGroups", "existing": true, "name": "o"},
  "new": {"type": "Microsoft.ContainerInstance/containerGroups", "name": "n", "properties": {"containers": [{"name": "c", "properties": {"image": "i"}}]}}}}`
	groups, err := readText(t, doc)
	if err != nil || len(groups) != 1 || groups[0].Name != "n" {
		t.Errorf("got %+v, %v", groups, err)
	}
}
