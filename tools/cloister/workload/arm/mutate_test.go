package arm

import (
	"math/rand/v2"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape/shapetest"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// A template that is like a real one, in any layout: what is read and what is written hold.
func FuzzMutated(f *testing.F) {
	var docs []*tree.Node
	for _, name := range []string{"two-groups.json", "small.json", "every-field.json", "every-deployment.json"} {
		n, err := jsontree.Parse(file(f, name).Data)
		if err != nil {
			f.Fatal(err)
		}
		docs = append(docs, n)
	}
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		which := r.IntN(len(docs))
		doc := shapetest.Layout(shapetest.Mutate(docs[which], r), r, true)
		in := Input{Template: workload.Document{Name: "t.json", Data: doc}}
		if which == 0 {
			in.Parameters = []workload.Document{{Name: "p.json", Data: []byte(`{"parameters": {"tag": {"value": "1.0"}}}`)}}
		}
		groups, err := Read(t.Context(), in)
		if err != nil {
			if groups != nil {
				t.Fatal("an error came with groups")
			}
			if _, err := jsontree.Parse(doc); err != nil {
				t.Fatalf("the test's own layout: %v\n%s", err, doc)
			}
			return
		}
		checkInsert(t, in, groups)
	})
}
