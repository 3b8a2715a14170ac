package arm

import (
	"strings"
	"testing"
)

// U+017F and U+212A are s and k to Unicode's folding, and unknown names to the resource manager.
func TestReadRefusesLookalikes(t *testing.T) {
	for _, test := range []struct{ name, template, want string }{
		{"member", minimal("", `,"`+"\u017f"+`ecurityContext": {"privileged": false}`), "containers[0].properties.\u017fecurityContext: not understood"},
		{"type", `{"resources": [{"type": "Micro` + "\u017f" + `oft.ContainerInstance/containerGroups"}]}`, "resources[0].type: type \"Micro\u017foft.ContainerInstance/containerGroups\" is not understood"},
		{"parameter", strings.Replace(minimal("", `,"command": ["[parameters('`+"\u212a"+`')]"]`), `"open"`, `"k": {}, "open"`, 1), "declares no parameter"},
		{"variable", strings.Replace(minimal("", `,"command": ["[variables('`+"\u212a"+`')]"]`), `"parameters"`, `"variables": {"k": "x"}, "parameters"`, 1), "has no variable"},
		{"condition", strings.Replace(minimal("", ""), `"name": "g"`, `"name": "g", "condition`+"\u212a"+`": false`, 1), "not understood"},
		{"scope", `{"resources": [{"type": "Microsoft.Resources/deployments", "properties": {"expressionEvaluationOptions": {"scope": "inne"}, "template": {}}}]}`, "got \"inne\", want inner or outer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := readText(t, test.template); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
