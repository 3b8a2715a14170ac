package confcomjson

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape/shapetest"
)

// Each form has fields of its own: both documents together must have all.
func TestFieldsHaveTheirEffects(t *testing.T) {
	forms := map[string]func(path string) bool{
		"present.json": func(p string) bool {
			return !strings.HasPrefix(p, "containers[].") || strings.HasPrefix(p, "containers[].properties") || p == "containers[].name"
		},
		"older.json": func(p string) bool {
			return strings.HasPrefix(p, "containers[].") && !strings.HasPrefix(p, "containers[].properties")
		},
	}
	for name, mine := range forms {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsontree.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		var fields []workload.Field
		for _, f := range Fields() {
			if mine(f.Path) {
				fields = append(fields, f)
			}
		}
		t.Run(name, func(t *testing.T) {
			shapetest.Effects(t, fields, doc, "", func(text []byte) ([]workload.Group, error) {
				return Read(t.Context(), workload.Document{Name: "c", Data: text})
			})
		})
	}
}
