package main

import (
	"strings"
	"testing"
)

// A group that gets no policy keeps the one that stands in the template: that is said.
func TestGroupLeftOutIsTold(t *testing.T) {
	second := strings.Replace(secondGroup, `"name": "second",`, `"name": "second", "condition": %s,`, 1)
	second = strings.Replace(second, `"sku": "Confidential",`, `"sku": "Confidential", "confidentialComputeProperties": {"ccePolicy": "%s"},`, 1)
	for _, test := range []struct{ condition, policy, want string }{
		{"true", "b2xk", ""},
		{"false", "b2xk", "resources[1]: group second is left out: its condition is false; the policy that stands there stays as it is\n"},
		{"false", "", "resources[1]: group second is left out: its condition is false\n"},
	} {
		more := strings.Replace(strings.Replace(second, "%s", test.condition, 1), "%s", test.policy, 1)
		f := newGroupFiles(t, more, zone)
		_, stderr, err := policyCommand(t, "", f.flags("--outraw")...)
		if err != nil {
			t.Fatal(err)
		}
		if test.want == "" && strings.Contains(stderr, "left out") || !strings.Contains(stderr, test.want) {
			t.Errorf("condition %s: got %q, want %q", test.condition, stderr, test.want)
		}
	}
}
