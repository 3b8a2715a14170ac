package arm

import (
	"fmt"
	"strings"
	"testing"
)

// secrets is a template with a secret in a variable's depth; command is one word of the container, env the value of its
// variable.
func secrets(container string) string {
	return `{"parameters": {"s": {"type": "secureString"}, "so": {"type": "secureObject"}},
  "variables": {"o": {"p": "[parameters('s')]", "q": "open"}, "arr": ["a", "[parameters('s')]"], "name": "[parameters('s')]"},
  "functions": [{"namespace": "my", "members": {"f": {"parameters": [{"name": "x", "type": "string"}], "output": {"type": "object", "value": {"in": {"x": "[parameters('x')]"}}}}}}],
  "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "name": "g", "properties": {"containers": [{"name": "c", "properties": {"image": "i", ` + container + `}}]}}]}`
}

const hunter = `{"parameters": {"s": {"value": "hunter2"}, "so": {"value": {"list": "[{\"name\": \"A\", \"value\": \"hunter2\"}]"}}}}`

func TestSecretsKeepTheirMark(t *testing.T) {
	for value, want := range map[string]bool{
		`"[string(variables('o'))]"`:      true,
		`"[join(variables('arr'), ',')]"`: true,
		`"[join(map(variables('arr'), lambda('x', concat('-', lambdaVariables('x')))), ',')]"`:     true,
		`"[format('{0}', variables('arr'))]"`:                                                      true,
		`"[string(my.f(parameters('s')))]"`:                                                        true,
		`"[my.f(parameters('s')).in.x]"`:                                                           true,
		`"[if(equals(parameters('s'), 'x'), 'a', 'b')]"`:                                           true,
		`"[variables('o').q]"`:                                                                     false,
		`"[string(my.f('open'))]"`:                                                                 false,
		`"[first(json(parameters('so').list)).value]"`:                                             true,
		`"[reduce(variables('arr'), '', lambda('v', 'x', concat(lambdaVariables('v'), 'y')))]"`:    true,
		`"[join(objectKeys(toObject(variables('arr'), lambda('x', lambdaVariables('x')))), ',')]"`: true,
	} {
		groups, err := readText(t, secrets(`"environmentVariables": [{"name": "A", "value": `+value+`}]`), hunter)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if got := groups[0].Containers[0].Env[0]; got.Secret != want {
			t.Errorf("%s: got %+v, want secret %t", value, got, want)
		}
	}
	groups, err := readText(t, secrets(`"environmentVariables": "[json(parameters('so').list)]"`), hunter)
	if err != nil || !groups[0].Containers[0].Env[0].Secret {
		t.Errorf("variables out of a secret: got %+v, %v", groups, err)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	for _, word := range []string{
		"[int(parameters('s'))]", "[json(parameters('s'))]", "[base64ToString(parameters('s'))]", "[base64ToJson(base64(parameters('s')))]", "[uri(parameters('s'), 'x')]",
		"[variables(parameters('s'))]", "[variables(variables('name'))]", "[parameters(parameters('s'))]", "[copyIndex(parameters('s'))]", "[variables('o')[parameters('s')]]",
		"[format('{hunter2}{0}', parameters('s'))]", "[format(concat(parameters('s'), '{', parameters('s'), '}'), 1)]", "[uriComponentToString(concat('%', parameters('s')))]",
		"[createObject(parameters('s'), 1, parameters('s'), 2)]", "[toObject(createArray(1, 2), lambda('i', parameters('s')))]", "[map(createArray(1), lambda('i', lambdaVariables(parameters('s'))))]",
		"[padLeft('a', 1, parameters('s'))]", "[createObject(parameters('s'), 1).x]", "[bool(parameters('s'))]",
	} {
		_, err := readText(t, secrets(`"command": ["`+word+`"]`), hunter)
		if err == nil {
			t.Errorf("%s: no error", word)
			continue
		}
		if shown := strings.ReplaceAll(err.Error(), word, ""); strings.Contains(shown, "hunter2") || strings.Contains(shown, "'h'") || !strings.Contains(shown, "secret") {
			t.Errorf("%s: got %v", word, err)
		}
	}
	for name, container := range map[string]string{
		"mount":    `"volumeMounts": [{"name": "[parameters('s')]", "mountPath": "[parameters('s')]"}]`,
		"variable": `"environmentVariables": [{"name": "[parameters('s')]", "value": "1"}, {"name": "[parameters('s')]", "value": "1"}]`,
		"count":    `"copy": [{"name": "command", "count": "[parameters('s')]", "input": "x"}]`,
	} {
		_, err := readText(t, secrets(container), hunter)
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "(secret)") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSecretDefaultIsNotShown(t *testing.T) {
	doc := `{"parameters": {"s": {"type": "secureString", "defaultValue": "[concat('hunter2']"}},
  "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "properties": {"containers": [{"properties": {"image": "i", "command": ["[parameters('s')]"]}}]}}]}`
	if _, err := readText(t, doc); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

// A chain of variables as long as a file can be is no reason to run out of stack.
func TestLongChainsAreRefused(t *testing.T) {
	const links = 5000
	var b strings.Builder
	b.WriteString(`{"variables": {"v0": "x"`)
	for i := range links {
		fmt.Fprintf(&b, `, "v%d": "[variables('v%d')]"`, i+1, i)
	}
	last := fmt.Sprintf("v%d", links)
	b.WriteString(`}, "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "properties": {"containers": [{"properties": {"image": "[variables('` + last + `')]"}}]}}]}`)
	_, err := readText(t, b.String())
	if err == nil || !strings.Contains(err.Error(), "made of each other, more than 256 deep") || len(err.Error()) > 1000 {
		t.Errorf("got %v", err)
	}
}
