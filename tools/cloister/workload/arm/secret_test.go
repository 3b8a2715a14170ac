package arm

import "testing"

// Words of commands and probes that are made of a secret are marked, the others are not.
func TestReadMarksSecretWords(t *testing.T) {
	groups, err := readText(t, secrets(`"command": ["a", "[parameters('s')]"], "livenessProbe": {"exec": {"command": ["[parameters('s')]"]}}, "readinessProbe": {"exec": {"command": ["a"]}}`), hunter)
	if err != nil {
		t.Fatal(err)
	}
	c := groups[0].Containers[0]
	if c.Command[0].Secret || !c.Command[1].Secret || !c.Exec[0].Secret || c.Exec[1].Secret {
		t.Errorf("got command %+v, exec %+v", c.Command, c.Exec)
	}
}
