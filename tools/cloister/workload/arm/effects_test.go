package arm

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape/shapetest"
)

func TestFieldsHaveTheirEffects(t *testing.T) {
	doc, err := jsontree.Parse(file(t, "every-field.json").Data)
	if err != nil {
		t.Fatal(err)
	}
	given := []workload.Document{{Name: "p", Data: []byte(`{"parameters": {"given": {"value": "x"}}}`)}}
	var groups, deployments []workload.Field
	for _, f := range Fields() {
		if path, ok := strings.CutPrefix(f.Path, "deployments: "); ok {
			f.Path = path
			deployments = append(deployments, f)
		} else {
			groups = append(groups, f)
		}
	}
	read := func(text []byte) ([]workload.Group, error) {
		return Read(t.Context(), Input{Template: workload.Document{Name: "t", Data: text}, Parameters: given})
	}
	shapetest.Effects(t, groups, doc, "", read)
	nested, err := jsontree.Parse(file(t, "every-deployment.json").Data)
	if err != nil {
		t.Fatal(err)
	}
	given = nil
	shapetest.Effects(t, deployments, nested, "", read)
}
