package entry

import (
	"reflect"
	"strings"
	"testing"
)

func TestRecordedPoliciesArePlain(t *testing.T) {
	for name, text := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			p := mustRead(t, text)
			sameData(t, p.Data, rules(t, text))
			if strings.Contains(p.Skeleton, "allow_elevated") {
				t.Error("the containers were not read fast")
			}
			// `=` instead of `:=` is not for the fast reader, and has to come to the same.
			slow := mustRead(t, strings.NewReplacer("\ncontainers :=", "\ncontainers =", "\nexternal_processes :=", "\nexternal_processes =").Replace(text))
			if !strings.Contains(slow.Skeleton, "allow_elevated") {
				t.Error("the containers were read fast")
			}
			if !reflect.DeepEqual(p.Data, slow.Data) {
				t.Error("the two readers differ")
			}
			if !p.Delegated["create_container"] || p.APIVersion == "" || p.FrameworkVersion == "" {
				t.Errorf("got %+v", p)
			}
		})
	}
}
